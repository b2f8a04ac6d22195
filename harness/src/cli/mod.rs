//! The `unplug` command: what is asked for, checked before anything runs, handed to a [`Runner`], reported.

pub mod args;
mod command;
mod commands;
mod configuration;
pub mod drop_sync;
mod entry;
mod failure;
mod faults;
mod plan;
mod progress;
mod recording;
mod runner;
#[cfg(test)]
mod tests;
mod wire;

pub use configuration::Configuration;
pub use entry::main;
pub use failure::Failure;
pub use plan::{CheckPlan, ExplorePlan, RecordPlan, ReproDir, Subject, TargetName};
pub use runner::{ModelInfo, Replayed, Runner, Watch};
