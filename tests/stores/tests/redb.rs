//! redb: a commit with the default durability, `Immediate`, survives a power loss.

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::Path;
use unplug::dump::Dump;
use unplug::testing::{BoxError, Map, MapOp, Reply, Store};
use unplug::verdict::Class;
use unplug_stores::{classes, outcome};

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

// `created`: the first making of a database is another matter, see below.
#[test]
fn an_immediate_commit_survives() {
    unplug::check!(Redb<true>).created().ops(workload()).budget(150).assert_holds();
}

#[test]
fn a_commit_without_durability_does_not() {
    let report =
        unplug::check!(Redb<false>).created().ops(workload()).budget(100).models(["posix"]).assert_violated();
    // Played in a role of another check, a report has nothing to say.
    assert!(report.is_elsewhere() || report.gravest() == Some(Class::AcknowledgedLoss), "{report}");
}

/// Pages that a commit has written, and that no root refers to yet, are read by nobody: what they hold does not matter.
/// The same is found with and without that.
#[test]
fn images_that_differ_in_what_redb_never_reads_are_recovered_once() {
    let check = || unplug::check!(Redb<true>).created().ops(workload()).budget(300).recovery_depth(0);
    let (spared, all) = (check().prune(true).run().expect("a result"), check().run().expect("a result"));
    println!("{spared}{all}");
    assert!(spared.is_elsewhere() || outcome(&spared) == outcome(&all), "{spared}{all}");
    let unread: u64 = spared.cells().iter().map(|cell| cell.saved.unread).sum();
    assert!(spared.is_elsewhere() || unread > 0, "{spared}");
}

#[test]
fn what_is_lost_is_found_in_the_same_states_with_and_without_pruning() {
    let check = || unplug::check!(Redb<false>).created().ops(workload()).budget(200).models(["posix"]);
    let (spared, all) = (check().prune(true).run().expect("a result"), check().run().expect("a result"));
    println!("{spared}{all}");
    assert!(spared.is_elsewhere() || outcome(&spared) == outcome(&all), "{spared}{all}");
    assert!(spared.is_elsewhere() || spared.gravest() == Some(Class::AcknowledgedLoss), "{spared}");
}

/// What redb 4.1 does not promise, and does not do: survive a power loss while `Database::create` makes the file.
/// It makes the file as long as it needs before it writes the magic number, and documents that a file which is
/// neither empty nor a database is an error: such a file is refused for ever, though nothing was acknowledged. Nor
/// does it sync the directory, so that under POSIX (not on ext4) the file of an acknowledged commit can be gone.
#[test]
fn the_making_of_a_database_does_not_survive() {
    let on_ext4 = unplug::check!(Redb<true>).ops(workload()).budget(100).models(["ext4-ordered"]);
    let on_ext4 = on_ext4.assert_violated();
    assert!(on_ext4.is_elsewhere() || classes(&on_ext4) == [Class::RefusesToOpen], "{on_ext4}");
    let on_posix = unplug::check!(Redb<true>).ops(workload()).budget(150).models(["posix"]).assert_violated();
    let both = [Class::RefusesToOpen, Class::AcknowledgedLoss];
    assert!(on_posix.is_elsewhere() || classes(&on_posix) == both, "{on_posix}");
}

/// The same by hand, without any of Unplug: a long file without a magic number is what redb refuses.
#[test]
fn a_file_without_its_magic_number_is_refused_by_redb_itself() {
    let path = std::env::temp_dir().join(format!("unplug-redb-by-hand-{}", std::process::id()));
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len(0).expect("as a crash right after open leaves it");
    let empty = Database::create(&path).map(drop);
    file.set_len(0).and_then(|()| file.set_len(1 << 20)).expect("as a crash after set_len leaves it");
    let long = Database::create(&path).map(drop);
    std::fs::remove_file(&path).expect("still there");
    assert!(empty.is_ok(), "an empty file is a new database");
    assert!(
        matches!(&long, Err(redb::DatabaseError::Storage(redb::StorageError::Io(e)))
        if e.kind() == std::io::ErrorKind::InvalidData),
        "{long:?}"
    );
}
