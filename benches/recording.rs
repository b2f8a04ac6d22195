//! What recording costs: per call, and redis-server's SET; plain and recorded in turn, in one run.
//!
//! The last four are not recorded: what `getppid` costs more is the filter alone, what `null` (a write that is none
//! of the recorder's) costs more is the way through the dispatcher, and `fstat` and `lseek` show what the shim pays
//! where it asks for a descriptor's identity or offset. The call figures are of CPU time of the process that makes
//! the calls, this executable in a role.
//!
//! Of redis-server there are two: requests a second (`redis-benchmark -t set -c 50 -P 1`), which other load on the
//! machine disturbs, and CPU time of the server for each request, which it disturbs little. Plain and recorded
//! rounds take turns, each ratio is that of two neighbours. What the recorded calls of a request cost by
//! themselves stands below.
//!
//! A word on the command line chooses (`-- send`, `-- redis`, `-- everysec`); `ROUNDS`, `REQUESTS`, `PROCESSES` and
//! `LOOPS` in the environment say how much is measured: `ROUNDS=3 REQUESTS=20000 ... -- redis` takes seconds.

use criterion::{BenchmarkId, Criterion};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use unplug_faults::event::Op;
use unplug_faults::record::{Options, Recorder};
use unplug_faults::trace::{Meta, Trace};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The role of this executable: which call, how often.
const ROLE: &str = "UNPLUG_BENCH_ROLE";
/// Calls in one process: what is recorded of them fits into the memory that is made for it.
const CALLS: u64 = 100_000;
const KINDS: [&str; 9] =
    ["write", "pwrite", "pwrite4k", "fdatasync", "send", "getppid", "null", "fstat", "lseek"];

fn main() -> Result<()> {
    if let Ok(role) = std::env::var(ROLE) {
        return play(&role);
    }
    // `cargo test --benches` only wants to know whether it starts.
    if std::env::args().any(|a| a == "--test") {
        return Ok(());
    }
    // The last word that is no option; cargo itself gives `--bench`.
    let wanted = std::env::args().skip(1).rfind(|a| !a.starts_with('-')).unwrap_or_default();
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    if wanted.is_empty() || KINDS.iter().any(|k| k.contains(&wanted)) {
        calls(&mut criterion);
        criterion.final_summary();
    }
    let costs = call_ratios(&wanted)?;
    for policy in ["always", "everysec"].into_iter().filter(|p| format!("redis/{p}").contains(&wanted)) {
        if let Err(error) = redis(policy, number("ROUNDS", 5) as usize, number("REQUESTS", 100_000), &costs) {
            println!("recording/redis/{policy}: not measured: {error}");
        }
    }
    Ok(())
}

/// A number from the environment.
fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or).max(1)
}

/// Makes the calls and prints the CPU time that they took, in nanoseconds.
fn play(role: &str) -> Result<()> {
    let (kind, times) = role.split_once(' ').ok_or("a role is a call and a number")?;
    let times: u64 = times.parse()?;
    let mut file = File::options().create(true).truncate(true).write(true).open("data")?;
    let mut null = File::options().write(true).open("/dev/null")?;
    let (mut ours, theirs) = UnixStream::pair()?;
    let drain = std::thread::spawn(move || std::io::copy(&mut &theirs, &mut std::io::sink()));
    let (small, page) = ([7u8; 64], [7u8; 4096]);
    let before = thread_cpu()?;
    for n in 0..times {
        match kind {
            "write" => file.write_all(&small)?,
            "pwrite" => file.write_all_at(&small, n % 64 * 64)?,
            "pwrite4k" => file.write_all_at(&page, n % 64 * 4096)?,
            "fdatasync" => file.sync_data()?,
            "null" => null.write_all(&small[..5])?,
            "send" => ours.write_all(&small)?,
            "getppid" => drop(std::hint::black_box(nix::unistd::getppid())),
            "fstat" => drop(std::hint::black_box(nix::sys::stat::fstat(&file)?)),
            "lseek" => {
                std::hint::black_box(nix::unistd::lseek(&file, 0, nix::unistd::Whence::SeekCur)?);
            }
            other => return Err(format!("no call {other}").into()),
        }
    }
    println!("{}", (thread_cpu()? - before).as_nanos());
    drop(ours);
    drain.join().map_err(|_| "the reader failed")??;
    Ok(())
}

fn thread_cpu() -> Result<Duration> {
    Ok(nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// One process that makes the calls; the CPU time of one.
fn one(kind: &str, times: u64, record: bool) -> Result<Duration> {
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.env(ROLE, format!("{kind} {times}")).current_dir(dir.path());
    let recorder = Recorder::start(Options::new(dir.path()))?;
    if record {
        recorder.arm(&mut command);
    }
    let output = command.output()?;
    if record {
        seen_whole(recorder)?;
    }
    let nanos: u64 = String::from_utf8_lossy(&output.stdout).trim().parse()?;
    Ok(Duration::from_nanos(nanos))
}

/// A recording that is not whole measures something else.
fn seen_whole(recorder: Recorder) -> Result<Trace> {
    let trace = recorder.finish(Meta::default())?;
    if trace.blind.is_empty() { Ok(trace) } else { Err(format!("blind: {:?}", trace.blind).into()) }
}

fn calls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recording");
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    for kind in KINDS {
        for (how, record) in [("plain", false), ("recorded", true)] {
            group.bench_function(BenchmarkId::new(kind, how), |b| {
                b.iter_custom(|n| {
                    let full = (0..n / CALLS).map(|_| CALLS);
                    let lots = full.chain(std::iter::once(n % CALLS).filter(|n| *n > 0));
                    // A call that cannot be measured shows as no time at all, and below as an error.
                    lots.filter_map(|lot| one(kind, lot, record).ok())
                        .sum::<Duration>()
                        .max(Duration::from_nanos(n))
                });
            });
        }
    }
    group.finish();
}

/// Recorded / plain, medians of processes in turn: what each call costs more, in nanoseconds.
fn call_ratios(wanted: &str) -> Result<BTreeMap<&'static str, f64>> {
    let (processes, loops) = (number("PROCESSES", 9), number("LOOPS", 20_000));
    let mut costs = BTreeMap::new();
    for kind in KINDS {
        // The calls of a SET are needed to break its cost down.
        let of_a_set = "redis".contains(wanted) && ["write", "fdatasync", "send", "getppid"].contains(&kind);
        if !kind.contains(wanted) && !of_a_set {
            continue;
        }
        let (mut plain, mut recorded) = (Vec::new(), Vec::new());
        for _ in 0..processes {
            let nanos =
                |record| Ok::<_, Box<dyn Error>>(one(kind, loops, record)?.as_nanos() as f64 / loops as f64);
            plain.push(nanos(false)?);
            recorded.push(nanos(true)?);
        }
        let (before, after) = (median(plain), median(recorded));
        println!(
            "recording/{kind}: {before:.0} ns, recorded {after:.0} ns: {:+.0} ns, ratio {:.2}",
            after - before,
            after / before
        );
        costs.insert(kind, after - before);
    }
    Ok(costs)
}

fn redis(policy: &str, rounds: usize, requests: u64, costs: &BTreeMap<&str, f64>) -> Result<()> {
    let (mut plain, mut recorded) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        plain.push(round(policy, requests, false)?);
        recorded.push(round(policy, requests, true)?);
    }
    let figure = |of: &[Figures], f: fn(&Figures) -> f64| median(of.iter().map(f).collect());
    // Each round against its neighbour: the machine's other load changes slowly.
    let ratio =
        |f: fn(&Figures) -> f64| median(plain.iter().zip(&recorded).map(|(p, r)| f(r) / f(p)).collect());
    println!(
        "recording/redis/{policy}: plain {:.0}/s, recorded {:.0}/s: ratio {:.3}",
        figure(&plain, |f| f.rate),
        figure(&recorded, |f| f.rate),
        ratio(|f| f.rate)
    );
    let (before, after) = (figure(&plain, |f| f.cpu_micros), figure(&recorded, |f| f.cpu_micros));
    println!(
        "recording/redis/{policy}: plain {before:.2} us CPU, recorded {after:.2} us CPU: ratio {:.3}",
        ratio(|f| f.cpu_micros)
    );
    let cost = |kind: &str| costs.get(kind).copied().unwrap_or_default();
    let (writes, syncs) = (figure(&recorded, |f| f.writes), figure(&recorded, |f| f.syncs));
    let parts = [
        ("send", 1.0, cost("send")),
        ("read", 1.0, cost("getppid")),
        ("write", writes, cost("write")),
        ("fdatasync", syncs, cost("fdatasync")),
    ];
    let sum: f64 = parts.iter().map(|(_, n, each)| n * each).sum();
    let parts = parts.map(|(what, n, each)| format!("{n:.2} {what} of {each:+.0}"));
    println!(
        "recording/redis/{policy}: {:+.0} ns a request; its calls by themselves: {} = {sum:+.0} ns",
        (after - before) * 1000.0,
        parts.join(", ")
    );
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

struct Figures {
    rate: f64,
    cpu_micros: f64,
    /// Recorded writes and syncs of files, for each request.
    writes: f64,
    syncs: f64,
}

fn round(policy: &str, requests: u64, record: bool) -> Result<Figures> {
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let files = dir.path().join("data");
    std::fs::create_dir(&files)?;
    let socket = dir.path().join("socket");
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "yes", "--jemalloc-bg-thread", "no"]);
    command.args(["--auto-aof-rewrite-percentage", "0", "--appendfsync", policy]);
    command.arg("--dir").arg(&files).arg("--unixsocket").arg(&socket).stdout(Stdio::null());
    let recorder = Recorder::start(Options::new(&files))?;
    if record {
        recorder.arm(&mut command);
    }
    let mut server = command.spawn().map_err(|e| format!("redis-server: {e}"))?;
    let figure = load(&mut server, &socket, requests);
    server.kill()?;
    server.wait()?;
    let mut figure = figure?;
    if record {
        let trace = seen_whole(recorder)?;
        let each =
            |is: fn(&Op) -> bool| trace.events.iter().filter(|e| is(&e.op)).count() as f64 / requests as f64;
        figure.writes = each(|op| matches!(op, Op::Write { .. }));
        figure.syncs = each(|op| matches!(op, Op::Sync { .. }));
    }
    Ok(figure)
}

fn load(server: &mut Child, socket: &Path, requests: u64) -> Result<Figures> {
    while UnixStream::connect(socket).is_err() {
        if let Some(status) = server.try_wait()? {
            return Err(format!("the server ended: {status}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let before = cpu_nanos(server)?;
    let output = Command::new("redis-benchmark")
        .args(["-c", "50", "-P", "1", "-t", "set", "--csv", "-n", &requests.to_string(), "-s"])
        .arg(socket)
        .output()
        .map_err(|e| format!("redis-benchmark: {e}"))?;
    let cpu_micros = (cpu_nanos(server)? - before) / 1000.0 / requests as f64;
    let text = String::from_utf8_lossy(&output.stdout);
    let figure = text.lines().last().and_then(|l| l.split(',').nth(1)).ok_or("redis-benchmark: no figure")?;
    Ok(Figures { rate: figure.trim_matches('"').parse()?, cpu_micros, writes: 0.0, syncs: 0.0 })
}

/// CPU time of all threads.
fn cpu_nanos(server: &Child) -> Result<f64> {
    let mut sum = 0.0;
    for task in std::fs::read_dir(format!("/proc/{}/task", server.id()))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split(' ').next().ok_or("no schedstat")?.parse::<f64>()?;
    }
    Ok(sum)
}
