//! What recording costs redis-server: `redis-benchmark -t set -c 50 -P 1` against a plain and a recorded
//! server in turn, in one run. Arguments: rounds (default 5), requests (default 200000).
//!
//! Two figures: requests a second, which other load on the machine disturbs; and CPU time of the server's
//! main thread for each request, which it disturbs little.

use std::error::Error;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use unplug_faults::record::{Options, Recorder};
use unplug_faults::trace::Meta;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().map_or(Ok(5), |a| a.parse())?;
    let requests: u64 = arguments.next().map_or(Ok(200_000), |a| a.parse())?;
    for policy in ["always", "everysec"] {
        let (mut plain, mut recorded) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            plain.push(round(policy, requests, false)?);
            recorded.push(round(policy, requests, true)?);
        }
        let rates = |f: &[Figures]| median(f.iter().map(|f| f.rate).collect());
        let (before, after) = (rates(&plain), rates(&recorded));
        let cost = (before / after - 1.0) * 100.0;
        println!("{policy}: plain {before:.0}/s, recorded {after:.0}/s: {cost:+.1} % time a request");
        let cpu = |f: &[Figures]| median(f.iter().map(|f| f.cpu_micros).collect());
        let (before, after) = (cpu(&plain), cpu(&recorded));
        let cost = (after / before - 1.0) * 100.0;
        println!("{policy}: plain {before:.2} us CPU, recorded {after:.2} us CPU: {cost:+.1} %");
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
    let dir = Path::new("/dev/shm").join(format!("unplug-cost-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    let socket = dir.with_extension("socket");
    let result = in_directory(&dir, &socket, policy, requests, record);
    std::fs::remove_dir_all(&dir)?;
    let _ = std::fs::remove_file(&socket);
    result
}

fn in_directory(dir: &Path, socket: &Path, policy: &str, requests: u64, record: bool) -> Result<Figures> {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "yes", "--jemalloc-bg-thread", "no"]);
    command.args(["--auto-aof-rewrite-percentage", "0", "--appendfsync", policy]);
    command.arg("--dir").arg(dir).arg("--unixsocket").arg(socket).stdout(Stdio::null());
    let recorder = Recorder::start(Options::new(dir))?;
    if record {
        recorder.arm(&mut command);
    }
    let mut server = command.spawn()?;
    let figure = benchmark(&mut server, socket, requests);
    server.kill()?;
    server.wait()?;
    if record {
        let trace = recorder.finish(Meta::default())?;
        if !trace.blind.is_empty() {
            return Err(format!("blind: {:?}", trace.blind).into());
        }
    }
    figure
}

fn benchmark(server: &mut Child, socket: &Path, requests: u64) -> Result<Figures> {
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        if let Some(status) = server.try_wait()? {
            return Err(format!("the server ended: {status}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let before = cpu_nanos(server)?;
    let output = Command::new("redis-benchmark")
        .args(["-c", "50", "-P", "1", "-t", "set", "--csv", "-n", &requests.to_string(), "-s"])
        .arg(socket)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figure = text.lines().last().and_then(|l| l.split(',').nth(1)).ok_or("no figure")?;
    let cpu_micros = (cpu_nanos(server)? - before) / 1000.0 / requests as f64;
    Ok(Figures { rate: figure.trim_matches('"').parse()?, cpu_micros })
}

/// CPU time of the main thread.
fn cpu_nanos(server: &Child) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", server.id()))?;
    Ok(text.split(' ').next().ok_or("no schedstat")?.parse()?)
}
