//! Virtual time: gated and not.
#![allow(clippy::unwrap_used)]

mod gate_support;

use gate_support::{Run, Started, cc};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use unplug_faults::gate::{CallPattern, ClockPolicy, Gate, GateOptions, Rule, Step};

const SECOND: u64 = 1_000_000_000;
const SECOND_MS: u64 = 1000;

/// Waits, in real time, for something that is bound to come.
fn until(what: &str, mut met: impl FnMut() -> bool) {
    let began = Instant::now();
    while !met() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what} did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sleeps in every way there is, and says after each what the clocks show.
const SLEEPS: &str = r#"
    #define _GNU_SOURCE
    #include <errno.h>
    #include <fcntl.h>
    #include <poll.h>
    #include <pthread.h>
    #include <semaphore.h>
    #include <stdio.h>
    #include <sys/epoll.h>
    #include <sys/select.h>
    #include <sys/syscall.h>
    #include <sys/time.h>
    #include <time.h>
    #include <unistd.h>
    static int fd; static struct timespec start;
    static void say(const char *what, long r) {
        struct timespec now, raw; struct timeval tv; char text[200];
        clock_gettime(CLOCK_MONOTONIC, &now);
        syscall(SYS_clock_gettime, CLOCK_REALTIME, &raw);
        gettimeofday(&tv, 0);
        int n = snprintf(text, sizeof text, "%s %ld at %ld ms, wall %ld.%03ld %ld %ld\n", what, r,
            (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000,
            (long)tv.tv_sec, (long)tv.tv_usec / 1000, (long)raw.tv_sec, (long)time(0));
        if (write(fd, text, n) != n) _exit(9);
    }
    int main(void) {
        struct timespec t; struct epoll_event ev; struct timeval tv = {1, 0}; fd_set set;
        int fds[2]; sem_t sem; pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
        pthread_cond_t c = PTHREAD_COND_INITIALIZER;
        fd = open("log", O_CREAT | O_WRONLY | O_APPEND, 0644);
        if (pipe(fds)) return 1;
        clock_gettime(CLOCK_MONOTONIC, &start);
        say("begin", 0);
        usleep(1000000); say("usleep", 0);
        t = start; t.tv_sec += 2; say("absolute", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0));
        struct pollfd p = {fds[0], POLLIN, 0}; say("poll", poll(&p, 1, 1000));
        t = (struct timespec){1, 0}; say("ppoll", ppoll(&p, 1, &t, 0));
        FD_ZERO(&set); FD_SET(fds[0], &set); say("select", select(fds[0] + 1, &set, 0, 0, &tv));
        int ep = epoll_create1(0); ev.events = EPOLLIN; epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], &ev);
        say("epoll", epoll_wait(ep, &ev, 1, 1000));
        sem_init(&sem, 0, 0); clock_gettime(CLOCK_REALTIME, &t); t.tv_sec += 1;
        say("sem", sem_timedwait(&sem, &t) < 0 ? errno : 0);
        clock_gettime(CLOCK_REALTIME, &t); t.tv_sec += 1; pthread_mutex_lock(&m);
        say("cond", pthread_cond_timedwait(&c, &m, &t));
        clock_gettime(CLOCK_REALTIME, &t); t.tv_sec += 1;
        say("mutex", pthread_mutex_timedlock(&m, &t));
        if (write(fds[1], "x", 1) != 1) return 2;
        say("ready", epoll_wait(ep, &ev, 1, 1000));
        return 0;
    }"#;

fn expected() -> Vec<String> {
    let waits = ["begin 0", "usleep 0", "absolute 0", "poll 0", "ppoll 0", "select 0", "epoll 0"];
    let waits = waits.iter().chain(&["sem 110", "cond 110", "mutex 110"]);
    let at = |(n, what): (usize, &&str)| {
        let wall = 1_700_000_000 + n;
        format!("{what} at {} ms, wall {wall}.000 {wall} {wall}", n * 1000)
    };
    let mut lines: Vec<_> = waits.enumerate().map(at).collect();
    lines.push("ready 1 at 9000 ms, wall 1700000009.000 1700000009 1700000009".into());
    lines
}

fn log(run: &Run) -> Vec<String> {
    let text = std::fs::read_to_string(run.dir.path().join("log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn every_timed_wait_ends_on_the_virtual_clock_in_a_gated_run() {
    let dir = tempfile::tempdir().unwrap();
    let program = cc("sleeps", SLEEPS, dir.path());
    let run = Run::new(true);
    let mut gate = run.gate(GateOptions::default());
    let mut child = run.spawn(&program, &[]);
    gate.started(child.0.id());
    let still = gate.run_until_idle(ClockPolicy::Still, 1000).unwrap();
    assert_eq!((still.end, log(&run).len()), (Step::Idle, 1));
    assert_eq!(gate.next_deadline(), Some(SECOND));
    let ran = gate.run_until_idle(ClockPolicy::Until(100 * SECOND), 1000).unwrap();
    assert_eq!(ran.end, Step::Exited);
    assert_eq!(child.code(), Some(0));
    assert_eq!(log(&run), expected());
    assert_eq!(run.blind(), Vec::<String>::new());
}

#[test]
fn every_timed_wait_ends_on_the_virtual_clock_in_a_run_that_is_not_gated() {
    let dir = tempfile::tempdir().unwrap();
    let program = cc("sleeps", SLEEPS, dir.path());
    let run = Run::new(false);
    let mut child = run.spawn(&program, &[]);
    until("the first line", || log(&run).len() == 1);
    for n in 1..10 {
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(log(&run).len(), n, "the clock stands still, and so must the program");
        run.clock.advance(SECOND);
        until("a line", || log(&run).len() > n);
    }
    assert_eq!(child.code(), Some(0));
    assert_eq!(log(&run), expected());
    assert_eq!(run.blind(), Vec::<String>::new());
}

#[test]
fn the_clock_never_goes_back() {
    let run = Run::new(false);
    assert_eq!(run.clock.advance(5), 5);
    assert_eq!(run.clock.advance_to(3), 5);
    assert_eq!(run.clock.now(), 5);
    assert_eq!(run.clock.advance(u64::MAX), u64::MAX - 1);
}

#[test]
fn a_timer_that_cannot_be_served_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let source = "#include <unistd.h>\nint main(void) { alarm(0); alarm(100); return 0; }";
    let program = cc("alarms", source, dir.path());
    let run = Run::new(false);
    assert_eq!(run.spawn(&program, &[]).code(), Some(0));
    assert_eq!(run.blind(), ["setitimer under virtual time"]);
}

#[test]
fn a_sync_takes_virtual_time_in_which_others_run() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #include <fcntl.h>
        #include <pthread.h>
        #include <unistd.h>
        static int fd;
        static void *sync_it(void *x) { fdatasync(fd); if (write(fd, "synced\n", 7) != 7) _exit(9); return x; }
        int main(void) {
            pthread_t t;
            fd = open("log", O_CREAT | O_WRONLY | O_APPEND, 0644);
            pthread_create(&t, 0, sync_it, 0);
            for (int i = 0; i < 3; i++) { usleep(400000); if (write(fd, "slept\n", 6) != 6) return 9; }
            return pthread_join(t, 0);
        }"#;
    let program = cc("syncs", source, dir.path());
    let run = Run::new(true);
    run.clock.set_sync_nanos(SECOND);
    let mut gate = run.gate(GateOptions::default());
    let child = run.spawn(&program, &[]);
    gate.started(child.0.id());
    let ran = gate.run_until_idle(ClockPolicy::Until(100 * SECOND), 1000).unwrap();
    assert_eq!(ran.end, Step::Exited);
    assert_eq!(log(&run), ["slept", "slept", "synced", "slept"]);
    let records = run.records();
    let sync = records.iter().find(|r| r.is_sync()).unwrap();
    let inside =
        records.iter().filter(|r| r.is_write() && r.begin > sync.begin && r.begin < sync.end).count();
    assert_eq!(inside, 2, "two writes lie between the sync's begin and its end");
}

#[test]
fn a_rule_holds_a_call_until_an_event() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #include <fcntl.h>
        #include <pthread.h>
        #include <stdio.h>
        #include <unistd.h>
        static void *late(void *x) { rename("a", "b"); return x; }
        int main(void) {
            pthread_t t;
            int fd = open("log", O_CREAT | O_WRONLY | O_APPEND, 0644);
            close(open("a", O_CREAT | O_WRONLY, 0644));
            pthread_create(&t, 0, late, 0);
            for (int i = 0; i < 3; i++)
                if (write(fd, access("b", F_OK) ? "before\n" : "after\n", access("b", F_OK) ? 7 : 6) < 0) return 9;
            return pthread_join(t, 0);
        }"#;
    let program = cc("rules", source, dir.path());
    let pattern = |call: &str, path: &str, nth| CallPattern { call: call.into(), path: path.into(), nth };
    for seed in 0..6 {
        // The third write is held until the rename has happened; the rename until the second write has.
        let rules = vec![
            Rule { hold: pattern("write", "*log", 3), until: pattern("rename", "*", 1) },
            Rule { hold: pattern("rename", "*", 1), until: pattern("write", "*log", 2) },
        ];
        let run = Run::new(true);
        let mut gate = run.gate(GateOptions { seed, rules, ..GateOptions::default() });
        let child = run.spawn(&program, &[]);
        gate.started(child.0.id());
        let end = gate.run_until_idle(ClockPolicy::Still, 1000).unwrap().end;
        assert_eq!(end, Step::Exited, "{:?}", gate.blocked());
        let calls: Vec<_> =
            run.records().iter().filter(|r| r.is_write() || r.kind == 7).map(|r| r.kind).collect();
        assert_eq!(calls, [2, 2, 7, 2], "seed {seed}");
    }
}

/// Debian's redis-server under the shim, or `None` where there is none.
fn redis(run: &Run) -> Option<Started> {
    let program = Path::new("/usr/bin/redis-server");
    let line = "--port 0 --unixsocket sock --appendonly yes --appendfsync everysec --jemalloc-bg-thread no";
    let mut args: Vec<_> = line.split(' ').collect();
    args.extend(["--save", "", "--logfile", "", "--aof-use-rdb-preamble", "no"]);
    program.exists().then(|| run.spawn(program, &args))
}

fn reply(socket: &mut UnixStream, command: &str) -> String {
    socket.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut text = [0; 4096];
    let n = socket.read(&mut text).unwrap();
    String::from_utf8_lossy(&text[..n]).into_owned()
}

fn syncs(run: &Run) -> usize {
    run.records().iter().filter(|r| r.is_sync()).count()
}

#[test]
fn redis_with_a_frozen_clock_syncs_once_for_each_second_that_it_is_given() {
    let run = Run::new(false);
    let Some(_server) = redis(&run) else { return };
    let path = run.dir.path().join("sock");
    until("the server", || UnixStream::connect(&path).is_ok());
    let mut socket = UnixStream::connect(&path).unwrap();
    assert_eq!(reply(&mut socket, "SET a 1"), "+OK\r\n");
    let mut seen = syncs(&run);
    std::thread::sleep(Duration::from_millis(1300));
    assert_eq!(syncs(&run), seen, "no second has passed");
    for n in 0..3 {
        assert_eq!(reply(&mut socket, &format!("SET a {n}")), "+OK\r\n");
        run.clock.advance(SECOND);
        seen += 1;
        // A sync that the background thread has not yet put away postpones the next one: the server comes to it at a
        // later turn, and without a word of a client, and with a clock that stands still, there is none.
        until("a sync", || {
            assert_eq!(reply(&mut socket, "PING"), "+PONG\r\n");
            syncs(&run) >= seen
        });
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(syncs(&run), seen);
    }
    assert_eq!(run.blind(), Vec::<String>::new());
}

/// Drives a gated server through one conversation; gives the records.
fn converse(seed: u64) -> Option<Vec<String>> {
    let run = Run::new(true);
    let mut gate = run.gate(GateOptions { seed, ..GateOptions::default() });
    let server = redis(&run)?;
    gate.started(server.0.id());
    quiet(&mut gate, SECOND_MS);
    let mut socket = UnixStream::connect(run.dir.path().join("sock")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut say = |gate: &mut Gate, command: String| {
        let mut sent = false;
        for _ in 0..10_000 {
            match gate.step(!sent).unwrap() {
                Step::Client => {
                    socket.write_all(command.as_bytes()).unwrap();
                    sent = true;
                }
                Step::Ran(_) => {}
                end => assert_eq!(end, Step::Idle),
            }
            let mut text = [0; 4096];
            if let Ok(n) = socket.read(&mut text) {
                return String::from_utf8_lossy(&text[..n]).into_owned();
            }
        }
        panic!("no reply");
    };
    for n in 0..5 {
        assert_eq!(say(&mut gate, format!("RPUSH l {n}\r\n")), format!(":{}\r\n", n + 1));
        quiet(&mut gate, 500);
    }
    assert!(say(&mut gate, "BGREWRITEAOF\r\n".into()).starts_with("+Background"));
    for n in 0..5 {
        say(&mut gate, format!("RPUSH m {n}\r\n"));
    }
    quiet(&mut gate, 3 * SECOND_MS);
    assert!(run.records().iter().any(|r| r.line.contains("temp-rewriteaof")), "the rewrite ran");
    assert_eq!(run.blind(), Vec::<String>::new());
    Some(run.lines())
}

/// Lets the server run for some virtual milliseconds.
fn quiet(gate: &mut Gate, millis: u64) {
    let last = gate.clock().now() + millis * 1_000_000;
    let end = gate.run_until_idle(ClockPolicy::Until(last), 100_000).unwrap().end;
    assert_eq!(end, Step::Idle);
}

/// What differs from run to run: the process's number, which stands in the names of temporary files, and which
/// inode numbers the file system uses again. (With an RDB preamble the memory in use, which it tells, differs too.)
fn plain(lines: Vec<String>) -> Vec<String> {
    let is_no_file = |w: &&str| w.strip_prefix("file").is_none_or(|n| n.parse::<u32>().is_err());
    let no_digits = |l: String| {
        let keep = |c: &char| !c.is_ascii_digit();
        if l.contains("temp-rewriteaof") { l.chars().filter(keep).collect() } else { l }
    };
    lines
        .into_iter()
        .map(|l| no_digits(l.split(' ').filter(is_no_file).collect::<Vec<_>>().join(" ")))
        .collect()
}

#[test]
fn redis_appends_and_rewrites_in_one_order_for_one_seed() {
    let Some(first) = converse(1).map(plain) else { return };
    assert!(first.len() > 20, "{first:?}");
    for _ in 0..3 {
        let again = converse(1).map(plain).unwrap();
        for (a, b) in first.iter().zip(&again) {
            assert_eq!(a, b);
        }
        assert_eq!(again.len(), first.len());
    }
}
