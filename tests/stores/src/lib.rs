//! Unplug on other people's stores. Each file in `tests/` is what a user writes for a store of their own:
//! the [`Store`](unplug::testing::Store) trait on a few lines, and plain `#[test]` functions.

use unplug::testing::Report;
use unplug::verdict::Class;

/// The classes of what a check found, each once, in the order in which they are decided.
pub fn classes(report: &Report) -> Vec<Class> {
    let findings = report.cells().iter().flat_map(|cell| &cell.findings);
    let mut classes: Vec<Class> = findings.map(|finding| finding.violation.class).collect();
    classes.sort();
    classes.dedup();
    classes
}
