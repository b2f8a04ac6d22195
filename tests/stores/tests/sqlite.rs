//! SQLite, through its C library: what `synchronous` and `journal_mode` promise together.

use rusqlite::Connection;
use std::path::Path;
use unplug::cell::Finding;
use unplug::dump::Dump;
use unplug::testing::{BoxError, Map, MapOp, Reply, Report, Store};
use unplug::verdict::{Class, Verdict};
use unplug_stores::outcome;

/// A database whose pragmas are given by `MODE`, an index into [`PRAGMAS`].
struct Sqlite<const MODE: usize>(Connection);

const PRAGMAS: [(&str, &str); 6] = [
    ("TRUNCATE", "FULL"),
    ("PERSIST", "FULL"),
    ("DELETE", "EXTRA"),
    ("DELETE", "OFF"),
    ("WAL", "FULL"),
    ("DELETE", "FULL"),
];
const TRUNCATE_FULL: usize = 0;
const PERSIST_FULL: usize = 1;
const DELETE_EXTRA: usize = 2;
const DELETE_OFF: usize = 3;
const WAL_FULL: usize = 4;
const DELETE_FULL: usize = 5;

impl<const MODE: usize> Store for Sqlite<MODE> {
    type Op = MapOp;
    type Model = Map;

    fn open(dir: &Path) -> Result<Self, BoxError> {
        let db = Connection::open(dir.join("db.sqlite"))?;
        let (journal, synchronous) = PRAGMAS[MODE];
        db.pragma_update(None, "journal_mode", journal)?;
        db.pragma_update(None, "synchronous", synchronous)?;
        if journal == "WAL" {
            // Often enough that a short workload has some: the log is copied into the database, and begun anew.
            db.pragma_update(None, "wal_autocheckpoint", 3)?;
        }
        db.execute("CREATE TABLE IF NOT EXISTS t (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID", ())?;
        Ok(Sqlite(db))
    }

    fn apply(&mut self, op: &MapOp) -> Result<Reply, BoxError> {
        let transaction = self.0.transaction()?;
        let set = |key: &[u8], value: Option<&[u8]>| match value {
            Some(value) => transaction.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", (key, value)),
            None => transaction.execute("DELETE FROM t WHERE k = ?", (key,)),
        };
        match op {
            MapOp::Put { key, value } => drop(set(key, Some(value))?),
            MapOp::Delete { key } => drop(set(key, None)?),
            MapOp::Batch(changes) => {
                for (key, value) in changes {
                    set(key, value.as_deref())?;
                }
            }
            MapOp::Add { .. } | MapOp::Get { .. } | MapOp::Flush => {
                return Err("not in these workloads".into());
            }
        }
        transaction.commit()?;
        Ok(Reply::DONE)
    }

    fn dump(&mut self) -> Result<Dump, BoxError> {
        let mut rows = self.0.prepare("SELECT k, v FROM t")?;
        let pairs = rows.query_map((), |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        Ok(pairs.collect::<Result<Vec<_>, _>>()?.into_iter().collect())
    }

    fn probes() -> Vec<MapOp> {
        vec![MapOp::put("probe", "written after recovery")]
    }
}

fn workload() -> Vec<MapOp> {
    vec![
        MapOp::put("a", "1"),
        MapOp::batch([("a", Some("2")), ("b", Some("3"))]),
        MapOp::put("c", "x".repeat(5000)),
        MapOp::delete("b"),
    ]
}

/// ext4 however its data are written; the mildest disk, and the standard.
const MODELS: [&str; 5] = ["prefix", "ext4-ordered", "ext4-writeback", "ext4-journal", "posix"];
/// Those that keep a block back until what set it free is durable.
const BLOCKS_KEPT: [&str; 4] = ["prefix", "ext4-ordered", "ext4-journal", "posix"];
/// ext4 with data=writeback does not.
const BLOCKS_REUSED: &str = "ext4-writeback";

/// What these checks are about is what freed blocks show. Where new ones show old pages there is more: the header of a
/// new journal whose data never came is the one of the journal before, which says how long the database was then, and
/// SQLite cuts it to that. See `an_old_header_cuts_the_database`.
const RUBBISH: &str = "no-old-pages";

/// What a check finds is one mechanism: a commit sets the blocks of the rollback journal free (by unlink or truncate),
/// another file is given one and writes to it, and power is lost before the unlink is durable. The journal is there again,
/// with rubbish in a record: SQLite rolls back as far as that, which leaves neither state. It takes a mode that frees
/// nothing (PERSIST), or another mount option. A write-ahead log is set free when the last connection closes: there again,
/// with rubbish in a frame, what stands in front of that hides what has been moved into the database since.
fn is_of_a_freed_block(finding: &Finding) -> bool {
    let of_the_log = |line: &String| line.contains("db.sqlite-wal, whose block is about to be set free");
    finding.mechanism.contains("a block of db.sqlite-journal that was set free")
        || finding.story.disk.iter().any(of_the_log)
}

/// Under the one model that gives blocks away early, that and nothing else is found: so without it the check holds.
fn only_freed_blocks_are_the_matter<const MODE: usize>(report: &Report) {
    let found: Vec<&Finding> = report.cells().iter().flat_map(|cell| &cell.findings).collect();
    let good = !found.is_empty() && found.iter().all(|finding| is_of_a_freed_block(finding));
    assert!(report.is_elsewhere() || good, "{:?}: {report}", PRAGMAS[MODE]);
}

#[test]
fn truncate_with_full_holds() {
    let check = || unplug::check!(Sqlite<TRUNCATE_FULL>).created().ops(workload()).budget(150);
    check().models(BLOCKS_KEPT).assert_holds();
    let report = check().budget(1000).models([BLOCKS_REUSED]).assume([RUBBISH]).assert_violated();
    only_freed_blocks_are_the_matter::<TRUNCATE_FULL>(&report);
}

#[test]
fn persist_with_full_holds() {
    unplug::check!(Sqlite<PERSIST_FULL>).created().ops(workload()).budget(150).models(MODELS).assert_holds();
}

#[test]
fn delete_with_extra_holds() {
    let check = || unplug::check!(Sqlite<DELETE_EXTRA>).created().ops(workload()).budget(150);
    check().models(BLOCKS_KEPT).assert_holds();
    let report = check().budget(1000).models([BLOCKS_REUSED]).assume([RUBBISH]).assert_violated();
    only_freed_blocks_are_the_matter::<DELETE_EXTRA>(&report);
}

/// With data=writeback a new journal's first block may hold the old journal's header, once that one's removal is durable:
/// a hot journal without records, for a database that has grown since.
#[test]
fn an_old_header_cuts_the_database() {
    let check = || {
        unplug::check!(Sqlite<DELETE_EXTRA>).created().ops(workload()).budget(1000).models([BLOCKS_REUSED])
    };
    let report = check().assert_violated();
    let old = |line: &String| line.contains("page 0 of db.sqlite-journal, which was set free");
    let mut told =
        report.cells().iter().flat_map(|cell| &cell.findings).flat_map(|finding| &finding.story.disk);
    assert!(report.is_elsewhere() || told.any(old), "{report}");
}

/// SQLite syncs the directory, too: also the making of a database may be cut short.
#[test]
fn the_making_of_a_database_survives() {
    unplug::check!(Sqlite<TRUNCATE_FULL>)
        .ops(workload())
        .budget(150)
        .models(MODELS)
        .assume([RUBBISH])
        .assert_holds();
}

/// Documented: with OFF a power loss may corrupt the database. Where every write is in the order of the calls, it takes
/// the last commits away and is no worse.
#[test]
fn synchronous_off_does_not_hold() {
    for model in MODELS {
        let report = unplug::check!(Sqlite<DELETE_OFF>)
            .created()
            .ops(workload())
            .budget(100)
            .models([model])
            .assert_violated();
        let classes = unplug_stores::classes(&report);
        let found = match model {
            "prefix" | "ext4-journal" => classes == [Class::AcknowledgedLoss],
            _ => [Class::RefusesToOpen, Class::AcknowledgedLoss].iter().all(|class| classes.contains(class)),
        };
        // Played in a role, a report has nothing to say.
        assert!(report.is_elsewhere() || found, "{model}: {classes:?}\n{report}");
    }
}

/// The index of the write-ahead log is a writable shared mapping. It is made anew from the log by whoever opens the
/// database first after a crash: what it holds on the disk means nothing.
const INDEX_OF_THE_LOG: &str = "*-shm";

#[test]
fn wal_with_full_holds() {
    let check = || {
        let check = unplug::check!(Sqlite<WAL_FULL>).created().volatile(INDEX_OF_THE_LOG).ops(workload());
        check.restart().ops([MapOp::put("d", "4"), MapOp::delete("a")]).budget(150)
    };
    check().models(BLOCKS_KEPT).assert_holds();
    let report = check().budget(1000).models([BLOCKS_REUSED]).assume([RUBBISH]).assert_violated();
    only_freed_blocks_are_the_matter::<WAL_FULL>(&report);
}

#[test]
fn wal_is_not_measured_while_nobody_says_that_its_index_does_not_matter() {
    let report =
        unplug::check!(Sqlite<WAL_FULL>).created().ops(workload()).budget(10).run().expect("recorded");
    let blind = report.cells().iter().flat_map(|c| &c.not_measured);
    let named = blind.into_iter().any(|b| b.what == "mmap(MAP_SHARED, PROT_WRITE)");
    assert!(report.is_elsewhere() || report.verdict() == Verdict::NotMeasured && named, "{report}");
}

/// A commit removes the journal, and with FULL nothing syncs its directory: after a power loss the journal can be
/// there again, and rolls the commit back. SQLite documents EXTRA for that. What is left is a whole older state.
#[test]
fn delete_with_full_loses_the_last_commit_whole() {
    for model in MODELS {
        let report = unplug::check!(Sqlite<DELETE_FULL>)
            .created()
            .ops(workload())
            .budget(150)
            .models([model])
            .assume([RUBBISH])
            .assert_violated();
        let found = report.cells().iter().flat_map(|cell| &cell.findings);
        let (freed, others): (Vec<_>, Vec<_>) = found.partition(|finding| is_of_a_freed_block(finding));
        let good = !others.is_empty()
            && others.iter().all(|finding| finding.violation.class == Class::AcknowledgedLoss)
            && (freed.is_empty() || model == BLOCKS_REUSED);
        assert!(report.is_elsewhere() || good, "{model}: {report}");
    }
}

/// The same is found whether images that differ in what SQLite never reads are recovered once or each.
#[test]
fn the_same_is_found_with_and_without_pruning() {
    let check =
        || unplug::check!(Sqlite<WAL_FULL>).created().volatile(INDEX_OF_THE_LOG).ops(workload()).budget(150);
    let check = || check().recovery_depth(0);
    let (spared, all) = (check().prune(true).run().expect("a result"), check().run().expect("a result"));
    println!("{spared}{all}");
    assert!(spared.is_elsewhere() || outcome(&spared) == outcome(&all), "{spared}{all}");
    let check = || unplug::check!(Sqlite<DELETE_OFF>).created().ops(workload()).budget(150).recovery_depth(0);
    let (spared, all) = (check().prune(true).run().expect("a result"), check().run().expect("a result"));
    println!("{spared}{all}");
    assert!(spared.is_elsewhere() || outcome(&spared) == outcome(&all), "{spared}{all}");
}
