//! A store without a server: commands go to the keyspace and to the log.

use std::path::{Path, PathBuf};
use unplug_engine::command::replay;
use unplug_engine::config::{AofLayout, AppendFsync, Config};
use unplug_engine::keyspace::Keyspace;
use unplug_engine::persist::{LoadReport, OpenError, Persistence};

/// 2023-11-14: a fixed instant.
pub(crate) const NOW: u64 = 1_700_000_000_000;

pub(crate) struct Store {
    pub(crate) p: Persistence,
    pub(crate) ks: Keyspace,
    pub(crate) report: LoadReport,
    pub(crate) now: u64,
}

pub(crate) fn config(dir: &Path, appendfsync: AppendFsync) -> Config {
    Config { dir: dir.to_owned(), appendonly: true, appendfsync, save: Vec::new(), ..Config::default() }
}

pub(crate) fn single(dir: &Path, appendfsync: AppendFsync) -> Config {
    Config { aof_layout: AofLayout::Single, ..config(dir, appendfsync) }
}

/// Both kinds of checksum, both kinds of base.
pub(crate) fn kinds(config: &Config) -> Vec<Config> {
    let with = |checksum, rdb| Config { aof_checksum: checksum, aof_use_rdb_preamble: rdb, ..config.clone() };
    vec![with(true, true), with(true, false), with(false, true), with(false, false)]
}

/// The same on a copy of the directory: what a kill at this moment would leave.
pub(crate) struct Image {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) config: Config,
}

pub(crate) fn image(config: &Config) -> Image {
    let dir = tempdir();
    copy(&config.dir, dir.path());
    let config = Config { dir: dir.path().into(), ..config.clone() };
    Image { dir, config }
}

impl Image {
    /// It is recovered as `ks`, takes a write, and has both at the next start and the one after.
    pub(crate) fn holds(&self, ks: &Keyspace, what: &str) -> Store {
        let mut store = Store::try_open(&self.config).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(store.ks == *ks, "{what}: {:?} is not {ks:?}", store.ks);
        store.turn("INCR after-recovery");
        store.written();
        for _ in 0..2 {
            let again = Store::try_open(&self.config).unwrap_or_else(|e| panic!("{what}, again: {e}"));
            assert!(again.ks == store.ks, "{what}, again");
        }
        store
    }
}

/// In memory where that is possible: these tests write bytes on purpose and never pull a plug, so what a sync
/// costs on a disk is only in their way.
pub(crate) fn tempdir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

impl Store {
    pub(crate) fn try_open(config: &Config) -> Result<Store, OpenError> {
        let (p, ks, report) = Persistence::open(config, NOW)?;
        Ok(Store { p, ks, report, now: NOW })
    }

    pub(crate) fn open(config: &Config) -> Store {
        Store::try_open(config).unwrap()
    }

    /// Executes and logs; the words are separated by spaces.
    pub(crate) fn run(&mut self, db: usize, command: &str) {
        let argv: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let mut at = db;
        replay(&mut self.ks, &mut at, &argv, self.now).unwrap();
        self.p.log(db, &argv);
        self.p.count_changes(1);
    }

    pub(crate) fn end(&mut self) {
        self.p.end_turn(self.now).unwrap();
    }

    /// One command, one turn.
    pub(crate) fn turn(&mut self, command: &str) {
        self.run(0, command);
        self.end();
    }

    /// Everything logged is in a file: under everysec a write may be postponed while a sync runs.
    pub(crate) fn written(&mut self) {
        for _ in 0..2000 {
            self.end();
            if self.p.info().aof_buffer_length == 0 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        panic!("the log is not written");
    }

    /// Runs the timer until no child runs.
    pub(crate) fn settle(&mut self) {
        for _ in 0..2000 {
            self.p.cron(&self.ks, self.now).unwrap();
            if !self.p.background_running() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("the child does not end");
    }
}

/// A keyspace in which some of everything stands.
pub(crate) fn fill(store: &mut Store) {
    store.run(0, "SET name unplug");
    store.run(0, "INCR hits");
    store.end();
    store.run(0, "RPUSH queue a bb 12 -70000");
    store.run(3, "SET other db");
    store.end();
    store.p.begin_transaction();
    store.run(3, "INCR hits");
    store.run(0, "INCR hits");
    store.p.end_transaction();
    store.run(0, "SET late x");
    store.run(0, "PEXPIREAT late 4102444800000");
    store.end();
}

/// Copies a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if path.is_file() {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Every file under `dir`, by relative path, sorted.
pub(crate) fn tree(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, at: &Path, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(dir, &path, out);
            } else {
                out.push(path.strip_prefix(dir).unwrap().display().to_string());
            }
        }
    }
    let mut out = Vec::new();
    walk(dir, dir, &mut out);
    out.sort();
    out
}

pub(crate) fn one(dir: &Path) -> PathBuf {
    dir.join("appendonly.aof")
}

pub(crate) fn incr(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("appendonlydir/appendonly.aof.{seq}.incr.aof"))
}

pub(crate) fn manifest(dir: &Path) -> PathBuf {
    dir.join("appendonlydir/appendonly.aof.manifest")
}
