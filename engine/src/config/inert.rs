//! Options of Redis that mean nothing here.
//!
//! A redis.conf that was written for Redis names many of them. They are taken and have no effect: they tune what
//! the engine does not have (replication, scripts, its way of keeping small values), or what it does by itself.
//! What would change what a client is promised (passwords, memory limits, renamed commands) is not among them: it
//! is refused like anything unknown, or taken only with the value that changes nothing. Values are checked as Redis
//! checks them: what Redis would not start with is a mistake here, too.

/// What an option's words must be.
#[derive(Clone, Copy)]
enum Takes {
    YesNo,
    /// One word, whatever it is.
    Word,
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
}

use Takes::{Integer, Integers, Limits, Memory, OneOf, Percentiles, Word, YesNo};

const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;
const LOCAL: Takes = OneOf(&["no", "yes", "local"]);

const KNOWN: &[(&str, Takes)] = &[
    ("acllog-max-len", Integer(0, LONG)),
    ("active-defrag-cycle-max", Integer(1, 99)),
    ("active-defrag-cycle-min", Integer(1, 99)),
    ("active-defrag-ignore-bytes", Memory),
    ("active-defrag-max-scan-fields", Integer(1, LONG)),
    ("active-defrag-threshold-lower", Integer(0, 1000)),
    ("active-defrag-threshold-upper", Integer(0, 1000)),
    ("active-expire-effort", Integer(1, 10)),
    // There is none to be had without jemalloc's own.
    ("activedefrag", OneOf(&["no"])),
    ("activerehashing", YesNo),
    ("always-show-logo", YesNo),
    ("busy-reply-threshold", Integer(0, LONG)),
    ("client-output-buffer-limit", Limits),
    ("cluster-enabled", OneOf(&["no"])),
    ("crash-log-enabled", YesNo),
    ("crash-memcheck-enabled", YesNo),
    ("disable-thp", YesNo),
    ("dynamic-hz", YesNo),
    ("enable-debug-command", LOCAL),
    ("enable-module-command", LOCAL),
    ("enable-protected-configs", LOCAL),
    ("hash-max-listpack-entries", Integer(0, LONG)),
    ("hash-max-listpack-value", Integer(0, LONG)),
    ("hash-max-ziplist-entries", Integer(0, LONG)),
    ("hash-max-ziplist-value", Integer(0, LONG)),
    ("hll-sparse-max-bytes", Integer(0, LONG)),
    ("ignore-warnings", Word),
    ("io-threads", OneOf(&["1"])),
    ("io-threads-do-reads", YesNo),
    ("jemalloc-bg-thread", YesNo),
    ("latency-monitor-threshold", Integer(0, LONG)),
    ("latency-tracking", YesNo),
    ("latency-tracking-info-percentiles", Percentiles),
    ("lazyfree-lazy-eviction", YesNo),
    ("lazyfree-lazy-expire", YesNo),
    ("lazyfree-lazy-server-del", YesNo),
    ("lazyfree-lazy-user-del", YesNo),
    ("lazyfree-lazy-user-flush", YesNo),
    ("lfu-decay-time", Integer(0, INT)),
    ("lfu-log-factor", Integer(0, INT)),
    ("list-compress-depth", Integer(0, INT)),
    ("list-max-listpack-size", Integer(i32::MIN as i64, INT)),
    ("list-max-ziplist-size", Integer(i32::MIN as i64, INT)),
    ("logfile", Word),
    ("loglevel", OneOf(&["debug", "verbose", "notice", "warning"])),
    ("lua-time-limit", Integer(0, LONG)),
    ("maxmemory-eviction-tenacity", Integer(0, 100)),
    ("maxmemory-samples", Integer(1, INT)),
    ("min-replicas-max-lag", Integer(0, INT)),
    ("min-replicas-to-write", OneOf(&["0"])),
    ("min-slaves-max-lag", Integer(0, INT)),
    ("min-slaves-to-write", OneOf(&["0"])),
    // Nobody would be notified.
    ("notify-keyspace-events", OneOf(&[""])),
    ("oom-score-adj", OneOf(&["no", "yes", "relative", "absolute"])),
    ("oom-score-adj-values", Integers(3)),
    ("pidfile", Word),
    ("proc-title-template", Word),
    ("repl-backlog-size", Memory),
    ("repl-backlog-ttl", Integer(0, LONG)),
    ("repl-disable-tcp-nodelay", YesNo),
    ("repl-diskless-load", OneOf(&["disabled", "on-empty-db", "swapdb"])),
    ("repl-diskless-sync", YesNo),
    ("repl-diskless-sync-delay", Integer(0, INT)),
    ("repl-diskless-sync-max-replicas", Integer(0, INT)),
    ("repl-ping-replica-period", Integer(1, INT)),
    ("repl-ping-slave-period", Integer(1, INT)),
    ("repl-timeout", Integer(1, INT)),
    ("replica-announce-ip", Word),
    ("replica-announce-port", Integer(0, 65535)),
    ("replica-announced", YesNo),
    ("replica-ignore-disk-write-errors", YesNo),
    ("replica-ignore-maxmemory", YesNo),
    ("replica-lazy-flush", YesNo),
    ("replica-priority", Integer(0, INT)),
    ("replica-read-only", YesNo),
    ("replica-serve-stale-data", YesNo),
    ("set-max-intset-entries", Integer(0, LONG)),
    ("set-max-listpack-entries", Integer(0, LONG)),
    ("set-max-listpack-value", Integer(0, LONG)),
    ("set-proc-title", YesNo),
    ("shutdown-timeout", Integer(0, INT)),
    ("slave-announce-ip", Word),
    ("slave-announce-port", Integer(0, 65535)),
    ("slave-ignore-maxmemory", YesNo),
    ("slave-lazy-flush", YesNo),
    ("slave-priority", Integer(0, INT)),
    ("slave-read-only", YesNo),
    ("slave-serve-stale-data", YesNo),
    ("slowlog-log-slower-than", Integer(-1, LONG)),
    ("slowlog-max-len", Integer(0, LONG)),
    ("socket-mark-id", Integer(0, u32::MAX as i64)),
    ("stream-node-max-bytes", Memory),
    ("stream-node-max-entries", Integer(0, LONG)),
    ("syslog-enabled", YesNo),
    (
        "syslog-facility",
        OneOf(&["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"]),
    ),
    ("syslog-ident", Word),
    ("tracking-table-max-keys", Integer(0, LONG)),
    ("zset-max-listpack-entries", Integer(0, LONG)),
    ("zset-max-listpack-value", Integer(0, LONG)),
    ("zset-max-ziplist-entries", Integer(0, LONG)),
    ("zset-max-ziplist-value", Integer(0, LONG)),
];

/// Checks the words of an option that may stand in a file and has no effect; `None` if it is not one.
pub(super) fn check(name: &str, words: &[&str]) -> Option<Result<(), String>> {
    let (_, takes) = KNOWN.iter().find(|(known, _)| *known == name)?;
    Some(takes.check(words))
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
            Word | OneOf(_) => Ok(()),
            Integers(_) | Percentiles | Limits => Err("wrong number of arguments".into()),
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
        for name in
            ["requirepass", "replicaof", "maxmemory", "rename-command", "user", "tls-port", "repl-bogus"]
        {
            assert!(check(name, &["1"]).is_none(), "{name}");
        }
        for name in super::super::names() {
            assert!(check(name, &["1"]).is_none(), "{name} has an effect");
        }
        assert!(KNOWN.is_sorted_by(|a, b| a.0 < b.0));
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
