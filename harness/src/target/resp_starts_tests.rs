//! Servers started in both ways, and with some of their lives spared: what comes out is the same.

use super::*;
use crate::target::policy::Policy;
use crate::target::server::Program;
use crate::target::value::encode_command;
use unplug_faults::event::NodeKind;
use unplug_faults::image::{Image, ImageNode};

fn recovery(program: &str, policy: Policy, starts: Starts) -> RespRecovery {
    let (cpu, wall) = (Duration::from_secs(5), Duration::from_secs(60));
    let program = Program::Server(program.into());
    RespRecovery { program, policy, extra: Vec::new(), cpu, wall, starts }
}

/// Debian's server, where it is installed; these tests say nothing without it, and say so.
fn redis_is_missing() -> bool {
    let missing = Program::Server("redis-server".into()).name().is_err();
    if missing {
        assert!(std::env::var_os("UNPLUG_REQUIRE_REDIS").is_none(), "redis-server is required, and missing");
        eprintln!("NOT MEASURED: no redis-server");
    }
    missing
}

/// An append-only directory with `commands`, of which `cut` bytes are missing and `zeros` are zero at the end.
fn lay_out(dir: &Path, commands: &[&[&str]], cut: usize, zeros: usize) {
    let mut log = Vec::new();
    for command in commands {
        encode_command(&mut log, command);
    }
    log.truncate(log.len() - cut);
    let len = log.len();
    log[len - zeros..].fill(0);
    let below = dir.join("appendonlydir");
    std::fs::create_dir_all(&below).unwrap();
    let manifest = "file appendonly.aof.1.incr.aof seq 1 type i\n";
    std::fs::write(below.join("appendonly.aof.manifest"), manifest).unwrap();
    std::fs::write(below.join("appendonly.aof.1.incr.aof"), log).unwrap();
}

#[test]
fn forks_give_what_plain_starts_give() {
    if redis_is_missing() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let image = scratch.path().join("image");
    let commands: [&[&str]; 4] =
        [&["SELECT", "0"], &["SET", "k", "v"], &["RPUSH", "l", "a", "b"], &["APPEND", "k", "longer"]];
    // Ending in zeros that it refuses; empty, whole, cut short, ending in zeros that it loads.
    let images: [(usize, usize, usize); 8] =
        [(4, 0, 12), (0, 0, 0), (4, 0, 0), (4, 9, 0), (4, 0, 12), (4, 0, 5), (2, 0, 0), (3, 1, 0)];
    for policy in [Policy::Always, Policy::No] {
        let mut forks = recovery("redis-server", policy, Starts::by(Way::Untried));
        let mut plain = recovery("redis-server", policy, Starts::plain());
        let (mut refused, mut loaded) = (0, 0);
        for (n, cut, zeros) in images {
            let [a, b] = [&mut forks, &mut plain].map(|recovery| {
                let _ = std::fs::remove_dir_all(&image);
                std::fs::create_dir_all(&image).unwrap();
                if n > 0 {
                    lay_out(&image, &commands[..n], cut, zeros);
                }
                recovery.lives(&image, scratch.path(), 0, false).unwrap()
            });
            assert!(same(&a, &b), "{n} commands, {cut} cut, {zeros} zeros: {a:?} and {b:?}");
            refused += u32::from(matches!(a.first, Outcome::Refused { .. }));
            // Of an empty directory the third start does: it loads the probes.
            loaded += u32::from(matches!(&b.third, Some(Outcome::Recovered(dump)) if !dump.0.is_empty()));
            assert_eq!(forks.starts.are_forks(), loaded > 0, "what loads no data proves nothing");
        }
        assert!(refused > 1 && loaded > 3, "{refused} refused, {loaded} loaded: a way out was not compared");
        assert!(!plain.starts.are_forks());
    }
}

/// A start on an image that it leaves as it is, is not made again, whichever way it is made: what comes out is what
/// comes out where nothing is spared.
#[test]
fn a_start_that_changes_nothing_is_made_once() {
    if redis_is_missing() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let at = scratch.path().join("image");
    let mut incr = Vec::new();
    encode_command(&mut incr, &["SELECT", "0"]);
    encode_command(&mut incr, &["SET", "k", "v"]);
    encode_command(&mut incr, &["PEXPIREAT", "k", "9999999999999"]);
    let manifest = b"file appendonly.aof.1.incr.aof seq 1 type i\n".to_vec();
    let whole = incr.len();
    for (ending, all, spared) in [(whole, 3, 2), (whole - 3, 3, 3), (whole + 9, 1, 1)] {
        let mut log = incr.clone();
        // Cut short, it is truncated; longer than it was, it ends in zeros, which the server refuses.
        log.resize(ending, 0);
        let mut image = Image::default();
        let mut put = |name: &[u8], kind, data| {
            image.nodes.insert(name.to_vec(), ImageNode { kind, data, link_to: None });
        };
        put(b"appendonlydir", NodeKind::Dir, Vec::new());
        put(b"appendonlydir/appendonly.aof.manifest", NodeKind::File, manifest.clone());
        put(b"appendonlydir/appendonly.aof.1.incr.aof", NodeKind::File, log);
        let shared = (&image).into();
        let ground = Ground {
            dir: &at,
            scratch: scratch.path(),
            image: &shared,
            watch: None,
            merged: &std::cell::Cell::new(false),
        };
        let lay_out = || {
            let _ = std::fs::remove_dir_all(&at);
            std::fs::create_dir_all(&at).unwrap();
            image.lay_out(&at).unwrap();
        };
        let mut plain = recovery("redis-server", Policy::Always, Starts::plain());
        lay_out();
        let expected = plain.lives(&at, scratch.path(), 0, false).unwrap();
        lay_out();
        let lives = plain.lives_on(&ground, 0, false).unwrap();
        assert!(same(&expected, &lives), "{ending}: {expected:?} and {lives:?}");
        assert_eq!(plain.starts.made(), all + spared, "{ending}");
        let mut forks = recovery("redis-server", Policy::Always, Starts::by(Way::Untried));
        // First the forks are compared with plain starts, of which none is spared. A refusal proves nothing.
        for starts in [spared + all, if all > 1 { spared } else { spared + all }] {
            lay_out();
            let before = forks.starts.made();
            let lives = forks.lives_on(&ground, 0, false).unwrap();
            assert!(same(&expected, &lives), "{ending}: {expected:?} and {lives:?}");
            assert_eq!(forks.starts.made() - before, starts, "{ending}");
        }
        assert_eq!(forks.starts.are_forks(), all > 1);
    }
}

#[test]
fn snapshots_too() {
    if redis_is_missing() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let image = scratch.path().join("image");
    std::fs::create_dir_all(&image).unwrap();
    let mut forks = recovery("redis-server", Policy::Snapshot, Starts::by(Way::Untried));
    let first = forks.lives(&image, scratch.path(), 0, false).unwrap();
    assert!(matches!(&first.second, Some(Outcome::Recovered(_))), "{first:?}");
    // The second life has saved its probes: the image now has data.
    for _ in 0..2 {
        std::fs::copy(image.join("dump.rdb"), scratch.path().join("saved")).unwrap();
        let again = forks.lives(&image, scratch.path(), 0, false).unwrap();
        let Outcome::Recovered(dump) = &again.first else { panic!("{again:?}") };
        assert!(!dump.0.is_empty());
        std::fs::copy(scratch.path().join("saved"), image.join("dump.rdb")).unwrap();
        assert!(forks.starts.are_forks());
    }
}

#[test]
fn a_template_that_ends_is_replaced() {
    if redis_is_missing() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let image = scratch.path().join("image");
    let mut forks = recovery("redis-server", Policy::Always, Starts::by(Way::Untried));
    let recover = |forks: &mut RespRecovery| {
        let _ = std::fs::remove_dir_all(&image);
        lay_out(&image, &[&["SET", "k", "v"]], 0, 0);
        forks.lives(&image, scratch.path(), 0, false)
    };
    let first = recover(&mut forks).unwrap();
    let Way::Forks(template) = &forks.starts.way else { panic!("{:?}", forks.starts) };
    crate::worker::fork::kill_group(template.pid());
    assert!(same(&first, &recover(&mut forks).unwrap()) && !forks.starts.are_forks());
    assert!(same(&first, &recover(&mut forks).unwrap()) && forks.starts.are_forks());
}

#[test]
fn what_has_no_first_thread_is_started_plainly() {
    let scratch = tempfile::tempdir().unwrap();
    let image = scratch.path().join("image");
    std::fs::create_dir_all(&image).unwrap();
    let mut recovery = recovery("/bin/false", Policy::Always, Starts::by(Way::Untried));
    let lives = recovery.lives(&image, scratch.path(), 0, false).unwrap();
    assert!(
        matches!(&lives.first, Outcome::Refused { message } if message.contains("exit status: 1")),
        "{lives:?}"
    );
    assert!(matches!(recovery.starts.way, Way::Plain));
}

/// The image of an append-only directory whose log holds this.
fn image(log: &[u8]) -> Image {
    let mut image = Image::default();
    let mut put = |name: &[u8], kind, data: &[u8]| {
        image.nodes.insert(name.to_vec(), ImageNode { kind, data: data.to_vec(), link_to: None });
    };
    put(b"appendonlydir", NodeKind::Dir, b"");
    let manifest = b"file appendonly.aof.1.incr.aof seq 1 type i\n";
    put(b"appendonlydir/appendonly.aof.manifest", NodeKind::File, manifest);
    put(b"appendonlydir/appendonly.aof.1.incr.aof", NodeKind::File, log);
    image
}

/// A log that ends anywhere comes to the same whether or not it is known how a server lives on with what it was cut to;
/// and few of its lives are lived.
#[test]
fn logs_that_are_cut_to_the_same_are_lived_on_with_once() {
    if redis_is_missing() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let at = scratch.path().join("image");
    std::fs::create_dir_all(&at).unwrap();
    let (mut log, mut ends) = (Vec::new(), Vec::new());
    for command in [&["SET", "k", "v"][..], &["RPUSH", "l", "a"], &["MULTI"], &["INCR", "n"], &["EXEC"]] {
        encode_command(&mut log, command);
        ends.push(log.len());
    }
    let knowing = Starts { sound: Some(RefCell::default()), ..Starts::by(Way::Untried) };
    let mut spared = recovery("redis-server", Policy::Always, knowing);
    let mut all = recovery("redis-server", Policy::Always, Starts::by(Way::Untried));
    let mut lived = Vec::new();
    for len in 0..=log.len() {
        let before = spared.starts.made();
        let image = image(&log[..len]);
        let shared = (&image).into();
        let [a, b] = [&mut spared, &mut all].map(|recovery| {
            image.lay_out(&at).unwrap();
            let merged = &Cell::new(false);
            let ground = Ground { dir: &at, scratch: scratch.path(), image: &shared, watch: None, merged };
            (recovery.lives_on(&ground, 7, false).unwrap(), merged.get())
        });
        assert_eq!(a, b, "{len} of {} bytes", log.len());
        if spared.starts.made() - before > 1 {
            lived.push(len);
        }
    }
    // The very first shows that forks will do. Of whole commands nothing is cut; where the next one is torn in its first
    // byte, it is new what that is cut to, unless it was met as a whole: an open transaction is not, it is cut in its turn.
    let [set, push, multi, incr, exec] = ends.try_into().unwrap();
    assert_eq!(lived, [0, 1, set, push, multi + 1, incr + 1, exec]);
    let (few, many) = (spared.starts.made(), all.starts.made());
    assert!(2 * few < many, "{few} of {many} starts");
}
