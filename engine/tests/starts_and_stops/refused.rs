//! Starts that fail: one line that says why, the documented exit code, and not a byte of any file touched.

use crate::server_support::Running;
use crate::{contents, directory};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use unplug_engine::config;
use unplug_engine::resp::Reply;

/// Wrong values of each option, and what is said of them.
const WRONG: &[(&str, &[&str], &str)] = &[
    ("aof-checksum", &["maybe", ""], "must be 'yes' or 'no'"),
    ("aof-layout", &["both", "yes"], "must be one of the following: multi, single"),
    ("aof-load-truncated", &["2"], "must be 'yes' or 'no'"),
    ("aof-rewrite-incremental-fsync", &["on"], "must be 'yes' or 'no'"),
    ("aof-timestamp-enabled", &["true"], "must be 'yes' or 'no'"),
    ("aof-use-rdb-preamble", &["rdb"], "must be 'yes' or 'no'"),
    ("appenddirname", &["a/b", "..", "", "a\tb"], "file name"),
    ("appendfilename", &["/a", ".", "", "a\u{1}b"], "file name"),
    ("appendfsync", &["sometimes", "yes"], "must be one of the following: everysec, always, no"),
    ("appendonly", &["1"], "must be 'yes' or 'no'"),
    ("auto-aof-rewrite-min-size", &["64mib", "-1", "mb", "99999999999gb"], "must be a memory value"),
    ("auto-aof-rewrite-percentage", &["-1", "x", "2147483648"], "must be between 0 and 2147483647"),
    ("bind", &["localhost", "127.0.0.1,::1", "-"], "is not an IP address"),
    ("daemonize", &["yes", "x"], ""),
    ("databases", &["0", "1000001", "x"], "between 1 and 1000000"),
    ("dbfilename", &["a/b", ""], "file name"),
    ("dir", &[""], "a directory is needed"),
    ("hz", &["0", "501", "-1", "1.5"], "must be between 1 and 500"),
    ("maxclients", &["0", "1000001"], "must be between 1 and"),
    ("maxmemory", &["1gb", "x"], ""),
    ("maxmemory-policy", &["allkeys-lru"], "only 'noeviction'"),
    ("no-appendfsync-on-rewrite", &["maybe"], "must be 'yes' or 'no'"),
    ("port", &["65536", "-1", "http"], "must be between 0 and 65535"),
    ("protected-mode", &["1"], "must be 'yes' or 'no'"),
    ("rdb-del-sync-files", &["x"], "must be 'yes' or 'no'"),
    ("rdb-save-incremental-fsync", &["x"], "must be 'yes' or 'no'"),
    ("rdbchecksum", &["crc64"], "must be 'yes' or 'no'"),
    ("rdbcompression", &["lzf"], "must be 'yes' or 'no'"),
    ("recover-until", &["0", "-5", "yesterday"], "must be between 1 and"),
    ("save", &["900", "0 1", "900 x", "900 1 60"], ""),
    ("stop-writes-on-bgsave-error", &["x"], "must be 'yes' or 'no'"),
    ("supervised", &["systemd"], "only 'no'"),
    ("tcp-backlog", &["65536", "x"], "must be between 0 and 65535"),
    ("tcp-keepalive", &["-1", "99999"], "must be between 0 and"),
    ("timeout", &["-1", "x"], "must be between 0 and"),
    ("unixsocket", &[], ""),
    ("unixsocketperm", &["778", "rw"], "must be an octal number"),
];

fn engine(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unplug-engine"));
    command.args(args);
    command
}

/// The start fails with this code and one line that has `text` in it.
#[track_caller]
fn fails(command: &mut Command, code: i32, text: &str) {
    let out = command.output().unwrap();
    let error = String::from_utf8(out.stderr).unwrap();
    assert_eq!((out.status.code(), error.lines().count()), (Some(code), 1), "{command:?}: {error}");
    assert!(error.contains(text) && out.stdout.is_empty(), "{command:?}: {error}");
}

/// As [`fails`], and nothing below `dir` has changed. The socket is elsewhere.
#[track_caller]
fn fails_in(dir: &Path, options: &[&str], code: i32, text: &str) {
    let before = contents(dir);
    let elsewhere = directory();
    let socket = elsewhere.path().join("s");
    let mut args =
        vec!["--dir", dir.to_str().unwrap(), "--port", "0", "--unixsocket", socket.to_str().unwrap()];
    args.extend_from_slice(options);
    fails(&mut engine(&args), code, text);
    assert!(contents(dir) == before, "{options:?}: the directory has changed");
    assert!(!socket.exists(), "{options:?}: the socket was left");
}

#[test]
fn every_option_is_checked_before_anything_is_done() {
    let rows: Vec<&str> = WRONG.iter().map(|(name, ..)| *name).collect();
    let mut names: Vec<&str> = config::names().collect();
    names.sort_unstable();
    assert_eq!(rows, names, "every option has a row");
    let dir = directory();
    let at = dir.path().to_str().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    for (name, values, text) in WRONG {
        for value in *values {
            let option = format!("--{name}");
            fails(&mut engine(&["--dir", at, &option, value]), 2, text);
            std::fs::write(file.path(), format!("# a comment\ndir {at}\n{name} \"{value}\"\n")).unwrap();
            // What is an address is known when all is read.
            let shown = value.replace(char::is_control, " ");
            let place = format!("line 3: '{name} \"{shown}\"': ");
            let text = if *name == "bind" { text } else { place.as_str() };
            fails(&mut engine(&[file.path().to_str().unwrap()]), 2, text);
        }
        // None, and too many.
        fails(&mut engine(&["--dir", at, &format!("--{name}")]), 2, "");
        if !["save", "bind"].contains(name) {
            fails(
                &mut engine(&["--dir", at, &format!("--{name}"), "yes", "no"]),
                2,
                "wrong number of arguments",
            );
        }
    }
    for (args, text) in [
        (vec!["--no-such-option", "1"], "unknown option"),
        (vec!["--requirepass", "x"], "unknown option"),
        (vec!["--rename-command", "FLUSHALL", ""], "unknown option"),
        (vec!["x.conf", "y.conf"], "can't open config file 'x.conf'"),
        (vec!["/dev/null", "appendonly", "yes"], "an option begins with --"),
    ] {
        fails(&mut engine(&args), 2, text);
    }
    std::fs::write(file.path(), "appendonly \"yes\n").unwrap();
    fails(&mut engine(&[file.path().to_str().unwrap()]), 2, "line 1: 'appendonly \"yes': unbalanced quotes");
    assert!(contents(dir.path()).is_empty());
}

#[test]
fn what_contradicts_itself_is_refused() {
    let dir = directory();
    for (options, text) in [
        (
            &["--appendfilename", "x", "--dbfilename", "x"][..],
            "appendfilename 'x' is another file's name, too",
        ),
        (
            &["--appendfilename", "x", "--appenddirname", "x"],
            "appendfilename 'x' is another file's name, too",
        ),
        (&["--appenddirname", "x", "--dbfilename", "x"], "appenddirname and dbfilename are both 'x'"),
        (&["--recover-until", "1700000000"], "recover-until needs appendonly yes"),
        (&["--unixsocket", "dump.rdb"], "unixsocket 'dump.rdb' is another file's name, too"),
        (&["--unixsocket", "./x", "--appendfilename", "x"], "unixsocket './x' is another file's name, too"),
    ] {
        fails_in(dir.path(), options, 2, text);
    }
    fails(
        &mut engine(&["--dir", dir.path().to_str().unwrap(), "--port", "0"]),
        2,
        "configured to not listen anywhere",
    );
}

/// A directory that an engine has filled and left in order.
fn filled(options: &[&str]) -> tempfile::TempDir {
    let dir = directory();
    let server = Running::engine(dir.path(), options);
    let mut client = server.connect();
    for line in ["SET k v", "RPUSH l a b", "SAVE", "INCR n"] {
        assert!(!client.call(line).is_error(), "{line}");
    }
    client.send(&[b"SHUTDOWN"]);
    assert!(client.closed());
    drop(server);
    dir
}

#[test]
fn places_that_cannot_be_had() {
    let dir = filled(&["--appendonly", "yes"]);
    let aof = ["--appendonly", "yes"];
    // A port, by another server.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    fails_in(dir.path(), &[&aof[..], &["--port", &port]].concat(), 1, "could not listen on 127.0.0.1:");
    // A socket, by another server or by a file.
    let elsewhere = directory();
    let socket = elsewhere.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let on = |path: &Path| ["--unixsocket".to_owned(), path.to_str().unwrap().to_owned()];
    let with = |path: &Path, text: &str| {
        let option = on(path);
        fails_in(dir.path(), &[&aof[..], &[&option[0], &option[1]]].concat(), 1, text);
    };
    with(&socket, "another server listens there");
    drop(listener);
    let file = elsewhere.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    with(&file, "a file of that name is there");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    with(&elsewhere.path().join("no/such"), "could not open unix socket");
    // A directory that is none.
    for (path, text) in [("/no/such/dir", "No such file"), (file.to_str().unwrap(), "Not a directory")] {
        fails_in(dir.path(), &["--dir", path], 1, text);
    }
    // One that another engine has, of whatever layout.
    let server = Running::engine(dir.path(), &aof);
    for options in [&["--appendonly", "yes"][..], &["--appendonly", "no"], &["--aof-layout", "single"]] {
        fails_in(dir.path(), options, 1, "is in use by another engine");
    }
    assert_eq!(server.connect().call("INCR n"), Reply::Int(2));
}

/// Runs as somebody who may not write there, where this is run by somebody who may write anywhere.
fn without_rights(command: &mut Command) -> &mut Command {
    const NOBODY: u32 = 65_534;
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY)
    } else {
        command
    }
}

#[test]
fn a_directory_that_may_not_be_read_or_written() {
    // Whoever has no rights must get to the program and to the directory, if not into it.
    let program = directory();
    let exe = program.path().join("engine");
    std::fs::copy(env!("CARGO_BIN_EXE_unplug-engine"), &exe).unwrap();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    mode(program.path(), 0o777);
    let dir = filled(&["--appendonly", "yes"]);
    let at = dir.path().to_str().unwrap();
    let start = |socket: &str| {
        let mut command = Command::new(&exe);
        command.args(["--dir", at, "--port", "0", "--appendonly", "yes", "--unixsocket"]);
        command.arg(program.path().join(socket));
        command
    };
    mode(dir.path(), 0o700);
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        fails(without_rights(&mut start("a")), 1, "can't open directory");
    }
    // It can be read: the data are served, and writes refused.
    mode(dir.path(), 0o555);
    mode(&dir.path().join("appendonlydir"), 0o555);
    let before = contents(dir.path());
    let mut command = start("b");
    let piped = std::process::Stdio::piped;
    let mut child = without_rights(&mut command).stdout(piped()).stderr(piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    let mut warning = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stderr.take().unwrap()), &mut warning)
        .unwrap();
    assert!(warning.contains("cannot be written: what it holds is served"), "{warning}");
    let server = Running::over(child, program.path().join("b"));
    let mut client = server.connect();
    assert_eq!(client.call("GET n"), Reply::Bulk(b"1".into()));
    let refusal = client.call("INCR n");
    assert!(matches!(&refusal, Reply::Error(e) if e.starts_with("MISCONF")), "{refusal:?}");
    assert!(client.call("SAVE").is_error() && client.call("BGREWRITEAOF").is_error());
    client.send(&[b"SHUTDOWN", b"NOSAVE", b"FORCE"]);
    let _ = client.closed();
    drop(server);
    mode(dir.path(), 0o755);
    mode(&dir.path().join("appendonlydir"), 0o755);
    assert!(contents(dir.path()) == before, "the directory has changed");
    // Where nothing could be served, nothing is.
    let empty = directory();
    mode(empty.path(), 0o555);
    for appendonly in ["yes", "no"] {
        let mut command = Command::new(&exe);
        command.args(["--port", "0", "--appendonly", appendonly, "--dir"]).arg(empty.path());
        command.arg("--unixsocket").arg(program.path().join("c"));
        fails(without_rights(&mut command), 1, "cannot be written, and there is nothing in it");
    }
}

/// Names that have to be quoted in a manifest and in a configuration file.
#[test]
fn names_with_spaces_are_names() {
    let dir = directory();
    let options = [
        "--appendonly",
        "yes",
        "--appendfilename",
        "my log \"1\" \u{e9}.aof",
        "--appenddirname",
        "my dir",
        "--dbfilename",
        "a b.rdb",
    ];
    for n in 1..4 {
        let server = Running::engine(dir.path(), &options);
        let mut client = server.connect();
        assert_eq!(client.call("INCR n"), Reply::Int(n));
        if n == 2 {
            assert!(!client.call("BGREWRITEAOF").is_error());
        }
        assert!(!client.call("SAVE").is_error());
        client.send(&[b"SHUTDOWN"]);
        assert!(client.closed());
    }
    assert!(dir.path().join("a b.rdb").exists());
    let manifest = dir.path().join("my dir/my log \"1\" \u{e9}.aof.manifest");
    let text = std::fs::read_to_string(&manifest).unwrap();
    assert!(text.contains(r#"file "my log \"1\" \xc3\xa9.aof."#), "{text}");
    let checked = engine(&["check-aof", manifest.to_str().unwrap()]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    if let Some(redis) = Running::redis(dir.path(), &options) {
        let mut client = redis.connect();
        while matches!(client.call("PING"), Reply::Error(e) if e.starts_with("LOADING")) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(client.call("GET n"), Reply::Bulk(b"3".into()));
    }
}

#[test]
fn files_that_are_not_understood() {
    let rdb = |bytes: &[u8]| {
        let dir = directory();
        std::fs::write(dir.path().join("dump.rdb"), bytes).unwrap();
        dir
    };
    // A database with one key: of a type that is not known here, of a newer version, damaged, or foreign.
    let whole: &[u8] = b"REDIS0009\xfe\x00\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0";
    let with = |at: usize, byte: u8| {
        let mut bytes = whole.to_vec();
        bytes[at] = byte;
        bytes
    };
    let module = b"REDIS0009\xfe\x00\x07\x01k\x81\xab\xcd\xef\x01\x23\x45\x67\x89\xff\0\0\0\0\0\0\0\0";
    for (bytes, text) in [
        (b"REDIS0012\xff\0\0\0\0\0\0\0\0".to_vec(), "its version is 12, and the newest that is known is 11"),
        (b"REDIS0080\xfa\x05valk".to_vec(), "its version is 80"),
        (b"VALKEY080\xff\0\0\0\0\0\0\0\0".to_vec(), "does not begin with REDIS"),
        (b"PK\x03\x04 something else".to_vec(), "does not begin with REDIS"),
        (with(11, 15), "streams are not supported"),
        (with(11, 99), "the byte 99"),
        (with(whole.len() - 1, 1), "checksum"),
        (module.to_vec(), "the module type"),
        (whole[..whole.len() - 12].to_vec(), ""),
        (Vec::new(), ""),
    ] {
        let dir = rdb(&bytes);
        for options in [&["--appendonly", "no"][..], &["--appendonly", "yes"]] {
            fails_in(dir.path(), options, 1, text);
        }
    }
    assert!(Running::engine(rdb(whole).path(), &[]).connect().call("GET k") == Reply::Bulk(b"v".into()));

    let command = |words: &[&str]| {
        let mut text = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| text += &format!("${}\r\n{word}\r\n", word.len()));
        text.into_bytes()
    };
    let set = command(&["SET", "k", "v"]);
    let json = command(&["JSON.SET", "k", "$", "1"]);
    let newer = [&b"REDIS0012\xff\0\0\0\0\0\0\0\0"[..], &set].concat();
    let single = |bytes: &[u8]| {
        let dir = directory();
        std::fs::write(dir.path().join("appendonly.aof"), bytes).unwrap();
        dir
    };
    let multi = |base: &[u8], incr: &[u8], manifest: &str| {
        let dir = directory();
        let files = dir.path().join("appendonlydir");
        std::fs::create_dir(&files).unwrap();
        std::fs::write(files.join("appendonly.aof.1.base.rdb"), base).unwrap();
        std::fs::write(files.join("appendonly.aof.1.incr.aof"), incr).unwrap();
        std::fs::write(files.join("appendonly.aof.manifest"), manifest).unwrap();
        dir
    };
    let listed = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    for (dir, text) in [
        (single(&[&set[..], &json, &set].concat()), "unknown command 'JSON.SET'"),
        (single(&newer), "its version is 12"),
        (single(&command(&["GET", "k"])), "command 'GET' is not one that is logged"),
        (single(b"this is no log\r\n"), ""),
        (multi(whole, &[&set[..], &json, &set].concat(), listed), "unknown command 'JSON.SET'"),
        (multi(&newer[..17], &set, listed), "its version is 12"),
        (multi(whole, &set, &listed.replace("type i", "type x")), ""),
        (multi(whole, &set, "something else\n"), ""),
        (multi(whole, &set, &listed.replace("1.incr", "2.incr")), ""),
    ] {
        for layout in ["multi", "single"] {
            fails_in(dir.path(), &["--appendonly", "yes", "--aof-layout", layout], 1, text);
        }
    }
}
