//! What goes over the socket between an exploration and its workers: length-prefixed postcard frames.

use crate::recovery::Lives;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{self, Read, Write};
use unplug_faults::image::Image;

/// One image to recover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The job's number.
    pub id: u64,
    /// Where the target's clock stands during the recovery.
    pub now_ms: u64,
    /// The image.
    pub image: Image,
    /// The job is repeated alone, in a fresh process: what goes wrong now is the target's doing.
    pub alone: bool,
}

/// A worker's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// What came back.
    Lives(u64, Lives),
    /// The target crashed or hung, which convicts only if it does so again alone.
    Suspect(u64),
    /// The image could not be laid out: an errno, 0 if there is none, and the message.
    LayOut(u64, i32, String),
    /// The harness failed, or what was seen does not say what the target did.
    Failed(u64, String),
}

impl Answer {
    /// The job's number.
    pub fn id(&self) -> u64 {
        match self {
            Answer::Lives(id, _) | Answer::Suspect(id) | Answer::LayOut(id, ..) | Answer::Failed(id, _) => {
                *id
            }
        }
    }
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
    use crate::dump::{Dump, Entry};
    use crate::recovery::Outcome;
    use unplug_faults::event::NodeKind;
    use unplug_faults::image::ImageNode;

    fn job() -> Job {
        let mut image = Image::default();
        let node = ImageNode { kind: NodeKind::File, data: vec![3; 5000], link_to: None };
        image.nodes.insert(b"a/b".to_vec(), node);
        Job { id: 9, now_ms: 1_000, image, alone: true }
    }

    #[test]
    fn frames_round_trip_in_a_row() {
        let lives = Lives {
            first: Outcome::Recovered(Dump(
                [(b"k".to_vec(), Entry { value: vec![1], expires_at_ms: Some(5) })].into(),
            )),
            second: Some(Outcome::Hung { limit_ms: 5 }),
            third: None,
            probes: Dump::default(),
        };
        let (mut bytes, answer) = (Vec::new(), Answer::Lives(9, lives));
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
        for cut in [0, 3, 4, 100, bytes.len() - 1] {
            assert!(decode::<Job>(&bytes[..cut]).unwrap().is_none(), "cut at {cut}");
            assert_eq!(receive::<Job>(&mut &bytes[..cut]).is_err(), cut > 0, "cut at {cut}");
        }
        assert!(decode::<Job>(&[0xff; 8]).is_err());
    }
}
