//! Options of Redis that mean nothing here.
//!
//! A redis.conf that was written for Redis names many of them. They are taken and have no effect: they tune what
//! the engine does not have (replication, scripts, its way of keeping small values), or what it does by itself.
//! What would change what a client is promised (passwords, memory limits, renamed commands) is not among them: it
//! is refused like anything unknown, or taken only with the value that changes nothing. Values are checked as Redis
//! checks them: what Redis would not start with is a mistake here, too.
//!
//! A start names those whose value is another than Redis's default: somebody has asked for something that he will not
//! get.

mod known;

use known::KNOWN;

/// What an option's words must be.
#[derive(Clone, Copy)]
enum Takes {
    YesNo,
    /// One word, whatever it is.
    Word,
    /// One word, which has no effect in Redis 7 either.
    Nothing,
    /// An integer within these bounds.
    Integer(i64, i64),
    /// A size.
    Memory,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// So many integers.
    Integers(usize),
    /// Percentages, or "".
    Percentiles,
    /// Groups of a class of clients, two sizes and seconds.
    Limits,
    /// This size, which is the one that the engine has.
    Exactly(&'static str),
    /// `no one`: it follows nobody.
    NoMaster,
    /// The user that everybody is, who may do everything.
    DefaultUser,
}

/// The one user that there is, as Redis's CONFIG REWRITE writes it.
const DEFAULT_USER: &str = "default on nopass ~* &* +@all";

use Takes::{
    DefaultUser, Exactly, Integer, Integers, Limits, Memory, NoMaster, Nothing, OneOf, Percentiles, Word,
    YesNo,
};

const INT: i64 = i32::MAX as i64;

/// Whether an option may stand in a file and has no effect.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.iter().any(|(known, ..)| *known == name)
}

/// Checks the words of an option that may stand in a file and has no effect; `None` if it is not one.
pub(super) fn check(name: &str, words: &[&str]) -> Option<Result<(), String>> {
    let (_, takes, _) = KNOWN.iter().find(|(known, ..)| *known == name)?;
    Some(takes.check(words))
}

/// Notes that such an option was given. What is given later counts; of limits each class has its own.
pub(super) fn note(given: &mut Vec<(&'static str, String)>, name: &str, words: &[&str]) {
    let Some((known, takes, _)) = KNOWN.iter().find(|(known, ..)| *known == name) else { return };
    let value = takes.shown(&words.join(" "));
    match given.iter_mut().find(|(name, _)| name == known) {
        Some((_, old)) if matches!(takes, Limits) => *old = format!("{old} {value}"),
        Some((_, old)) => *old = value,
        None => given.push((known, value)),
    }
}

/// Those of the options given that would have an effect in Redis, if it were not its default: in one line.
pub(super) fn without_effect(given: &[(&'static str, String)]) -> Option<String> {
    let is_default = |name: &str, value: &str| {
        let found = KNOWN.iter().find(|(known, ..)| *known == name);
        found.is_none_or(|(_, takes, default)| takes.is_default(value, &takes.shown(default)))
    };
    let names: Vec<&str> =
        given.iter().filter(|(name, value)| !is_default(name, value)).map(|(name, _)| *name).collect();
    (!names.is_empty())
        .then(|| format!("these options are accepted, and have no effect: {}", names.join(", ")))
}

fn integer(word: &str, low: i64, high: i64) -> Result<(), String> {
    let fits = word.parse::<i64>().is_ok_and(|n| (low..=high).contains(&n));
    if fits { Ok(()) } else { Err(format!("argument must be between {low} and {high} inclusive")) }
}

impl Takes {
    fn check(self, words: &[&str]) -> Result<(), String> {
        match self {
            Integers(count) if words.len() == count => {
                return words.iter().try_for_each(|word| integer(word, i32::MIN.into(), INT));
            }
            Percentiles if !words.is_empty() => {
                let fits = |w: &str| w.parse::<f64>().is_ok_and(|p| (0.0..=100.0).contains(&p));
                let mut each = words.iter().flat_map(|w| w.split_ascii_whitespace());
                return each.all(fits).then_some(()).ok_or_else(|| "percentages are needed".into());
            }
            Limits if !words.is_empty() => return limits(words),
            NoMaster if words.len() == 2 => {
                let nobody = words.join(" ").eq_ignore_ascii_case("no one");
                return nobody
                    .then_some(())
                    .ok_or_else(|| "it replicates nobody: only 'no one' is supported".into());
            }
            DefaultUser if !words.is_empty() => {
                let known = words.join(" ").eq_ignore_ascii_case(DEFAULT_USER);
                return known.then_some(()).ok_or_else(|| format!("only '{DEFAULT_USER}' is supported"));
            }
            _ => {}
        }
        let [word] = words else { return Err("wrong number of arguments".into()) };
        match self {
            YesNo => super::options::yes_no(word).map(drop),
            Integer(low, high) => integer(word, low, high),
            Memory => super::options::memory(word).map(drop),
            OneOf([only]) if !word.eq_ignore_ascii_case(only) => Err(format!("only '{only}' is supported")),
            OneOf(known) if !known.iter().any(|k| word.eq_ignore_ascii_case(k)) => {
                Err(format!("argument(s) must be one of the following: {}", known.join(", ")))
            }
            Exactly(only) if super::options::memory(word)? != super::options::memory(only)? => {
                Err(format!("only {only} is supported"))
            }
            Word | Nothing | OneOf(_) | Exactly(_) => Ok(()),
            Integers(_) | Percentiles | Limits | NoMaster | DefaultUser => {
                Err("wrong number of arguments".into())
            }
        }
    }

    /// Whether a value is the default, or says nothing else.
    fn is_default(self, value: &str, default: &str) -> bool {
        match self {
            Nothing => true,
            Limits => {
                let groups = |text: &str| -> Vec<Vec<String>> {
                    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
                    words.chunks(4).map(<[String]>::to_vec).collect()
                };
                let defaults = groups(default);
                groups(value).iter().all(|group| defaults.contains(group))
            }
            _ => value == default,
        }
    }

    /// A value as it is shown, of those that mean the same one.
    fn shown(self, value: &str) -> String {
        let size = |word: &str| super::options::memory(word).map_or(word.to_owned(), |size| size.to_string());
        match self {
            Memory | Exactly(_) => size(value),
            YesNo | OneOf(_) => value.to_ascii_lowercase(),
            // Sizes, among names.
            Limits => {
                let lower = value.to_ascii_lowercase().replace("slave", "replica");
                lower.split_ascii_whitespace().map(size).collect::<Vec<_>>().join(" ")
            }
            _ => value.to_owned(),
        }
    }
}

fn limits(words: &[&str]) -> Result<(), String> {
    let words: Vec<&str> = words.iter().flat_map(|w| w.split_ascii_whitespace()).collect();
    for group in words.chunks(4) {
        let [class, hard, soft, seconds] = group else { return Err("wrong number of arguments".into()) };
        if !["normal", "replica", "slave", "pubsub"].iter().any(|c| class.eq_ignore_ascii_case(c)) {
            return Err("Invalid client class specified in buffer limit configuration.".into());
        }
        super::options::memory(hard)?;
        super::options::memory(soft)?;
        integer(seconds, 0, INT)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_a_promise_is_not_inert() {
        for name in ["maxmemory", "rename-command", "loadmodule", "repl-bogus"] {
            assert!(check(name, &["1"]).is_none(), "{name}");
        }
        for (name, value, only) in [
            ("requirepass", "secret", "only '' is supported"),
            ("aclfile", "users.acl", "only '' is supported"),
            ("tls-port", "6380", "only '0' is supported"),
            ("proto-max-bulk-len", "1gb", "only 512mb is supported"),
            ("client-query-buffer-limit", "2gb", "only 1gb is supported"),
            ("maxmemory-clients", "1g", "only 0 is supported"),
            ("replicaof", "127.0.0.1 6379", "only 'no one' is supported"),
            ("user", "alice on nopass ~* &* +@all", "is supported"),
            ("user", "default on >secret ~* &* +@all", "is supported"),
            ("aof-disable-auto-gc", "yes", "only 'no' is supported"),
            ("key-load-delay", "5", "only '0' is supported"),
            ("shutdown-on-sigterm", "nosave", "only 'default' is supported"),
        ] {
            let words: Vec<&str> = value.split(' ').collect();
            let refusal = check(name, &words);
            assert!(matches!(&refusal, Some(Err(why)) if why.ends_with(only)), "{name}: {refusal:?}");
        }
        for name in super::super::names() {
            assert!(check(name, &["1"]).is_none(), "{name} has an effect");
        }
        assert!(KNOWN.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn every_default_is_a_value_and_is_not_worth_a_word() {
        let mut given = Vec::new();
        for (name, takes, default) in KNOWN {
            let words: Vec<&str> = match takes {
                Integers(_) | Limits | DefaultUser => default.split(' ').collect(),
                NoMaster => vec!["no", "one"],
                // Where Redis says "" and takes a number, or has none: it stands for "not given".
                Integer(..) if default.is_empty() => continue,
                _ => vec![default],
            };
            assert_eq!(check(name, &words), Some(Ok(())), "{name} {default:?}");
            note(&mut given, name, &words);
        }
        assert_eq!(without_effect(&given), None);
        given.clear();
        for (name, value) in [
            ("loglevel", "notice"),
            ("logfile", "/x"),
            ("repl-backlog-size", "2mb"),
            ("repl-backlog-size", "1mb"),
            ("hll-sparse-max-bytes", "1"),
        ] {
            note(&mut given, name, &[value]);
        }
        for limit in ["normal 0 0 0", "slave 256mb 64mb 60"] {
            note(&mut given, "client-output-buffer-limit", &[limit]);
        }
        let line = without_effect(&given).unwrap();
        assert!(line.ends_with("no effect: logfile, hll-sparse-max-bytes"), "{line}");
        assert_eq!((given.len(), given[2].1.as_str()), (5, "1048576"));
        note(&mut given, "client-output-buffer-limit", &["pubsub", "1mb", "0", "0"]);
        assert!(without_effect(&given).unwrap().ends_with(", client-output-buffer-limit"));
    }

    #[test]
    fn values_are_those_that_redis_takes() {
        for (name, words) in [
            ("loglevel", &["Notice"][..]),
            ("set-proc-title", &["yes"]),
            ("io-threads", &["1"]),
            ("notify-keyspace-events", &[""]),
            ("latency-tracking-info-percentiles", &["50", "99.9"]),
            ("latency-tracking-info-percentiles", &[""]),
            ("client-output-buffer-limit", &["normal", "0", "0", "0"]),
            ("client-output-buffer-limit", &["replica", "256mb", "64mb", "60", "slave", "1", "1", "1"]),
            ("oom-score-adj-values", &["0", "200", "800"]),
            ("list-max-listpack-size", &["-2"]),
            ("repl-backlog-size", &["1mb"]),
            ("slave-read-only", &["no"]),
            ("proto-max-bulk-len", &["536870912"]),
            ("client-query-buffer-limit", &["1GB"]),
            ("requirepass", &[""]),
            ("replicaof", &["no", "one"]),
            ("user", &["default", "on", "nopass", "~*", "&*", "+@all"]),
            ("syslog-facility", &["local3"]),
        ] {
            assert_eq!(check(name, words), Some(Ok(())), "{name}");
        }
        for (name, words) in [
            ("loglevel", &["bogus"][..]),
            ("loglevel", &["notice", "debug"]),
            ("set-proc-title", &["maybe"]),
            ("io-threads", &["4"]),
            ("notify-keyspace-events", &["KEA"]),
            ("latency-tracking-info-percentiles", &["101"]),
            ("latency-tracking-info-percentiles", &[]),
            ("client-output-buffer-limit", &["normal", "0", "0"]),
            ("client-output-buffer-limit", &["nobody", "0", "0", "0"]),
            ("oom-score-adj-values", &["0", "200"]),
            ("list-max-listpack-size", &["big"]),
            ("repl-backlog-size", &["1mib"]),
            ("replica-priority", &["-1"]),
            ("pidfile", &[]),
        ] {
            assert!(matches!(check(name, words), Some(Err(_))), "{name} {words:?}");
        }
    }
}
