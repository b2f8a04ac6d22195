//! The gate and virtual time on small programs: one seed, one order; other seeds, other orders.
#![allow(clippy::unwrap_used)]

mod gate_support;

use gate_support::{Run, cc};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use unplug_faults::gate::{ClockPolicy, Gate, GateOptions, Ran, Step};

const THREADS: &str = include_str!("gate_threads.c");
const FOREVER: ClockPolicy = ClockPolicy::Until(3_600_000_000_000);

fn options(seed: u64) -> GateOptions {
    GateOptions { seed, real_limit: Duration::from_secs(20), ..GateOptions::default() }
}

/// Runs a program to its end under one seed; gives the records' lines.
fn run(program: &Path, args: &[&str], seed: u64) -> Vec<String> {
    let run = Run::new(true);
    let mut gate = run.gate(options(seed));
    let mut child = run.spawn(program, args);
    gate.started(child.0.id());
    let ran = gate.run_until_idle(FOREVER, 100_000).unwrap();
    assert_eq!(ran.end, Step::Exited, "{:?} after\n{}", gate.blocked(), run.lines().join("\n"));
    assert_eq!(child.code(), Some(0));
    assert_eq!(run.blind(), Vec::<String>::new());
    run.lines()
}

#[test]
fn one_seed_gives_one_order_and_other_seeds_others() {
    let dir = tempfile::tempdir().unwrap();
    let program = cc("threads", THREADS, dir.path());
    let first = run(&program, &[], 1);
    assert!(first.len() > 30, "{first:?}");
    for _ in 0..20 {
        assert_eq!(run(&program, &[], 1), first);
    }
    let orders: BTreeSet<_> = (2..12).map(|seed| run(&program, &[], seed)).collect();
    assert!(orders.len() >= 8, "only {} orders from 10 seeds", orders.len());
}

/// Steps a program until it comes to rest, without moving the clock.
fn rest(gate: &mut Gate) -> Ran {
    gate.run_until_idle(ClockPolicy::Still, 100_000).unwrap()
}

#[test]
fn a_deadlock_is_idle_for_ever_and_says_who_waits() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #include <pthread.h>
        #include <sched.h>
        static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;
        static void *other(void *x) {
            pthread_mutex_lock(&b); sched_yield(); sched_yield(); sched_yield();
            pthread_mutex_lock(&a); return x;
        }
        int main(void) {
            pthread_t t; pthread_create(&t, 0, other, 0);
            pthread_mutex_lock(&a); sched_yield(); sched_yield(); sched_yield();
            pthread_mutex_lock(&b); return 0;
        }"#;
    let program = cc("deadlock", source, dir.path());
    let mut dead = 0;
    for seed in 0..10 {
        let run = Run::new(true);
        let mut gate = run.gate(options(seed));
        let child = run.spawn(&program, &[]);
        gate.started(child.0.id());
        match rest(&mut gate).end {
            Step::Idle => {
                assert_eq!(gate.next_deadline(), None);
                assert_eq!(gate.step(false).unwrap(), Step::Idle);
                let blocked = gate.blocked();
                assert_eq!(blocked.len(), 2, "{blocked:?}");
                assert!(blocked.iter().all(|b| b.contains("futex")), "{blocked:?}");
                dead += 1;
            }
            end => assert_eq!(end, Step::Exited),
        }
    }
    assert!(dead > 0, "no seed found the deadlock");
}

#[test]
fn an_endless_loop_is_stuck_not_a_hang() {
    let dir = tempfile::tempdir().unwrap();
    let program = cc("loop", "int main(void) { for (;;) __asm__ volatile(\"\"); }", dir.path());
    let run = Run::new(true);
    let limit = Duration::from_millis(200);
    let mut gate = run.gate(GateOptions { cpu_limit: limit, ..options(0) });
    let child = run.spawn(&program, &[]);
    gate.started(child.0.id());
    let began = Instant::now();
    let end = rest(&mut gate).end;
    assert_eq!(end, Step::Stuck { what: "process 0 thread 0 runs without making a call".into() });
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_process_that_dies_of_a_signal_is_gone_and_its_parent_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #include <signal.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/wait.h>
        #include <unistd.h>
        static volatile int reaped;
        static void on_child(int s) { (void)s; reaped = 1; }
        int main(void) {
            int status, fds[2];
            signal(SIGCHLD, on_child);
            if (pipe(fds)) return 9;
            pid_t a = fork();
            if (!a) abort();
            if (waitpid(a, &status, 0) != a || !WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) return 1;
            pid_t b = fork();
            if (!b) { char c; close(fds[1]); return read(fds[0], &c, 1); }
            kill(b, SIGKILL);
            if (waitpid(b, &status, 0) != b || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) return 2;
            pid_t c = fork();
            if (!c) { pause(); return 5; }
            usleep(10);
            kill(c, SIGTERM);
            if (waitpid(c, &status, 0) != c || !WIFSIGNALED(status) || WTERMSIG(status) != SIGTERM) return 3;
            if (!reaped) return 4;
            return 0;
        }"#;
    let program = cc("signals", source, dir.path());
    for seed in 0..5 {
        run(&program, &[], seed);
    }
}

#[test]
fn a_fork_is_recorded_before_its_parent_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #include <fcntl.h>
        #include <sys/wait.h>
        #include <unistd.h>
        int main(void) {
            int status, fd = open("out", O_WRONLY | O_CREAT | O_APPEND, 0644);
            pid_t pid = fork();
            if (!pid) _exit(write(fd, "child", 5) != 5);
            for (int i = 0; i < 3; i++) if (write(fd, "parent", 6) != 6) return 1;
            return waitpid(pid, &status, 0) != pid || status;
        }"#;
    let program = cc("fork", source, dir.path());
    let mut parent_first = 0;
    for seed in 0..10 {
        let lines = run(&program, &[], seed);
        let first = |what: &dyn Fn(&str) -> bool| lines.iter().position(|l| what(l)).unwrap();
        let appeared = first(&|l| l.starts_with("t1 "));
        let (parent, child) = (first(&|l| l.contains("parent")), first(&|l| l.contains("child")));
        assert!(appeared < parent, "seed {seed}: {lines:#?}");
        parent_first += usize::from(parent < child);
    }
    assert!(parent_first > 0, "no seed lets the parent go on first");
}

#[test]
fn programs_started_by_spawn_and_system_are_gated_too() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #define _GNU_SOURCE
        #include <fcntl.h>
        #include <spawn.h>
        #include <stdlib.h>
        #include <sys/wait.h>
        #include <unistd.h>
        extern char **environ;
        int main(void) {
            char *argv[] = {"sh", "-c", "echo one >> out; echo two >> out", 0};
            pid_t pid; int status;
            if (posix_spawnp(&pid, "sh", 0, 0, argv, environ)) return 1;
            int fd = open("out", O_WRONLY | O_CREAT | O_APPEND, 0644);
            for (int i = 0; i < 3; i++) if (write(fd, "parent\n", 7) != 7) return 2;
            if (waitpid(pid, &status, 0) != pid || status) return status > 255 ? status >> 8 : status;
            if (system("echo three >> out; /bin/echo four | cat >> out")) return 4;
            return 0;
        }"#;
    let program = cc("spawn", source, dir.path());
    let first = run(&program, &[], 3);
    let lines = first.join("\n");
    assert!(lines.contains("two") && lines.contains("three") && lines.contains("four"), "{lines}");
    for _ in 0..5 {
        assert_eq!(run(&program, &[], 3), first);
    }
    let orders: BTreeSet<_> = (10..16).map(|seed| run(&program, &[], seed)).collect();
    assert!(orders.len() > 1);
}

#[test]
fn signals_file_locks_shared_locks_and_cancellation_are_repeatable() {
    let dir = tempfile::tempdir().unwrap();
    let program = cc("waits", include_str!("gate_waits.c"), dir.path());
    let first = run(&program, &[], 5);
    let all = first.join("\n");
    for line in ["signals 3", "cancelled 1", "threads 0", "from the shell\\n 3", "last 0"] {
        assert!(all.contains(line), "{line} is missing:\n{all}");
    }
    for _ in 0..10 {
        assert_eq!(run(&program, &[], 5), first);
    }
    let orders: BTreeSet<_> = (10..20).map(|seed| run(&program, &[], seed)).collect();
    assert!(orders.len() > 5);
}

#[test]
fn a_target_goes_on_freely_when_its_gate_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let program = cc("threads", THREADS, dir.path());
    for steps in [0, 1, 7, 20, 33] {
        let run = Run::new(true);
        let mut gate = run.gate(options(4));
        let mut child = run.spawn(&program, &[]);
        gate.started(child.0.id());
        for _ in 0..steps {
            gate.step(false).unwrap();
        }
        drop(gate);
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.0.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "it hangs after {steps} steps");
            run.clock.advance(100_000_000);
            std::thread::sleep(Duration::from_millis(2));
        };
        // Waits may end early when the gate opens, which the program may see as a wait that did not time out.
        assert!(matches!(status.code(), Some(0 | 1)), "{status:?} after {steps} steps");
    }
}
