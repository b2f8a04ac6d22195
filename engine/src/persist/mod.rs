//! persistence
mod core;
mod cron;
mod disk;
mod error;
mod files;
mod fork;
mod load;
mod log;
mod open;
mod report;
mod rewrite;
mod snapshot;
mod sync;
#[cfg(test)]
mod trouble_tests;

pub use core::Persistence;
pub use error::{FileError, OpenError, RewriteError, RewriteStart, SaveError, WriteError};
pub use report::{Cut, LoadReport, PersistenceInfo, Source};
