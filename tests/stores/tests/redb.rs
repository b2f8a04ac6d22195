//! redb: a commit with the default durability, `Immediate`, survives a power loss.

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::Path;
use unplug::dump::Dump;
use unplug::testing::{BoxError, Map, MapOp, Reply, Store};

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("t");

/// A database under one durability.
struct Redb<const IMMEDIATE: bool>(Database);

impl<const IMMEDIATE: bool> Store for Redb<IMMEDIATE> {
    type Op = MapOp;
    type Model = Map;

    fn open(dir: &Path) -> Result<Self, BoxError> {
        Ok(Redb(Database::create(dir.join("db.redb"))?))
    }

    fn apply(&mut self, op: &MapOp) -> Result<Reply, BoxError> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(if IMMEDIATE { Durability::Immediate } else { Durability::None })?;
        {
            let mut table = transaction.open_table(TABLE)?;
            match op {
                MapOp::Put { key, value } => drop(table.insert(key.as_slice(), value.as_slice())?),
                MapOp::Delete { key } => drop(table.remove(key.as_slice())?),
                MapOp::Add { key, by } => {
                    let old = table.get(key.as_slice())?.map(|v| v.value().try_into()).transpose()?;
                    let new = old.map_or(0, u64::from_le_bytes).wrapping_add(*by);
                    table.insert(key.as_slice(), new.to_le_bytes().as_slice())?;
                }
                MapOp::Batch(changes) => {
                    for (key, value) in changes {
                        match value {
                            Some(value) => drop(table.insert(key.as_slice(), value.as_slice())?),
                            None => drop(table.remove(key.as_slice())?),
                        }
                    }
                }
                MapOp::Get { .. } | MapOp::Flush => return Err("not in these workloads".into()),
            }
        }
        transaction.commit()?;
        Ok(Reply::DONE)
    }

    fn dump(&mut self) -> Result<Dump, BoxError> {
        let transaction = self.0.begin_read()?;
        let table = match transaction.open_table(TABLE) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Dump::default()),
            table => table?,
        };
        let mut pairs = Vec::new();
        for row in table.iter()? {
            let (key, value) = row?;
            pairs.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(pairs.into_iter().collect())
    }

    fn probes() -> Vec<MapOp> {
        vec![MapOp::put("probe", "written after recovery")]
    }
}

fn workload() -> Vec<MapOp> {
    vec![
        MapOp::put("a", "1"),
        MapOp::add("n", 1),
        MapOp::batch([("a", Some("2")), ("b", Some("3"))]),
        MapOp::add("n", 1),
        MapOp::delete("b"),
    ]
}

// `created`: redb 4.1 refuses ("invalid data") a file whose first making was cut short by the power loss.
#[test]
fn an_immediate_commit_survives() {
    unplug::check!(Redb<true>).created().ops(workload()).budget(150).assert_holds();
}

#[test]
fn a_commit_without_durability_does_not() {
    unplug::check!(Redb<false>).created().ops(workload()).budget(100).models(["posix"]).assert_violated();
}
