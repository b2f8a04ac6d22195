//! Properties: a check in each case of a proptest strategy, with shrinking.

use crate::testing::check::{Check, check};
use crate::testing::env::Settings;
use crate::testing::error::CheckError;
use crate::testing::path::TestPath;
use crate::testing::store::Store;
use crate::verdict::Verdict;
use crate::worker::store::with_causes;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Cases of a property unless told otherwise; each records a run and explores it.
const CASES: u32 = 8;
/// Crash states of each phase and model in one case.
const BUDGET: u64 = 300;
/// Recordings that shrinking may cost.
const SHRINKS: u32 = 48;

/// Operations from a strategy, checked case by case: made by [`property`], ended by [`Property::assert_holds`].
#[must_use = "a property does nothing before assert_holds"]
pub struct Property<S: Store, T: Strategy<Value = Vec<S::Op>>> {
    check: Check<S>,
    strategy: T,
    cases: u32,
}

/// A property of `S` in the test of this path, which is [`test_path!()`](crate::test_path).
pub fn property<S: Store, T: Strategy<Value = Vec<S::Op>>>(path: TestPath, strategy: T) -> Property<S, T> {
    Property { check: check::<S>(path).models(["posix"]).budget(BUDGET), strategy, cases: CASES }
}

impl<S: Store, T: Strategy<Value = Vec<S::Op>>> Property<S, T>
where
    S::Op: Clone + std::fmt::Debug,
{
    /// How each case is checked: contract, models, seed, budget and whatever else a [`Check`] has, apart from
    /// operations, which are the strategy's. Under `posix` with 300 states if not told.
    pub fn each(mut self, how: impl FnOnce(Check<S>) -> Check<S>) -> Self {
        self.check = how(self.check);
        self
    }

    /// How many cases; `UNPLUG_CASES` wins over it.
    pub fn cases(mut self, cases: u32) -> Self {
        self.cases = cases;
        self
    }

    /// Runs the cases, after the regression files that stand beside the test.
    ///
    /// # Panics
    /// When a case violates the contract, with the operations shrunk, their story and, in the last line, the command
    /// that replays it; when one cannot be measured.
    pub fn assert_holds(self) {
        match self.run() {
            Ok(None) => {}
            Ok(Some(story)) => panic!("{story}"),
            Err(error) => panic!("not measured: {}", with_causes(&error)),
        }
    }

    /// The story of the first failure, if there is one.
    fn run(&self) -> Result<Option<String>, CheckError> {
        // A recording or worker process is this property's, or another check's of the same test: no case is made.
        let Err(settings) = self.check.in_role()? else { return Ok(None) };
        if let Some(report) = self.check.regression(&settings)? {
            let kept = report.verdict() == Verdict::Holds;
            return Ok((!kept).then(|| report.failure(self.check.path())));
        }
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.check.workload_of([], &settings)?.seed.to_le_bytes());
        let config = Config {
            cases: settings.cases.unwrap_or(self.cases),
            max_shrink_iters: SHRINKS,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        match runner.run(&self.strategy, |ops| self.case(ops, &settings)) {
            Ok(()) => Ok(None),
            Err(TestError::Fail(_, ops)) => {
                let report = self.check.keep(&self.check.workload_of(ops.clone(), &settings)?, &settings)?;
                Ok(Some(format!("operations, shrunk:\n{ops:#?}\n{}", report.failure(self.check.path()))))
            }
            Err(TestError::Abort(why)) => Ok(Some(format!("not measured: {why}"))),
        }
    }

    fn case(&self, ops: Vec<S::Op>, settings: &Settings) -> Result<(), TestCaseError> {
        let explored =
            self.check.workload_of(ops, settings).and_then(|w| self.check.explore(&w, settings, None));
        match explored {
            Ok(report) if report.verdict() == Verdict::Holds => Ok(()),
            Ok(report) => Err(TestCaseError::fail(report.to_string())),
            Err(error) => Err(TestCaseError::fail(format!("not measured: {}", with_causes(&error)))),
        }
    }
}
