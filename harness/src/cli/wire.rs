//! The stages behind the commands, put together.

use super::failure::Failure;
use super::plan::{CheckPlan, ExplorePlan, Subject};
use super::runner::{ModelInfo, Replayed, Runner, Watch};
use crate::cell::Story;
use crate::report::show::{Describe, Plain};
use crate::target::policy::Policy;
use std::path::{Path, PathBuf};
use unplug_faults::trace::Trace;

/// What the `unplug` binary runs.
pub(super) struct Standard;

fn absent() -> Failure {
    Failure::Broken("this build has no explorer".into())
}

impl Runner for Standard {
    fn models(&self) -> Vec<ModelInfo> {
        let model = |name, summary| ModelInfo { name, summary };
        vec![
            model("prefix", "every write reaches the disk in its order"),
            model("ext4-ordered", "ext4 with data=ordered, its default"),
            model("posix", "nothing but what the standard says; renames are whole"),
            model("posix-split", "as posix, and a rename may be cut in two"),
        ]
    }

    fn check(&self, _: &CheckPlan, _: &dyn Watch) -> Result<(), Failure> {
        Err(absent())
    }

    fn record(&self, _: &Subject, _: Policy, _: u64, _: u32) -> Result<Trace, Failure> {
        Err(absent())
    }

    fn explore(&self, _: Trace, _: Option<PathBuf>, _: &ExplorePlan, _: &dyn Watch) -> Result<(), Failure> {
        Err(absent())
    }

    fn replay(&self, _: &Path, _: Option<PathBuf>) -> Result<Replayed, Failure> {
        Err(absent())
    }

    fn image(&self, _: &Path, _: &Path) -> Result<String, Failure> {
        Err(absent())
    }

    fn open_repro(&self, _: &Path) -> Result<(Trace, Story), Failure> {
        Err(absent())
    }

    fn describe(&self, _: &Trace) -> Box<dyn Describe> {
        Box::new(Plain)
    }

    fn worker(&self, _: &[std::ffi::OsString]) -> std::process::ExitCode {
        std::process::ExitCode::from(absent().exit_code() as u8)
    }
}
