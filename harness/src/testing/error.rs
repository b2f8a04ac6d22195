//! Why a check gave no result.

use crate::faults::SweepError;
use crate::pool::PoolError;
use crate::record::RecordError;
use crate::testing::env::BadVariable;
use std::path::PathBuf;
use unplug_faults::plan::PlanError;

/// Why a check gave no result.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The store could not be recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The recoveries could not be run.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The environment holds a bad value.
    #[error(transparent)]
    Variable(#[from] BadVariable),
    /// There is no such model.
    #[error("there is no model `{name}`; there are {known}")]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// There is no such rule to be taken away.
    #[error("there is no rule `{name}`; there are {known}")]
    UnknownRule {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The fault rules cannot be understood.
    #[error("the faults: {0}")]
    Faults(#[from] PlanError),
    /// Faults that never happened have shown nothing.
    #[error("no call of the run was one of `{rules}`: the fault never happened")]
    NeverFired {
        /// The rules that never fired.
        rules: String,
    },
    /// A sweep over what is not done to the calls of a store.
    #[error(
        "the sweep over `{word}`: {why}; what can be swept is all, {known}, each error and short also of one call, \
         as in fsync:EIO, and a call by its name alone, for all of its own"
    )]
    NotSwept {
        /// The word of the list.
        word: String,
        /// Why not.
        why: String,
        /// What there is.
        known: String,
    },
    /// Faults that can befall no call of the run would have shown nothing.
    #[error("the sweep over `{words}`: no call of the run can have that; leave it out")]
    NothingToSweep {
        /// The words of the list.
        words: String,
    },
    /// Two ways to have faults at once.
    #[error(
        "a check has faults of its own (Check::faults) or a sweep over single ones (Check::sweep), not both"
    )]
    FaultsAndSweep,
    /// A sweep could not be made.
    #[error("the sweep: {0}")]
    Sweep(SweepError),
    /// What a regression file holds cannot be done to the store any more.
    #[error(
        "what the regression file {path} did cannot be done again ({source}): remove it, or mend the store"
    )]
    Regression {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<CheckError>,
    },
    /// The repro file that the environment names is of another test.
    #[error(
        "{path} is a repro of the test `{test}`: run that one, with `-- --include-ignored --exact {test}`"
    )]
    OtherTest {
        /// The file.
        path: PathBuf,
        /// The test that it came from.
        test: String,
    },
    /// A repro file cannot be read.
    #[error("{path}: {source}; copy it again from where it was made, or remove it")]
    Repro {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: unplug_faults::codec::CodecError,
    },
    /// The store has answered every operation with an error: nothing was promised that could be broken.
    #[error("all of the {operations} operations failed, the first: {first}")]
    NothingDone {
        /// How many there were.
        operations: u64,
        /// The first, with its error.
        first: String,
    },
    /// The limit of CPU time that the environment gives cannot be used.
    #[error("{0}")]
    Limits(String),
    /// An operation does not encode.
    #[error("an operation cannot be encoded: {0}")]
    Operation(postcard::Error),
    /// The harness's own files fail.
    #[error("the harness's own files: {0}")]
    Io(#[from] std::io::Error),
}
