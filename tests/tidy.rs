//! House rules that no compiler checks. Each is a rule of ARCHITECTURE.md.

use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's directory.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("harness stands in the workspace").to_owned()
}

fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(dir).expect("readable").map(|e| e.expect("readable").path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            // Cargo's directories lie beside the workspace's manifest; a module may be called `target`.
            let built = name.starts_with("target") && dir.join("Cargo.lock").exists();
            if !built && name != ".git" && name != "unplug-repros" {
                walk(&path, out);
            }
        } else {
            out.push(path);
        }
    }
}

/// Every file of the repository, with its path from the root.
fn files() -> Vec<(String, PathBuf)> {
    let root = root();
    let mut out = Vec::new();
    walk(&root, &mut out);
    assert!(out.len() > 20, "the walk found the repository");
    out.into_iter()
        .map(|p| (p.strip_prefix(&root).expect("below").to_string_lossy().into_owned(), p))
        .collect()
}

fn is_source(name: &str) -> bool {
    let places = ["engine/src/", "faults/src/", "faults/shim/", "harness/src/"];
    name.ends_with(".rs") && places.iter().any(|p| name.starts_with(p))
}

/// Files that hold nothing but tests, declared by their parents under `#[cfg(test)]`.
fn is_test_file(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    file == "tests.rs"
        || file.ends_with("_tests.rs")
        || name.contains("/tests/")
        || file.starts_with("testing")
}

/// Numbered lines of a source file that are neither comments nor a part of an item under `#[cfg(test)]`.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut out = Vec::new();
    let mut in_test_item = false;
    for (n, line) in text.lines().enumerate() {
        if line == "#[cfg(test)]" {
            in_test_item = true;
        } else if in_test_item {
            // rustfmt ends an item that began in the first column there.
            in_test_item = !(line == "}" || line.ends_with(';') && !line.starts_with(' '));
        } else if !line.trim_start().starts_with("//") {
            out.push((n + 1, line));
        }
    }
    assert!(!in_test_item, "an item under #[cfg(test)] ends");
    out
}

#[test]
fn what_is_code() {
    let text = "a\n// b\n#[cfg(test)]\nmod tests;\nc\n#[cfg(test)]\nimpl X {\n    d;\n}\ne\n";
    assert_eq!(code(text), [(1, "a"), (5, "c"), (10, "e")]);
}

fn sources() -> Vec<(String, String)> {
    let read = |(name, path): (String, PathBuf)| (name, fs::read_to_string(path).expect("UTF-8"));
    files().into_iter().filter(|(name, _)| is_source(name)).map(read).collect()
}

fn assert_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn no_source_file_is_long() {
    let long: Vec<_> = sources()
        .iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > 450)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    assert_none("a source file has at most 450 lines", &long);
}

#[test]
fn nothing_gives_up_outside_tests() {
    let words = [".unwrap()", "panic!(", "todo!(", "unimplemented!(", "dbg!("];
    let mut found = Vec::new();
    for (name, text) in sources().iter().filter(|(name, _)| !is_test_file(name)) {
        // To fail the test that calls them is what the assertions for a user's tests are for.
        let (mut asserts, mut sabotaged) = (false, false);
        for (n, line) in code(text) {
            if line.starts_with("    pub fn ") || line.starts_with("    fn ") {
                asserts = name.starts_with("harness/src/testing/") && line.contains(" fn assert_");
            }
            // A word in a string is a word that is spoken of.
            let said = |w: &str| line.contains(w) && !line.contains(&format!("\"{w}"));
            let meant = asserts || sabotaged;
            if let Some(word) = words.iter().find(|w| said(w) && !(meant && **w == "panic!(")) {
                found.push(format!("{name}:{n}: {word}"));
            }
            // A sabotage that crashes the engine stands right below its name; no ordinary build has it.
            sabotaged = line.contains("if sabotaged!(");
        }
    }
    assert_none("errors are returned", &found);
}

#[test]
fn unsafe_stands_only_where_it_is_named() {
    // The shim, and modules whose work is mapping, forking, raw system calls or signals.
    let named = ["faults/shim/"];
    let modules = ["mapping", "fork", "raw", "ring", "area", "memfd", "spawn", "process", "signal", "clock"];
    let stems: Vec<String> = modules.iter().map(|m| format!("/{m}.rs")).collect();
    let mut found = Vec::new();
    for (name, text) in sources() {
        let allowed = named.iter().any(|p| name.starts_with(p))
            || stems.iter().any(|s| name.ends_with(s.as_str()))
            || modules.iter().any(|m| name.contains(&format!("/{m}/")));
        let uses = code(&text).iter().any(|(_, l)| {
            l.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
                && !l.contains("unsafe_")
        });
        if uses && !allowed {
            found.push(name);
        }
    }
    assert_none("`unsafe` stands in the shim and in modules named for it", &found);
}

#[test]
fn documents_name_only_files_that_exist() {
    let all = files();
    let mut found = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(root().join(document)).expect(document);
        for quoted in text.split('`').skip(1).step_by(2) {
            let file_like = [".rs", ".md", ".toml", ".sh"].iter().any(|e| quoted.ends_with(e));
            if file_like && !quoted.contains(' ') {
                let ends = |name: &str| name == quoted || name.ends_with(&format!("/{quoted}"));
                if !all.iter().any(|(name, _)| ends(name)) {
                    found.push(format!("{document}: `{quoted}`"));
                }
            }
            // A directory is named with a slash at its end.
            if quoted.ends_with('/') && !quoted.contains(' ') && !root().join(quoted).is_dir() {
                found.push(format!("{document}: `{quoted}`"));
            }
        }
    }
    assert_none("documents name what exists", &found);
}

/// What comes after a run has been recorded and understood.
const BEHIND_A_RUN: &[&str] =
    &["crate::judge", "crate::explore", "crate::report", "crate::cli", "crate::repro"];

/// Which module may name which: `(a module, what it must not name)`. A stage imports no later one.
const LAYERS: &[(&str, &[&str])] = &[
    ("engine/src/", &["unplug_faults", "unplug::", "crate::cli::check"]),
    ("faults/src/", &["unplug_engine", "unplug::"]),
    ("faults/src/event", &["crate::trace", "crate::effect", "crate::model", "crate::state", "crate::image"]),
    ("faults/src/trace", &["crate::effect", "crate::model", "crate::state", "crate::image"]),
    ("faults/src/codec", &["crate::effect", "crate::model", "crate::state", "crate::image"]),
    ("faults/src/effect", &["crate::model", "crate::state", "crate::image"]),
    ("faults/src/model", &["crate::state::Space", "crate::image"]),
    ("harness/src/workload", BEHIND_A_RUN),
    ("harness/src/record", BEHIND_A_RUN),
    ("harness/src/target", BEHIND_A_RUN),
    ("harness/src/worker", BEHIND_A_RUN),
    ("harness/src/history", BEHIND_A_RUN),
    ("harness/src/oracle", BEHIND_A_RUN),
    ("harness/src/judge", &["crate::explore", "crate::report", "crate::cli", "crate::repro", "std::fs"]),
    ("harness/src/explore", &["crate::report", "crate::cli"]),
    ("harness/src/repro", &["crate::report", "crate::cli"]),
    ("harness/src/story", &["crate::report", "crate::cli"]),
    ("harness/src/report", &["crate::cli", "crate::explore", "crate::judge", "crate::worker", "std::fs"]),
];

#[test]
fn no_stage_imports_a_later_one() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        for (module, forbidden) in LAYERS.iter().filter(|(module, _)| name.starts_with(module)) {
            for (n, line) in code(&text) {
                if let Some(word) = forbidden.iter().find(|w| line.contains(**w)) {
                    found.push(format!("{name}:{n}: {module} names {word}"));
                }
            }
        }
    }
    assert_none("no stage imports a later one", &found);
}

#[test]
fn the_boundary_to_the_disk_knows_no_store() {
    let mut found = Vec::new();
    for (name, text) in
        sources().iter().filter(|(name, _)| name.starts_with("faults/") && !is_test_file(name))
    {
        for (n, line) in code(text) {
            let lower = line.to_lowercase();
            if ["redis", "resp::", "aof", "rdb"].iter().any(|w| lower.contains(w)) {
                found.push(format!("{name}:{n}: {}", line.trim()));
            }
        }
    }
    assert_none("`faults` knows nothing of any store", &found);
}

#[test]
fn no_file_names_a_package_registry() {
    // Put together here, so that this file passes its own test.
    let hosts = [["static.crates", "io"], ["index.crates", "io"], ["registry.npmjs", "org"], ["pypi", "org"]];
    let hosts: Vec<String> = hosts.iter().map(|h| h.join(".")).collect();
    let mut found = Vec::new();
    for (name, path) in files() {
        // Cargo writes its lock file; the name there is an identity, not an address that we chose.
        if name.rsplit('/').next() == Some("Cargo.lock") {
            continue;
        }
        let bytes = fs::read(path).expect("readable");
        let text = String::from_utf8_lossy(&bytes);
        if let Some(host) = hosts.iter().find(|h| text.contains(h.as_str())) {
            found.push(format!("{name}: {host}"));
        }
    }
    assert_none("no file names a registry's host", &found);
}

#[test]
fn mod_files_only_re_export() {
    let mut found = Vec::new();
    for (name, text) in sources().iter().filter(|(name, _)| name.ends_with("/mod.rs")) {
        // A trait may stand there, with what it needs; functions and implementations may not.
        for (n, line) in code(text) {
            if ["fn ", "pub fn ", "pub(crate) fn ", "impl ", "impl<"].iter().any(|w| line.starts_with(w)) {
                found.push(format!("{name}:{n}: {line}"));
            }
        }
    }
    assert_none("`mod.rs` re-exports", &found);
}
