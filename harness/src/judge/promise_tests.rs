//! Promises that the history itself makes or takes away: a stop, a snapshot of the target's own, a child that runs; and a
//! read, which makes none.

use super::tests::{SECOND, commands, judged, line, scene};
use crate::contract::Contract;
use crate::history::{SUSPENDED, WHILE_A_CHILD_RUNS};
use crate::oracle::RespOracle;
use crate::oracle::testing::TraceBuilder;
use crate::verdict::Class;
use unplug_faults::event::{Op, ProcessEvent};

const SHOWN: &str = "$52\r\nrdb_bgsave_in_progress:0\r\nrdb_last_bgsave_status:ok\r\n";
const BUSY: &str = "$52\r\nrdb_bgsave_in_progress:1\r\nrdb_last_bgsave_status:ok\r\n";

#[test]
fn a_snapshot_of_the_targets_own_is_promised_once_info_shows_its_success() {
    let with = |info: &str| {
        scene(Contract::Snapshot, |b| {
            commands(b, &[("SET a 1", "+OK")]);
            b.fork();
            commands(b, &[("SET b 1", "+OK"), ("INFO persistence", info)]);
        })
    };
    assert_eq!(with(BUSY).class(&[]), None, "it may not be done yet");
    let s = with(SHOWN);
    assert_eq!(s.class(&[]), Some(Class::AcknowledgedLoss));
    assert_eq!(s.class(&["SET a 1"]), None);
    assert_eq!(s.class(&["SET a 1", "SET b 1"]), Some(Class::SilentCorruption));
    // Nobody has taken one: what INFO says is of none.
    let s = scene(Contract::Snapshot, |b| commands(b, &[("SET a 1", "+OK"), ("INFO persistence", SHOWN)]));
    assert_eq!(s.class(&[]), None);
    // Of a log, a snapshot says nothing.
    let s = scene(Contract::No, |b| {
        commands(b, &[("SET a 1", "+OK")]);
        b.fork();
        commands(b, &[("INFO persistence", SHOWN)]);
    });
    assert_eq!(s.class(&[]), None);
}

#[test]
fn a_stop_that_ended_well_promises_what_was_acknowledged_before_it() {
    for (contract, stop) in [(Contract::No, "SHUTDOWN"), (Contract::Snapshot, "SHUTDOWN SAVE")] {
        let s = scene(contract.clone(), |b| {
            commands(b, &[("SET a 1", "+OK"), (stop, "+OK"), ("SET b 1", "+OK")]);
        });
        assert_eq!(s.class(&[]), Some(Class::AcknowledgedLoss), "{contract:?}");
        assert_eq!(s.class(&["SET a 1"]), None, "{contract:?}");
        // One whose end never came has promised nothing, and may have done its work.
        let s = scene(contract.clone(), |b| {
            commands(b, &[("SET a 1", "+OK")]);
            b.invoke(1, &line(stop));
        });
        assert_eq!((s.class(&[]), s.class(&["SET a 1"])), (None, None), "{contract:?}");
    }
}

/// One operation before a child runs, one while it does, one after it, and a second later.
fn with_a_child(b: &mut TraceBuilder) {
    commands(b, &[("SET a 1", "+OK")]);
    b.event(Op::Process(ProcessEvent::Forked { child: 1 }));
    commands(b, &[("SET b 1", "+OK")]);
    b.exit(1);
    b.advance(SECOND / 2);
}

#[test]
fn while_a_child_runs_nothing_new_may_be_promised() {
    let with = |contract: Contract, suspended: bool, rest: fn(&mut TraceBuilder)| {
        scene(contract, |b| {
            with_a_child(b);
            rest(b);
            if suspended {
                b.option(SUSPENDED, WHILE_A_CHILD_RUNS);
            }
        })
    };
    let nothing: fn(&mut TraceBuilder) = |_| ();
    let write: fn(&mut TraceBuilder) = |b| commands(b, &[("SET c 1", "+OK")]);
    let second: fn(&mut TraceBuilder) = |b| {
        b.advance(2 * SECOND);
        b.event(Op::Advance);
    };
    let (always, everysec) = (Contract::Always, Contract::EverySec { window: SECOND });
    // What was promised before the fork stays so; what comes while the child runs may be lost, until a later write.
    let s = with(always.clone(), true, nothing);
    assert_eq!((s.class(&[]), s.class(&["SET a 1"])), (Some(Class::AcknowledgedLoss), None));
    let s = with(always.clone(), true, write);
    assert_eq!(s.class(&["SET a 1"]), Some(Class::AcknowledgedLoss));
    assert_eq!(s.class(&["SET a 1", "SET b 1"]), Some(Class::AcknowledgedLoss));
    assert_eq!(with(always.clone(), false, nothing).class(&["SET a 1"]), Some(Class::AcknowledgedLoss));
    // Nobody has written since: the child's end is enough, once it was noticed.
    let s = with(always.clone(), true, second);
    assert_eq!(
        (s.class(&["SET a 1"]), s.class(&["SET a 1", "SET b 1"])),
        (Some(Class::AcknowledgedLoss), None)
    );
    let s = scene(always, |b| {
        commands(b, &[("SET a 1", "+OK")]);
        b.fork();
        commands(b, &[("SET b 1", "+OK")]);
        b.exit(1);
        b.kill();
        b.advance(2 * SECOND);
        b.event(Op::Advance);
        b.option(SUSPENDED, WHILE_A_CHILD_RUNS);
    });
    assert_eq!(s.class(&["SET a 1"]), None, "nobody is left to make up for it");
    // A window begins anew at the child's end.
    assert_eq!(with(everysec.clone(), true, nothing).class(&[]), None);
    assert_eq!(with(everysec, true, second).class(&["SET a 1"]), Some(Class::WindowExceeded));
}

/// What was written before a reply outlives the process. What waits for a sync, under everysec, does not.
#[test]
fn what_waits_for_a_sync_may_go_with_the_process_and_nothing_else() {
    let with = |sync: u64, since: u64, rest: &'static [(&str, &str)]| {
        scene(Contract::Written { postponed: 2 * SECOND }, |b| {
            commands(b, &[("SET a 1", "+OK")]);
            b.advance(SECOND);
            let begin = b.background_sync();
            commands(b, &[("SET b 1", "+OK")]);
            b.advance(sync);
            b.ends_now(begin);
            b.advance(since);
            b.event(Op::Advance);
            commands(b, rest);
        })
    };
    let lost = Some(Class::AcknowledgedLoss);
    // The sync has ended a moment ago: what waited for it is not written yet. What came before it has been.
    let s = with(SECOND, SECOND / 20, &[]);
    assert_eq!((s.class(&["SET a 1"]), s.class(&[])), (None, lost));
    // It has ended for longer than the timer's tick, or lasts longer than a write waits.
    for (sync, since) in [(SECOND, SECOND / 2), (3 * SECOND, 0)] {
        assert_eq!(with(sync, since, &[]).class(&["SET a 1"]), lost, "{sync}, {since}");
    }
    // What is acknowledged behind the sync's end was written, and all that waited before it.
    let s = with(SECOND, SECOND / 20, &[("SET c 1", "+OK")]);
    assert_eq!((s.class(&["SET a 1"]), s.class(&["SET a 1", "SET b 1"])), (lost, lost));
}

#[test]
fn where_there_are_save_points_a_flush_makes_a_snapshot_of_nothing() {
    let s = |save_points: bool| {
        let mut b = TraceBuilder::new();
        commands(&mut b, &[("SET a 1", "+OK"), ("SAVE", "+OK"), ("FLUSHALL", "+OK"), ("SET b 1", "+OK")]);
        let mut oracle = RespOracle::new();
        oracle.save_points = save_points;
        judged(Contract::Snapshot, b, oracle)
    };
    assert_eq!((s(true).class(&[]), s(true).class(&["SET a 1"])), (None, None));
    assert_eq!(s(true).class(&["SET b 1"]), Some(Class::SilentCorruption));
    assert!(s(false).class(&[]).is_some());
}

/// What one client had acknowledged before another one asked for a snapshot is in it.
#[test]
fn a_snapshot_holds_what_any_client_had_acknowledged_before_it_was_asked_for() {
    let with = |saves: u32, save: &'static str| {
        scene(Contract::Snapshot, |b| {
            let set = b.invoke(1, &line("SET a 1"));
            b.reply(1, set, b"+OK\r\n");
            let save = b.invoke(saves, &line(save));
            b.reply(saves, save, b"+OK\r\n");
            commands(b, &[("PING", "+PONG")]);
        })
    };
    for (client, save) in [(0, "SAVE"), (7, "SHUTDOWN SAVE"), (1, "SAVE")] {
        let s = with(client, save);
        assert_eq!(s.class(&[]), Some(Class::AcknowledgedLoss), "{save} of {client}");
        assert_eq!(s.class(&["SET a 1"]), None, "{save} of {client}");
    }
    // One that was asked for in the background promises nothing yet; nor does it show anything that came later.
    let s = with(0, "BGSAVE");
    assert_eq!((s.class(&[]), s.class(&["SET a 1"])), (None, None));
    // What was under way when it was asked for may be in it or not.
    let s = scene(Contract::Snapshot, |b| {
        let set = b.invoke(1, &line("SET a 1"));
        let save = b.invoke(0, &line("SAVE"));
        b.reply(1, set, b"+OK\r\n");
        b.reply(0, save, b"+OK\r\n");
    });
    assert_eq!((s.class(&[]), s.class(&["SET a 1"])), (None, None));
}

/// An error ends the window of what had been acknowledged before it. What is acknowledged afterwards has one of its own.
#[test]
fn after_an_error_a_new_window_begins() {
    let told = "-MISCONF Errors writing to the AOF file";
    let s = scene(Contract::EverySec { window: SECOND }, |b| {
        commands(b, &[("SET a 1", "+OK"), ("SET b 1", told)]);
        b.advance(5 * SECOND);
        commands(b, &[("SET c 1", "+OK")]);
        b.advance(2 * SECOND);
        b.event(Op::Advance);
    });
    assert_eq!(s.class(&["SET a 1"]), Some(Class::WindowExceeded));
    assert_eq!(s.class(&["SET a 1", "SET c 1"]), None);
    // Another error within its window ends that as well.
    let s = scene(Contract::EverySec { window: SECOND }, |b| {
        commands(b, &[("SET a 1", "+OK"), ("SET b 1", told)]);
        b.advance(5 * SECOND);
        commands(b, &[("SET c 1", "+OK"), ("SET d 1", told)]);
        b.advance(2 * SECOND);
        b.event(Op::Advance);
    });
    assert_eq!((s.class(&["SET a 1"]), s.class(&[])), (None, None));
}

/// Of a connection that the target has closed nothing is done any more.
#[test]
fn what_was_not_answered_before_its_connection_was_closed_has_happened_before_what_comes_later_or_not_at_all()
{
    let with = |unanswered: &[(u32, &str)]| {
        let mut b = TraceBuilder::new();
        for (client, command) in unanswered {
            b.invoke(*client, &line(command));
        }
        let later = b.invoke(1 << 16, &line("SET k 2"));
        b.reply(1 << 16, later, b"+OK\r\n");
        judged(Contract::Always, b, RespOracle::new())
    };
    let s = with(&[(0, "SET k 1")]);
    assert_eq!((s.class(&["SET k 2"]), s.class(&["SET k 1", "SET k 2"])), (None, None));
    assert!(s.class(&["SET k 1"]).is_some() && s.class(&[]).is_some());
    // Which of several was the one that was closed is not known: the others may still be done.
    let s = with(&[(0, "SET k 1"), (1, "SET j 1")]);
    assert_eq!((s.class(&["SET k 2", "SET k 1"]), s.class(&["SET k 2", "SET j 1"])), (None, None));
}

/// Another client sees what is not acknowledged yet: that does not acknowledge it. But it orders: what that client writes
/// afterwards comes behind what it has seen.
#[test]
fn a_read_promises_nothing_of_what_it_shows() {
    let seen = |more: fn(&mut TraceBuilder, u32)| {
        scene(Contract::Always, |b| {
            let set = b.invoke(0, &line("SET a 1"));
            let get = b.invoke(1, &line("GET a"));
            b.reply(1, get, b"$1\r\n1\r\n");
            more(b, set);
        })
    };
    let s = seen(|_, _| {});
    assert_eq!((s.class(&[]), s.class(&["SET a 1"])), (None, None));
    assert_eq!(s.class(&["SET a 2"]), Some(Class::SilentCorruption));
    // It is promised from its own reply on ...
    let s = seen(|b, set| {
        b.reply(0, set, b"+OK\r\n");
    });
    assert_eq!((s.class(&[]), s.class(&["SET a 1"])), (Some(Class::AcknowledgedLoss), None));
    // ... or from that of a write behind the read; a read behind the read says no more than the first.
    let write = |b: &mut TraceBuilder, _| {
        let set = b.invoke(1, &line("SET b 1"));
        b.reply(1, set, b"+OK\r\n");
    };
    let s = seen(write);
    assert_eq!(s.class(&["SET b 1"]), Some(Class::Gap));
    assert_eq!((s.class(&[]).is_some(), s.class(&["SET a 1", "SET b 1"])), (true, None));
    let read = |b: &mut TraceBuilder, _| {
        let get = b.invoke(1, &line("GET a"));
        b.reply(1, get, b"$1\r\n1\r\n");
    };
    assert_eq!(seen(read).class(&[]), None);
}

/// What a client was told of as failed, and then shown, is as indeterminate as before: until something else promises it.
#[test]
fn a_read_does_not_promise_what_had_failed() {
    let after = |last: (&str, &str), contract: Contract| {
        scene(contract, |b| {
            commands(b, &[("SET a 1", "-ERR write error"), ("GET a", "$1\r\n1"), last]);
            b.advance(5 * SECOND);
            b.event(Op::Advance);
        })
    };
    let window = Contract::EverySec { window: SECOND };
    for contract in [Contract::Always, window, Contract::Written { postponed: SECOND }] {
        let s = after(("PING", "+PONG"), contract.clone());
        assert_eq!((s.class(&[]), s.class(&["SET a 1"])), (None, None), "{contract:?}");
        let s = after(("SET b 1", "+OK"), contract.clone());
        assert!(s.class(&[]).is_some() && s.class(&["SET b 1"]).is_some(), "{contract:?}");
        assert_eq!(s.class(&["SET a 1", "SET b 1"]), None, "{contract:?}");
    }
}
