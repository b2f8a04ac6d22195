//! The reader of manifests takes or refuses any bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use unplug_engine::aof::{Manifest, Seal};

#[allow(dead_code)]
#[path = "../../tests/fuzz/aof_reader.rs"]
mod aof_reader;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::parse(bytes) {
        aof_reader::hold_manifest(&manifest);
    }
    if let Some(seal) = Seal::parse(bytes) {
        assert_eq!(seal.encode().as_bytes(), bytes);
    }
});
