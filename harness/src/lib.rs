//! **Unplug**: pull the plug on your storage engine at every possible moment, in `cargo test`.
pub mod cell;
#[cfg(feature = "cli")]
pub mod cli;
pub mod cluster;
pub mod contract;
pub mod dump;
pub mod explore;
pub mod faults;
pub mod history;
pub mod judge;
pub mod minimise;
pub mod oracle;
pub mod pool;
pub mod record;
pub mod recovery;
pub mod report;
pub mod repro;
mod shell;
pub mod story;
pub mod target;
pub mod teeth;
pub mod testing;
pub mod verdict;
pub mod worker;
pub mod workload;
