//! What goes over the socket between an exploration and its workers: length-prefixed postcard frames.

use crate::dump::Dump;
use crate::recovery::{Aside, Lives, Outcome};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{self, Read, Write};
use unplug_faults::image::{Delta, NoDelta, SharedImage};

/// One image to recover, as what it differs in from the one before it in the same worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The job's number.
    pub id: u64,
    /// The job whose image this one differs from; `None` for the first, which differs from an empty one.
    pub after: Option<u64>,
    /// Where the target's clock stands during the recovery.
    pub now_ms: u64,
    /// The difference.
    pub delta: Delta,
    /// The job is repeated alone, in a fresh process: what goes wrong now is the target's doing.
    pub alone: bool,
}

/// The last image that went through a socket: both sides keep it.
#[derive(Debug, Default)]
pub struct Chain {
    image: SharedImage,
    last: Option<u64>,
}

impl Chain {
    /// The sender's side: the next job of the chain.
    pub fn job(&mut self, id: u64, image: SharedImage, now_ms: u64, alone: bool) -> Job {
        let delta = Delta::between(&self.image, &image);
        self.image = image;
        Job { id, after: self.last.replace(id), now_ms, delta, alone }
    }

    /// The receiver's side: the job's image.
    ///
    /// # Errors
    /// The job does not follow the last one, or is none.
    pub fn image(&mut self, after: Option<u64>, id: u64, delta: Delta) -> io::Result<&SharedImage> {
        if after != self.last.replace(id) {
            return Err(io::Error::other(format!("job {id} does not follow the one before it")));
        }
        delta.apply(&mut self.image).map_err(|e: NoDelta| io::Error::other(e))?;
        Ok(&self.image)
    }
}

/// A worker's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// What came back.
    Lives(u64, Told, Aside),
    /// The target crashed or hung, which convicts only if it does so again alone.
    Suspect(u64, Aside),
    /// The image could not be laid out: an errno, 0 if there is none, and the message.
    LayOut(u64, i32, String),
    /// The harness failed, or what was seen does not say what the target did.
    Failed(u64, String),
}

impl Answer {
    /// The job's number.
    pub fn id(&self) -> u64 {
        match self {
            Answer::Lives(id, ..)
            | Answer::Suspect(id, _)
            | Answer::LayOut(id, ..)
            | Answer::Failed(id, _) => *id,
        }
    }
}

/// [`Lives`] without what nearly all of them repeat: contents as they should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    first: Outcome,
    second: Later,
    third: Later,
    probes: Dump,
}

/// A later life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Later {
    /// It holds what the life before it left: the same content, or for the third that with the probes.
    AsLeft,
    /// Something else, or nothing.
    Else(Option<Outcome>),
}

impl From<Lives> for Told {
    fn from(lives: Lives) -> Told {
        let same =
            matches!(lives.first, Outcome::Recovered(_)) && lives.second.as_ref() == Some(&lives.first);
        let expected = match (&lives.first, &lives.third) {
            (Outcome::Recovered(first), Some(Outcome::Recovered(third))) if same => {
                holds(third, first, &lives.probes)
            }
            _ => false,
        };
        let later = |as_left, other| if as_left { Later::AsLeft } else { Later::Else(other) };
        Told {
            second: later(same, lives.second),
            third: later(expected, lives.third),
            first: lives.first,
            probes: lives.probes,
        }
    }
}

impl From<Told> for Lives {
    fn from(told: Told) -> Lives {
        let second = match told.second {
            Later::AsLeft => Some(told.first.clone()),
            Later::Else(other) => other,
        };
        let third = match (told.third, &told.first) {
            (Later::AsLeft, Outcome::Recovered(first)) => {
                let mut all = first.clone();
                all.0.extend(told.probes.0.clone());
                Some(Outcome::Recovered(all))
            }
            (Later::AsLeft, _) => None,
            (Later::Else(other), _) => other,
        };
        Lives { first: told.first, second, third, probes: told.probes }
    }
}

/// Whether `all` is `before` with the probes put over it.
fn holds(all: &Dump, before: &Dump, probes: &Dump) -> bool {
    let added = probes.0.keys().filter(|key| !before.0.contains_key(*key)).count();
    let entry = |key| probes.0.get(key).or_else(|| before.0.get(key));
    all.0.len() == before.0.len() + added && all.0.iter().all(|(key, value)| entry(key) == Some(value))
}

/// Frames larger than this are not ours.
const MAX_FRAME: usize = 2 << 30;

/// Appends a frame to `out`.
///
/// # Errors
/// When the value cannot be encoded, or is larger than a frame may be.
pub fn encode<T: Serialize>(out: &mut Vec<u8>, value: &T) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    // Taking the vector and giving it back saves a copy of every image.
    let mut full = postcard::to_extend(value, std::mem::take(out)).map_err(io::Error::other)?;
    let len = full.len() - start - 4;
    if len > MAX_FRAME {
        return Err(io::Error::other(format!("a frame of {len} bytes")));
    }
    let prefix = u32::try_from(len).map_err(io::Error::other)?;
    full[start..start + 4].copy_from_slice(&prefix.to_le_bytes());
    *out = full;
    Ok(())
}

/// The value that `bytes` begin with, and how many bytes it took; `None` if it is not whole yet.
///
/// # Errors
/// When the bytes are not a frame of this protocol.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<Option<(T, usize)>> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let len = frame_len(*prefix)?;
    let Some(frame) = rest.get(..len) else { return Ok(None) };
    Ok(Some((postcard::from_bytes(frame).map_err(io::Error::other)?, len + 4)))
}

/// Writes one frame.
///
/// # Errors
/// As [`encode`], or the stream's error.
pub fn send<T: Serialize>(stream: &mut impl Write, value: &T) -> io::Result<()> {
    let mut bytes = Vec::new();
    encode(&mut bytes, value)?;
    stream.write_all(&bytes)
}

/// Reads one frame; `None` at an orderly end of the stream.
///
/// # Errors
/// As [`decode`], the stream's error, or an end inside a frame.
pub fn receive<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<Option<T>> {
    let mut prefix = [0; 4];
    let mut got = 0;
    while got < prefix.len() {
        match stream.read(&mut prefix[got..]) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let mut frame = vec![0; frame_len(prefix)?];
    stream.read_exact(&mut frame)?;
    Ok(Some(postcard::from_bytes(&frame).map_err(io::Error::other)?))
}

fn frame_len(prefix: [u8; 4]) -> io::Result<usize> {
    let len = u32::from_le_bytes(prefix) as usize;
    if len > MAX_FRAME { Err(io::Error::other(format!("a frame of {len} bytes"))) } else { Ok(len) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::Entry;
    use unplug_faults::event::NodeKind;
    use unplug_faults::image::{Image, ImageNode};

    fn image(byte: u8) -> Image {
        let mut image = Image::default();
        let mut data = vec![3; 5000];
        data.push(byte);
        let node = ImageNode { kind: NodeKind::File, data, link_to: None };
        image.nodes.insert(b"a/b".to_vec(), node);
        image
    }

    fn job() -> Job {
        Chain::default().job(9, (&image(1)).into(), 1_000, true)
    }

    fn dump(pairs: &[(&str, u8)]) -> Dump {
        let entry = |v: u8| Entry { value: vec![v], expires_at_ms: Some(5) };
        Dump(pairs.iter().map(|(k, v)| (k.as_bytes().to_vec(), entry(*v))).collect())
    }

    #[test]
    fn frames_round_trip_in_a_row() {
        let lives = Lives {
            first: Outcome::Recovered(dump(&[("k", 1)])),
            second: Some(Outcome::Hung { limit_ms: 5 }),
            third: None,
            probes: Dump::default(),
        };
        let (mut bytes, answer) = (Vec::new(), Answer::Lives(9, lives.into(), Aside::default()));
        encode(&mut bytes, &job()).unwrap();
        encode(&mut bytes, &answer).unwrap();
        let (first, len): (Job, usize) = decode(&bytes).unwrap().unwrap();
        assert_eq!(first, job());
        assert_eq!(decode::<Answer>(&bytes[len..]).unwrap().unwrap().0, answer);
        let mut stream = &bytes[..];
        assert_eq!(receive::<Job>(&mut stream).unwrap(), Some(job()));
        assert_eq!(receive::<Answer>(&mut stream).unwrap(), Some(answer));
        assert_eq!(receive::<Answer>(&mut stream).unwrap(), None);
    }

    #[test]
    fn a_cut_frame_waits_and_its_end_is_an_error() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &job()).unwrap();
        for cut in [0, 3, 4, 20, bytes.len() - 1] {
            assert!(decode::<Job>(&bytes[..cut]).unwrap().is_none(), "cut at {cut}");
            assert_eq!(receive::<Job>(&mut &bytes[..cut]).is_err(), cut > 0, "cut at {cut}");
        }
        assert!(decode::<Job>(&[0xff; 8]).is_err());
    }

    #[test]
    fn a_chain_gives_the_images_back_and_sends_what_differs() {
        let (mut ours, mut theirs) = (Chain::default(), Chain::default());
        for id in 0..5u8 {
            let job = ours.job(u64::from(id), (&image(id)).into(), 0, false);
            let mut bytes = Vec::new();
            encode(&mut bytes, &job).unwrap();
            // Of two pages one differs.
            assert!(id == 0 || bytes.len() < 2000, "{} bytes for job {id}", bytes.len());
            assert_eq!(theirs.image(job.after, job.id, job.delta).unwrap().image(), image(id));
        }
        let skipped = ours.job(5, (&image(5)).into(), 0, false);
        let next = ours.job(6, (&image(6)).into(), 0, false);
        assert!(theirs.image(next.after, next.id, next.delta).is_err(), "without {}", skipped.id);
    }

    /// Whatever the lives were, they come back as they were; those that are as they should be take little room.
    #[test]
    fn lives_are_told_whole() {
        let held = |pairs: &[(&str, u8)]| Outcome::Recovered(dump(pairs));
        let (a, b) = (held(&[("a", 1)]), held(&[("a", 1), ("b", 2)]));
        let laters = [None, Some(a.clone()), Some(b.clone()), Some(Outcome::Hung { limit_ms: 5 })];
        let firsts =
            [a, b, held(&[]), Outcome::Refused { message: "no".into() }, Outcome::Hung { limit_ms: 5 }];
        for first in firsts {
            for (second, third) in laters.iter().flat_map(|s| laters.iter().map(move |t| (s, t))) {
                for probes in [dump(&[]), dump(&[("b", 2)]), dump(&[("a", 1)]), dump(&[("a", 9)])] {
                    let (second, third) = (second.clone(), third.clone());
                    let lives = Lives { first: first.clone(), second, third, probes };
                    assert_eq!(Lives::from(Told::from(lives.clone())), lives);
                }
            }
        }
        let all = held(&[("a", 1), ("b", 2)]);
        let first = held(&[("a", 1)]);
        let lives = Lives { second: Some(first.clone()), first, third: Some(all), probes: dump(&[("b", 2)]) };
        let told = Told::from(lives);
        assert_eq!((told.second, told.third), (Later::AsLeft, Later::AsLeft));
    }
}
