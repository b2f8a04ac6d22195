//! Unplug's own engine as a library, as any Rust store.

use proptest::prelude::*;
use std::path::Path;
use unplug::dump::Dump;
use unplug::testing::{BoxError, Map, MapOp, Reply, Store, property};
use unplug::verdict::Class;
use unplug_engine::config::{AppendFsync, Config};
use unplug_engine::keyspace::Value;
use unplug_engine::store;

/// The engine; every command is synced before it returns, or none is.
struct Engine<const SYNCED: bool>(store::Store);

impl<const SYNCED: bool> Store for Engine<SYNCED> {
    type Op = MapOp;
    type Model = Map;

    fn open(dir: &Path) -> Result<Self, BoxError> {
        let appendfsync = if SYNCED { AppendFsync::Always } else { AppendFsync::No };
        let config = Config {
            dir: dir.to_path_buf(),
            appendonly: true,
            appendfsync,
            save: vec![],
            ..Config::default()
        };
        Ok(Engine(store::Store::open(config)?))
    }

    fn apply(&mut self, op: &MapOp) -> Result<Reply, BoxError> {
        let change = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| match value {
            Some(value) => vec![b"SET".to_vec(), key.clone(), value.clone()],
            None => vec![b"DEL".to_vec(), key.clone()],
        };
        let commands: Vec<Vec<Vec<u8>>> = match op {
            MapOp::Put { key, value } => vec![change(&(key.clone(), Some(value.clone())))],
            MapOp::Delete { key } => vec![change(&(key.clone(), None))],
            MapOp::Batch(changes) => changes.iter().map(change).collect(),
            MapOp::Add { .. } | MapOp::Get { .. } | MapOp::Flush => {
                return Err("not in these workloads".into());
            }
        };
        let commands: Vec<Vec<&[u8]>> =
            commands.iter().map(|c| c.iter().map(Vec::as_slice).collect()).collect();
        let commands: Vec<&[&[u8]]> = commands.iter().map(Vec::as_slice).collect();
        self.0.execute_multi(&commands)?;
        Ok(Reply::DONE)
    }

    fn dump(&mut self) -> Result<Dump, BoxError> {
        let strings = self.0.dump().filter_map(|(_, key, entry)| match &entry.value {
            Value::Str(value) => Some((key.to_vec(), value.to_vec())),
            _ => None,
        });
        Ok(strings.collect())
    }

    fn close(self) -> Result<(), BoxError> {
        Ok(self.0.close()?)
    }

    fn probes() -> Vec<MapOp> {
        vec![MapOp::put("probe", "written after recovery")]
    }

    const REUSABLE: bool = true;

    fn abandon(self) {
        self.0.abandon();
    }
}

fn workload() -> Vec<MapOp> {
    let large = "x".repeat(5000);
    vec![
        MapOp::put("a", "1"),
        MapOp::batch([("a", Some("2")), ("b", Some(&large))]),
        MapOp::delete("a"),
        MapOp::put("c", "3"),
    ]
}

#[test]
fn what_is_synced_survives() {
    unplug::check!(Engine<true>).ops(workload()).restart().ops([MapOp::put("d", "4")]).assert_holds();
}

#[test]
fn what_is_not_synced_does_not() {
    let report = unplug::check!(Engine<false>).ops(workload()).assert_violated();
    // Played in a role of another check, a report has nothing to say.
    assert!(report.is_elsewhere() || report.gravest() == Some(Class::AcknowledgedLoss), "{report}");
}

#[test]
fn any_operations_survive() {
    let key = || (0..3_u8).prop_map(|i| format!("k{i}"));
    let value = || (any::<u16>(), 0..200_usize).prop_map(|(n, len)| format!("{n}:{}", "x".repeat(len)));
    let op = prop_oneof![
        3 => (key(), value()).prop_map(|(k, v)| MapOp::put(k, v)),
        1 => key().prop_map(MapOp::delete),
    ];
    property::<Engine<true>, _>(unplug::test_path!(), prop::collection::vec(op, 1..6))
        .cases(3)
        .assert_holds();
}
