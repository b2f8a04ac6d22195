//! Options of Redis that mean nothing here.
//!
//! A redis.conf that was written for Redis names many of them. They are taken and have no effect: they tune what
//! the engine does not have (replication, scripts, its way of keeping small values), or what it does by itself.
//! What would change what a client is promised (passwords, memory limits, renamed commands) is not among them: it
//! is refused like anything unknown.

const NAMES: &[&str] = &[
    "acllog-max-len",
    "activedefrag",
    "activerehashing",
    "always-show-logo",
    "busy-reply-threshold",
    "client-output-buffer-limit",
    "crash-log-enabled",
    "crash-memcheck-enabled",
    "disable-thp",
    "dynamic-hz",
    "enable-debug-command",
    "enable-module-command",
    "enable-protected-configs",
    "hll-sparse-max-bytes",
    "ignore-warnings",
    "jemalloc-bg-thread",
    "latency-monitor-threshold",
    "latency-tracking",
    "logfile",
    "loglevel",
    "lua-time-limit",
    "pidfile",
    "proc-title-template",
    "set-proc-title",
    "socket-mark-id",
    "stream-node-max-bytes",
    "stream-node-max-entries",
    "syslog-enabled",
    "tracking-table-max-keys",
];

/// Families of them.
const PREFIXES: &[&str] = &[
    "active-defrag-",
    "hash-max-",
    "lazyfree-",
    "lfu-",
    "list-",
    "maxmemory-samples",
    "oom-score-adj",
    "repl-",
    "replica-",
    "set-max-",
    "slowlog-",
    "zset-max-",
];

/// Whether an option is one that may stand in a file and has no effect.
pub(super) fn is_inert(name: &str) -> bool {
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_a_promise_is_not_inert() {
        assert!(
            is_inert("replica-serve-stale-data")
                && is_inert("loglevel")
                && is_inert("hash-max-listpack-value")
        );
        for name in
            ["requirepass", "replicaof", "maxmemory", "rename-command", "user", "io-threads", "tls-port"]
        {
            assert!(!is_inert(name), "{name}");
        }
        for name in super::super::names() {
            assert!(!is_inert(name), "{name} has an effect");
        }
    }
}
