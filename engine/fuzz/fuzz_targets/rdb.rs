//! The readers of snapshots take or refuse any bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use unplug_engine::keyspace::DATABASES;
use unplug_engine::rdb::{self, WriteOptions};

fuzz_target!(|bytes: &[u8]| {
    let loaded = rdb::read(bytes, None);
    let checked = rdb::check(bytes, 0, DATABASES, &mut |_, _| ());
    // The tool passes over what modules have written beside the keys; otherwise both say the same.
    if loaded.is_ok() {
        assert!(checked.error.is_none(), "{:?}", checked.error);
    }
    let Ok(loaded) = loaded else { return };
    let options = WriteOptions { now_ms: 0, aof_base: false, first_incr: None, checksum: true, compress: true };
    let mut written = Vec::new();
    if rdb::write(&mut written, &loaded.keyspace, options, &mut |_, _| ()).is_err() {
        panic!("memory takes what is written to it");
    }
    match rdb::read(&written, None) {
        Ok(again) => assert!(again.keyspace == loaded.keyspace, "what was read is written and read again"),
        Err(error) => panic!("{error:?}"),
    }
});
