//! Snapshots, and a target that goes on after a kill.

use super::tests::{SECOND, Scene, commands, line, lives, scene};
use super::{Judge, JudgeOptions};
use crate::contract::Contract;
use crate::history::History;
use crate::oracle::RespOracle;
use crate::oracle::testing::TraceBuilder;
use crate::verdict::Class;

const SHOWN: &str = "$52\r\nrdb_bgsave_in_progress:0\r\nrdb_last_bgsave_status:ok\r\n";
const STARTED: &str = "+Background saving started";

/// One snapshot promised, another one under way, and a kill; then the rest.
fn killed_amid_a_save(rest: &[(&str, &str)]) -> Scene {
    scene(Contract::Snapshot, |b| {
        commands(b, &[("SET a 1", "+OK"), ("SAVE", "+OK"), ("SET a 2", "+OK"), ("BGSAVE", STARTED)]);
        commands(b, &[("SET b 1", "+OK")]);
        b.kill();
        commands(b, rest);
    })
}

#[test]
fn a_life_begins_with_what_was_promised_or_with_what_was_under_way() {
    let s = killed_amid_a_save(&[("SET c 1", "+OK"), ("SAVE", "+OK"), ("SET d 1", "+OK")]);
    assert_eq!(s.class(&["SET a 1", "SET c 1"]), None);
    assert_eq!(s.class(&["SET a 2", "SET c 1"]), None);
    // What no snapshot held is lost, and does not come back; the rest was saved.
    let odd = [
        &["SET a 2", "SET b 1", "SET c 1"][..],
        &["SET c 1"],
        &["SET a 1"],
        &["SET a 2"],
        &["SET a 1", "SET b 1", "SET c 1"],
        &["SET a 1", "SET c 1", "SET d 1"],
    ];
    for odd in odd {
        assert!(s.class(odd).is_some(), "{odd:?}");
    }
    assert_eq!(s.class(&["SET a 1"]), Some(Class::AcknowledgedLoss));
    assert_eq!(s.class(&[]), Some(Class::AcknowledgedLoss));
}

#[test]
fn until_a_new_life_has_saved_what_was_allowed_at_the_kill_stays_so() {
    let s = killed_amid_a_save(&[("SET c 1", "+OK"), ("BGSAVE", STARTED), ("SET d 1", "+OK")]);
    for allowed in [&["SET a 1"][..], &["SET a 2"], &["SET a 1", "SET c 1"], &["SET a 2", "SET c 1"]] {
        assert_eq!(s.class(allowed), None, "{allowed:?}");
    }
    assert!(s.class(&["SET c 1"]).is_some());
    assert_eq!(s.class(&[]), Some(Class::AcknowledgedLoss));
}

#[test]
fn replies_of_the_new_life_tell_with_what_it_began() {
    let told = |value: &str| killed_amid_a_save(&[("GET a", value), ("SET c 1", "+OK"), ("SAVE", "+OK")]);
    let (older, newer) = (&["SET a 1", "SET c 1"][..], &["SET a 2", "SET c 1"][..]);
    let s = told("$1\r\n1");
    assert_eq!((s.class(older), s.class(newer).is_some()), (None, true));
    let s = told("$1\r\n2");
    assert_eq!((s.class(older).is_some(), s.class(newer)), (true, None));
}

#[test]
fn a_new_life_promises_nothing_of_what_the_old_one_had_under_way() {
    // A server that has just started says that the last save went well, and when it was started.
    let s = scene(Contract::Snapshot, |b| {
        commands(b, &[("SET a 1", "+OK"), ("BGSAVE", STARTED)]);
        b.kill();
        b.advance(3 * SECOND);
        commands(b, &[("INFO persistence", SHOWN), ("LASTSAVE", ":1003")]);
    });
    assert_eq!((s.class(&[]), s.class(&["SET a 1"])), (None, None));
    // Nor of what it forked by itself; of its own it does.
    let s = scene(Contract::Snapshot, |b| {
        commands(b, &[("SET a 1", "+OK")]);
        b.fork();
        b.kill();
        commands(b, &[("INFO persistence", SHOWN), ("SET b 1", "+OK"), ("BGSAVE", STARTED)]);
        commands(b, &[("INFO persistence", SHOWN)]);
    });
    assert_eq!((s.class(&["SET b 1"]), s.class(&["SET a 1", "SET b 1"])), (None, None));
    assert_eq!(s.class(&[]), Some(Class::AcknowledgedLoss));
    assert_eq!(s.class(&["SET a 1"]), Some(Class::AcknowledgedLoss));
}

#[test]
fn one_that_goes_on_from_less_than_it_promised_is_found() {
    let s = scene(Contract::Snapshot, |b| {
        commands(b, &[("SET a 1", "+OK"), ("SAVE", "+OK"), ("SET a 2", "+OK"), ("SAVE", "+OK")]);
        b.kill();
        commands(b, &[("GET a", "$1\r\n1"), ("SET c 1", "+OK"), ("SAVE", "+OK")]);
    });
    for lost in [&["SET a 1"][..], &["SET a 1", "SET c 1"]] {
        let found = s.at_end(lost).unwrap();
        assert_eq!(
            (found.class, found.stricter_than_documented),
            (Class::AcknowledgedLoss, false),
            "{lost:?}"
        );
    }
    // Replies that tell of it are not needed.
    let s = scene(Contract::Snapshot, |b| {
        commands(b, &[("SET a 1", "+OK"), ("SAVE", "+OK"), ("SET a 2", "+OK"), ("SAVE", "+OK")]);
        b.kill();
        commands(b, &[("SET c 1", "+OK"), ("SAVE", "+OK")]);
    });
    assert_eq!(s.class(&["SET a 2", "SET c 1"]), None);
    assert!(s.class(&["SET a 1", "SET c 1"]).is_some());
    // What it never held it cannot go on from.
    let mut b = TraceBuilder::new();
    commands(&mut b, &[("SET a 1", "+OK"), ("SAVE", "+OK")]);
    b.kill();
    commands(&mut b, &[("GET a", "$1\r\n7")]);
    let options = JudgeOptions::at(0);
    let judge =
        Judge::new(&History::of(&b.trace()), Contract::Snapshot, Box::new(RespOracle::new()), options);
    let blind = judge.err().map(|blind| blind.what);
    assert_eq!(blind.as_deref(), Some("the reference model disagrees with the target's replies"));
}

#[test]
fn a_second_kill_leaves_what_the_life_between_began_with_or_has_taken() {
    let s = scene(Contract::Snapshot, |b| {
        commands(b, &[("SET a 1", "+OK"), ("SAVE", "+OK"), ("SET a 2", "+OK"), ("BGSAVE", STARTED)]);
        b.kill();
        commands(b, &[("GET a", "$1\r\n2"), ("SET b 1", "+OK"), ("BGSAVE", STARTED)]);
        b.kill();
        commands(b, &[("SET c 1", "+OK"), ("SAVE", "+OK")]);
    });
    assert_eq!(s.class(&["SET a 2", "SET c 1"]), None);
    assert_eq!(s.class(&["SET a 2", "SET b 1", "SET c 1"]), None);
    // The page cache had the newer one, as its life has shown.
    assert!(s.class(&["SET a 1", "SET c 1"]).is_some());
    // What each kill took is not counted: of the first life three operations are held, of the second none or two, and of
    // the third the one before its SAVE.
    let (allowed, _) = s.judge.allowed_at(s.history.end, 9);
    let mut held: Vec<u64> = allowed.iter().map(|state| state.operations).collect();
    held.sort_unstable();
    assert_eq!(held, [4, 6]);
}

/// That it went on from too little is not forgotten with the next kill.
#[test]
fn what_a_life_began_with_against_its_promise_is_none_for_the_next_one_either() {
    let s = scene(Contract::Snapshot, |b| {
        commands(b, &[("SET a 1", "+OK"), ("SAVE", "+OK"), ("SET a 2", "+OK"), ("SAVE", "+OK")]);
        b.kill();
        commands(b, &[("GET a", "$1\r\n1"), ("SET b 1", "+OK")]);
        b.kill();
        commands(b, &[("GET a", "$1\r\n1"), ("SET c 1", "+OK"), ("SAVE", "+OK")]);
    });
    assert_eq!(s.class(&["SET a 1", "SET c 1"]), Some(Class::AcknowledgedLoss));
}

#[test]
fn what_a_later_life_lost_is_known_as_long_as_it_was_there() {
    let s = scene(Contract::Snapshot, |b| {
        commands(b, &[("SET a 1", "+OK"), ("INCR n", ":1"), ("SET b 1", "+OK"), ("SET c 1", "+OK")]);
        commands(b, &[("SAVE", "-ERR"), ("SET d 1", "+OK")]);
        b.kill();
        commands(b, &[("GET a", "$-1"), ("SET e 1", "+OK"), ("SAVE", "+OK")]);
    });
    let kill = s.history.kills[0];
    let class = |list: &[&str], at| s.judge.check(at, at, &lives(&Scene::state(list))).map(|v| v.class);
    assert_eq!(class(&["SET a 1", "SET c 1"], kill - 1), Some(Class::Gap));
    assert_eq!(class(&["SET a 1", "INCR n", "SET b 1", "SET c 1"], kill - 1), None);
    assert_eq!(s.class(&["SET e 1"]), None);
    assert!(s.class(&["SET a 1", "SET e 1"]).is_some());
    // And so are operations that the teeth hide.
    let first = s.history.operations[0].invoked;
    let (_, hidden) = s.judge.hiding_one(first, kill - 1, |_, _| true).unwrap();
    assert!((0..6).contains(&hidden), "{hidden}");
    let (blunt, hidden) = s.judge.hiding_one(first, s.history.end, |_, _| true).unwrap();
    assert_eq!(s.history.operation(hidden).unwrap().op, line("SET e 1"));
    let end = s.history.end;
    assert!(blunt.check(end, end, &lives(&Scene::state(&["SET e 1"]))).is_some());
    let before = lives(&Scene::state(&["SET a 1", "INCR n", "SET b 1", "SET c 1"]));
    assert_eq!(blunt.check(kill - 1, kill - 1, &before), None, "of another life nothing is hidden");
}
