//! What a check found, for a test's failure message.

use crate::cell::{CellResult, Story};
use crate::report::grade::{Graded, graded};
use crate::repro::Repro;
use crate::testing::path::TestPath;
use crate::testing::target::FAULTS;
use crate::verdict::{Class, Verdict};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a check found.
#[derive(Clone, Debug)]
pub struct Report {
    cells: Vec<CellResult>,
    told: Option<Told>,
    /// The regression file whose workload this is about.
    kept_in: Option<PathBuf>,
    elsewhere: bool,
    /// What else is to be known of it.
    notes: Vec<String>,
}

/// Where a finding shows.
struct Place {
    at: String,
    /// What is known of it elsewhere, each with its title.
    besides: Vec<(&'static str, Vec<String>)>,
}

/// A finding of a regression file.
#[derive(Clone, Debug)]
struct Told {
    class: Class,
    explanation: String,
    story: Story,
    repro: Option<PathBuf>,
}

impl Report {
    pub(crate) fn of(cells: Vec<CellResult>) -> Report {
        Report { cells, told: None, kept_in: None, elsewhere: false, notes: Vec::new() }
    }

    /// This process plays a role for another check of the same test: nothing was run.
    pub(crate) fn elsewhere() -> Report {
        Report { cells: Vec::new(), told: None, kept_in: None, elsewhere: true, notes: Vec::new() }
    }

    /// A regression file whose contract is kept now.
    pub(crate) fn kept() -> Report {
        Report::elsewhere()
    }

    /// The same, with further cells.
    pub(crate) fn with(mut self, cells: Vec<CellResult>) -> Report {
        self.cells.extend(cells);
        self
    }

    /// The same, with copies in `dir` of the repro files of what it tells: of those of a sweep, which are made elsewhere.
    pub(crate) fn keeping_repros(mut self, dir: &Path) -> Report {
        let told: BTreeSet<PathBuf> =
            self.findings().into_iter().filter_map(|(_, told)| told.repro).collect();
        let mut notes = Vec::new();
        let swept = self.cells.iter_mut().filter(|cell| cell.faults.is_some());
        for finding in swept.flat_map(|cell| &mut cell.findings) {
            let Some(made) = finding.repro.take().filter(|path| told.contains(path)) else { continue };
            let kept = dir.join(made.file_name().unwrap_or_default());
            match std::fs::copy(&made, &kept) {
                Ok(_) => finding.repro = Some(kept),
                Err(e) => notes.push(format!("no repro file is kept: {}: {e}", kept.display())),
            }
        }
        notes.into_iter().fold(self, Report::noting)
    }

    /// Whether what is violated shows under a sweep's faults alone.
    pub(crate) fn is_of_sweep(&self) -> bool {
        let mut violated = self.cells.iter().filter(|cell| cell.verdict == Verdict::Violated).peekable();
        violated.peek().is_some() && violated.all(|cell| cell.faults.is_some())
    }

    pub(crate) fn regression(path: &Path, repro: &Repro, class: Class, explanation: &str) -> Report {
        let faults = repro.trace.meta.options.get(FAULTS);
        let after = faults.map_or(String::new(), |plan| format!("after `{}`: ", plan.trim_end()));
        let told = Told {
            class,
            explanation: format!("{after}{explanation}"),
            story: repro.story.clone(),
            repro: Some(path.to_path_buf()),
        };
        Report { cells: Vec::new(), told: Some(told), kept_in: None, elsewhere: false, notes: Vec::new() }
    }

    /// The same, about what a regression file had done to the store.
    pub(crate) fn kept_in(self, path: PathBuf) -> Report {
        Report { kept_in: Some(path), ..self }
    }

    /// The same, with something else that is to be known of it.
    pub(crate) fn noting(mut self, note: String) -> Report {
        self.notes.push(note);
        self
    }

    /// Whether nothing was run because this process belongs to another check of the same test.
    pub fn is_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// The result of each phase under each model.
    pub fn cells(&self) -> &[CellResult] {
        &self.cells
    }

    /// The gravest verdict.
    pub fn verdict(&self) -> Verdict {
        match (&self.told, self.elsewhere) {
            (Some(_), _) => Verdict::Violated,
            (None, true) => Verdict::Holds,
            // A check of nothing has shown nothing.
            (None, false) => self.cells.iter().map(|c| c.verdict).max().unwrap_or(Verdict::NotMeasured),
        }
    }

    /// The class that is decided first among what was found.
    pub fn gravest(&self) -> Option<Class> {
        let classes = self.cells.iter().flat_map(|c| &c.findings).map(|f| f.violation.class);
        classes.chain(self.told.iter().map(|t| t.class)).min()
    }

    /// What is found, each mechanism once and as its most real model shows it: with its class, sentence, story and file.
    fn findings(&self) -> Vec<(Place, Told)> {
        let mut all = Vec::new();
        for Graded { cell, finding, grade, seen_in } in graded(&self.cells) {
            let told = Told {
                class: finding.violation.class,
                explanation: finding.violation.explanation.clone(),
                story: finding.story.clone(),
                repro: finding.repro.clone(),
            };
            let at = match cell.faults {
                Some(_) => format!("under {}, {}", cell.model, cell.phase),
                None => format!("under {}, in phase {}", cell.model, cell.phase),
            };
            let mechanism = vec![finding.mechanism.clone()];
            let besides =
                vec![("grade", vec![grade.to_string()]), ("states", seen_in), ("mechanism", mechanism)];
            all.push((Place { at, besides }, told));
        }
        let repro = Place { at: "on the disk of a repro file".to_owned(), besides: Vec::new() };
        all.extend(self.told.clone().map(|told| (repro, told)));
        all
    }

    /// The message of a failed test. Its last line is the command that replays the first finding.
    pub(crate) fn failure(&self, path: &TestPath) -> String {
        let mut text = self.to_string();
        let found = || self.findings().into_iter().find_map(|(_, told)| told.repro);
        let repro = self.kept_in.clone().or_else(found);
        if let Some(repro) = repro {
            let package = std::env::var("CARGO_PKG_NAME").map_or(String::new(), |name| format!(" -p {name}"));
            let repro = crate::shell::word(&repro.to_string_lossy());
            // A test that is ignored otherwise is not skipped.
            let test = format!("--include-ignored --exact {}", path.path());
            text.push_str(&format!("\nUNPLUG_REPLAY={repro} cargo test{package} -- {test}"));
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.kept_in {
            writeln!(f, "still violated, from the regression file {}:", path.display())?;
        }
        for cell in &self.cells {
            let exhaustive = if cell.exhaustive { "all" } else { "a sample" };
            let faults = cell.faults.map_or(String::new(), |count| {
                format!("{} of {} faults fired, ", count.fired, count.planned)
            });
            writeln!(
                f,
                "{} / {}: {}: {faults}{} states judged ({exhaustive}), {} images recovered, {} spared",
                cell.phase,
                cell.model,
                verdict(cell.verdict),
                cell.states_checked,
                cell.images_recovered,
                cell.saved.unread
            )?;
            for blind in &cell.not_measured {
                writeln!(f, "  not measured: {}: {}", blind.what, blind.detail)?;
            }
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        for (place, told) in self.findings() {
            let class = serde_json::to_value(told.class).ok();
            let class = class.as_ref().and_then(serde_json::Value::as_str).unwrap_or("violation");
            writeln!(f, "\n{class} {}: {}", place.at, told.explanation)?;
            for (title, lines) in &place.besides {
                writeln!(f, "  {title}: {}", lines.join("; "))?;
            }
            let parts = [
                ("acknowledged", &told.story.acknowledged),
                ("the disk", &told.story.disk),
                ("what came back", &told.story.recovered),
                ("what was allowed", &told.story.allowed),
            ];
            for (title, lines) in parts.iter().filter(|(_, lines)| !lines.is_empty()) {
                writeln!(f, "  {title}:")?;
                for line in *lines {
                    writeln!(f, "    {line}")?;
                }
            }
            if let Some(gap) = &told.story.gap {
                writeln!(f, "  the gap: {gap}")?;
            }
            if let Some(repro) = &told.repro {
                writeln!(f, "  repro: {}", repro.display())?;
            }
        }
        Ok(())
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::NotMeasured => "not measured",
        Verdict::Violated => "VIOLATED",
        Verdict::HarnessBroken => "HARNESS BROKEN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Finding;
    use crate::target::policy::Policy;
    use crate::verdict::Violation;

    fn violated(model: &str, mechanism: &str) -> CellResult {
        let finding = Finding {
            violation: Violation::of(Class::Gap, 1, format!("as {model} shows it")),
            states: 1,
            mechanism: mechanism.to_owned(),
            also: BTreeSet::new(),
            story: Story::default(),
            repro: Some(PathBuf::from(format!("{model}.repro"))),
        };
        let cell = CellResult::unrecorded("store", Policy::Always, model, 1, "");
        CellResult { findings: vec![finding], verdict: Verdict::Violated, not_measured: Vec::new(), ..cell }
    }

    /// As `unplug check` tells it: once, with all models that show it, and as the most real one does.
    #[test]
    fn what_several_models_show_is_one_finding() {
        let report = Report::of(vec![violated("posix", "a"), violated("ext4-ordered", "a")]);
        let text = report.to_string();
        let at = |line: &str| text.lines().position(|l| l == line);
        assert!(at("gap under ext4-ordered, in phase all: as ext4-ordered shows it").is_some(), "{text}");
        assert!(!text.contains("as posix shows it") && text.contains("  mechanism: a\n"), "{text}");
        let grade = "  grade: real on ext4 today (seen under ext4-ordered, posix)";
        assert!(at(grade).is_some(), "{text}");
        assert!(at("  states: always / all: ext4-ordered 1 of 0, posix 1 of 0").is_some(), "{text}");
        // What differs in its mechanism is told apart.
        let two = Report::of(vec![violated("posix", "a"), violated("ext4-ordered", "b")]).to_string();
        assert!(two.contains("as posix shows it") && two.contains("as ext4-ordered shows it"), "{two}");
    }
}
