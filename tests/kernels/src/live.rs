//! Workloads run on this machine's own kernel and compared at once; nothing is kept.

use crate::Result;
use crate::fixture::{Fixture, OfKind};
use crate::kernel::{Kind, missing, release};
use crate::observe::observe;
use crate::script::Script;
use crate::suite::{Checked, check};
use crate::variant::{Depth, variants};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How workloads are run.
pub struct Run<'r> {
    /// This package's program.
    pub program: &'r Path,
    /// Which variants, by name.
    pub wanted: &'r (dyn Fn(&str) -> bool + Sync),
    /// About so many crash images of each.
    pub limit: usize,
    /// How many at once: mounting waits more than it works.
    pub at_once: usize,
}

/// One workload on one file system.
///
/// # Errors
/// The bench failed, or the model has too many states.
pub fn measure(script: &Script, kind: &Kind, run: &Run<'_>) -> Result<Checked> {
    let mut list = variants(script, if kind.fs == "btrfs" { Depth::Committing } else { Depth::All })?;
    list.retain(|variant| (run.wanted)(&variant.name));
    let runs = observe(&list, kind, run.program, run.limit)?.into_iter().flatten().collect();
    let of_kind = OfKind { kind: kind.name.into(), kernel: release(), runs };
    check(&Fixture { script: script.clone(), kinds: vec![of_kind] }, None, &|_| true)
}

/// Many of them; `said` hears of each as it is done. What failed is given with its reason: it was not measured.
pub fn measure_all(
    jobs: &[(Script, &Kind)],
    run: &Run<'_>,
    said: &(dyn Fn(&Script, &Kind, &Checked) + Sync),
) -> (Checked, Vec<String>) {
    let next = AtomicUsize::new(0);
    let all = Mutex::new((Checked::default(), Vec::new()));
    let work = || {
        while let Some((script, kind)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let done = measure(script, kind, run);
            let Ok(mut all) = all.lock() else { return };
            match done {
                Ok(checked) => {
                    said(script, kind, &checked);
                    all.0.join(checked);
                }
                Err(e) => all.1.push(format!("{} on {}: {e}", script.name, kind.name)),
            }
        }
    };
    std::thread::scope(|scope| (0..run.at_once.max(1)).for_each(|_| drop(scope.spawn(work))));
    all.into_inner().unwrap_or_else(|held| held.into_inner())
}

/// The kinds that this machine can mount, and what is said of the others.
pub fn usable<'k>(kinds: impl IntoIterator<Item = &'k Kind>) -> (Vec<&'k Kind>, Vec<String>) {
    let (mut usable, mut lacking) = (Vec::new(), Vec::new());
    for kind in kinds {
        let missing = missing(kind);
        if missing.is_empty() {
            usable.push(kind);
        } else {
            lacking.push(format!("*not measured*: {}: missing {}", kind.name, missing.join(", ")));
        }
    }
    (usable, lacking)
}
