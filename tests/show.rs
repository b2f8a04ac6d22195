//! `unplug show` and the report, as a person sees them.

use std::collections::BTreeSet;
use std::time::Duration;
use unplug::cell::{CellResult, Finding, Story, Teeth};
use unplug::report::show::{Plain, json, text};
use unplug::report::summary::Gate;
use unplug::report::{Look, json as lines, text as report};
use unplug::target::resp_op::RespOp;
use unplug::verdict::{Class, ExitCode, Verdict, Violation};
use unplug_faults::event::{
    AllocateMode, Event, FileId, NodeKind, Op, ProcessEvent, SiteId, SyncKind, Task, WriteSync,
};
use unplug_faults::model::Count;
use unplug_faults::trace::{BaseNode, Blind, Frame, Meta, Site, Trace};

const DIR: FileId = FileId(1);
const BASE: FileId = FileId(2);
const TEMP: FileId = FileId(3);
const LOG: FileId = FileId(4);

fn operations() -> Vec<(u64, Op)> {
    let set = RespOp::command(&["SET", "key:1", "a b"]).encode();
    let write = |file, offset, data: &[u8], sync| Op::Write { file, offset, data: data.to_vec(), sync };
    vec![
        (0, Op::Phase("append".into())),
        (0, Op::Invoke { client: 0, id: 0, op: set }),
        (1, write(LOG, 0, b"*3\r\n$3\r\nSET\r\n$5\r\nkey:1\r\n$3\r\na b\r\n", WriteSync::None)),
        (1, Op::Sync { file: LOG, kind: SyncKind::Fdatasync }),
        (1, Op::Send { client: 0, stream_offset: 0, len: 5 }),
        (0, Op::Reply { client: 0, id: 0, reply: b"+OK\r\n".to_vec() }),
        (0, Op::Phase("rewrite".into())),
        (0, Op::Process(ProcessEvent::Forked { child: 1 })),
        (2, Op::Create { dir: DIR, name: b"temp-1.aof".to_vec(), file: TEMP, kind: NodeKind::File }),
        (2, write(TEMP, 0, b"REDIS0011\xfa\x00", WriteSync::Data)),
        (2, Op::Allocate { file: TEMP, mode: AllocateMode::KeepSize, offset: 0, len: 8192 }),
        (2, Op::Sync { file: TEMP, kind: SyncKind::Range { offset: 0, len: 0 } }),
        (
            2,
            Op::Rename {
                from_dir: DIR,
                from_name: b"temp-1.aof".to_vec(),
                to_dir: DIR,
                to_name: b"base.aof".to_vec(),
                file: TEMP,
                replaced: Some(BASE),
            },
        ),
        (0, Op::Sync { file: DIR, kind: SyncKind::Fsync }),
        (0, Op::Truncate { file: BASE, size: 0 }),
        (0, Op::Process(ProcessEvent::Exit { status: 0 })),
        (0, Op::Kill),
        (0, Op::Open { file: TEMP, flags: libc::O_RDWR | libc::O_APPEND }),
        (1, Op::ToldAgain { file: LOG, kind: SyncKind::Fdatasync }),
        (0, Op::SyncAll),
    ]
}

fn trace() -> Trace {
    let file = |file, name: &[u8], data: &[u8]| BaseNode {
        file,
        dir: DIR,
        name: name.to_vec(),
        kind: NodeKind::File,
        data: data.to_vec(),
    };
    let dir =
        BaseNode { file: DIR, dir: FileId::ROOT, name: b"aof".to_vec(), kind: NodeKind::Dir, data: vec![] };
    let mut trace = Trace {
        meta: Meta { target: "engine".into(), seed: 7, gated: true, virtual_time: true, ..Meta::default() },
        base: vec![dir, file(BASE, b"base.aof", b"old"), file(LOG, b"log\xff.aof", b"")],
        sites: vec![
            Site { frames: vec![Frame { module: "unplug".into(), offset: 16, symbol: None, line: None }] },
            Site {
                frames: vec![Frame {
                    module: "unplug".into(),
                    offset: 32,
                    symbol: Some("unplug_engine::aof::flush".into()),
                    line: Some("aof.rs:120".into()),
                }],
            },
        ],
        blind: vec![Blind {
            what: "io_uring_setup".into(),
            detail: "called 1 time; turn io_uring off".into(),
        }],
        ..Trace::default()
    };
    trace.meta.options.insert("appendfsync".into(), "always".into());
    for (i, (thread, op)) in operations().into_iter().enumerate() {
        let begin = 10 * i as u64;
        let instant =
            matches!(op, Op::Phase(_) | Op::Invoke { .. } | Op::Reply { .. } | Op::Process(_) | Op::Kill);
        trace.events.push(Event {
            begin,
            end: if instant { begin } else { begin + 3 },
            at: 1_000_000_000 + 1500 * i as u64,
            task: Task { process: u16::from(thread == 2), thread: thread as u16 % 2 },
            site: matches!(op, Op::Write { .. }).then_some(SiteId(if thread == 1 { 1 } else { 0 })),
            errno: if matches!(op, Op::Truncate { .. } | Op::ToldAgain { .. }) { libc::EIO } else { 0 },
            op,
        });
    }
    if let Some(last) = trace.events.last_mut() {
        last.end = Event::NEVER;
    }
    trace
}

fn shown(look: Look) -> String {
    let mut out = Vec::new();
    text(&trace(), &Plain, look, &mut out).expect("memory takes all");
    String::from_utf8(out).expect("UTF-8 whatever the names are")
}

#[test]
fn a_trace_can_be_followed() {
    insta::assert_snapshot!(shown(Look::default()));
}

#[test]
fn colour_changes_no_word() {
    let coloured = shown(Look { colour: true });
    assert!(coloured.contains('\u{1b}'));
    assert_eq!(console::strip_ansi_codes(&coloured), shown(Look::default()));
}

#[test]
fn json_has_a_line_for_each_event_and_one_for_the_run() {
    let mut out = Vec::new();
    json(&trace(), &Plain, &mut out).expect("memory takes all");
    let out = String::from_utf8(out).expect("UTF-8");
    let values: Vec<serde_json::Value> =
        out.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(values.len(), trace().events.len() + 1);
    assert_eq!(values[0]["schema"], 1);
    assert_eq!(values[4]["call"], "fdatasync");
    assert_eq!(values[values.len() - 1]["end"], serde_json::Value::Null, "it never returned");
}

fn cell(policy: &str, model: &str, verdict: Verdict) -> CellResult {
    CellResult {
        target: "engine".into(),
        policy: policy.into(),
        variant: None,
        phase: "append".into(),
        model: model.into(),
        seed: 7,
        operations: 60,
        events: 300,
        crash_points: 301,
        legal_states: Count { states: "3100000000000".parse().expect("a number"), exact: model != "posix" },
        states_checked: 5000,
        images_recovered: 1234,
        exhaustive: false,
        deviation_bound: 1,
        worst_loss: (policy == "everysec").then_some(998_700_000),
        verdict,
        findings: Vec::new(),
        not_measured: Vec::new(),
        teeth: Teeth::Bit { sabotage: "all syncs dropped".into(), class: Class::AcknowledgedLoss },
        faults: None,
        recoveries: Default::default(),
        saved: Default::default(),
        elapsed: Duration::from_millis(1500),
    }
}

fn finding(mechanism: &str) -> Finding {
    Finding {
        violation: Violation {
            class: Class::AcknowledgedLoss,
            crash_point: 42,
            stricter_than_documented: false,
            operation: Some(3),
            loss: None,
            explanation: "operation #3 was acknowledged and is gone".into(),
        },
        states: 17,
        mechanism: mechanism.into(),
        also: BTreeSet::new(),
        story: Story {
            acknowledged: vec!["#2 SET a 1 -> OK".into(), "#3 SET b 2 -> OK".into()],
            disk: vec!["lost: write to aof/log @27 +27".into()],
            recovered: vec!["a = 1".into()],
            allowed: vec!["a = 1, b = 2".into()],
            gap: Some("aof.rs:120 (unplug_engine::aof::flush) is not followed by a sync".into()),
        },
        repro: Some("unplug-repros/always-append-1.repro".into()),
    }
}

fn violated() -> Vec<CellResult> {
    let mut cells = vec![
        cell("always", "posix", Verdict::Violated),
        cell("always", "ext4-ordered", Verdict::Violated),
        cell("everysec", "posix", Verdict::Violated),
        cell("everysec", "ext4-ordered", Verdict::Holds),
        cell("no", "prefix", Verdict::NotMeasured),
    ];
    cells[0].findings = vec![finding("acknowledged-loss: data, aof.rs:120")];
    cells[1].findings = cells[0].findings.clone();
    cells[2].findings = vec![finding("acknowledged-loss: name, aof.rs:90")];
    for violated in &mut cells[..3] {
        violated.teeth = Teeth::NotNeeded;
    }
    cells[4].teeth = Teeth::NotNeeded;
    cells[4].not_measured = vec![Blind { what: "io_uring_setup".into(), detail: "called once".into() }];
    cells
}

#[test]
fn a_report_of_violations() {
    insta::assert_snapshot!(report::report(&violated(), Gate::default(), Look::default()));
}

#[test]
fn a_report_of_nothing_wrong() {
    let mut cells = vec![cell("always", "prefix", Verdict::Holds), cell("everysec", "posix", Verdict::Holds)];
    cells[0].exhaustive = true;
    insta::assert_snapshot!(report::report(&cells, Gate::default(), Look::default()));
}

#[test]
fn json_lines() {
    let cells = violated();
    let all: Vec<String> = cells.iter().map(|c| lines::line(c).expect("JSON")).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn the_gravest_verdict_is_the_exit_code() {
    let code = |cells: &[CellResult], fail_on: &[&str], incomplete| {
        let fail_on: Vec<String> = fail_on.iter().map(|m| (*m).to_owned()).collect();
        Gate { fail_on: &fail_on, incomplete }.exit_code(cells)
    };
    let holds = cell("always", "posix", Verdict::Holds);
    let blind = cell("always", "ext4-ordered", Verdict::NotMeasured);
    let bad = cell("always", "prefix", Verdict::Violated);
    let broken = cell("always", "posix-split", Verdict::HarnessBroken);
    assert_eq!(code(std::slice::from_ref(&holds), &[], false), ExitCode::Holds);
    assert_eq!(code(&[holds.clone(), blind.clone()], &[], false), ExitCode::NotMeasured);
    assert_eq!(code(&[holds.clone(), blind.clone(), bad.clone()], &[], false), ExitCode::Violated);
    assert_eq!(code(&[broken.clone(), bad.clone()], &[], false), ExitCode::HarnessBroken);
    // A gate lets other models' violations pass, but never a harness that is broken.
    assert_eq!(code(&[holds.clone(), bad.clone()], &["posix"], false), ExitCode::Holds);
    assert_eq!(code(&[holds.clone(), broken], &["posix"], false), ExitCode::HarnessBroken);
    // A part of the work is no pass; what it has found stays found. No work at all is no pass either.
    assert_eq!(code(std::slice::from_ref(&holds), &[], true), ExitCode::NotMeasured);
    assert_eq!(code(&[holds, bad], &[], true), ExitCode::Violated);
    assert_eq!(code(&[], &[], false), ExitCode::NotMeasured);
}
