//! Repro files beside the tests: written when a check fails, tried first ever after, advised to be checked in.
//!
//! Tried first means: what was done to the store is done again, and crashed under the file's model. Asked for by
//! `UNPLUG_REPLAY`, the file's own disk is recovered: that shows the violation as it was found.

use crate::faults::FAULTED;
use crate::pool::Pool;
use crate::repro::{self, Replayed, Repro};
use crate::testing::error::CheckError;
use crate::testing::path::TestPath;
use crate::testing::report::Report;
use crate::testing::target::FAULTS;
use crate::verdict::Verdict;
use crate::workload::{Step, Workload};
use std::path::{Path, PathBuf};
use unplug_faults::event::{Event, Op};

/// The directory of a test's repro files: `unplug-regressions/<test>` in its package.
pub(crate) fn dir(path: &TestPath) -> PathBuf {
    // Cargo and nextest set it for the processes of tests; without them, the working directory is the package's.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    package.join("unplug-regressions").join(path.path().replace("::", "."))
}

/// Replays the file that the user asked for, and says what came of it: a test that passes says nothing otherwise.
pub(crate) fn asked_for(
    path: &Path,
    test: &TestPath,
    target: &str,
    pool: &mut dyn Pool,
) -> Result<Report, CheckError> {
    let repro = load(path)?;
    if let Some(other) = test_of(&repro).filter(|other| *other != test.path()) {
        return Err(CheckError::OtherTest { path: path.to_path_buf(), test: other.to_owned() });
    }
    // A test may have checks of several stores: the file is then another's of them.
    let Some(report) = replay(path, &repro, target, pool)? else { return Ok(Report::elsewhere()) };
    if report.verdict() == Verdict::Holds {
        eprintln!("unplug: {}: the contract is kept on this disk now", path.display());
    }
    Ok(report)
}

pub(crate) fn load(path: &Path) -> Result<Repro, CheckError> {
    Repro::load(path).map_err(|source| CheckError::Repro { path: path.to_path_buf(), source })
}

/// The test whose worker recovered the file's image.
pub(crate) fn test_of(repro: &Repro) -> Option<&str> {
    let at = repro.worker.iter().position(|arg| arg == "--exact")?;
    repro.worker.get(at + 1).map(String::as_str)
}

/// Replays one file; `None` if it is another store's.
fn replay(
    path: &Path,
    repro: &Repro,
    target: &str,
    pool: &mut dyn Pool,
) -> Result<Option<Report>, CheckError> {
    if repro.trace.meta.target != target {
        return Ok(None);
    }
    Ok(Some(match repro::replay(repro, pool)? {
        Replayed::Kept => Report::kept(),
        Replayed::Same => {
            Report::regression(path, repro, repro.violation.class, &repro.violation.explanation)
        }
        Replayed::Other { class, explanation } => Report::regression(path, repro, class, &explanation),
    }))
}

/// The kept files of a test, in the order of their names.
pub(crate) fn kept(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "repro"));
    files.sort();
    files
}

/// What had been done to the store before the crash, so that it can be done again: the file's disk is what the
/// store left *then*, and says nothing of a store whose writes were mended.
pub(crate) fn workload(repro: &Repro) -> Workload {
    Workload { steps: steps(&repro.trace.events), seed: repro.trace.meta.seed }
}

/// The fault plan under which that was done.
pub(crate) fn faults(repro: &Repro) -> String {
    repro.trace.meta.options.get(FAULTS).cloned().unwrap_or_default()
}

fn steps(events: &[Event]) -> Vec<Step> {
    let (mut steps, mut now) = (Vec::new(), 0);
    for event in events {
        match &event.op {
            Op::Invoke { client, op, .. } => steps.push(Step::Invoke { client: *client, op: op.clone() }),
            Op::Phase(name) if name != FAULTED => steps.push(Step::Phase(name.clone())),
            Op::Kill => steps.push(Step::KillAndRestart),
            Op::Advance => steps.push(Step::Advance { nanos: event.at.saturating_sub(now) }),
            _ => {}
        }
        now = now.max(event.at);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::TraceBuilder;

    #[test]
    fn what_was_done_is_read_from_the_trace() {
        let mut b = TraceBuilder::new();
        b.phase("first");
        b.run(b"one", b"ok");
        b.event(Op::SyncAll);
        b.event(Op::Kill);
        b.run(b"two", b"ok");
        let steps = steps(&b.trace().events);
        let invoke = |op: &[u8]| Step::Invoke { client: 0, op: op.to_vec() };
        assert_eq!(
            steps,
            [Step::Phase("first".into()), invoke(b"one"), Step::KillAndRestart, invoke(b"two")]
        );
    }
}
