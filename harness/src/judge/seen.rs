//! What an image's recovery comes to, short enough to be kept for every image.

use crate::dump::{Digest, Dump, Entry};
use crate::recovery::{Lives, Outcome};
use crate::target::server::without_stamp;
use crate::verdict::Class;

/// The first start after the power loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// It came back with this state.
    Holds(Digest),
    /// It did not come back.
    Broke(Class, String),
}

/// What an image's recovery comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The first start.
    pub first: First,
    /// The other states that this one cannot be told from (see [`Judge::sum_up`](super::Judge::sum_up)).
    pub others: Vec<Digest>,
    /// What went wrong at the second or third start, if anything.
    pub across: Option<(Class, String)>,
    /// The later starts were seen too.
    pub complete: bool,
}

impl Seen {
    /// Sums up an image's lives, at the instant of recovery.
    pub fn of(lives: &Lives, now_ms: u64) -> Seen {
        let first = match &lives.first {
            Outcome::Recovered(dump) => First::Holds(dump.digest(now_ms)),
            Outcome::Refused { message } => First::Broke(Class::RefusesToOpen, tail(message)),
            Outcome::Crashed { message } => First::Broke(Class::RecoveryCrash, tail(message)),
            Outcome::Hung { limit_ms } => {
                First::Broke(Class::RecoveryHang, format!("no end within {limit_ms} ms of CPU time"))
            }
        };
        let (across, complete) = match &lives.first {
            Outcome::Recovered(dump) => match &first {
                First::Holds(digest) => across(dump, *digest, lives, now_ms),
                First::Broke(..) => (None, true),
            },
            _ => (None, true),
        };
        Seen { first, others: Vec::new(), across, complete }
    }

    /// The state that came back, and those that it cannot be told from.
    pub fn readings(&self) -> impl Iterator<Item = Digest> {
        let first = match self.first {
            First::Holds(digest) => Some(digest),
            First::Broke(..) => None,
        };
        first.into_iter().chain(self.others.iter().copied())
    }

    /// What a later start shows of a state of which the first start has decided the class.
    pub fn besides(&self, class: Class) -> Option<Class> {
        self.across.as_ref().map(|(across, _)| *across).filter(|across| *across != class)
    }
}

/// Compares the second and third start with what they should give. `digest` is that of the first.
fn across(first: &Dump, digest: Digest, lives: &Lives, now_ms: u64) -> (Option<(Class, String)>, bool) {
    let second = match &lives.second {
        None => return (None, false),
        Some(Outcome::Recovered(dump)) if dump.digest(now_ms) == digest => dump,
        Some(other) => {
            let what = format!("the second start after a kill {}", how(first, other, now_ms));
            return (Some((Class::NotIdempotent, what)), true);
        }
    };
    match &lives.third {
        None => (None, false),
        Some(Outcome::Recovered(dump))
            if dump.digest(now_ms) == with_probes(second, &lives.probes, now_ms) =>
        {
            (None, true)
        }
        Some(other) => {
            let mut expected = second.clone();
            expected.0.extend(lives.probes.0.clone());
            let what = format!("the start after new writes {}", how(&expected, other, now_ms));
            (Some((Class::LostAfterRecovery, what)), true)
        }
    }
}

/// The identity of a state with the probes put over it, which needs no copy: an identity is a sum over keys.
fn with_probes(second: &Dump, probes: &Dump, now_ms: u64) -> Digest {
    let alive = |e: &Entry| e.expires_at_ms.is_none_or(|t| t > now_ms);
    let replaced = probes.0.keys().filter_map(|key| Some((key, second.0.get(key).filter(|e| alive(e))?)));
    let gone = replaced.fold(0u128, |sum, (key, entry)| sum.wrapping_add(entry.identity(key)));
    let sum = second.digest(now_ms).0.wrapping_sub(gone).wrapping_add(probes.digest(now_ms).0);
    Digest(sum)
}

/// How an outcome differs from an expected state.
fn how(expected: &Dump, outcome: &Outcome, now_ms: u64) -> String {
    match outcome {
        Outcome::Refused { message } => format!("is refused: {}", tail(message)),
        Outcome::Crashed { message } => format!("crashes: {}", tail(message)),
        Outcome::Hung { limit_ms } => format!("does not end within {limit_ms} ms of CPU time"),
        Outcome::Recovered(dump) => {
            let differences = differences(expected, dump, now_ms);
            format!(
                "gives something else: {}",
                differences.into_iter().take(3).collect::<Vec<_>>().join("; ")
            )
        }
    }
}

/// The keys in which two states differ, a line each: `key: expected, found`.
pub(crate) fn differences(expected: &Dump, found: &Dump, now_ms: u64) -> Vec<String> {
    let alive = |d: &Dump, key: &Vec<u8>| {
        d.0.get(key).filter(|e| e.expires_at_ms.is_none_or(|t| t > now_ms)).cloned()
    };
    let keys: std::collections::BTreeSet<&Vec<u8>> = expected.0.keys().chain(found.0.keys()).collect();
    let show = |e: Option<crate::dump::Entry>| match e {
        None => "nothing".to_string(),
        Some(e) => {
            let value = &e.value[..e.value.len().min(60)];
            let cut = if e.value.len() > 60 { "..." } else { "" };
            let expiry = e.expires_at_ms.map_or_else(String::new, |t| format!(" (expires at {t})"));
            format!("{}{cut}{expiry}", value.escape_ascii())
        }
    };
    let mut lines = Vec::new();
    for key in keys {
        let (a, b) = (alive(expected, key), alive(found, key));
        if a != b {
            lines.push(format!("{}: expected {}, found {}", key.escape_ascii(), show(a), show(b)));
        }
    }
    lines
}

/// The last line of a message that says anything: what a person would look at first.
fn tail(message: &str) -> String {
    let line = message.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("no message");
    without_scratch(without_stamp(line.trim())).chars().take(300).collect()
}

/// A message without the directory in which the image was laid out: its name holds the worker's number and process,
/// which are no part of a result.
fn without_scratch(line: &str) -> String {
    const IMAGE: &str = "/image/";
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(IMAGE) {
        let path = rest[..at].rfind(|c: char| c.is_whitespace() || "'\"`(=".contains(c)).map_or(0, |i| i + 1);
        let scratch = rest[path..at].starts_with('/') && rest[path..at].contains("/worker-");
        out.push_str(&rest[..if scratch { path } else { at + IMAGE.len() }]);
        rest = &rest[at + IMAGE.len()..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::Entry;

    fn dump(pairs: &[(&str, &str)]) -> Dump {
        let entry = |v: &str| Entry { value: v.into(), expires_at_ms: None };
        Dump(pairs.iter().map(|(k, v)| (k.as_bytes().to_vec(), entry(v))).collect())
    }

    fn lives(second: Option<Outcome>, third: Option<Outcome>) -> Lives {
        let first = Outcome::Recovered(dump(&[("a", "1")]));
        Lives { first, second, third, probes: dump(&[("p", "x")]) }
    }

    #[test]
    fn the_first_start() {
        let of =
            |first| Seen::of(&Lives { first, second: None, third: None, probes: Dump::default() }, 0).first;
        let log = Outcome::Refused { message: "many\nBad file format\n\n".into() };
        assert_eq!(of(log), First::Broke(Class::RefusesToOpen, "Bad file format".into()));
        let crash = of(Outcome::Crashed { message: "SIGSEGV".into() });
        assert_eq!(crash, First::Broke(Class::RecoveryCrash, "SIGSEGV".into()));
        assert!(matches!(of(Outcome::Hung { limit_ms: 5 }), First::Broke(Class::RecoveryHang, _)));
    }

    #[test]
    fn where_an_image_was_laid_out_is_no_part_of_a_message() {
        let of = |m: &str| tail(m);
        assert_eq!(of("/dev/shm/unplug-24989-1/worker-1/image/dir/a.aof: torn"), "dir/a.aof: torn");
        assert_eq!(of("open '/tmp/u-1-1/worker-0/image/a', /x/image/b"), "open 'a', /x/image/b");
        assert_eq!(of("no path at all"), "no path at all");
    }

    #[test]
    fn when_and_as_which_process_a_server_said_it_is_no_part_of_a_message() {
        let line = "9\n11117:M 21 Nov 2026 02:57:52.544 # Bad file format reading the append only file";
        assert_eq!(tail(line), "Bad file format reading the append only file");
        for other in ["11117:M 21 Nov 2026 # x y z", "a:M 21 Nov 2026 02:57:52.544 # x", "one two three"] {
            assert_eq!(tail(other), other);
        }
    }

    #[test]
    fn later_starts() {
        let same = || Some(Outcome::Recovered(dump(&[("a", "1")])));
        let kept = || Some(Outcome::Recovered(dump(&[("a", "1"), ("p", "x")])));
        let good = Seen::of(&lives(same(), kept()), 0);
        assert_eq!((good.across, good.complete), (None, true));
        let other = Seen::of(&lives(kept(), None), 0);
        assert_eq!(other.across.as_ref().map(|a| a.0), Some(Class::NotIdempotent));
        assert!(other.across.is_some_and(|a| a.1.contains("p: expected nothing, found x")));
        let refused = Seen::of(&lives(Some(Outcome::Refused { message: "no".into() }), None), 0);
        assert_eq!(refused.across.map(|a| a.0), Some(Class::NotIdempotent));
        let lost = Seen::of(&lives(same(), same()), 0);
        assert_eq!(lost.across.map(|a| a.0), Some(Class::LostAfterRecovery));
        assert!(!Seen::of(&lives(same(), None), 0).complete);
    }

    #[test]
    fn expired_keys_are_no_difference() {
        let mut second = dump(&[("a", "1")]);
        second.0.insert(b"old".to_vec(), Entry { value: b"x".to_vec(), expires_at_ms: Some(5) });
        let mut l = lives(Some(Outcome::Recovered(second)), None);
        assert_eq!(Seen::of(&l, 5).across, None);
        assert_eq!(Seen::of(&l, 4).across.map(|a| a.0), Some(Class::NotIdempotent));
        l.second = None;
        assert!(!Seen::of(&l, 4).complete);
    }
}
