//! INFO.

use std::fmt::Write;

use super::connection::REDIS_VERSION;
use super::error::CommandError;
use super::keys;
use crate::engine::Engine;
use crate::resp::Out;
use crate::session::{Outcome, Session};

type Section = (&'static str, fn(&Engine) -> String);

/// The sections, in the order of Redis.
const SECTIONS: [Section; 6] = [
    ("Server", server),
    ("Clients", clients),
    ("Persistence", |engine| engine.persistence.info().lines()),
    ("Stats", stats),
    ("Replication", |engine| engine.persistence.replication_lines()),
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

fn server(engine: &Engine) -> String {
    let uptime = engine.now_ms.saturating_sub(engine.started_ms) / 1000;
    let mut text = String::new();
    line(&mut text, "redis_version", REDIS_VERSION);
    line(&mut text, "redis_mode", "standalone");
    line(&mut text, "unplug_engine_version", env!("CARGO_PKG_VERSION"));
    line(&mut text, "process_id", std::process::id());
    line(&mut text, "tcp_port", engine.config.port);
    line(&mut text, "uptime_in_seconds", uptime);
    line(&mut text, "uptime_in_days", uptime / 86_400);
    line(&mut text, "hz", engine.config.hz);
    let file = engine.config_file.as_ref().map(|f| f.display().to_string()).unwrap_or_default();
    line(&mut text, "config_file", file);
    text
}

fn clients(engine: &Engine) -> String {
    let mut text = String::new();
    line(&mut text, "connected_clients", engine.stats.clients);
    text
}

fn stats(engine: &Engine) -> String {
    let mut text = String::new();
    line(&mut text, "total_connections_received", engine.stats.connections);
    line(&mut text, "total_commands_processed", engine.stats.commands);
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
