//! One object a line and cell. Two equal runs differ in `elapsed_s` and in nothing else.

use super::story::class_name;
use super::table::verdict_name;
use crate::cell::{CellResult, Finding, Recoveries, Teeth};
use serde::Serialize;

/// The version of what [`line()`] gives; a changed meaning or a field that goes makes a new one.
pub const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    target: &'a str,
    policy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    phase: &'a str,
    model: &'a str,
    seed: u64,
    operations: u64,
    events: u64,
    crash_points: u64,
    legal_states: Legal,
    states_checked: u64,
    images_recovered: u64,
    saved: crate::cell::Saved,
    exhaustive: bool,
    deviation_bound: u8,
    worst_loss_ms: Option<f64>,
    verdict: String,
    violations: Vec<Violation<'a>>,
    not_measured: Vec<String>,
    teeth: Option<Bite<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    faults: Option<crate::cell::FaultCount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery: Option<Recovery>,
    elapsed_s: f64,
}

/// Crashes during recovery, where there were any.
#[derive(Serialize)]
struct Recovery {
    depth: u8,
    recorded: u64,
    left_out: u64,
    crashed: u64,
    quiet: u64,
    refused: u64,
    written: u64,
    states_checked: u64,
    images_recovered: u64,
}

/// A decimal string: counts pass what a JSON reader's numbers hold.
#[derive(Serialize)]
struct Legal {
    count: String,
    exact: bool,
}

#[derive(Serialize)]
struct Violation<'a> {
    class: String,
    crash_point: u64,
    explanation: &'a str,
    repro: Option<String>,
    mechanism: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<String>,
    states: u64,
    stricter_than_documented: bool,
    loss_ms: Option<f64>,
}

#[derive(Serialize)]
struct Bite<'a> {
    sabotage: &'a str,
    found_as: Option<String>,
}

/// A cell as one line, without the line's end.
///
/// # Errors
/// Whatever serde_json says.
pub fn line(cell: &CellResult) -> serde_json::Result<String> {
    serde_json::to_string(&Line {
        schema: SCHEMA,
        target: &cell.target,
        policy: &cell.policy,
        variant: cell.variant.as_deref(),
        phase: &cell.phase,
        model: &cell.model,
        seed: cell.seed,
        operations: cell.operations,
        events: cell.events,
        crash_points: cell.crash_points,
        legal_states: Legal { count: cell.legal_states.states.to_string(), exact: cell.legal_states.exact },
        states_checked: cell.states_checked,
        images_recovered: cell.images_recovered,
        saved: cell.saved,
        exhaustive: cell.exhaustive,
        deviation_bound: cell.deviation_bound,
        worst_loss_ms: cell.worst_loss.map(millis),
        verdict: verdict_name(cell.verdict).replace(' ', "-"),
        violations: cell.findings.iter().map(violation).collect(),
        not_measured: cell.not_measured.iter().map(|b| format!("{}: {}", b.what, b.detail)).collect(),
        teeth: match &cell.teeth {
            Teeth::Bit { sabotage, class } => Some(Bite { sabotage, found_as: Some(class_name(*class)) }),
            Teeth::Blunt { sabotage } => Some(Bite { sabotage, found_as: None }),
            Teeth::NotNeeded => None,
        },
        faults: cell.faults,
        recovery: (cell.recoveries.depth > 0).then(|| recovery(&cell.recoveries)),
        elapsed_s: cell.elapsed.as_secs_f64(),
    })
}

fn recovery(done: &Recoveries) -> Recovery {
    Recovery {
        depth: done.depth,
        recorded: done.recorded,
        left_out: done.left_out,
        crashed: done.crashed,
        quiet: done.quiet,
        refused: done.refused,
        written: done.written,
        states_checked: done.states,
        images_recovered: done.images,
    }
}

fn violation(finding: &Finding) -> Violation<'_> {
    Violation {
        class: class_name(finding.violation.class),
        crash_point: finding.violation.crash_point,
        explanation: &finding.violation.explanation,
        repro: finding.repro.as_ref().map(|p| p.display().to_string()),
        mechanism: &finding.mechanism,
        also: finding.also.iter().copied().map(class_name).collect(),
        states: finding.states,
        stricter_than_documented: finding.violation.stricter_than_documented,
        loss_ms: finding.violation.loss.map(millis),
    }
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
