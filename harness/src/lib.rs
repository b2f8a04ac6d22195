//! **Unplug**: pull the plug on your storage engine at every possible moment, in `cargo test`.
pub mod cell;
pub mod contract;
pub mod dump;
pub mod history;
pub mod oracle;
pub mod pool;
pub mod record;
pub mod recovery;
pub mod target;
pub mod testing;
pub mod verdict;
pub mod worker;
pub mod workload;
