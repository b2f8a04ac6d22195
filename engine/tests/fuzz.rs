//! The readers of files, on the stored corpus (`engine/fuzz/corpus`) and on mutations of it: no panic, no hang, no
//! allocation out of proportion. `UNPLUG_FUZZ_EXECUTIONS=5000000 cargo test --release -p unplug-engine --test fuzz`
//! runs as many as one likes; equal numbers give equal inputs.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "fuzz/aof.rs"]
mod aof;
#[path = "fuzz/aof_reader.rs"]
mod aof_reader;
// Of its encoders a part is used here.
#[allow(dead_code)]
#[path = "rdb/encode.rs"]
mod encode;
#[path = "fuzz/memory.rs"]
mod memory;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/rdb.rs"]
mod rdb;
