//! Unplug on other people's stores. Each file in `tests/` is what a user writes for a store of their own:
//! the [`Store`](unplug::testing::Store) trait on a few lines, and plain `#[test]` functions.

use unplug::cell::CellResult;
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

/// What a check came to in each cell, whatever was recovered for it: states, images, and each finding with the states
/// that show it.
pub fn outcome(report: &Report) -> Vec<String> {
    let cell = |cell: &CellResult| {
        let found = cell.findings.iter().map(|f| (f.violation.class, f.mechanism.as_str(), f.states));
        let images = cell.images_recovered + cell.saved.unread;
        let found: Vec<_> = found.collect();
        format!("{} {:?} {} {images} {found:?}", cell.model, cell.verdict, cell.states_checked)
    };
    report.cells().iter().map(cell).collect()
}
