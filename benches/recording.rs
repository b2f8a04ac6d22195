//! What recording costs: per call, and redis-server's SET; plain and recorded in turn, in one run.
//!
//! The last three calls are not recorded: what they cost more is the filter alone, and what `fstat` and `lseek`
//! cost is what the shim pays to identify a descriptor and to learn an offset. The call figures are of CPU time of the process that makes the calls, this executable in a role. Of
//! redis-server there are two: requests a second (`redis-benchmark -t set -c 50 -P 1`), which other load on the
//! machine disturbs, and CPU time of the server for each request, which it disturbs little. `ROUNDS` and
//! `REQUESTS` in the environment change how much is measured.

use criterion::{BenchmarkId, Criterion};
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use unplug_faults::record::{Options, Recorder};
use unplug_faults::trace::Meta;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The role of this executable: which call, how often.
const ROLE: &str = "UNPLUG_BENCH_ROLE";
/// Calls in one process: what is recorded of them fits into the memory that is made for it.
const CALLS: u64 = 100_000;
const KINDS: [&str; 8] = ["write", "pwrite", "pwrite4k", "fdatasync", "send", "getppid", "fstat", "lseek"];

fn main() -> Result<()> {
    if let Ok(role) = std::env::var(ROLE) {
        return play(&role);
    }
    // `cargo test --benches` only wants to know whether it starts.
    if std::env::args().any(|a| a == "--test") {
        return Ok(());
    }
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    calls(&mut criterion);
    criterion.final_summary();
    call_ratios()?;
    let number = |name: &str, or: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or);
    if let Err(error) = redis(number("ROUNDS", 5) as usize, number("REQUESTS", 100_000)) {
        println!("recording/redis: not measured: {error}");
    }
    Ok(())
}

/// Makes the calls and prints the CPU time that they took, in nanoseconds.
fn play(role: &str) -> Result<()> {
    let (kind, times) = role.split_once(' ').ok_or("a role is a call and a number")?;
    let times: u64 = times.parse()?;
    let mut file = File::options().create(true).truncate(true).write(true).open("data")?;
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
fn seen_whole(recorder: Recorder) -> Result<()> {
    let trace = recorder.finish(Meta::default())?;
    if trace.blind.is_empty() { Ok(()) } else { Err(format!("blind: {:?}", trace.blind).into()) }
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

/// Recorded / plain, medians of processes in turn.
fn call_ratios() -> Result<()> {
    for kind in KINDS {
        let (mut plain, mut recorded) = (Vec::new(), Vec::new());
        for _ in 0..9 {
            let nanos =
                |record| Ok::<_, Box<dyn Error>>(one(kind, 20_000, record)?.as_nanos() as f64 / 20_000.0);
            plain.push(nanos(false)?);
            recorded.push(nanos(true)?);
        }
        let (before, after) = (median(plain), median(recorded));
        println!(
            "recording/{kind}: {before:.0} ns, recorded {after:.0} ns: {:+.0} ns, ratio {:.2}",
            after - before,
            after / before
        );
    }
    Ok(())
}

fn redis(rounds: usize, requests: u64) -> Result<()> {
    for policy in ["always", "everysec"] {
        let (mut plain, mut recorded) = (Vec::new(), Vec::new());
        for _ in 0..rounds.max(1) {
            plain.push(round(policy, requests, false)?);
            recorded.push(round(policy, requests, true)?);
        }
        let figure = |of: &[Figures], f: fn(&Figures) -> f64| median(of.iter().map(f).collect());
        let (before, after) = (figure(&plain, |f| f.rate), figure(&recorded, |f| f.rate));
        let ratio = after / before;
        println!("recording/redis/{policy}: plain {before:.0}/s, recorded {after:.0}/s: ratio {ratio:.3}");
        let (before, after) = (figure(&plain, |f| f.cpu_micros), figure(&recorded, |f| f.cpu_micros));
        // Each round against its neighbour: the machine's other load changes slowly.
        let each = plain.iter().zip(&recorded).map(|(p, r)| r.cpu_micros / p.cpu_micros);
        let ratio = median(each.collect());
        println!(
            "recording/redis/{policy}: plain {before:.2} us CPU, recorded {after:.2} us CPU: ratio {ratio:.3}"
        );
    }
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

struct Figures {
    rate: f64,
    cpu_micros: f64,
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
    if record {
        seen_whole(recorder)?;
    }
    figure
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
    Ok(Figures { rate: figure.trim_matches('"').parse()?, cpu_micros })
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
