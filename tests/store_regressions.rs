//! What a failing test of a store leaves behind: a regression file that is tried first ever after, and a line that
//! replays it. The failing tests stand here too, ignored, and are started as a user's would be.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use unplug::dump::Dump;
use unplug::testing::{BoxError, Map, MapOp, Reply, Store, property};

/// Replaces its file whole; whether it syncs is said by the environment, so that it can be mended in between.
struct Toy {
    dir: PathBuf,
    map: Map,
}

const SYNCED: &str = "TOY_SYNCED";
/// A file that grows by a byte with each operation that is recorded.
const LOG: &str = "TOY_LOG";

impl Store for Toy {
    type Op = MapOp;
    type Model = Map;

    fn open(dir: &Path) -> Result<Self, BoxError> {
        let map = match fs::read(dir.join("map")) {
            Ok(bytes) => serde_json::from_slice::<Vec<_>>(&bytes)?.into_iter().collect(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(e.into()),
        };
        Ok(Toy { dir: dir.to_path_buf(), map })
    }

    fn apply(&mut self, op: &MapOp) -> Result<Reply, BoxError> {
        unplug::testing::StoreModel::apply(&mut self.map, op);
        if let Some(log) =
            std::env::var_os(LOG).filter(|_| std::env::var("UNPLUG_ROLE").is_ok_and(|r| r == "record"))
        {
            File::options().append(true).create(true).open(log)?.write_all(b"x")?;
        }
        let synced = std::env::var_os(SYNCED).is_some();
        let mut file = File::create(self.dir.join("map.new"))?;
        file.write_all(&serde_json::to_vec(&self.map.iter().collect::<Vec<_>>())?)?;
        if synced {
            file.sync_all()?;
        }
        fs::rename(self.dir.join("map.new"), self.dir.join("map"))?;
        if synced {
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(Reply::DONE)
    }

    fn dump(&mut self) -> Result<Dump, BoxError> {
        Ok(self.map.clone().into_iter().collect())
    }
}

#[test]
#[ignore = "fails on purpose: started by the tests below"]
fn toy_check() {
    let ops = ["a", "b", "c", "d"].map(|key| MapOp::put(key, "1"));
    unplug::check!(Toy).ops(ops).models(["posix"]).workers(1).assert_holds();
}

#[test]
#[ignore = "fails on purpose: started by the tests below"]
fn toy_property() {
    let op = (0..3_u8, any::<u8>()).prop_map(|(key, value)| MapOp::put([key], [value]));
    property::<Toy, _>(unplug::test_path!(), prop::collection::vec(op, 1..5))
        .each(|check| check.workers(1))
        .cases(2)
        .assert_holds();
}

/// This binary with one of the tests above, in a package directory of its own.
struct Package(tempfile::TempDir);

impl Package {
    fn new() -> Package {
        Package(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn test(&self, name: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["--ignored", "--exact", name]).current_dir(self.path());
        command.env("CARGO_MANIFEST_DIR", self.path()).env("CARGO_PKG_NAME", "toy").env_remove(SYNCED);
        command.env(LOG, self.path().join("log"));
        for variable in ["UNPLUG_SEED", "UNPLUG_BUDGET", "UNPLUG_CASES", "UNPLUG_REPLAY", "NEXTEST"] {
            command.env_remove(variable);
        }
        command
    }

    /// How many operations were recorded since the last time this was asked.
    fn recorded(&self) -> usize {
        let log = self.path().join("log");
        let n = fs::read(&log).map_or(0, |bytes| bytes.len());
        let _ = fs::remove_file(log);
        n
    }

    /// The files that were kept for a test.
    fn kept(&self, name: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path().join("unplug-regressions").join(name));
        entries.into_iter().flatten().map(|e| e.expect("readable").path()).collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What a failing run printed.
fn fails(command: &mut Command) -> String {
    let output = command.output().expect("started");
    let said = said(&output);
    // The exit code of a test binary with a failed test.
    assert_eq!(output.status.code(), Some(101), "{said}");
    said
}

fn passes(command: &mut Command) -> String {
    let output = command.output().expect("started");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    said
}

/// The command that replays, as it was printed.
fn replay_line(said: &str) -> &str {
    said.lines().find(|line| line.starts_with("UNPLUG_REPLAY=")).expect("a replay line")
}

#[test]
fn a_failure_is_kept_and_tried_first_until_it_is_mended() {
    let package = Package::new();
    let first = fails(&mut package.test("toy_check"));
    assert!(first.contains("acknowledged-loss") && !first.contains("regression file"), "{first}");
    assert!(package.recorded() > 4, "the workload, and smaller ones");
    let kept = package.kept("toy_check");
    assert!(!kept.is_empty() && kept.iter().all(|p| p.extension().is_some_and(|e| e == "repro")), "{kept:?}");

    let second = fails(&mut package.test("toy_check"));
    assert!(second.contains("still violated, from the regression file"), "{second}");
    assert_eq!(package.recorded(), 1, "the smallest failing workload alone");
    assert_eq!(package.kept("toy_check"), kept, "none is added");
    assert!(
        replay_line(&second).ends_with("cargo test -p toy -- --include-ignored --exact toy_check"),
        "{second}"
    );

    // Mended, the kept file is no obstacle, and the whole workload is explored after it.
    passes(package.test("toy_check").env(SYNCED, "1"));
    assert_eq!(package.recorded(), 1 + 4);
    // Without the file nothing is known of the failure.
    fs::remove_dir_all(package.path().join("unplug-regressions")).expect("there");
    assert!(!fails(&mut package.test("toy_check")).contains("regression file"));
}

#[test]
fn the_printed_line_replays_the_failure_in_a_shell() {
    let package = Package::new();
    let said = fails(&mut package.test("toy_check"));
    let line = replay_line(&said);
    assert_eq!(
        line.split(' ').skip(1).collect::<Vec<_>>().join(" "),
        "cargo test -p toy -- --include-ignored --exact toy_check"
    );
    // A `cargo` that starts this binary with what stands behind `--`: the real one would build in here.
    let bin = package.path().join("bin");
    fs::create_dir(&bin).expect("writable");
    let script = format!(
        "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done; shift\nexec '{}' \"$@\"\n",
        std::env::current_exe().expect("this binary").display()
    );
    fs::write(bin.join("cargo"), script).expect("writable");
    fs::set_permissions(bin.join("cargo"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("ours");
    let shell = || {
        let mut shell = Command::new("sh");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("a path"));
        shell.args(["-c", line]).env("PATH", path).current_dir(package.path()).env_remove(SYNCED);
        shell.env("CARGO_MANIFEST_DIR", package.path()).env(LOG, package.path().join("log"));
        shell
    };
    let replayed = fails(&mut shell());
    assert!(replayed.contains(" on the disk of a repro file: "), "{replayed}");
    // The disk is the one on which the store had lost something: mended writes do not bring it back.
    assert!(fails(shell().env(SYNCED, "1")).contains("on the disk of a repro file"));
    package.recorded();
    fails(&mut shell());
    assert_eq!(package.recorded(), 0, "a replay records nothing");
}

#[test]
fn a_repro_of_another_test_is_no_pass() {
    let package = Package::new();
    fails(&mut package.test("toy_check"));
    let kept = &package.kept("toy_check")[0];
    let said = fails(package.test("toy_property").env("UNPLUG_REPLAY", kept));
    assert!(said.contains("is a repro of the test `toy_check`"), "{said}");
    let said = fails(package.test("toy_check").env("UNPLUG_REPLAY", "/no/such/file"));
    assert!(said.contains("UNPLUG_REPLAY=/no/such/file: there is no such file"), "{said}");
}

#[test]
fn a_damaged_regression_file_is_named_and_is_no_pass() {
    let package = Package::new();
    fails(&mut package.test("toy_check"));
    let kept = package.kept("toy_check").remove(0);
    let bytes = fs::read(&kept).expect("readable");
    let damages: [(&str, Vec<u8>); 3] =
        [("truncated", bytes[..bytes.len() / 2].to_vec()), ("not an Unplug file", b"hello".to_vec()), {
            let mut torn = bytes.clone();
            let middle = torn.len() / 2;
            torn[middle] ^= 1;
            ("checksum", torn)
        }];
    for (word, damaged) in damages {
        fs::write(&kept, damaged).expect("writable");
        let said = fails(package.test("toy_check").env(SYNCED, "1"));
        let name = kept.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(said.contains("not measured") && said.contains(word) && said.contains(&name), "{said}");
    }
}

#[test]
fn a_propertys_failure_is_shrunk_and_kept_too() {
    let package = Package::new();
    let first = fails(&mut package.test("toy_property"));
    assert!(first.contains("operations, shrunk:"), "{first}");
    assert_eq!(first.matches("Put {\n").count(), 1, "{first}");
    assert!(package.recorded() > 0);
    assert!(replay_line(&first).ends_with("--exact toy_property"), "{first}");
    let second = fails(&mut package.test("toy_property"));
    assert!(second.contains("from the regression file") && !second.contains("shrunk"), "{second}");
    assert_eq!(package.recorded(), 1);
    passes(package.test("toy_property").env(SYNCED, "1"));
}
