//! The reader of append-only files (plain, chained, behind a snapshot) takes, cuts or refuses any bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/fuzz/aof_reader.rs"]
mod aof_reader;

fuzz_target!(|bytes: &[u8]| {
    let mut resealed = bytes.to_vec();
    aof_reader::reseal(&mut resealed);
    for bytes in [bytes, &resealed] {
        if let Some(walked) = aof_reader::read(bytes) {
            aof_reader::hold(bytes, &walked);
        }
    }
});
