//! The verdict in words, and the exit code.

use super::grade::Graded;
use super::number::grouped;
use super::story::class_name;
use crate::cell::{CellResult, Recoveries, Saved, Teeth};
use crate::verdict::{ExitCode, Verdict};

/// What a whole run says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gate<'a> {
    /// The models whose violations count (`--fail-on`); empty: all.
    pub fail_on: &'a [String],
    /// The run ended before all was done: by Ctrl-C, or by a failure.
    pub incomplete: bool,
}

impl Gate<'_> {
    /// The gravest verdict of the cells that count.
    pub fn verdict(&self, cells: &[CellResult]) -> Verdict {
        match self.exit_code(cells) {
            ExitCode::Holds => Verdict::Holds,
            ExitCode::Violated => Verdict::Violated,
            ExitCode::NotMeasured | ExitCode::Usage => Verdict::NotMeasured,
            ExitCode::HarnessBroken => Verdict::HarnessBroken,
        }
    }

    /// The process's exit code. A part of the work is no pass.
    pub fn exit_code(&self, cells: &[CellResult]) -> ExitCode {
        match ExitCode::of(cells, (!self.fail_on.is_empty()).then_some(self.fail_on)) {
            ExitCode::Holds if self.incomplete => ExitCode::NotMeasured,
            code => code,
        }
    }
}

/// The last lines of the report.
pub fn lines(cells: &[CellResult], findings: &[Graded<'_>], gate: Gate<'_>) -> Vec<String> {
    let mut out = Vec::new();
    for cell in cells {
        let name = format!("{} / {} / {}", cell.configuration(), cell.phase, cell.model);
        if let Teeth::Blunt { sabotage } = &cell.teeth {
            out.push(format!("teeth: {name}: the sabotage '{sabotage}' was not found"));
        }
    }
    out.extend(faults(cells));
    out.extend(not_measured(cells));
    out.extend(saved(cells));
    out.extend(crashed(cells));
    if gate.incomplete {
        out.push("incomplete: what stands above is a part of what was asked for".into());
    }
    if !gate.fail_on.is_empty() {
        out.push(format!("counted for the exit code: {}", gate.fail_on.join(", ")));
    }
    out.push(verdict_line(cells, findings, gate));
    out
}

/// How many of the planned faults fired: of each policy and kind, as the models of one kind share their runs.
fn faults(cells: &[CellResult]) -> Vec<String> {
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for cell in cells {
        let Some(count) = cell.faults else { continue };
        let part = format!("{} {} of {}", cell.phase, grouped(count.fired), grouped(count.planned));
        match lines.iter_mut().find(|(run, _)| *run == cell.configuration()) {
            Some((_, parts)) if parts.contains(&part) => {}
            Some((_, parts)) => parts.push(part),
            None => lines.push((cell.configuration(), vec![part])),
        }
    }
    lines.into_iter().map(|(run, parts)| format!("faults fired, {run}: {}", parts.join("; "))).collect()
}

/// What needed not to be done.
fn saved(cells: &[CellResult]) -> Option<String> {
    let mut all = Saved::default();
    cells.iter().for_each(|cell| all += cell.saved);
    let parts = [
        (all.equal_images, "states with an image of another"),
        (all.unread, "images that differ only in what recovery never read"),
        (all.starts, "second starts after one that changed nothing"),
    ];
    let told = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", grouped(*n)));
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| format!("saved: {}", told.join("; ")))
}

/// How many recoveries power was lost in, and how many there were that nobody looked at so.
fn crashed(cells: &[CellResult]) -> Option<String> {
    let sum = |of: fn(&Recoveries) -> u64| grouped(cells.iter().map(|c| of(&c.recoveries)).sum());
    let depth = cells.iter().map(|c| c.recoveries.depth).max().filter(|depth| *depth > 0)?;
    let (crashed, quiet) = (sum(|r| r.crashed), sum(|r| r.quiet));
    let (written, left_out) = (sum(|r| r.written), sum(|r| r.left_out));
    Some(format!(
        "recoveries crashed, to depth {depth}: {crashed}, of which {quiet} changed nothing; \
         written to and crashed then: {written}; left out for want of budget: {left_out}"
    ))
}

/// Each reason once, with the cells that it stopped.
fn not_measured(cells: &[CellResult]) -> Vec<String> {
    let mut reasons: Vec<(String, usize)> = Vec::new();
    for blind in cells.iter().flat_map(|c| &c.not_measured) {
        let text = format!("not measured: {}: {}", blind.what, blind.detail);
        match reasons.iter_mut().find(|(t, _)| *t == text) {
            Some((_, n)) => *n += 1,
            None => reasons.push((text, 1)),
        }
    }
    reasons.into_iter().map(|(text, n)| if n == 1 { text } else { format!("{text} ({n} cells)") }).collect()
}

fn verdict_line(cells: &[CellResult], findings: &[Graded<'_>], gate: Gate<'_>) -> String {
    let of = |v| cells.iter().filter(|c| c.verdict == v).count();
    let all = cells.len();
    let states = grouped(cells.iter().map(|c| c.states_checked).sum());
    let images = grouped(cells.iter().map(|c| c.images_recovered).sum());
    let work = format!("{states} states checked, {images} images recovered");
    match gate.verdict(cells) {
        Verdict::Holds => {
            let bit = cells.iter().filter(|c| matches!(c.teeth, Teeth::Bit { .. })).count();
            let held = of(Verdict::Holds);
            format!(
                "HOLDS: {held} of {all} cells keep their contract; {work}; {bit} of {all} sabotages found."
            )
        }
        Verdict::Violated => {
            let gravest = findings.iter().min_by_key(|g| g.finding.violation.class);
            let gravest =
                gravest.map(|g| format!(", the first to mend: {}", class_name(g.finding.violation.class)));
            let (violated, n) = (of(Verdict::Violated), findings.len());
            let gravest = gravest.unwrap_or_default();
            format!(
                "VIOLATED: {violated} of {all} cells break their contract; findings: {n}{gravest}; {work}."
            )
        }
        Verdict::NotMeasured if cells.is_empty() => "NOT MEASURED: no cell was completed.".into(),
        Verdict::NotMeasured => {
            let n = of(Verdict::NotMeasured);
            format!(
                "NOT MEASURED: {n} of {all} cells could not be judged; nothing counted is violated; {work}."
            )
        }
        Verdict::HarnessBroken => {
            let n = of(Verdict::HarnessBroken);
            format!("HARNESS BROKEN: {n} of {all} cells failed their own check; trust none of the results.")
        }
    }
}
