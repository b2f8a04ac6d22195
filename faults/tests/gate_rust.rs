//! The gate on a Rust program: this test binary, started again in the role of the target.
#![allow(clippy::unwrap_used)]

mod gate_support;

use gate_support::{ROLE, Run};
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock, mpsc};
use std::time::{Duration, Instant};
use unplug_faults::gate::{ClockPolicy, GateOptions, Step};

/// The target. Under cargo it does nothing.
#[test]
fn role() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let log = std::fs::OpenOptions::new().create(true).append(true).open("log").unwrap();
    let say = |text: String| (&log).write_all(text.as_bytes()).unwrap();
    channels(&say);
    scope_and_locks(&say);
    parking(&say);
    clocks(&say);
    child(&say);
}

fn channels(say: &(impl Fn(String) + Sync)) {
    let (sender, receiver) = mpsc::channel();
    let (bounded, drain) = mpsc::sync_channel(1);
    std::thread::scope(|s| {
        for id in 0..3 {
            let sender = sender.clone();
            let bounded = bounded.clone();
            s.spawn(move || {
                for n in 0..3 {
                    sender.send((id, n)).unwrap();
                    bounded.send(id).unwrap();
                    say(format!("sent {id} {n}\n"));
                }
            });
        }
        drop((sender, bounded));
        s.spawn(move || drain.iter().for_each(|id| say(format!("drained {id}\n"))));
        for (id, n) in receiver {
            say(format!("got {id} {n}\n"));
        }
    });
    let (_keep, empty) = mpsc::channel::<()>();
    let timed = empty.recv_timeout(Duration::from_millis(300));
    say(format!("recv_timeout {timed:?}\n"));
}

fn scope_and_locks(say: &(impl Fn(String) + Sync)) {
    let sum = Mutex::new(0);
    let shared = RwLock::new(0);
    let barrier = Barrier::new(3);
    let pair = (Mutex::new(false), Condvar::new());
    std::thread::scope(|s| {
        for id in 0..3 {
            let (sum, shared, barrier, pair) = (&sum, &shared, &barrier, &pair);
            s.spawn(move || {
                barrier.wait();
                for _ in 0..3 {
                    let mut sum = sum.lock().unwrap();
                    *sum += id;
                    say(format!("sum {id} {sum}\n"));
                }
                *shared.write().unwrap() += 1;
                say(format!("read {id} {}\n", shared.read().unwrap()));
                *pair.0.lock().unwrap() = true;
                pair.1.notify_all();
            });
        }
        let mut ready = pair.0.lock().unwrap();
        while !*ready {
            ready = pair.1.wait(ready).unwrap();
        }
        say("ready\n".to_owned());
    });
}

fn parking(say: &(impl Fn(String) + Sync)) {
    let main = std::thread::current();
    let word = Arc::new(Mutex::new(0));
    let theirs = Arc::clone(&word);
    let thread = std::thread::spawn(move || {
        std::thread::park();
        *theirs.lock().unwrap() = 1;
        main.unpark();
    });
    std::thread::yield_now();
    thread.thread().unpark();
    while *word.lock().unwrap() == 0 {
        std::thread::park();
    }
    thread.join().unwrap();
    std::thread::park_timeout(Duration::from_secs(2));
    say("parked\n".to_owned());
}

fn clocks(say: &(impl Fn(String) + Sync)) {
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(100));
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    say(format!("slept {:?} until {wall:?}\n", began.elapsed()));
}

fn child(say: &(impl Fn(String) + Sync)) {
    let mut cat = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = cat.stdin.take().unwrap();
    // More than a pipe holds: both ends block.
    let writer = std::thread::spawn(move || input.write_all(&vec![b'x'; 300_000]).unwrap());
    let output = cat.wait_with_output().unwrap();
    writer.join().unwrap();
    say(format!("cat gave {} {:?}\n", output.stdout.len(), output.status.code()));
}

fn run(seed: u64) -> Vec<String> {
    let run = Run::new(true);
    let limits = GateOptions { seed, real_limit: Duration::from_secs(20), ..GateOptions::default() };
    let mut gate = run.gate(limits);
    let program = std::env::current_exe().unwrap();
    let mut target = run.spawn(&program, &["--exact", "role", "--nocapture", "--test-threads=2"]);
    gate.started(target.0.id());
    let ran = gate.run_until_idle(ClockPolicy::Until(u64::MAX - 1), 100_000).unwrap();
    assert_eq!(ran.end, Step::Exited, "{:?} after\n{}", gate.blocked(), run.lines().join("\n"));
    assert_eq!(target.code(), Some(0), "{}", run.lines().join("\n"));
    assert_eq!(run.blind(), Vec::<String>::new());
    run.lines()
}

#[test]
fn std_threads_channels_parking_and_children_are_repeatable() {
    let first = run(1);
    let all = first.join("\n");
    assert!(all.contains("slept 100s until 1700000102.3s"), "{all}");
    assert!(all.contains("cat gave 300000 Some(0)"), "{all}");
    for _ in 0..20 {
        assert_eq!(run(1), first);
    }
    let orders: BTreeSet<_> = (2..8).map(run).collect();
    assert_eq!(orders.len(), 6);
}
