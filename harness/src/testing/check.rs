//! A check: what is done to a store, what it promises, how hard it is tried.

use crate::contract::Contract;
use crate::minimise::fewest_steps;
use crate::target::Target;
use crate::testing::env::Settings;
use crate::testing::error::CheckError;
use crate::testing::path::TestPath;
use crate::testing::report::Report;
use crate::testing::store::Store;
use crate::testing::target::StoreTarget;
use crate::testing::trial::Trial;
use crate::testing::{regressions, role};
use crate::verdict::Verdict;
use crate::workload::{Step, Workload};
use std::path::Path;
use std::time::Duration;

/// The models that a check tries unless told otherwise: the strictest reading of the standard, and the file
/// system that most disks have.
const MODELS: [&str; 2] = ["posix", "ext4-ordered"];
/// Crash states of each phase and model that are tried at the most.
const BUDGET: u64 = 4_000;
/// Recordings that making a failing workload smaller may cost.
const SMALLER: usize = 24;

/// A check of a store: made by [`check!`](crate::check), ended by [`Check::assert_holds`].
#[must_use = "a check does nothing before assert_holds, assert_violated or run"]
pub struct Check<S: Store> {
    path: TestPath,
    pub(super) target: StoreTarget<S>,
    steps: Result<Vec<Step>, postcard::Error>,
    pub(super) contract: Contract,
    models: Vec<String>,
    pub(super) assume: Vec<String>,
    pub(super) faults: String,
    pub(super) sweep: Option<String>,
    seed: u64,
    pub(super) budget: u64,
    pub(super) workers: usize,
    pub(super) recovery_depth: Option<u8>,
    pub(super) prune: bool,
}

/// A check of `S` in the test of this path; [`check!`](crate::check) finds the path by itself.
pub fn check<S: Store>(path: TestPath) -> Check<S> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    Check {
        target: StoreTarget::new(path.clone()),
        path,
        steps: Ok(Vec::new()),
        contract: Contract::Always,
        models: MODELS.map(str::to_owned).to_vec(),
        assume: Vec::new(),
        faults: String::new(),
        sweep: None,
        seed: 0,
        budget: BUDGET,
        workers,
        recovery_depth: None,
        prune: false,
    }
}

/// Operations as steps, each of which waits for the one before.
pub(super) fn invocations<Op: serde::Serialize>(
    ops: impl IntoIterator<Item = Op>,
) -> Result<Vec<Step>, postcard::Error> {
    let step = |op: Op| Ok(Step::Invoke { client: 0, op: postcard::to_stdvec(&op)? });
    ops.into_iter().map(step).collect()
}

impl<S: Store> Check<S> {
    /// Adds operations, each of which waits for the one before.
    pub fn ops(mut self, ops: impl IntoIterator<Item = S::Op>) -> Self {
        self.steps = self.steps.and_then(|mut steps| {
            steps.extend(invocations(ops)?);
            Ok(steps)
        });
        self
    }

    /// Begins a phase: the report tells the crashes in it apart from others.
    pub fn phase(self, name: impl Into<String>) -> Self {
        self.step(Step::Phase(name.into()))
    }

    /// Kills the store's process, and opens the store again.
    pub fn restart(self) -> Self {
        self.step(Step::KillAndRestart)
    }

    /// Lets time pass: virtual time, where that was asked for.
    pub fn wait(self, time: Duration) -> Self {
        self.step(Step::Advance { nanos: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) })
    }

    /// Adds one step.
    pub fn step(mut self, step: Step) -> Self {
        if let Ok(steps) = &mut self.steps {
            steps.push(step);
        }
        self
    }

    /// What the store promises; [`Contract::Always`] if not told.
    pub fn contract(mut self, contract: Contract) -> Self {
        self.contract = contract;
        self
    }

    /// What the disk may do: names of models, as `unplug check --help` lists them.
    pub fn models<'m>(mut self, names: impl IntoIterator<Item = &'m str>) -> Self {
        self.models = names.into_iter().map(str::to_owned).collect();
        self
    }

    /// Takes rules away, so that what they hide becomes visible: names as `unplug check --assume` has them.
    pub fn assume<'r>(mut self, names: impl IntoIterator<Item = &'r str>) -> Self {
        self.assume = names.into_iter().map(str::to_owned).collect();
        self
    }

    /// Faults that are done to the store's calls while it is recorded, a rule a line, as in a file for `unplug check --faults`:
    /// `fsync *.log EIO nth=2`. Paths are those in the store's directory. Power is lost before, between and after them; the
    /// disk of recoveries is in order.
    ///
    /// The contract stays. An operation that the store answered with an error, or not at all, may or may not have
    /// happened; what it acknowledged before and after stays promised. A store may stop, refuse or repair, but not lie. Once
    /// eight operations have failed, no more are tried. A rule that never fires makes the check *not measured*.
    pub fn faults(mut self, rules: &str) -> Self {
        rules.clone_into(&mut self.faults);
        self
    }

    /// Sweeps over single faults, once the run without any has been crashed and holds: the workload is recorded again for
    /// each fault of these kinds at each call of that run, and crashed from the fault on. It is judged as under
    /// [`Check::faults`], which goes with no sweep. `kinds` is a list as `unplug check --faults` takes it:
    ///
    /// - `EIO`, `ENOSPC`, `EDQUOT`, `EINTR`, `EAGAIN`, `EMFILE`, `ENOMEM`: a call fails, if by its manual page it can;
    /// - `short`: a write or read moves less than it was asked to;
    /// - `full`: the disk fills, after a quarter, a half and three quarters of the bytes by which files grow, for good or for
    ///   a while;
    /// - `kill`: the process is killed at any moment, and what it wrote is there, synced or not: for stores that promise
    ///   [`Contract::Always`];
    /// - each error and `short` of one call alone, as in `fsync:EIO`, and a call's name for all that can befall it:
    ///   `write,rename`. `read` and `open-read` are swept over by `all` or where they are named, in a run that, under
    ///   [`Contract::Always`], is killed and goes on in its middle, if it has no [`Check::restart`] of its own;
    /// - `delay=TIME`, `fsync:delay=TIME`: a call takes longer.
    ///
    /// `all` is all of these but delays. Damage at rest is done to servers alone: `rest` is an error, and so is whatever
    /// no call of the run can have. A fortieth of the budget, but 16 states at the least, goes to each faulted run under
    /// each model. Runs that differ in nothing but the error's number are crashed once. If more than one thread of
    /// the store changes files, and it is not [gated](Check::gated), one call of each kind, file and phase is swept over.
    pub fn sweep(mut self, kinds: &str) -> Self {
        self.sweep = Some(kinds.to_owned());
        self
    }

    /// Seed of scheduler and sampling; `UNPLUG_SEED` wins over it.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Crash states of each phase and model that are tried at the most; `UNPLUG_BUDGET` wins over it.
    pub fn budget(mut self, states: u64) -> Self {
        self.budget = states;
        self
    }

    /// Worker processes; as many as there are processors if not told. Results do not depend on it.
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// How deep recoveries are crashed: to 1, if not told, power is lost again while the store recovers from a
    /// power loss; to 2 also while it recovers from that; to 0 never. Of each phase and model a few recoveries are
    /// chosen, of every kind.
    pub fn recovery_depth(mut self, depth: u8) -> Self {
        self.recovery_depth = Some(depth);
        self
    }

    /// Whether an image that differs from a recovered one only in what that one's recovery has not read is spared its
    /// own: it is not, if not told. Only for a store whose recovery follows from what it reads. Which images are spared
    /// can depend on how quickly recoveries ran, where scratch directories are not in memory; what is found does not.
    pub fn prune(mut self, prune: bool) -> Self {
        self.prune = prune;
        self
    }

    /// Whether a store's threads are granted their calls one at a time, so that a race is a seed.
    pub fn gated(mut self, gated: bool) -> Self {
        self.target.conditions.gated = gated;
        self
    }

    /// Whether the store's clock moves by [`Check::wait`] alone.
    pub fn virtual_time(mut self, virtual_time: bool) -> Self {
        self.target.conditions.virtual_time = virtual_time;
        self
    }

    /// Makes the store, and closes it in order, before the recording begins: crashes while a store is made for the
    /// first time are left out. Many stores do not promise to survive those.
    pub fn created(mut self) -> Self {
        self.target.created = true;
        self
    }

    /// Leaves files out whose paths in the store's directory match the glob: logs, lock files.
    pub fn ignore(mut self, glob: impl Into<String>) -> Self {
        self.target.conditions.ignore.push(glob.into());
        self
    }

    /// Declares files volatile by a glob on their paths in the store's directory: what they hold need not survive,
    /// and the store makes them anew (SQLite's `*-shm`). They are in no image, and a writable shared mapping of one,
    /// which makes a run *not measured* otherwise, is nobody's business.
    pub fn volatile(self, glob: impl Into<String>) -> Self {
        self.ignore(glob)
    }

    /// Runs the check.
    ///
    /// # Errors
    /// [`CheckError`] when there is no result. A violation is a result.
    pub fn run(&self) -> Result<Report, CheckError> {
        self.in_role()?.map_or_else(|settings| self.explore(&self.workload(&settings)?, &settings, None), Ok)
    }

    /// Runs the check, after the regression files that stand beside the test.
    ///
    /// # Panics
    /// When the contract is violated, with the story of the smallest case that was found and, in the last line, the
    /// command that replays it; when the store could not be measured; when the harness is broken.
    pub fn assert_holds(self) {
        match self.try_assert_holds() {
            Ok(report) if report.verdict() == Verdict::Holds => {}
            Ok(report) => panic!("{}", report.failure(&self.path)),
            Err(error) => panic!("not measured: {}", crate::worker::store::with_causes(&error)),
        }
    }

    /// Runs the check, and gives back what was found.
    ///
    /// # Panics
    /// When the contract is *not* violated: a control that shows what the check would find.
    pub fn assert_violated(self) -> Report {
        match self.run() {
            Ok(report) if report.is_elsewhere() || report.verdict() == Verdict::Violated => report,
            Ok(report) => panic!("a violation was expected:\n{report}"),
            Err(error) => panic!("not measured: {}", crate::worker::store::with_causes(&error)),
        }
    }

    /// Plays a role and does not return; or says that this process is another check's; or what to do here.
    pub(super) fn in_role(&self) -> Result<Result<Report, Settings>, CheckError> {
        role::play::<S>(&self.path);
        Ok(if role::in_any_role() { Ok(Report::elsewhere()) } else { Err(Settings::read()?) })
    }

    fn workload(&self, settings: &Settings) -> Result<Workload, CheckError> {
        let steps = self.steps.clone().map_err(CheckError::Operation)?;
        Ok(Workload { steps, seed: settings.seed.unwrap_or(self.seed) })
    }

    fn try_assert_holds(&self) -> Result<Report, CheckError> {
        let settings = match self.in_role()? {
            Ok(report) => return Ok(report),
            Err(settings) => settings,
        };
        if let Some(replayed) = self.regression(&settings)? {
            return Ok(replayed);
        }
        let workload = self.workload(&settings)?;
        let found = self.explore(&workload, &settings, None)?;
        if found.verdict() != Verdict::Violated {
            return Ok(found);
        }
        let class = found.gravest();
        let again = |smaller: &Workload| {
            let trial = Trial { sweeps: false, ..self.trial(smaller) };
            self.try_out(&trial, &settings).is_ok_and(|r| r.gravest() == class)
        };
        let smallest = match found.is_of_sweep() {
            // With fewer operations its fault would be another call's.
            true => workload,
            false => fewest_steps(&workload, SMALLER, again),
        };
        let kept = self.keep(&smallest, &settings)?;
        // A store that does not always fail has failed all the same.
        Ok(if kept.verdict() == Verdict::Violated { kept } else { found })
    }

    /// Replays the repro that the environment names, or the kept ones up to the first that is still violated: the
    /// result, if the check is at its end with that.
    pub(super) fn regression(&self, settings: &Settings) -> Result<Option<Report>, CheckError> {
        let target = self.target.name();
        if let Some(path) = &settings.replay {
            return regressions::asked_for(path, &self.path, &target, &mut self.pool(1)?).map(Some);
        }
        let mut done = Vec::new();
        for path in regressions::kept(&regressions::dir(&self.path)) {
            let repro = regressions::load(&path)?;
            // Another check's of the same test, or of a model that this check no longer asks for.
            if repro.trace.meta.target != target || !self.models.contains(&repro.model) {
                continue;
            }
            let faults = match &self.sweep {
                Some(_) => regressions::faults(&repro),
                None => self.faults.clone(),
            };
            let once = (repro.model.clone(), regressions::workload(&repro), faults);
            // One failing workload leaves a file for each way in which it fails.
            if done.contains(&once) {
                continue;
            }
            let (models, faults) = (std::slice::from_ref(&once.0), &once.2);
            let trial = Trial { models, faults, sweeps: false, ..self.trial(&once.1) };
            let again = self.try_out(&trial, settings);
            let swept = self.sweep.is_some() && !faults.is_empty();
            done.push(once);
            let report = match again {
                // The store makes other calls now; the sweep has every fault of these.
                Err(CheckError::NeverFired { .. } | CheckError::NothingDone { .. }) if swept => continue,
                again => {
                    again.map_err(|e| CheckError::Regression { path: path.clone(), source: e.into() })?
                }
            };
            if report.verdict() == Verdict::Violated {
                return Ok(Some(report.kept_in(path)));
            }
        }
        Ok(None)
    }

    /// Explores a workload that fails, and keeps what is found beside the test.
    /// Where nothing can be kept, what was found is told all the same, and why it was not kept.
    pub(super) fn keep(&self, workload: &Workload, settings: &Settings) -> Result<Report, CheckError> {
        let dir = regressions::dir(&self.path);
        match std::fs::create_dir_all(&dir) {
            Ok(()) => self.explore(workload, settings, Some(&dir)),
            Err(e) => {
                let why = format!("no repro file is kept: {}: {e}", dir.display());
                Ok(self.explore(workload, settings, None)?.noting(why))
            }
        }
    }

    /// The test that the check stands in.
    #[cfg(feature = "proptest")]
    pub(super) fn path(&self) -> &TestPath {
        &self.path
    }

    /// The workload of these operations instead of the check's own.
    #[cfg(feature = "proptest")]
    pub(super) fn workload_of(
        &self,
        ops: impl IntoIterator<Item = S::Op>,
        settings: &Settings,
    ) -> Result<Workload, CheckError> {
        let steps = invocations(ops).map_err(CheckError::Operation)?;
        Ok(Workload { steps, seed: settings.seed.unwrap_or(self.seed) })
    }

    /// Records the workload, explores the trace under each of the check's models, and sweeps if that is asked for.
    pub(super) fn explore(
        &self,
        workload: &Workload,
        settings: &Settings,
        repro_dir: Option<&Path>,
    ) -> Result<Report, CheckError> {
        self.try_out(&Trial { repro_dir, ..self.trial(workload) }, settings)
    }

    /// All that the check asks for, of this workload.
    fn trial<'t>(&'t self, workload: &'t Workload) -> Trial<'t> {
        Trial { models: &self.models, workload, faults: &self.faults, sweeps: true, repro_dir: None }
    }
}
