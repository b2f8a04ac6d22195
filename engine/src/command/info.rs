//! INFO.

use nix::sys::resource::{UsageWho, getrusage};
use std::fmt::Write;
use std::sync::LazyLock;

use super::connection::REDIS_VERSION;
use super::error::CommandError;
use super::keys;
use crate::engine::Engine;
use crate::resp::Out;
use crate::session::{Outcome, Session};

type Section = (&'static str, fn(&Engine) -> String);

/// The sections, in the order of Redis.
const SECTIONS: [Section; 9] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", |engine| engine.persistence.info().lines()),
    ("Stats", stats),
    ("Replication", |engine| engine.persistence.replication_lines()),
    ("CPU", cpu),
    ("Cluster", |_| "cluster_enabled:0\r\n".to_owned()),
    ("Keyspace", keyspace),
];

/// INFO [section...]
pub(super) fn info(
    engine: &mut Engine,
    _: &mut Session,
    argv: &[&[u8]],
    out: &mut Out,
) -> Result<Outcome, CommandError> {
    let wanted = |title: &str| {
        argv.len() == 1
            || argv[1..].iter().any(|w| {
                ["all", "everything", "default", title].iter().any(|n| w.eq_ignore_ascii_case(n.as_bytes()))
            })
    };
    let mut text = String::new();
    for (title, lines) in SECTIONS.iter().filter(|(title, _)| wanted(title)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        text.push_str(&format!("# {title}\r\n{}", lines(engine)));
    }
    out.verbatim(&text);
    Ok(Outcome::Done)
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{name}:{value}\r\n");
}

/// As long as Redis's.
const RUN_ID_DIGITS: usize = 40;

/// What tells this process from every other: drawn when it is first asked for. Empty where the system draws nothing.
static RUN_ID: LazyLock<String> = LazyLock::new(|| {
    let draw = || std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let digits = (draw() + &draw()).chars().filter(char::is_ascii_hexdigit).take(RUN_ID_DIGITS).collect();
    Some(digits).filter(|id: &String| id.len() == RUN_ID_DIGITS).unwrap_or_default()
});

fn server(engine: &Engine) -> String {
    let uptime = engine.now_ms.saturating_sub(engine.started_ms) / 1000;
    let mut text = String::new();
    line(&mut text, "redis_version", REDIS_VERSION);
    line(&mut text, "redis_mode", "standalone");
    line(&mut text, "unplug_engine_version", env!("CARGO_PKG_VERSION"));
    line(&mut text, "os", "Linux");
    line(&mut text, "arch_bits", usize::BITS);
    line(&mut text, "multiplexing_api", "epoll");
    line(&mut text, "process_id", std::process::id());
    if !RUN_ID.is_empty() {
        line(&mut text, "run_id", &*RUN_ID);
    }
    line(&mut text, "tcp_port", engine.config.port);
    line(&mut text, "server_time_usec", engine.now_ms * 1000);
    line(&mut text, "uptime_in_seconds", uptime);
    line(&mut text, "uptime_in_days", uptime / 86_400);
    line(&mut text, "hz", engine.config.hz);
    line(&mut text, "configured_hz", engine.config.hz);
    if let Ok(program) = std::env::current_exe() {
        line(&mut text, "executable", program.display());
    }
    let file = engine.config_file.as_ref().map(|f| f.display().to_string()).unwrap_or_default();
    line(&mut text, "config_file", file);
    text
}

fn clients(engine: &Engine) -> String {
    let mut text = String::new();
    line(&mut text, "connected_clients", engine.stats.clients);
    line(&mut text, "cluster_connections", 0);
    line(&mut text, "maxclients", engine.config.maxclients);
    let for_the_log = engine.clients.iter().filter(|(_, client)| client.waits).count();
    line(&mut text, "blocked_clients", engine.hooks.blocked.len() + for_the_log);
    text
}

/// Resident memory in bytes; 0 where the system does not tell.
fn resident() -> u64 {
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE
}

/// A figure of the system's.
fn kilobytes(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

/// What is resident stands for what is used: the allocator is the system's.
fn memory(_: &Engine) -> String {
    let resident = resident();
    let mut text = String::new();
    for name in ["used_memory", "used_memory_rss"] {
        line(&mut text, name, resident);
        line(&mut text, &format!("{name}_human"), format_args!("{:.2}M", resident as f64 / 1_048_576.0));
    }
    for (name, bytes) in [
        ("used_memory_peak", kilobytes("/proc/self/status", "VmHWM:")),
        ("total_system_memory", kilobytes("/proc/meminfo", "MemTotal:")),
    ] {
        let Some(bytes) = bytes.map(|kilobytes| kilobytes * 1024) else { continue };
        line(&mut text, name, bytes);
        line(&mut text, &format!("{name}_human"), format_args!("{:.2}M", bytes as f64 / 1_048_576.0));
    }
    line(&mut text, "maxmemory", 0);
    line(&mut text, "maxmemory_human", "0B");
    line(&mut text, "maxmemory_policy", "noeviction");
    line(&mut text, "mem_fragmentation_ratio", "1.00");
    line(&mut text, "mem_allocator", "libc");
    text
}

fn cpu(_: &Engine) -> String {
    let mut text = String::new();
    for (who, suffix) in [
        (UsageWho::RUSAGE_SELF, ""),
        (UsageWho::RUSAGE_CHILDREN, "_children"),
        // Commands are executed in the main thread, this one too.
        (UsageWho::RUSAGE_THREAD, "_main_thread"),
    ] {
        let Ok(usage) = getrusage(who) else { continue };
        for (name, time) in [("sys", usage.system_time()), ("user", usage.user_time())] {
            let time = format_args!("{}.{:06}", time.tv_sec(), time.tv_usec());
            line(&mut text, &format!("used_cpu_{name}{suffix}"), time);
        }
    }
    text
}

fn stats(engine: &Engine) -> String {
    let mut text = String::new();
    line(&mut text, "total_connections_received", engine.stats.connections);
    line(&mut text, "total_commands_processed", engine.stats.commands);
    line(&mut text, "instantaneous_ops_per_sec", engine.stats.ops_per_s);
    line(&mut text, "total_net_input_bytes", engine.stats.input_bytes);
    line(&mut text, "total_net_output_bytes", engine.stats.output_bytes);
    line(&mut text, "rejected_connections", engine.stats.rejected);
    line(&mut text, "evicted_keys", 0);
    line(&mut text, "expired_keys", engine.hooks.expired_keys);
    line(&mut text, "keyspace_hits", engine.hooks.hits);
    line(&mut text, "keyspace_misses", engine.hooks.misses);
    let (forks, fork_usec) = crate::persist::fork_statistics();
    line(&mut text, "latest_fork_usec", fork_usec);
    line(&mut text, "total_forks", forks);
    line(&mut text, "total_error_replies", engine.stats.errors);
    text
}

fn keyspace(engine: &Engine) -> String {
    let mut text = String::new();
    for (number, db) in engine.keyspace.dbs.iter().enumerate() {
        let (keys, expires) = keys::counts(db);
        if keys > 0 {
            line(&mut text, &format!("db{number}"), format_args!("keys={keys},expires={expires},avg_ttl=0"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::resp::Reply;
    use crate::store::Store;

    /// The count is redis-server's for the same commands.
    #[test]
    fn every_error_that_a_client_gets_is_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { dir: dir.path().into(), appendonly: false, ..Config::default() };
        let mut store = Store::open(config).unwrap();
        let before =
            ["SET k v", "NOPE", "GET", "LPUSH k a", "INCR k", "GET none", "CONFIG NOPE", "EXEC", "SELECT 16"];
        let aborted = ["MULTI", "LPUSH k a", "GET", "EXEC"];
        let executed = ["MULTI", "LPUSH k a", "INCR k", "EXEC"];
        for line in before.iter().chain(&aborted).chain(&executed) {
            let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            store.execute(&argv).unwrap();
        }
        let Ok(Reply::Bulk(text)) = store.execute(&[b"INFO", b"stats"]) else { panic!("no text") };
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("\r\ntotal_error_replies:11\r\n"), "{text}");
    }
}
