//! What an exploration is asked to do.

use super::memo::Memo;
use super::run::explore_part;
use super::sweep::Progress;
use crate::cell::CellResult;
use crate::contract::Contract;
use crate::pool::Pool;
use crate::target::Target;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use unplug_faults::model::Model;
use unplug_faults::state::{Assumption, Plan};
use unplug_faults::trace::Trace;

/// What is to be explored.
pub struct Search<'a> {
    /// The run.
    pub trace: &'a Trace,
    /// What was run.
    pub target: &'a dyn Target,
    /// What it promises.
    pub contract: Contract,
    /// What the disk may do.
    pub model: &'a dyn Model,
    /// How much is tried.
    pub plan: Plan,
    /// Rules that are taken away.
    pub assume: &'a [Assumption],
    /// Where repro files go; `None`: none are written.
    pub repro_dir: Option<&'a Path>,
}

impl Search<'_> {
    /// The arguments of the workers that recover the images.
    pub(super) fn worker_arguments(&self) -> Vec<String> {
        let command = self.target.worker(&self.contract);
        command.get_args().map(|a| a.to_string_lossy().into_owned()).collect()
    }
}

/// As [`explore_sharing`](super::explore_sharing), but of the last phase only; without `teeth` the cell cannot hold.
pub fn explore_last(
    search: &Search<'_>,
    memo: &mut Memo,
    pool: &mut dyn Pool,
    progress: &mut dyn FnMut(Progress),
    cancel: &AtomicBool,
    teeth: bool,
) -> Option<CellResult> {
    explore_part(search, memo, pool, progress, cancel, (teeth, true)).pop()
}
