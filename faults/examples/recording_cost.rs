//! What recording costs redis-server: `redis-benchmark -t set -c 50 -P 1` against a plain and a recorded
//! server in turn, in one run. Arguments: rounds (default 5), requests (default 200000).

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
        let (plain, recorded) = (median(plain), median(recorded));
        let cost = (plain / recorded - 1.0) * 100.0;
        println!("{policy}: plain {plain:.0}/s, recorded {recorded:.0}/s: recording costs {cost:.1} %");
    }
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Requests a second.
fn round(policy: &str, requests: u64, record: bool) -> Result<f64> {
    let dir = Path::new("/dev/shm").join(format!("unplug-cost-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    let socket = dir.with_extension("socket");
    let result = in_directory(&dir, &socket, policy, requests, record);
    std::fs::remove_dir_all(&dir)?;
    let _ = std::fs::remove_file(&socket);
    result
}

fn in_directory(dir: &Path, socket: &Path, policy: &str, requests: u64, record: bool) -> Result<f64> {
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

fn benchmark(server: &mut Child, socket: &Path, requests: u64) -> Result<f64> {
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        if let Some(status) = server.try_wait()? {
            return Err(format!("the server ended: {status}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = Command::new("redis-benchmark")
        .args(["-c", "50", "-P", "1", "-t", "set", "--csv", "-n", &requests.to_string(), "-s"])
        .arg(socket)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figure = text.lines().last().and_then(|l| l.split(',').nth(1)).ok_or("no figure")?;
    Ok(figure.trim_matches('"').parse()?)
}
