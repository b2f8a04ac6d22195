//! Sabotages of a trace, and names for effects.

use crate::script::Script;
use unplug_faults::effect::{Effects, Names, Outcome};
use unplug_faults::event::{Op, WriteSync};
use unplug_faults::mutate::*;

fn script() -> Script {
    Script::new()
        .base("base.rdb", 'A', 1)
        .mkdir("dir")
        .create("dir/a.incr.aof")
        .op(Op::Invoke { client: 0, id: 0, op: Vec::new() })
        .append_bytes("dir/a.incr.aof", b"set")
        .fdatasync("dir/a.incr.aof")
        .op(Op::Reply { client: 0, id: 0, reply: Vec::new() })
        .fsync("dir")
        .bytes("base.rdb", 0, b"x".to_vec(), WriteSync::Data)
        .sync_all()
}

#[test]
fn drops_matching_syncs() {
    let trace = script().trace;
    let dropped = |pattern: &str| drop_syncs(&trace, pattern).1;
    assert_eq!(dropped("fdatasync:*incr*"), 1);
    assert_eq!(dropped("fdatasync"), 2);
    assert_eq!(dropped("o_dsync:base.*"), 1);
    assert_eq!(dropped("fsync:dir"), 1);
    assert_eq!(dropped("syncfs"), 1);
    assert_eq!(dropped("*"), 4);
    assert_eq!(dropped("fsync:nothing"), 0);
    let (without, count) = drop_all_syncs(&trace);
    assert_eq!((count, count_syncs(&without), without.events.len()), (4, 0, trace.events.len() - 3));
    assert_eq!(drop_nth_sync(&trace, 3).1, 1);
    assert_eq!(drop_nth_sync(&trace, 4).1, 0);
}

/// Without the sync that failed the write is one that has succeeded.
#[test]
fn a_write_whose_sync_failed_stays_without_it() {
    let script = Script::new().base("f", 'A', 1).bytes("f", 0, b"x".to_vec(), WriteSync::Data);
    let trace = script.failed(libc::EIO).trace;
    let (without, count) = drop_all_syncs(&trace);
    assert_eq!((count, without.events[0].errno), (1, 0));
    assert_eq!(Effects::of(&without).len(), Effects::of(&trace).len());
}

#[test]
fn deletes_and_swaps() {
    let trace = script().trace;
    let (deleted, count) = delete_write(&trace, 0);
    assert_eq!((count, deleted.events.len()), (1, trace.events.len() - 1));
    assert_eq!(delete_write(&trace, 2).1, 0);
    let (swapped, count) = swap_events(&trace, 3, 4);
    assert_eq!(count, 1);
    assert_eq!(
        (&swapped.events[3].op, swapped.events[3].begin),
        (&trace.events[4].op, trace.events[3].begin)
    );
    assert_eq!(swap_events(&trace, 3, 99).1, 0);
}

#[test]
fn acknowledges_before_the_sync() {
    let trace = script().trace;
    let (early, count) = acknowledge_early(&trace);
    assert_eq!(count, 1);
    let place = |t: &unplug_faults::trace::Trace, reply: bool| {
        let wanted =
            |op: &Op| if reply { matches!(op, Op::Reply { .. }) } else { matches!(op, Op::Sync { .. }) };
        t.events.iter().position(|e| wanted(&e.op)).expect("there")
    };
    assert!(place(&trace, true) > place(&trace, false) && place(&early, true) < place(&early, false));
    let mut ticks: Vec<u64> = early.events.iter().flat_map(|e| [e.begin, e.end]).collect();
    ticks.sort_unstable();
    ticks.dedup();
    assert_eq!(ticks.len(), trace.events.len() * 2, "no tick is used twice");
}

#[test]
fn effects_have_names() {
    let script = script();
    let effects = Effects::of(&script.trace);
    let names = Names::of(&script.trace, &effects);
    let all: Vec<String> = effects.list.iter().map(|effect| names.describe(effect)).collect();
    assert_eq!(
        all,
        [
            "creation of directory dir",
            "creation of dir/a.incr.aof",
            "size 3 of dir/a.incr.aof",
            "page 0 of dir/a.incr.aof (bytes 0..3)",
            "page 0 of base.rdb (bytes 0..1)",
        ]
    );
    let story = names.story(&effects, unplug_faults::effect::EffectId(3), Outcome::Absent, None);
    assert_eq!(story, "page 0 of dir/a.incr.aof (bytes 0..3) not written");
}
