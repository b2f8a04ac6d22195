//! The boundary between the command line and the work: everything that a command needs, and how the work
//! tells how far it is.

use super::args::WithArgs;
use super::failure::Failure;
use super::plan::{CheckPlan, ExplorePlan, RecordPlan};
use crate::cell::{CellResult, Story};
use crate::report::show::Describe;
use crate::verdict::Violation;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use unplug_faults::trace::Trace;

/// A persistence model, for help and errors.
#[derive(Clone, Copy, Debug)]
pub struct ModelInfo {
    /// Its name.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Whether it is tried where nothing is said.
    pub usual: bool,
}

/// What the recovery of a repro's one state gave.
#[derive(Debug)]
pub struct Replayed {
    /// What the repro says of itself.
    pub story: Story,
    /// What the repro holds: the violation that was found.
    pub expected: Violation,
    /// What was found now; `None`: the contract is kept now.
    pub now: Option<Violation>,
}

/// The work behind the commands.
pub trait Runner {
    /// The persistence models, in the order of the report.
    fn models(&self) -> Vec<ModelInfo>;

    /// Records each policy's workload and explores it under each model. Finished cells go to `watch`.
    ///
    /// # Errors
    /// What kept the whole run from being done. What stopped one cell stands in that cell.
    fn check(&self, plan: &CheckPlan, watch: &dyn Watch) -> Result<(), Failure>;

    /// Records one workload.
    ///
    /// # Errors
    /// What kept it from being recorded.
    fn record(&self, plan: &RecordPlan, watch: &dyn Watch) -> Result<Trace, Failure>;

    /// Explores a saved trace. Finished cells go to `watch`.
    ///
    /// # Errors
    /// What kept the whole run from being done.
    fn explore(
        &self,
        trace: Trace,
        with: &WithArgs,
        plan: &ExplorePlan,
        watch: &dyn Watch,
    ) -> Result<(), Failure>;

    /// Recovers the state of a repro and judges it again.
    ///
    /// # Errors
    /// An unreadable repro, or a target that cannot be started.
    fn replay(&self, repro: &Path, with: &WithArgs, watch: &dyn Watch) -> Result<Replayed, Failure>;

    /// Lays the image of a repro out and says how to start the program on it.
    ///
    /// # Errors
    /// An unreadable repro, or a directory that cannot be written to.
    fn image(&self, repro: &Path, dir: &Path) -> Result<String, Failure>;

    /// The reduced trace and the story in a repro.
    ///
    /// # Errors
    /// An unreadable repro.
    fn open_repro(&self, repro: &Path) -> Result<(Trace, Story), Failure>;

    /// Who can put the history of this trace into words.
    fn describe(&self, trace: &Trace) -> Box<dyn Describe>;

    /// Serves recoveries for another process, and ends with it.
    fn worker(&self, args: &[std::ffi::OsString]) -> std::process::ExitCode;
}

/// Who follows the work.
pub trait Watch {
    /// A new stage begins, of so many states at the most.
    fn stage(&self, name: &str, states: u64);
    /// So many more states were judged.
    fn advance(&self, states: u64);
    /// A cell is finished.
    fn cell(&self, cell: CellResult);
    /// A thing that the user should know although it changes no verdict.
    fn note(&self, text: &str);
    /// Set once the user wants to stop; the work ends its children and comes back.
    fn interrupted(&self) -> Arc<AtomicBool>;
}
