//! The engine beside redis-server: the figures of "To reach", each as a ratio.
//!
//! `cargo bench -p unplug-engine --bench engine_vs_redis [-- throughput|memory|pauses|loading]...`
//!
//! Both servers take their turns on the same machine with the same client (redis-benchmark, or the one here);
//! each figure is the median over turns, each ratio the median of the turns' ratios. Throughput says little
//! on a machine with few cores, where the client is what is slow: the CPU time of the server does.

mod versus;

use std::path::Path;
use std::time::Instant;

use versus::Result;
use versus::client::{Client, redis_benchmark};
use versus::figures::{Goal, Pairs, head, not_measured, row};
use versus::server::{Kind, Server};

const KEYS: usize = 1_000_000;
const BOTH: [Kind; 2] = [Kind::Engine, Kind::Redis];

/// Turns that each figure is the median of.
fn turns() -> usize {
    std::env::var("UNPLUG_BENCH_TURNS").ok().and_then(|t| t.parse().ok()).unwrap_or(5)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if !words.iter().any(|w| w == "--bench") {
        // `cargo test --all-targets` only wants to know that it builds.
        return;
    }
    let wanted = |name: &str| {
        let named: Vec<_> = words.iter().filter(|w| !w.starts_with("--")).collect();
        named.is_empty() || named.iter().any(|w| *w == name)
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    println!("{} turns each; load before: {load}\n", turns());
    head();
    for name in ["throughput", "memory", "pauses", "loading"].into_iter().filter(|name| wanted(name)) {
        let measured = match name {
            "throughput" => throughput(),
            "memory" => memory(),
            "pauses" => pauses(),
            _ => loading(),
        };
        if let Err(error) = measured {
            not_measured(name, &error);
        }
    }
}

/// A directory on a disk, not in memory: syncs are to cost what they cost.
fn directory() -> Result<tempfile::TempDir> {
    match std::env::var_os("UNPLUG_BENCH_DIR") {
        Some(dir) => Ok(tempfile::tempdir_in(dir)?),
        None => Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?),
    }
}

/// One measurement of each server; every other turn begins with the other one.
fn both<T>(turn: usize, mut measure: impl FnMut(Kind) -> Result<T>) -> Result<(T, T)> {
    if turn.is_multiple_of(2) {
        let engine = measure(Kind::Engine)?;
        Ok((engine, measure(Kind::Redis)?))
    } else {
        let redis = measure(Kind::Redis)?;
        Ok((measure(Kind::Engine)?, redis))
    }
}

fn throughput() -> Result<()> {
    let policies: [(&str, &[&str]); 4] = [
        ("off", &["--appendonly", "no"]),
        ("no", &["--appendonly", "yes", "--appendfsync", "no"]),
        ("everysec", &["--appendonly", "yes", "--appendfsync", "everysec"]),
        ("always", &["--appendonly", "yes", "--appendfsync", "always"]),
    ];
    for (policy, options) in policies {
        let dirs = [directory()?, directory()?];
        let start = |kind: Kind| Server::start(kind, dirs[usize::from(kind == Kind::Redis)].path(), options);
        let servers = (start(Kind::Engine)?, start(Kind::Redis)?);
        for (pipeline, requests) in [(1, 100_000), (64, 2_000_000)] {
            let requests = if policy == "always" { requests / 10 } else { requests };
            let (mut rate, mut cpu) = (Pairs::default(), Pairs::default());
            for turn in 0..=turns() {
                let measured = both(turn, |kind| {
                    let server = if kind == Kind::Engine { &servers.0 } else { &servers.1 };
                    let before = server.cpu_ns()?;
                    let rate = redis_benchmark(server.port, pipeline, requests)?;
                    Ok((rate, (server.cpu_ns()? - before) as f64 / requests as f64))
                })?;
                // The first turn warms up.
                if turn > 0 {
                    rate.push(measured.0.0, measured.1.0);
                    cpu.push(measured.0.1, measured.1.1);
                }
            }
            let name = format!("SET -c 50 -P {pipeline}, AOF {policy}");
            row(&format!("{name}: requests a second"), "/s", &rate, Goal::AtLeast(0.95));
            row(&format!("{name}: server CPU a request"), "ns", &cpu, Goal::AtMost(1.0));
        }
    }
    Ok(())
}

/// Elements of each small collection.
const ELEMENTS: usize = 5;

/// The command that makes the small value number `n` of a kind.
fn small(kind: &str, n: usize) -> Vec<String> {
    let name = match kind {
        "string" => return vec!["SET".to_owned(), format!("key:{n:012}"), format!("val{n}")],
        "list" => "RPUSH",
        "set" => "SADD",
        "hash" => "HSET",
        _ => "ZADD",
    };
    let mut words = vec![name.to_owned(), format!("key:{n:012}")];
    for i in 0..ELEMENTS {
        match kind {
            "hash" => words.extend([format!("field{i}"), format!("val{}", n + i)]),
            "sorted set" => words.extend([(n + i).to_string(), format!("member{i}")]),
            // Strings, not integers: Redis has a form of its own for sets of those.
            _ => words.push(format!("item{}", n + i)),
        }
    }
    words
}

fn memory() -> Result<()> {
    for kind in ["string", "list", "set", "hash", "sorted set"] {
        let reply = if kind == "string" { "+OK".to_owned() } else { format!(":{ELEMENTS}") };
        let mut resident = Pairs::default();
        for turn in 0..2 {
            let (engine, redis) = both(turn, |server| {
                let dir = directory()?;
                let server = Server::start(server, dir.path(), &["--appendonly", "no"])?;
                server.client()?.fill_with(KEYS, &reply, |n| small(kind, n))?;
                Ok(server.resident()? as f64 / 1e6)
            })?;
            resident.push(engine, redis);
        }
        let what = if kind == "string" {
            "1M small keys".to_owned()
        } else {
            format!("1M keys, each a {kind} of {ELEMENTS} short elements")
        };
        row(&format!("resident memory, {what}"), "MB", &resident, Goal::AtMost(1.0));
    }
    Ok(())
}

fn pauses() -> Result<()> {
    let dirs = [directory()?, directory()?];
    let options = ["--appendonly", "yes", "--appendfsync", "everysec"];
    let mut servers = Vec::new();
    for (kind, dir) in BOTH.iter().zip(&dirs) {
        let server = Server::start(*kind, dir.path(), &options)?;
        let mut client = server.client()?;
        client.fill(KEYS)?;
        client.settle()?;
        servers.push((server, client));
    }
    for job in ["BGSAVE", "BGREWRITEAOF"] {
        let (mut longest, mut median) = (Pairs::default(), Pairs::default());
        for turn in 0..turns() {
            let (engine, redis) = both(turn, |kind| {
                let (server, client) = &mut servers[usize::from(kind == Kind::Redis)];
                let mut other: Client = server.client()?;
                let pause = client.pause_during(job, &mut other)?;
                client.settle()?;
                Ok(pause)
            })?;
            longest.push(engine.longest.as_secs_f64() * 1e3, redis.longest.as_secs_f64() * 1e3);
            median.push(engine.median.as_secs_f64() * 1e6, redis.median.as_secs_f64() * 1e6);
        }
        row(&format!("{job}, 1M keys: longest pause of a client"), "ms", &longest, Goal::AtMost(1.0));
        row(&format!("{job}, 1M keys: a client's median wait"), "us", &median, Goal::AtMost(1.0));
    }
    Ok(())
}

/// Fills a server in `dir`, and stops it once everything is in a file.
fn prepare(kind: Kind, dir: &Path, aof: bool) -> Result<()> {
    let server = Server::start(kind, dir, &["--appendonly", if aof { "yes" } else { "no" }])?;
    let mut client = server.client()?;
    client.fill(KEYS)?;
    if !aof {
        client.call(&["SAVE"])?;
    }
    // The server may go before it has answered.
    let _ = client.call(&["SHUTDOWN", "NOSAVE"]);
    Ok(())
}

fn loading() -> Result<()> {
    for aof in [true, false] {
        let dirs = [directory()?, directory()?];
        for (kind, dir) in BOTH.iter().zip(&dirs) {
            prepare(*kind, dir.path(), aof)?;
        }
        let options = ["--appendonly", if aof { "yes" } else { "no" }];
        let (mut wall, mut cpu, mut save) = (Pairs::default(), Pairs::default(), Pairs::default());
        for turn in 0..turns() {
            let (engine, redis) = both(turn, |kind| {
                let dir = dirs[usize::from(kind == Kind::Redis)].path();
                let server = Server::start(kind, dir, &options)?;
                let loaded = (server.ready_after.as_secs_f64() * 1e3, server.cpu_ns()? as f64 / 1e6);
                let mut client = server.client()?;
                let size = client.call(&["DBSIZE"])?;
                if size != format!(":{KEYS}") {
                    return Err(format!("DBSIZE {size}").into());
                }
                let (begun, before) = (Instant::now(), server.cpu_ns()?);
                if !aof {
                    client.call(&["SAVE"])?;
                }
                let saved = (begun.elapsed().as_secs_f64() * 1e3, (server.cpu_ns()? - before) as f64 / 1e6);
                Ok((loaded, saved))
            })?;
            wall.push(engine.0.0, redis.0.0);
            cpu.push(engine.0.1, redis.0.1);
            save.push(engine.1.0, redis.1.0);
        }
        let (name, goal) = if aof { ("AOF", 1.0 / 3.0) } else { ("RDB", 0.5) };
        let goal = Goal::AtMost((goal * 100.0_f64).floor() / 100.0);
        row(&format!("loading 1M keys, {name}: time"), "ms", &wall, goal);
        row(&format!("loading 1M keys, {name}: server CPU"), "ms", &cpu, goal);
        if !aof {
            row("SAVE of 1M keys: time", "ms", &save, Goal::AtMost(0.66));
        }
    }
    Ok(())
}
