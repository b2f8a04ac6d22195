//! Each contract's positive and negative space, and each class, on hand-made histories.

use super::{Judge, JudgeOptions};
use crate::contract::Contract;
use crate::dump::{Dump, Entry};
use crate::history::History;
use crate::oracle::testing::TraceBuilder;
use crate::oracle::{MapOp, MapOracle, MapReply, RespOracle};
use crate::recovery::{Lives, Outcome};
use crate::target::Oracle;
use crate::target::resp_op::RespOp;
use crate::verdict::{Class, Violation};

pub(super) const SECOND: u64 = 1_000_000_000;

pub(super) fn line(text: &str) -> Vec<u8> {
    RespOp::command(&text.split(' ').collect::<Vec<_>>()).encode()
}

pub(super) fn lives(dump: &Dump) -> Lives {
    let same = Outcome::Recovered(dump.clone());
    Lives { first: same.clone(), second: Some(same.clone()), third: Some(same), probes: Dump::default() }
}

/// A history of RESP commands, one after the other, each acknowledged.
pub(super) struct Scene {
    pub(super) history: History,
    pub(super) judge: Judge,
}

pub(super) fn scene(contract: Contract, build: impl FnOnce(&mut TraceBuilder)) -> Scene {
    let mut b = TraceBuilder::new();
    build(&mut b);
    judged(contract, b, RespOracle::new())
}

pub(super) fn judged(contract: Contract, b: TraceBuilder, oracle: RespOracle) -> Scene {
    let history = History::of(&b.trace());
    let options = JudgeOptions::at(history.recovery_ms(true));
    let judge = Judge::new(&history, contract, Box::new(oracle), options).unwrap();
    Scene { history, judge }
}

pub(super) fn commands(b: &mut TraceBuilder, list: &[(&str, &str)]) {
    for (command, reply) in list {
        b.run(&line(command), format!("{reply}\r\n").as_bytes());
    }
}

impl Scene {
    /// The state that these commands give.
    pub(super) fn state(list: &[&str]) -> Dump {
        let mut oracle = RespOracle::new();
        for command in list {
            oracle.apply(&line(command), None, 1_000_000);
        }
        oracle.dump()
    }

    pub(super) fn at_end(&self, list: &[&str]) -> Option<Violation> {
        self.judge.check(self.history.end, self.history.end, &lives(&Self::state(list)))
    }

    pub(super) fn class(&self, list: &[&str]) -> Option<Class> {
        self.at_end(list).map(|v| v.class)
    }
}

#[test]
fn always_demands_what_was_acknowledged_and_allows_what_was_invoked() {
    let s = scene(Contract::Always, |b| {
        commands(b, &[("SET a 1", "+OK"), ("INCR a", ":2")]);
        b.invoke(0, &line("INCR a"));
    });
    assert_eq!(s.class(&["SET a 2"]), None);
    assert_eq!(s.class(&["SET a 3"]), None, "invoked, not answered: may be there");
    let lost = s.at_end(&["SET a 1"]).unwrap();
    assert_eq!(
        (lost.class, lost.operation, lost.stricter_than_documented),
        (Class::AcknowledgedLoss, Some(1), false)
    );
    assert_eq!(s.class(&[]), Some(Class::AcknowledgedLoss));
    // Before its acknowledgement the operation may be missing; before its invocation it must be.
    let o = &s.history.operations[1];
    let (invoked, acked) = (o.invoked, o.acked.unwrap());
    let one = lives(&Scene::state(&["SET a 1"]));
    assert_eq!(s.judge.check(invoked, acked - 1, &one), None);
    assert_eq!(s.judge.check(invoked, acked, &one).map(|v| v.crash_point), Some(acked));
    let two = lives(&Scene::state(&["SET a 2"]));
    assert_eq!(s.judge.check(invoked - 1, acked, &two).map(|v| v.crash_point), Some(invoked - 1));
}

#[test]
fn a_state_must_be_allowed_at_every_point_of_its_interval() {
    // The same content at the first and last point, but not between them.
    let s = scene(Contract::Always, |b| {
        commands(b, &[("SET a 1", "+OK"), ("SET a 2", "+OK"), ("SET a 1", "+OK")]);
    });
    let one = lives(&Scene::state(&["SET a 1"]));
    let first = s.history.operations[0].acked.unwrap();
    let between = s.history.operations[1].acked.unwrap();
    assert_eq!(s.judge.check(first, between - 1, &one), None);
    assert_eq!(s.judge.check(first, s.history.end, &one).map(|v| v.crash_point), Some(between));
    assert_eq!(s.judge.check(s.history.end, s.history.end, &one), None);
}

#[test]
fn everysec_allows_its_window_and_measures_the_loss() {
    let s = scene(Contract::EverySec { window: SECOND }, |b| {
        commands(b, &[("SET a 1", "+OK")]);
        b.advance(SECOND / 2);
        commands(b, &[("SET b 1", "+OK")]);
        b.advance(SECOND / 2);
        commands(b, &[("SET c 1", "+OK")]);
        b.advance(SECOND / 2);
        commands(b, &[("PING", "+PONG")]);
    });
    let end = s.history.end;
    let lost = s.at_end(&[]).unwrap();
    assert_eq!(
        (lost.class, lost.operation, lost.loss),
        (Class::WindowExceeded, Some(0), Some(3 * SECOND / 2))
    );
    assert!(!lost.stricter_than_documented);
    assert_eq!(s.class(&["SET a 1"]), None, "b was acknowledged exactly a window ago");
    let digest = Scene::state(&["SET a 1"]).digest(s.judge.now_ms());
    assert_eq!(s.judge.loss(digest, end), Some(SECOND));
    let whole = Scene::state(&["SET a 1", "SET b 1", "SET c 1"]).digest(s.judge.now_ms());
    assert_eq!(s.judge.loss(whole, end), Some(0));
    // The instant before the next clock step counts.
    let point = s.history.operations[2].acked.unwrap() + 1;
    let nothing = lives(&Dump::default());
    assert_eq!(s.judge.check(point, point, &nothing).and_then(|v| v.loss), Some(3 * SECOND / 2 - 1));
    // A gap inside the window breaks no documented promise; outside of it, it does.
    let gap = s.at_end(&["SET a 1", "SET c 1"]).unwrap();
    assert_eq!((gap.class, gap.stricter_than_documented), (Class::Gap, true));
    let gap = s.at_end(&["SET b 1", "SET c 1"]).unwrap();
    assert_eq!((gap.class, gap.stricter_than_documented), (Class::Gap, false));
}

#[test]
fn an_error_shown_to_a_client_ends_the_window() {
    let s = scene(Contract::EverySec { window: SECOND }, |b| {
        commands(b, &[("SET a 1", "+OK"), ("SET b 1", "-MISCONF Errors writing to the AOF file")]);
        b.advance(5 * SECOND);
        commands(b, &[("PING", "+PONG")]);
    });
    assert_eq!(s.class(&[]), None);
    assert_eq!(s.class(&["SET a 1"]), None);
    assert!(
        s.class(&["SET a 1", "SET b 1"]).is_some(),
        "what was refused before anything was done is not there"
    );
    let digest = Dump::default().digest(s.judge.now_ms());
    assert_eq!(s.judge.loss(digest, s.history.end), Some(0));
    let s = scene(Contract::EverySec { window: SECOND }, |b| {
        commands(b, &[("SET a 1", "+OK"), ("SET b 1", "-ERR Errors writing to the AOF file")]);
    });
    assert_eq!(s.class(&["SET a 1"]), None);
    assert_eq!(s.class(&["SET a 1", "SET b 1"]), None, "any other error is indeterminate");
}

#[test]
fn no_demands_only_what_a_completed_rewrite_or_a_barrier_holds() {
    let info = "aof_rewrite_in_progress:0\r\naof_last_bgrewrite_status:ok\r\n";
    let info = format!("${}\r\n{info}", info.len());
    let s = scene(Contract::No, |b| {
        commands(b, &[("SET a 1", "+OK"), ("SET b 1", "+OK"), ("BGREWRITEAOF", "+Background")]);
        commands(b, &[("SET c 1", "+OK"), ("INFO persistence", &info), ("SET d 1", "+OK")]);
    });
    let before = s.history.operations[3].acked.unwrap();
    assert_eq!(s.judge.check(before, before, &lives(&Dump::default())), None);
    let lost = s.at_end(&["SET a 1"]).unwrap();
    assert_eq!(
        (lost.class, lost.operation, lost.stricter_than_documented),
        (Class::AcknowledgedLoss, Some(1), true)
    );
    assert_eq!(s.class(&["SET a 1", "SET b 1"]), None);
    assert_eq!(
        s.at_end(&["SET a 1", "SET b 1", "SET d 1"]).map(|v| (v.class, v.stricter_than_documented)),
        Some((Class::Gap, true))
    );

    let s = scene(Contract::No, |b| {
        commands(b, &[("SET a 1", "+OK"), ("WAITAOF 1 0 0", "*2\r\n:1\r\n:0"), ("SET b 1", "+OK")]);
    });
    let lost = s.at_end(&[]).unwrap();
    assert_eq!((lost.class, lost.stricter_than_documented), (Class::AcknowledgedLoss, false));
    assert_eq!(s.class(&["SET a 1"]), None);
}

#[test]
fn snapshot_allows_contents_of_snapshots_only() {
    let s = scene(Contract::Snapshot, |b| {
        commands(b, &[("SET a 1", "+OK"), ("BGSAVE", "+Background saving started"), ("SET b 1", "+OK")]);
        commands(b, &[("SAVE", "+OK"), ("SET c 1", "+OK"), ("BGSAVE", "+Background saving started")]);
        commands(b, &[("SET d 1", "+OK")]);
    });
    let save = &s.history.operations[3];
    let (invoked, acked) = (save.invoked, save.acked.unwrap());
    for allowed in [&[][..], &["SET a 1"]] {
        assert_eq!(
            s.judge.check(invoked, acked - 1, &lives(&Scene::state(allowed))),
            None,
            "BGSAVE's reply says nothing"
        );
        let old = s.judge.check(acked, acked, &lives(&Scene::state(allowed)));
        assert_eq!(old.map(|v| v.class), Some(Class::AcknowledgedLoss));
    }
    assert_eq!(s.class(&["SET a 1", "SET b 1"]), None);
    assert_eq!(s.class(&["SET a 1", "SET b 1", "SET c 1"]), None, "the second BGSAVE may have ended");
    let odd = s.at_end(&["SET a 1", "SET b 1", "SET c 1", "SET d 1"]).unwrap();
    assert_eq!((odd.class, odd.stricter_than_documented), (Class::SilentCorruption, true));
}

#[test]
fn a_fork_that_nobody_asked_for_may_be_a_snapshot_and_lastsave_acknowledges() {
    let s = scene(Contract::Snapshot, |b| {
        commands(b, &[("SET a 1", "+OK")]);
        b.fork();
        commands(b, &[("SET b 1", "+OK")]);
    });
    assert_eq!(s.class(&["SET a 1"]), None);
    assert_eq!(s.class(&["SET a 1", "SET b 1"]), Some(Class::SilentCorruption));

    let s = scene(Contract::Snapshot, |b| {
        commands(b, &[("SET a 1", "+OK"), ("BGSAVE", "+Background saving started")]);
        b.advance(2 * SECOND);
        commands(b, &[("LASTSAVE", ":1001")]);
    });
    assert_eq!(s.class(&[]), Some(Class::AcknowledgedLoss));
    assert_eq!(s.class(&["SET a 1"]), None);
}

fn busy() -> Scene {
    scene(Contract::Always, |b| {
        commands(b, &[("INCR n", ":1"), ("SET k old", "+OK"), ("RPUSH l a b c", ":3"), ("INCR n", ":2")]);
        commands(b, &[("SET k newer", "+OK"), ("SET x 1", "+OK"), ("DEL k", ":1"), ("SET k last", "+OK")]);
        commands(b, &[("INCR m", ":1")]);
    })
}

#[test]
fn duplicated_operations() {
    let s = busy();
    let twice = s
        .at_end(&["INCR n", "INCR n", "INCR n", "RPUSH l a b c", "SET x 1", "SET k last", "INCR m"])
        .unwrap();
    assert_eq!(twice.class, Class::DuplicatedOperation);
    // A run replayed a second time: the list and the counter doubled together.
    let run = &["SET n 4", "RPUSH l a b c", "RPUSH l a b c", "SET x 1", "SET k last", "INCR m"];
    let run = s.at_end(run).unwrap();
    assert_eq!((run.class, run.operation), (Class::DuplicatedOperation, Some(0)));
}

#[test]
fn gaps() {
    let s = busy();
    let gap = s.at_end(&["SET n 2", "SET k last", "SET x 1", "INCR m"]).unwrap();
    assert_eq!((gap.class, gap.operation, gap.stricter_than_documented), (Class::Gap, Some(2), false));
    // Two operations missing in two places.
    let gap = s.at_end(&["SET n 2", "SET k last", "INCR m"]).unwrap();
    assert_eq!((gap.class, gap.operation), (Class::Gap, Some(2)));
    assert!(gap.explanation.contains("RPUSH l a b c"), "{}", gap.explanation);
}

/// The values that two separate gaps give were never seen by anybody; they are no corruption for that.
#[test]
fn two_gaps_in_one_state_are_a_gap() {
    let s = scene(Contract::No, |b| {
        commands(b, &[("RPUSH l a", ":1"), ("RPUSH l b", ":2"), ("INCR n", ":1"), ("RPUSH l c", ":3")]);
        commands(b, &[("APPEND s xy", ":2"), ("INCR n", ":2"), ("APPEND s z", ":3"), ("RPUSH l d", ":4")]);
    });
    // Neither RPUSH l b nor APPEND s xy, with what came in between and behind.
    let all = ["RPUSH l a", "INCR n", "RPUSH l c", "INCR n", "APPEND s z", "RPUSH l d"];
    let gap = s.at_end(&all).unwrap();
    assert_eq!((gap.class, gap.operation), (Class::Gap, Some(1)), "{}", gap.explanation);
    assert!(gap.explanation.contains("and 1 more"), "{}", gap.explanation);
    // The end is missing as well: that alone would be allowed.
    let cut = s.at_end(&["RPUSH l a", "INCR n", "RPUSH l c", "INCR n", "APPEND s z"]).unwrap();
    assert_eq!((cut.class, cut.operation), (Class::Gap, Some(1)), "{}", cut.explanation);
    // What nobody wrote is none, whatever else is missing.
    let odd = s.at_end(&["RPUSH l a", "RPUSH l c", "INCR n", "APPEND s q"]).unwrap();
    assert_eq!(odd.class, Class::SilentCorruption, "{}", odd.explanation);
}

#[test]
fn torn_operations() {
    let s = busy();
    let torn = s.at_end(&["SET n 2", "RPUSH l a b", "SET k last", "SET x 1", "INCR m"]).unwrap();
    assert_eq!((torn.class, torn.operation), (Class::TornOperation, Some(2)));
    let value = s.at_end(&["SET n 2", "RPUSH l a b c", "SET k las", "SET x 1", "INCR m"]).unwrap();
    assert_eq!((value.class, value.operation), (Class::TornOperation, Some(7)));
    let words = |t: &str| t.split(' ').map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
    let tx = RespOp::transaction(vec![words("SET a 1"), words("SET b 1")]);
    let s = scene(Contract::Always, |b| {
        b.run(&tx.encode(), b"*2\r\n+OK\r\n+OK\r\n");
    });
    assert_eq!(s.class(&["SET a 1"]), Some(Class::TornOperation));
    assert_eq!(s.class(&["SET b 1"]), Some(Class::TornOperation));
    assert_eq!(s.class(&["SET a 1", "SET b 1"]), None);
}

#[test]
fn resurrection_and_silent_corruption() {
    let s = busy();
    let back = s.at_end(&["SET n 2", "RPUSH l a b c", "SET k old", "SET x 1", "INCR m"]).unwrap();
    assert_eq!((back.class, back.operation), (Class::Resurrection, Some(4)));
    let zeros = s.at_end(&["SET n 2", "RPUSH l a b c", "SET k zzzz", "SET x 1", "INCR m"]).unwrap();
    assert_eq!(zeros.class, Class::SilentCorruption);
    assert_eq!(
        s.class(&["SET n 2", "RPUSH l a b c", "SET k last", "SET x 1", "INCR m", "SET alien 1"]),
        Some(Class::SilentCorruption)
    );
}

#[test]
fn failures_to_open_come_first_and_later_starts_last() {
    let s = busy();
    let end = s.history.end;
    let refused = Lives {
        first: Outcome::Refused { message: "Bad".into() },
        second: None,
        third: None,
        probes: Dump::default(),
    };
    assert_eq!(s.judge.check(end, end, &refused).map(|v| v.class), Some(Class::RefusesToOpen));
    let good = Scene::state(&["SET n 2", "RPUSH l a b c", "SET k last", "SET x 1", "INCR m"]);
    let mut l = lives(&good);
    assert_eq!(s.judge.check(end, end, &l), None);
    l.second = Some(Outcome::Recovered(Dump::default()));
    assert_eq!(s.judge.check(end, end, &l).map(|v| v.class), Some(Class::NotIdempotent));
    let mut l = lives(&good);
    l.probes.0.insert(b"p".to_vec(), Entry { value: vec![], expires_at_ms: None });
    assert_eq!(s.judge.check(end, end, &l).map(|v| v.class), Some(Class::LostAfterRecovery));
    let mut l = lives(&Dump::default());
    l.second = Some(Outcome::Recovered(good));
    assert_eq!(
        s.judge.check(end, end, &l).map(|v| v.class),
        Some(Class::AcknowledgedLoss),
        "the first start decides"
    );
}

#[test]
fn several_clients_may_go_either_way_unless_replies_tell() {
    let build = |replies: [&'static str; 2]| {
        scene(Contract::Always, move |b| {
            let (x, y) = (b.invoke(0, &line("APPEND k x")), b.invoke(1, &line("APPEND k yy")));
            b.reply(1, y, replies[1].as_bytes());
            b.reply(0, x, replies[0].as_bytes());
            let z = b.invoke(2, &line("APPEND k z"));
            b.reply(2, z, b":4\r\n");
        })
    };
    let s = build([":3\r\n", ":2\r\n"]);
    assert_eq!(s.class(&["SET k yyxz"]), None);
    assert_ne!(s.class(&["SET k xyyz"]), None, "the replies say that y came first");
    let s = build([":1\r\n", ":3\r\n"]);
    assert_eq!(s.class(&["SET k xyyz"]), None);
    // Both must be there once acknowledged, each alone may be before.
    let before = s.history.operations[1].acked.unwrap() - 1;
    assert_eq!(s.judge.check(before, before, &lives(&Scene::state(&["SET k x"]))), None);
    assert!(s.judge.check(before, before, &lives(&Scene::state(&["SET k yy"]))).is_some());
}

#[test]
fn what_cannot_be_followed_is_named() {
    let judge = |build: &dyn Fn(&mut TraceBuilder), contract, width| {
        let mut b = TraceBuilder::new();
        build(&mut b);
        let history = History::of(&b.trace());
        let options = JudgeOptions { width, ..JudgeOptions::at(0) };
        Judge::new(&history, contract, Box::new(RespOracle::new()), options).err().map(|b| b.what)
    };
    let wrong = judge(&|b| assert_eq!(b.run(&line("INCR a"), b":7\r\n"), 0), Contract::Always, 64);
    assert_eq!(wrong.as_deref(), Some("the reference model disagrees with the target's replies"));
    let unanswered = |b: &mut TraceBuilder| {
        for client in 0..10 {
            b.invoke(client, &line(&format!("SET k{client} 1")));
        }
    };
    assert_eq!(judge(&unanswered, Contract::Always, 64).as_deref(), Some("too many possible orders"));
}

#[test]
fn hiding_an_operation_shows() {
    let s = busy();
    let (blunt, hidden) = s.judge.hiding_one(0, s.history.end, |_, _| true).unwrap();
    assert!((0..9).contains(&hidden));
    let whole = Scene::state(&["SET n 2", "RPUSH l a b c", "SET k last", "SET x 1", "INCR m"]);
    let point = s.history.operations[hidden as usize].acked.unwrap();
    assert!(
        blunt.check(s.history.end, s.history.end, &lives(&whole)).is_some() || hidden == 6 || hidden == 4
    );
    assert!(s.judge.hiding_one(s.history.end + 1, s.history.end + 2, |_, _| true).is_none());
    assert!(
        s.judge.hiding_one(0, s.history.end, |_, _| false).is_none(),
        "what waits in memory shows nowhere"
    );
    assert!(point > 0);
}

#[test]
fn ten_thousand_operations_are_quick() {
    let mut b = TraceBuilder::new();
    for i in 0..10_000u32 {
        let op = MapOp::Put { key: (i % 500).to_le_bytes().to_vec(), value: i.to_le_bytes().to_vec() };
        b.run(&op.encode(), &MapReply::Done.encode());
    }
    let history = History::of(&b.trace());
    let started = std::time::Instant::now();
    let judge =
        Judge::new(&history, Contract::Always, Box::new(MapOracle::new()), JudgeOptions::at(0)).unwrap();
    let (allowed, count) = judge.allowed_at(history.end, 5);
    assert_eq!((allowed[0].operations, count), (10_000, 1));
    let dump = judge.dump_of(allowed[0].digest).unwrap();
    assert_eq!(judge.check(history.end, history.end, &lives(&dump)), None);
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    let mut gap = dump.clone();
    gap.0.remove(7u32.to_le_bytes().as_slice());
    assert!(judge.check(history.end, history.end, &lives(&gap)).is_some());
}

#[test]
fn what_an_unanswered_draw_took_is_any_of_what_there_was() {
    let s = scene(Contract::Always, |b| {
        commands(b, &[("SADD t a b c", ":3")]);
        b.invoke(0, &line("SPOP t"));
        b.kill();
        commands(b, &[("SADD t d", ":1"), ("SISMEMBER t b", ":1")]);
    });
    for kept in ["a b c d", "b c d", "a b d"] {
        assert_eq!(s.class(&[&format!("SADD t {kept}")]), None, "{kept}");
    }
    // Seen later to be there; taken twice; lost.
    for wrong in ["a c d", "b d", "a b c"] {
        assert!(s.class(&[&format!("SADD t {wrong}")]).is_some(), "{wrong}");
    }
}
