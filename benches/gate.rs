//! What a granted call costs in a gated run: real time from one grant to the next, as every grant goes through the
//! supervisor. `alone` has one task; `pair` has two, of which each wants to write all the time.
//!
//! `LOOPS` in the environment says how many calls each task makes, `ROUNDS` how many runs the median is of.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;
use unplug_faults::gate::{ClockPolicy, GateOptions, Step};
use unplug_faults::record::{Options, Recorder};
use unplug_faults::trace::Meta;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The role of this executable: how many tasks, how many calls of each.
const ROLE: &str = "UNPLUG_BENCH_GATE_ROLE";

fn main() -> Result<()> {
    if let Ok(role) = std::env::var(ROLE) {
        return play(&role);
    }
    if std::env::args().any(|a| a == "--test") {
        return Ok(());
    }
    let number = |name: &str, or: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or);
    let loops = number("LOOPS", 10_000);
    for (name, tasks) in [("alone", 1), ("pair", 2)] {
        let rounds = (0..number("ROUNDS", 5).max(1)).map(|_| run(tasks, loops));
        let mut figures = rounds.collect::<Result<Vec<f64>>>()?;
        figures.sort_by(f64::total_cmp);
        println!("gate/{name}: {:.1} us a grant", figures[figures.len() / 2]);
    }
    Ok(())
}

fn play(role: &str) -> Result<()> {
    let (tasks, loops) = role.split_once(' ').ok_or("a role is two numbers")?;
    let loops: u64 = loops.parse()?;
    let file = File::create("log")?;
    let write = |mut file: &File| (0..loops).try_for_each(|_| file.write_all(b"x"));
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..tasks.parse()?).map(|_| scope.spawn(|| write(&file))).collect();
        write(&file)?;
        for other in others {
            other.join().map_err(|_| "a task failed")??;
        }
        Ok(())
    })
}

/// One gated run; microseconds for each grant.
fn run(tasks: u64, loops: u64) -> Result<f64> {
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let mut options = Options::new(dir.path());
    options.gated = true;
    let recorder = Recorder::start(options)?;
    let mut gate = recorder.gate(GateOptions::default())?.ok_or("the run is not gated")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.env(ROLE, format!("{tasks} {loops}")).current_dir(dir.path()).stdin(Stdio::null());
    recorder.arm(&mut command);
    let mut child = command.spawn()?;
    gate.started(child.id());
    let began = Instant::now();
    let ran = gate.run_until_idle(ClockPolicy::Until(1 << 60), u64::MAX)?;
    let micros = began.elapsed().as_secs_f64() * 1e6 / ran.steps as f64;
    if ran.end != Step::Exited || !child.wait()?.success() {
        return Err(format!("the run ended with {:?}", ran.end).into());
    }
    let trace = recorder.finish(Meta::default())?;
    if trace.blind.is_empty() { Ok(micros) } else { Err(format!("blind: {:?}", trace.blind).into()) }
}
