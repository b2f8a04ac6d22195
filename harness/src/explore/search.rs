//! What an exploration is asked to do.

use crate::contract::Contract;
use crate::target::Target;
use std::path::Path;
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
