//! Repro files beside the tests: written when a check fails, run first ever after, advised to be checked in.

use crate::pool::Pool;
use crate::repro::{self, Replayed, Repro};
use crate::testing::check::CheckError;
use crate::testing::path::TestPath;
use crate::testing::report::Report;
use crate::worker::Workers;
use std::path::{Path, PathBuf};

/// The directory of a test's repro files: `unplug-regressions/<test>` in its package.
pub(crate) fn dir(path: &TestPath) -> PathBuf {
    // Cargo and nextest set it for the processes of tests; without them, the working directory is the package's.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    package.join("unplug-regressions").join(path.path().replace("::", "."))
}

/// Replays one file; `None` if it is another store's.
pub(crate) fn replay(path: &Path, target: &str, pool: &mut dyn Pool) -> Result<Option<Report>, CheckError> {
    let repro = Repro::load(path).map_err(|source| CheckError::Repro { path: path.to_path_buf(), source })?;
    if repro.trace.meta.target != target {
        return Ok(None);
    }
    Ok(Some(match repro::replay(&repro, pool)? {
        Replayed::Kept => Report::kept(),
        Replayed::Same => {
            Report::regression(path, &repro, repro.violation.class, &repro.violation.explanation)
        }
        Replayed::Other { class, explanation } => Report::regression(path, &repro, class, &explanation),
    }))
}

/// Replays all files of a directory, in the order of their names, up to the first that is still violated.
pub(crate) fn run<'a>(
    dir: &Path,
    target: &str,
    pool: impl FnOnce() -> Result<Workers<'a>, CheckError>,
) -> Result<Option<Report>, CheckError> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(None) };
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "repro"));
    files.sort();
    if files.is_empty() {
        return Ok(None);
    }
    let mut pool = pool()?;
    for file in &files {
        if let Some(report) = replay(file, target, &mut pool)?
            && report.verdict() == crate::verdict::Verdict::Violated
        {
            return Ok(Some(report));
        }
    }
    Ok(None)
}
