//! `check-aof`, and what redis-check-aof makes of the same files.

use crate::interop::{check_tool, have_redis};
use crate::support::*;
use std::fs;
use std::path::Path;
use unplug_engine::config::{AofLayout, AppendFsync, Config};
use unplug_engine::persist::check::check;

/// Runs the tool: what it printed, and whether it was content.
pub(crate) fn tool(options: &[&str], path: &Path) -> (String, u8) {
    // The tool locks the directory above, too: that is one for all of these tests.
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let args = options.iter().map(|o| (*o).into()).chain([path.as_os_str().to_owned()]);
    check(args)
}

fn valid(path: &Path) {
    let (text, code) = tool(&[], path);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("valid") && !text.contains("not valid"), "{text}");
}

/// The file or manifest by which a directory is checked.
fn head(config: &Config) -> std::path::PathBuf {
    match config.aof_layout {
        AofLayout::Multi => manifest(&config.dir),
        AofLayout::Single => one(&config.dir),
    }
}

fn everything(dir: &Path) -> Vec<Config> {
    let mut all = kinds(&config(dir, AppendFsync::Always));
    all.extend(kinds(&single(dir, AppendFsync::Always)));
    all.into_iter().flat_map(|c| [c.clone(), Config { aof_timestamp_enabled: true, ..c }]).collect()
}

#[test]
fn files_of_every_kind_pass_after_every_kind_of_end() {
    let redis = have_redis();
    let nowhere = Path::new("/nowhere");
    for kind in everything(nowhere) {
        let dir = tempdir();
        let config = Config { dir: dir.path().into(), ..kind };
        let pass = |config: &Config| {
            // Without checksums, an empty single file is one that nothing was written to yet.
            let options: &[&str] = if config.aof_checksum { &[] } else { &["--plain"] };
            let (text, code) = tool(options, &head(config));
            assert_eq!(code, 0, "{text}");
            if redis {
                check_tool("/usr/bin/redis-check-aof", &head(config));
            }
        };
        let mut store = Store::open(&config);
        pass(&config);
        fill(&mut store);
        pass(&config);
        store.p.begin_rewrite(&store.ks, NOW).unwrap();
        store.turn("INCR during");
        // Killed while the child runs, and when it has ended.
        pass(&image(&config).config);
        store.settle();
        store.turn("INCR after");
        pass(&config);
        // SHUTDOWN, and the start behind it.
        store.p.shutdown(&store.ks, None, NOW).unwrap();
        pass(&config);
        let mut store = Store::open(&config);
        store.turn("INCR n");
        pass(&config);
        // The next rewrite, killed at once.
        store.p.begin_rewrite(&store.ks, NOW).unwrap();
        drop(store);
        pass(&config);
        let store = Store::open(&config);
        pass(&config);
        drop(store);
        // A failed stop, a torn tail: not valid, and repaired.
        let log = match config.aof_layout {
            AofLayout::Single => one(dir.path()),
            AofLayout::Multi => (1..9).map(|n| incr(dir.path(), n)).rfind(|p| p.exists()).unwrap(),
        };
        let whole = fs::read(&log).unwrap();
        let torn = [&whole[..], b"*2\r\n$4\r\nIN"].concat();
        for path in [head(&config), log.clone()] {
            fs::write(&log, &torn).unwrap();
            assert_eq!(tool(&[], &path).1, 1);
            assert_eq!(fs::read(&log).unwrap(), torn, "without --fix nothing changes");
            let (text, code) = tool(&["--fix"], &path);
            assert_eq!(code, 0, "{text}");
            assert_eq!(fs::read(&log).unwrap(), whole);
            let kept =
                log.with_file_name(format!("{}.cut-{}", log.file_name().unwrap().display(), whole.len()));
            assert_eq!(fs::read(&kept).unwrap(), b"*2\r\n$4\r\nIN");
            fs::remove_file(kept).unwrap();
            pass(&config);
        }
    }
}

#[test]
fn damage_is_named_with_its_place_and_cut_on_request() {
    for layout in [AofLayout::Multi, AofLayout::Single] {
        let dir = tempdir();
        let config = Config { aof_layout: layout, ..config(dir.path(), AppendFsync::Always) };
        let log = if layout == AofLayout::Multi { incr(dir.path(), 1) } else { one(dir.path()) };
        let mut store = Store::open(&config);
        store.turn("SET a 1");
        let one_in = store.ks.clone();
        let at = fs::metadata(&log).unwrap().len();
        store.turn("SET b 2");
        store.turn("SET c 3");
        store.p.shutdown(&store.ks, None, NOW).unwrap();
        drop(store);
        let mut bytes = fs::read(&log).unwrap();
        bytes[at as usize + 20] ^= 1;
        fs::write(&log, &bytes).unwrap();
        let (text, code) = tool(&[], &head(&config));
        assert_eq!(code, 1);
        assert!(text.contains(&format!("at offset {at}: ")) && text.contains("--resign"), "{text}");
        assert!(Store::try_open(&config).is_err());
        let (text, code) = tool(&["--fix"], &head(&config));
        assert_eq!(code, 0, "{text}");
        image(&config).holds(&one_in, "cut where the damage begins");
        valid(&head(&config));
    }
}

/// A FLUSHALL too many: it is cut out of the file by hand, and the chain renewed.
#[test]
fn the_rescue_after_a_flushall() {
    let nowhere = Path::new("/nowhere");
    for kind in everything(nowhere) {
        for rewritten in [false, true] {
            let dir = tempdir();
            let config = Config { dir: dir.path().into(), ..kind.clone() };
            let mut store = Store::open(&config);
            fill(&mut store);
            if rewritten {
                store.p.begin_rewrite(&store.ks, NOW).unwrap();
                store.settle();
            }
            store.turn("INCR hits");
            let before = store.ks.clone();
            store.turn("FLUSHALL");
            store.p.shutdown(&store.ks, None, NOW).unwrap();
            drop(store);
            let log = match (config.aof_layout, rewritten) {
                (AofLayout::Single, _) => one(dir.path()),
                (AofLayout::Multi, false) => incr(dir.path(), 1),
                (AofLayout::Multi, true) => incr(dir.path(), 2),
            };
            let flush = b"*1\r\n$8\r\nFLUSHALL\r\n";
            let bytes = fs::read(&log).unwrap();
            let at = bytes.windows(flush.len()).rposition(|w| w == flush).unwrap();
            fs::write(&log, [&bytes[..at], &bytes[at + flush.len()..]].concat()).unwrap();
            if config.aof_checksum {
                assert!(Store::try_open(&config).is_err(), "it was whole at the stop, and is not");
            }
            let (text, code) = tool(&["--resign"], &head(&config));
            assert_eq!(code, 0, "{text}");
            assert!(text.contains("accepted without a checksum that fits"), "{text}");
            valid(&head(&config));
            if have_redis() {
                check_tool("/usr/bin/redis-check-aof", &head(&config));
            }
            image(&config).holds(&before, "after the rescue");
            let kept = tree(dir.path()).into_iter().find(|n| n.contains("before-resign")).unwrap();
            assert!(dir.path().join(kept).exists());
            // Signed is sealed: it is not cut off later.
            let names = tree(dir.path());
            let newest = match config.aof_layout {
                AofLayout::Single => one(dir.path()),
                AofLayout::Multi => {
                    let incrs = names.iter().filter(|n| n.ends_with(".incr.aof") && !n.contains("before-"));
                    dir.path().join(incrs.max().unwrap())
                }
            };
            let bytes = fs::read(&newest).unwrap();
            fs::write(&newest, &bytes[..bytes.len() - 1]).unwrap();
            assert_eq!(tool(&[], &head(&config)).1, 1);
            assert!(Store::try_open(&Config { aof_checksum: true, ..config.clone() }).is_err());
        }
    }
}

#[test]
fn a_torn_tail_is_signed_only_with_fix() {
    let dir = tempdir();
    let config = single(dir.path(), AppendFsync::Always);
    let mut store = Store::open(&config);
    store.turn("INCR n");
    let ks = store.ks.clone();
    drop(store);
    let mut bytes = fs::read(one(dir.path())).unwrap();
    bytes.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nx\r\n");
    fs::write(one(dir.path()), &bytes).unwrap();
    let (text, code) = tool(&["--resign"], &one(dir.path()));
    assert!(code == 1 && text.contains("MULTI"), "{text}");
    assert_eq!(fs::read(one(dir.path())).unwrap(), bytes);
    let (text, code) = tool(&["--resign", "--fix"], &one(dir.path()));
    assert!(code == 0 && text.contains("left out: 36 bytes"), "{text}");
    image(&config).holds(&ks, "signed");
}

#[test]
fn arguments_and_locks() {
    let dir = tempdir();
    for wrong in [
        &["--nope", "x"][..],
        &[],
        &["a", "b"],
        &["--truncate-to-timestamp"],
        &["--truncate-to-timestamp", "x", "y"],
    ] {
        let (text, code) = check(wrong.iter().map(Into::into));
        assert!(code == 2 && text.contains("Usage:"), "{wrong:?}: {text}");
    }
    assert_eq!(check(["--help".into()].into_iter()).1, 0);
    assert_eq!(tool(&[], &dir.path().join("missing")).1, 1);
    let config = config(dir.path(), AppendFsync::Always);
    drop(Store::open(&config));
    let lock = unplug_engine::lock::DirLock::take(dir.path()).unwrap();
    let (text, code) = tool(&["--fix"], &manifest(dir.path()));
    assert!(code == 1 && text.contains("in use"), "{text}");
    valid(&manifest(dir.path()));
    drop(lock);
    assert_eq!(tool(&["--fix"], &manifest(dir.path())).1, 0);
    fs::write(manifest(dir.path()), "file x seq 1 type q\n").unwrap();
    let (text, code) = tool(&[], &manifest(dir.path()));
    assert!(code == 1 && text.contains("line 1"), "{text}");
}
