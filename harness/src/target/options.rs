//! Options of a server besides those that make its policy: as they are asked for, checked, kept in a trace.

use crate::target::policy::Policy;
use std::collections::BTreeMap;
use unplug_engine::config::Config;

/// An option and its value, as redis.conf has them.
pub type ServerOption = (String, String);

/// What is wrong with an option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Not `NAME=VALUE`.
    #[error("'{0}': NAME=VALUE is expected, such as aof-layout=single")]
    Form(String),
    /// Set by something else.
    #[error("{name}: {by} sets it")]
    Taken {
        /// The option.
        name: String,
        /// What sets it.
        by: &'static str,
    },
    /// Named twice.
    #[error("{0}: named twice")]
    Twice(String),
    /// The engine does not take it.
    #[error("{name} {value}: {why}")]
    Refused {
        /// The option.
        name: String,
        /// Its value.
        value: String,
        /// What the engine says.
        why: String,
    },
    /// The options do not go together.
    #[error("{0}")]
    Contradiction(String),
}

/// What the harness itself decides on: where a server is, and whom it talks to.
const OURS: [&str; 9] =
    ["dir", "port", "bind", "unixsocket", "unixsocketperm", "daemonize", "supervised", "logfile", "pidfile"];

/// Options of a policy: what it promises would not be what is run.
const POLICYS: [&str; 2] = ["appendonly", "appendfsync"];

/// Whose options they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The server that is recorded.
    Recorded,
    /// The server that recovers: it may differ in the policy, too.
    Recovering,
}

/// Reads `NAME=VALUE`s.
///
/// # Errors
/// [`OptionError`] for the first that is none, is named twice, or is not for the asking.
pub fn parse(texts: &[String], of: Of) -> Result<Vec<ServerOption>, OptionError> {
    let mut out: Vec<ServerOption> = Vec::new();
    for text in texts {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty() && !name.starts_with('-'))
            .ok_or_else(|| OptionError::Form(text.clone()))?;
        let name = name.to_ascii_lowercase();
        let by = match of {
            _ if OURS.contains(&name.as_str()) => Some("Unplug itself"),
            Of::Recorded if POLICYS.contains(&name.as_str()) => Some("--policy"),
            _ => None,
        };
        if let Some(by) = by {
            return Err(OptionError::Taken { name, by });
        }
        if out.iter().any(|(other, _)| *other == name) {
            return Err(OptionError::Twice(name));
        }
        out.push((name, value.to_owned()));
    }
    Ok(out)
}

/// The engine's configuration under a policy and these options; later ones win.
///
/// # Errors
/// [`OptionError`] for what the engine does not take.
pub fn engine_config(policy: Policy, options: &[ServerOption]) -> Result<Config, OptionError> {
    let mut config = Config::default();
    let options = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in policy.options().into_iter().chain(options) {
        if name == "save" {
            // Several lines of it would add up.
            config.save.clear();
        }
        let words: Vec<&str> = match name {
            "save" if !value.is_empty() => value.split_ascii_whitespace().collect(),
            _ => vec![value],
        };
        let refused = |why| OptionError::Refused { name: name.to_owned(), value: value.to_owned(), why };
        config.set(name, &words).map_err(refused)?;
    }
    config.check().map_err(OptionError::Contradiction)?;
    Ok(config)
}

/// These options after those: of one name the later one counts.
pub fn join(first: &[ServerOption], second: &[ServerOption]) -> Vec<ServerOption> {
    let mut out: Vec<ServerOption> =
        first.iter().filter(|(name, _)| !second.iter().any(|(other, _)| other == name)).cloned().collect();
    out.extend(second.iter().cloned());
    out
}

/// The value that an option has under a policy and these options, if they set it.
pub fn value_of<'a>(name: &str, policy: Policy, options: &'a [ServerOption]) -> Option<&'a str> {
    let last = options.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
    let of_policy = || policy.options().into_iter().find(|(other, _)| *other == name).map(|(_, value)| value);
    last.or_else(of_policy)
}

/// How they are kept in a trace.
const SET: &str = "set:";
const RECOVER: &str = "recover-set:";

/// Notes them among a trace's options.
pub fn keep(options: &mut BTreeMap<String, String>, of: Of, set: &[ServerOption]) {
    let prefix = prefix(of);
    options.extend(set.iter().map(|(name, value)| (format!("{prefix}{name}"), value.clone())));
}

/// Those that a trace was recorded with, or is to be recovered with.
pub fn kept(options: &BTreeMap<String, String>, of: Of) -> Vec<ServerOption> {
    let prefix = prefix(of);
    let strip =
        |(name, value): (&String, &String)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone()));
    options.iter().filter_map(strip).collect()
}

fn prefix(of: Of) -> &'static str {
    match of {
        Of::Recorded => SET,
        Of::Recovering => RECOVER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|t| (*t).to_owned()).collect()
    }

    #[test]
    fn what_is_no_option_is_told() {
        let error = |all: &[&str], of| parse(&texts(all), of).unwrap_err().to_string();
        assert!(error(&["aof-layout"], Of::Recorded).contains("NAME=VALUE"));
        assert!(error(&["=x"], Of::Recorded).contains("NAME=VALUE"));
        assert!(error(&["--hz=20"], Of::Recorded).contains("NAME=VALUE"));
        assert!(error(&["appendfsync=no"], Of::Recorded).contains("--policy"));
        assert!(error(&["Dir=/x"], Of::Recovering).contains("Unplug itself"));
        assert!(error(&["hz=20", "HZ=30"], Of::Recorded).contains("twice"));
        assert_eq!(
            parse(&texts(&["appendonly=yes", "save=1 3"]), Of::Recovering).unwrap(),
            [("appendonly".to_owned(), "yes".to_owned()), ("save".to_owned(), "1 3".to_owned())]
        );
    }

    #[test]
    fn the_engine_knows_its_options() {
        let config = |name: &str, value: &str| engine_config(Policy::Always, &[(name.into(), value.into())]);
        assert_eq!(config("save", "1 3 60 100").unwrap().save, [(1, 3), (60, 100)]);
        assert!(config("save", "").unwrap().save.is_empty());
        assert!(config("no-such-option", "1").unwrap_err().to_string().contains("no-such-option 1: unknown"));
        assert!(matches!(config("aof-layout", "double"), Err(OptionError::Refused { .. })));
        assert!(matches!(config("dbfilename", "appendonly.aof"), Err(OptionError::Contradiction(_))));
    }

    #[test]
    fn a_trace_gives_back_what_was_kept_in_it() {
        let one = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let mut options = BTreeMap::from([("aof-layout".to_owned(), "single".to_owned())]);
        keep(&mut options, Of::Recorded, &one("aof-layout", "single"));
        keep(&mut options, Of::Recovering, &one("aof-layout", "multi"));
        assert_eq!(kept(&options, Of::Recorded), one("aof-layout", "single"));
        assert_eq!(kept(&options, Of::Recovering), one("aof-layout", "multi"));
    }

    #[test]
    fn of_one_name_the_last_counts() {
        let set = |value: &str| ("appendonly".to_owned(), value.to_owned());
        assert_eq!(join(&[set("no")], &[set("yes")]), [set("yes")]);
        assert_eq!(value_of("appendonly", Policy::Snapshot, &[set("yes")]), Some("yes"));
        assert_eq!(value_of("appendonly", Policy::Snapshot, &[]), Some("no"));
        assert_eq!(value_of("hz", Policy::Snapshot, &[]), None);
    }
}
