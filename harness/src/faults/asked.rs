//! What `--faults` asks for: everything, a list of kinds, or a plan in a file.

use std::path::Path;
use std::str::FromStr;
use unplug_faults::plan::{Call, Outcome, Plan, PlanError};

/// What is to be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// One fault at a time, each in a run of its own.
    Sweep(Wanted),
    /// The rules of a file, all of them in one run.
    Plan {
        /// The file's name.
        name: String,
        /// Its rules.
        plan: Plan,
    },
}

/// Which faults are swept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `None`: all.
    items: Option<Vec<(Option<Call>, Kind)>>,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something done to a call.
    Call(Outcome),
    /// Everything that can be done to a call, but for delays.
    Every,
    /// A disk that fills, and later has room again.
    Full,
    /// Processes killed at any moment: the page cache survives.
    Kill,
    /// Files damaged after a clean stop.
    Rest,
}

/// What is wrong with `--faults`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskedError {
    /// A word of a list that means nothing.
    #[error(
        "`{word}` is neither a kind of fault nor a file; the kinds are all, {kinds}, each also for one call, as in \
         fsync:EIO, and a call by its name alone, for all of its own",
        kinds = KINDS.join(", ")
    )]
    Unknown {
        /// The word.
        word: String,
    },
    /// A call that is none.
    #[error("`{word}`: {why}")]
    Call {
        /// The word.
        word: String,
        /// What is wrong.
        why: String,
    },
    /// A plan that cannot be read.
    #[error("{file}: {error}")]
    Plan {
        /// The file.
        file: String,
        /// What is wrong.
        error: PlanError,
    },
    /// A file that cannot be read.
    #[error("{file}: {why}")]
    File {
        /// The file.
        file: String,
        /// Why.
        why: String,
    },
}

/// The words of a list.
const KINDS: [&str; 14] = [
    "EIO",
    "ENOSPC",
    "EDQUOT",
    "EINTR",
    "EAGAIN",
    "EMFILE",
    "ENOMEM",
    "EPIPE",
    "ECONNRESET",
    "short",
    "delay=TIME",
    "full",
    "kill",
    "rest",
];

impl FromStr for Asked {
    type Err = AskedError;

    fn from_str(text: &str) -> Result<Asked, AskedError> {
        if Path::new(text).is_file() {
            let file = text.to_owned();
            let rules = std::fs::read_to_string(text)
                .map_err(|e| AskedError::File { file: file.clone(), why: e.to_string() })?;
            let plan = rules.parse().map_err(|error| AskedError::Plan { file: file.clone(), error })?;
            return Ok(Asked::Plan { name: file, plan });
        }
        text.parse().map(Asked::Sweep)
    }
}

impl FromStr for Wanted {
    type Err = AskedError;

    /// `all`, or a list of kinds.
    fn from_str(text: &str) -> Result<Wanted, AskedError> {
        if text == "all" {
            return Ok(Wanted { items: None });
        }
        let items = text.split(',').map(item).collect::<Result<_, _>>()?;
        Ok(Wanted { items: Some(items) })
    }
}

fn item(word: &str) -> Result<(Option<Call>, Kind), AskedError> {
    let unknown = || AskedError::Unknown { word: word.to_owned() };
    let (call, kind) = word.split_once(':').map_or((None, word), |(call, kind)| (Some(call), kind));
    if let (None, Ok(call)) = (call, word.parse()) {
        return Ok((Some(call), Kind::Every));
    }
    let is_delay = kind.starts_with("delay=");
    if !is_delay && !KINDS.contains(&kind) {
        return Err(unknown());
    }
    let call = call.map(str::parse).transpose().map_err(|e: unplug_faults::plan::UnknownCall| {
        AskedError::Call { word: word.to_owned(), why: e.to_string() }
    })?;
    let kind = match (kind, &call) {
        ("full", None) => Kind::Full,
        ("rest", None) => Kind::Rest,
        ("kill", None) => Kind::Kill,
        ("full" | "rest" | "kill", Some(_)) => {
            let why = format!("{kind} is not of one call");
            return Err(AskedError::Call { word: word.to_owned(), why });
        }
        _ => Kind::Call(Outcome::parse(kind).ok_or_else(unknown)?),
    };
    Ok((call, kind))
}

impl Wanted {
    /// Whether this is asked for; `call` is `None` for what is not done to a call.
    pub fn has(&self, call: Option<Call>, kind: Kind) -> bool {
        let Some(items) = &self.items else { return true };
        // Delays are for who asks for them.
        let every =
            |k: &Kind| *k == Kind::Every && matches!(kind, Kind::Call(o) if !matches!(o, Outcome::Delay(_)));
        items.iter().any(|(c, k)| (*k == kind || every(k)) && (c.is_none() || *c == call))
    }

    /// How long calls of this kind are to be held up, each time in a run of its own: only where that is asked for.
    pub fn delays(&self, call: Call) -> Vec<Outcome> {
        let items = self.items.iter().flatten().filter(|(c, _)| c.is_none_or(|c| c == call));
        let delay = |kind: &Kind| match kind {
            Kind::Call(outcome @ Outcome::Delay(_)) => Some(*outcome),
            _ => None,
        };
        items.filter_map(|(_, kind)| delay(kind)).collect()
    }

    /// Whether a call is named that is one of these.
    pub fn names(&self, these: impl Fn(Call) -> bool) -> bool {
        let Some(items) = &self.items else { return true };
        items.iter().any(|(c, _)| c.is_some_and(&these))
    }

    /// The calls that are named.
    pub fn calls(&self) -> impl Iterator<Item = Call> + '_ {
        self.items.iter().flatten().filter_map(|(call, _)| *call)
    }

    /// Whether anything is asked for that is done to calls.
    pub fn has_calls(&self) -> bool {
        let Some(items) = &self.items else { return true };
        items.iter().any(|(_, k)| matches!(k, Kind::Call(_) | Kind::Every | Kind::Full | Kind::Kill))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_and_files() {
        let eio = Kind::Call(Outcome::Errno(libc::EIO));
        let call = |name: &str| Some(name.parse::<Call>().unwrap());
        let Asked::Sweep(all) = "all".parse().unwrap() else { panic!("a sweep") };
        assert!(all.has(call("write"), eio) && all.has(None, Kind::Rest) && all.names(Call::reads));
        let Asked::Sweep(list) = "fsync:EIO,short,rest".parse().unwrap() else { panic!("a sweep") };
        assert!(list.has(call("fsync"), eio) && !list.has(call("write"), eio));
        assert!(list.has(call("write"), Kind::Call(Outcome::Short(0))) && list.has(None, Kind::Rest));
        assert!(!list.has(None, Kind::Kill) && !list.names(Call::reads));
        let Asked::Sweep(named) = "recv,send:EPIPE".parse().unwrap() else { panic!("a sweep") };
        assert!(named.has(call("recv"), eio) && named.has(call("recv"), Kind::Call(Outcome::Short(0))));
        assert!(!named.has(call("recv"), Kind::Call(Outcome::Delay(1))) && !named.has(call("send"), eio));
        assert!(named.names(Call::receives) && named.has_calls() && !named.has(None, Kind::Full));
        let Asked::Sweep(late) = "fsync:delay=1.5s,delay=20ms".parse().unwrap() else { panic!("a sweep") };
        let fsync = late.delays("fsync".parse().unwrap());
        assert_eq!(fsync, [Outcome::Delay(1_500_000_000), Outcome::Delay(20_000_000)]);
        assert_eq!(late.delays("write".parse().unwrap()), [Outcome::Delay(20_000_000)]);
        assert!(all.delays("fsync".parse().unwrap()).is_empty());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plan");
        std::fs::write(&file, "fsync * EIO\nwrite a short nth=2\n").unwrap();
        let Asked::Plan { plan, .. } = file.to_str().unwrap().parse().unwrap() else { panic!("a plan") };
        assert_eq!(plan.rules.len(), 2);
    }

    #[test]
    fn mistakes_say_what_there_is() {
        let said = |text: &str| text.parse::<Asked>().unwrap_err().to_string();
        assert!(said("EOOPS").contains("neither a kind of fault nor a file; the kinds are all, EIO, ENOSPC"));
        assert!(said("wriet:EIO").contains("no call is named `wriet`"));
        assert!(said("delay=soon").contains("`delay=soon` is neither a kind of fault"));
        assert!(said("write:rest").contains("rest is not of one call"));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plan");
        std::fs::write(&file, "fsync * EIO\nfsync * ENOSPC\n").unwrap();
        assert!(said(file.to_str().unwrap()).contains("lines 1 and 2 contradict each other"));
    }
}
