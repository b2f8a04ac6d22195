//! Random crash states of an unsynced tail, and random damage.

use crate::support::*;
use proptest::prelude::*;
use std::fs;
use unplug_engine::config::{AppendFsync, Config};
use unplug_engine::keyspace::Keyspace;
use unplug_engine::rdb;

/// Turns with the incr file's length and the data after each.
fn record(config: &Config, sizes: &[usize]) -> Vec<(u64, Keyspace)> {
    let mut store = Store::open(config);
    let len = || fs::metadata(incr(&config.dir, 1)).unwrap().len();
    let mut states = vec![(len(), store.ks.clone())];
    for (n, size) in sizes.iter().enumerate() {
        store.run(n % 2, "INCR n");
        store.run(0, &format!("APPEND text {}", "y".repeat(*size)));
        store.end();
        states.push((len(), store.ks.clone()));
    }
    states
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Sectors in any combination, any length: what is loaded is the longest prefix of whole turns.
    #[test]
    fn any_sectors_of_an_unsynced_tail(
        sizes in prop::collection::vec(0usize..1500, 1..12),
        kept in prop::collection::vec(any::<bool>(), 48),
        cut in 0usize..24_000,
    ) {
        let dir = tempdir();
        let config = config(dir.path(), AppendFsync::No);
        let states = record(&config, &sizes);
        let path = incr(dir.path(), 1);
        let whole = fs::read(&path).unwrap();
        let header = states[0].0 as usize;
        let mut bytes = whole[..cut.clamp(header, whole.len())].to_vec();
        for (n, sector) in bytes.chunks_mut(512).enumerate() {
            let from = header.saturating_sub(n * 512).min(sector.len());
            if !kept[n % kept.len()] {
                sector[from..].fill(0);
            }
        }
        let intact = bytes.iter().zip(&whole).take_while(|(a, b)| a == b).count() as u64;
        let expected = &states.iter().rfind(|(len, _)| *len <= intact).unwrap().1;
        fs::write(&path, &bytes).unwrap();
        let mut store = Store::open(&config);
        prop_assert_eq!(&store.ks, expected);
        store.turn("INCR after");
        prop_assert_eq!(&Store::open(&config).ks, &store.ks);
    }

    /// Damage anywhere is refused or survived, never a panic.
    #[test]
    fn random_damage(at in any::<prop::sample::Index>(), with in prop::collection::vec(any::<u8>(), 0..20)) {
        let dir = tempdir();
        let config = config(dir.path(), AppendFsync::Always);
        record(&config, &[3, 700, 0]);
        for path in [incr(dir.path(), 1), manifest(dir.path())] {
            let whole = fs::read(&path).unwrap();
            let mut bytes = whole.clone();
            let from = at.index(bytes.len());
            let to = bytes.len().min(from + with.len());
            bytes.splice(from..to, with.iter().copied());
            fs::write(&path, &bytes).unwrap();
            let _ = Store::try_open(&config);
            let _ = Store::try_open(&Config { aof_checksum: false, ..config.clone() });
            fs::write(&path, &whole).unwrap();
        }
    }

    /// The snapshot reader takes or refuses any bytes.
    #[test]
    fn random_snapshots(tail in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..20) {
        let mut bytes = b"REDIS0011".to_vec();
        bytes.push(kind);
        bytes.extend_from_slice(b"\x01k");
        bytes.extend_from_slice(&tail);
        let _ = rdb::read(&bytes, None);
    }
}
