//! The report for a person: findings, table, the verdict in words.

use super::summary::Gate;
use super::{Look, grade, number, story, summary, table};
use crate::cell::CellResult;
use std::fmt::Write;

/// The whole report. The verdict is its last line.
pub fn report(cells: &[CellResult], gate: Gate<'_>, look: Look) -> String {
    let findings = grade::graded(cells);
    let mut out = String::new();
    if let Some(first) = cells.first() {
        let _ = writeln!(out, "{}\n", heading(first));
    }
    for (i, graded) in findings.iter().enumerate() {
        let _ = writeln!(out, "{}", story::finding(i + 1, graded, look));
    }
    if !cells.is_empty() {
        let _ = writeln!(out, "{}", table::table(cells, look));
    }
    if let Some(matrix) = table::matrix(cells, look) {
        let _ = writeln!(out, "{matrix}");
    }
    for line in summary::lines(cells, &findings, gate) {
        let _ = writeln!(out, "{line}");
    }
    out
}

fn heading(first: &CellResult) -> String {
    format!(
        "{}, seed {}: pulled the plug after {} operations",
        first.target,
        first.seed,
        number::grouped(first.operations)
    )
}
