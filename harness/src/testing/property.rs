//! Properties: a check in each case of a proptest strategy, with shrinking.

use crate::contract::Contract;
use crate::testing::check::check;
use crate::testing::env::Settings;
use crate::testing::path::TestPath;
use crate::testing::role;
use crate::testing::store::Store;
use crate::verdict::Verdict;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::marker::PhantomData;

/// Cases of a property unless told otherwise; each records a run and explores it.
const CASES: u32 = 8;
/// Crash states of each phase and model in one case.
const BUDGET: u64 = 300;
/// Recordings that shrinking may cost.
const SHRINKS: u32 = 48;

/// Operations from a strategy, checked case by case: made by [`property`], ended by [`Property::assert_holds`].
#[must_use = "a property does nothing before assert_holds"]
pub struct Property<S: Store, T: Strategy<Value = Vec<S::Op>>> {
    path: TestPath,
    strategy: T,
    contract: Contract,
    models: Vec<String>,
    seed: u64,
    cases: u32,
    budget: u64,
    store: PhantomData<fn() -> S>,
}

/// A property of `S` in the test of this path, which is [`test_path!()`](crate::test_path).
pub fn property<S: Store, T: Strategy<Value = Vec<S::Op>>>(path: TestPath, strategy: T) -> Property<S, T> {
    Property {
        path,
        strategy,
        contract: Contract::Always,
        models: vec!["posix".to_owned()],
        seed: 0,
        cases: CASES,
        budget: BUDGET,
        store: PhantomData,
    }
}

impl<S: Store, T: Strategy<Value = Vec<S::Op>>> Property<S, T>
where
    S::Op: Clone + std::fmt::Debug,
{
    /// What the store promises.
    pub fn contract(mut self, contract: Contract) -> Self {
        self.contract = contract;
        self
    }

    /// What the disk may do.
    pub fn models<'m>(mut self, names: impl IntoIterator<Item = &'m str>) -> Self {
        self.models = names.into_iter().map(str::to_owned).collect();
        self
    }

    /// Seed of the cases; `UNPLUG_SEED` wins over it.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many cases; `UNPLUG_CASES` wins over it.
    pub fn cases(mut self, cases: u32) -> Self {
        self.cases = cases;
        self
    }

    /// Crash states of each phase and model in one case; `UNPLUG_BUDGET` wins over it.
    pub fn budget(mut self, states: u64) -> Self {
        self.budget = states;
        self
    }

    /// Runs the cases.
    ///
    /// # Panics
    /// When a case violates the contract, with the operations shrunk and their story; when one cannot be measured.
    pub fn assert_holds(self) {
        // A recording or worker process is this property's, or another check's of the same test: no case is made.
        role::play::<S>(&self.path);
        if role::in_any_role() {
            return;
        }
        let settings = match Settings::read() {
            Ok(settings) => settings,
            Err(error) => panic!("{error}"),
        };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&settings.seed.unwrap_or(self.seed).to_le_bytes());
        let config = Config {
            cases: settings.cases.unwrap_or(self.cases),
            max_shrink_iters: SHRINKS,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        match runner.run(&self.strategy, |ops| self.case(ops)) {
            Ok(()) => {}
            Err(TestError::Fail(story, ops)) => panic!("{story}\noperations, shrunk:\n{ops:#?}"),
            Err(TestError::Abort(why)) => panic!("not measured: {why}"),
        }
    }

    fn case(&self, ops: Vec<S::Op>) -> Result<(), TestCaseError> {
        let check = check::<S>(self.path.clone())
            .ops(ops)
            .contract(self.contract.clone())
            .models(self.models.iter().map(String::as_str))
            .seed(self.seed)
            .budget(self.budget);
        match check.run() {
            Ok(report) if report.verdict() == Verdict::Holds => Ok(()),
            Ok(report) => Err(TestCaseError::fail(report.to_string())),
            Err(error) => Err(TestCaseError::fail(format!("not measured: {error}"))),
        }
    }
}
