//! The findings of `docs/findings/`: each repro file there is replayed with the redis-server of this machine, must be
//! violated as its name says, and must be a state that the models of this build still allow.

mod real;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use unplug::repro::{AT_REST, Repro};
use unplug_faults::image::Image;
use unplug_faults::state::{CrashState, Space};

/// The version that the findings are about; another one need not have them.
const VERSION: &str = "v=7.0.15";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn repros() -> Vec<PathBuf> {
    let dir = root().join("docs/findings/repros");
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(&dir).expect("the repros").map(|e| e.expect("readable").path()).collect();
    all.sort();
    all
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|n| n.to_str()).expect("a name")
}

/// `F2-gap-of-some-kind.repro`: the finding, and the class with what is told of the case.
fn parts(path: &Path) -> (&str, &str) {
    let stem = name(path).strip_suffix(".repro").expect("a repro file");
    stem.split_once('-').expect("F<n>-<class>-<case>")
}

/// Whether the name's case begins with this class.
fn is_of(case: &str, class: &str) -> bool {
    case.strip_prefix(class).is_some_and(|rest| rest.starts_with('-'))
}

fn class_of(repro: &Repro) -> String {
    let class = serde_json::to_value(repro.violation.class).expect("a class");
    class.as_str().expect("a name").to_owned()
}

#[test]
fn every_repro_is_legal_under_the_models_of_this_build() {
    let all = repros();
    assert!(all.len() >= 21, "{all:?}");
    let (mut wrong, mut told_whole) = (Vec::new(), 0);
    for path in all {
        let repro = Repro::load(&path).expect("a repro");
        let class = class_of(&repro);
        assert!(is_of(parts(&path).1, &class), "{}: holds {class}", name(&path));
        // Damage is no state of a model.
        if repro.model == AT_REST {
            continue;
        }
        // Between the last event and the crash nothing happened but time.
        let end =
            repro.trace.events.iter().map(|e| e.begin.max(e.end.min(repro.violation.crash_point))).max();
        let point = repro.violation.crash_point.min(end.expect("a run"));
        let model = unplug_faults::model::by_name(&repro.model).expect("a model");
        let effects = model.effects(&repro.trace);
        let space = Space::new(&repro.trace, &effects, model, &[]).within(point..=point);
        let legal = still_legal(&space, &repro.state);
        if !legal {
            wrong.push(format!("{}: no longer a state of {}", name(&path), repro.model));
            continue;
        }
        // The recoveries between two power losses were not kept in the first format.
        if repro.between.is_empty() && repro.mechanism.starts_with("during recovery: ") {
            continue;
        }
        told_whole += usize::from(!repro.between.is_empty());
        match replayed_recoveries(&repro, space.image(&repro.state)) {
            Ok(image) if image == repro.image => {}
            Ok(_) => wrong.push(format!("{}: another image", name(&path))),
            Err(why) => wrong.push(format!("{}: {why}", name(&path))),
        }
    }
    assert!(told_whole > 0, "no repro with a recovery in it");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the recoveries of a repro that was crashed during them leave of the image that the first of them found.
fn replayed_recoveries(repro: &Repro, mut image: Image) -> Result<Image, String> {
    let model = unplug_faults::model::by_name(&repro.model).expect("a model");
    for between in &repro.between {
        let effects = model.effects(&between.trace);
        let point = between.state.first;
        let space = Space::new(&between.trace, &effects, model, &[]).within(point..=point);
        if space.image(&nothing_done(&between.state)) != image {
            return Err("a recovery begins with another image".to_owned());
        }
        if !still_legal(&space, &between.state) {
            return Err(format!("its recovery's crash is no longer a state of {}", repro.model));
        }
        image = space.image(&between.state);
    }
    Ok(image)
}

/// A repro's trace ends at the crash: what came later cannot end the interval in which the state was legal.
fn still_legal(space: &Space<'_>, state: &CrashState) -> bool {
    space.varied(state, &[]).is_some_and(|s| {
        let (prefix, except) = (s.prefix, s.except.clone());
        let still = CrashState { first: s.first, last: s.last, ..state.clone() };
        space.is_legal(&still) && (prefix, &except) == (still.prefix, &still.except)
    })
}

/// The state before anything was done.
fn nothing_done(state: &CrashState) -> CrashState {
    CrashState { prefix: 0, except: Vec::new(), ..state.clone() }
}

/// F6 shows in many ways: with each of the recovery's later changes, and in part. It is one finding.
#[test]
fn a_mistake_of_recovery_is_one_finding() {
    let Some(version) = real::redis_version() else { return };
    if !version.contains(VERSION) {
        eprintln!("NOT MEASURED: no redis-server {VERSION}, but '{}'", version.trim());
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_unplug"));
    command.args(["check", "redis", "--policy", "always", "--model", "ext4-ordered,posix"]);
    command
        .args(["--recovery-depth", "1", "--budget", "1000", "--format", "json"])
        .current_dir(dir.path())
        .stdin(Stdio::null());
    let ran = command.output().expect("unplug runs");
    let text = String::from_utf8_lossy(&ran.stdout);
    let cells: Vec<serde_json::Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of_cell = |cell: &serde_json::Value| {
        let all = cell["violations"].as_array().cloned().unwrap_or_default();
        let how = all.iter().filter_map(|v| v["mechanism"].as_str().map(str::to_owned));
        how.filter(|how| how.contains("loadSingleAppendOnlyFile")).collect::<Vec<_>>()
    };
    let found: Vec<Vec<String>> = cells.iter().map(of_cell).filter(|found| !found.is_empty()).collect();
    assert!(!found.is_empty(), "{text}");
    for how in found {
        assert_eq!(how.len(), 1, "{how:?}");
        assert!(how[0].ends_with("and the end of recovery"), "{how:?}");
    }
}

#[test]
fn every_finding_has_a_page_that_names_its_repros() {
    let dir = root().join("docs/findings");
    let index = std::fs::read_to_string(dir.join("README.md")).expect("the index");
    let mut findings = BTreeSet::new();
    for path in repros() {
        let (finding, _) = parts(&path);
        findings.insert(finding.to_owned());
        let page = std::fs::read_to_string(dir.join(format!("{finding}.md"))).expect("a page");
        let command = format!("unplug replay docs/findings/repros/{}", name(&path));
        assert!(page.contains(&command), "{finding}.md does not say `{command}`");
        let repro = Repro::load(&path).expect("a repro");
        assert!(page.contains(&format!("`{}`", repro.model)), "{finding}.md does not name {}", repro.model);
        assert!(page.contains(&class_of(&repro)), "{finding}.md does not name its class");
    }
    for finding in findings {
        assert!(index.contains(&format!("({finding}.md)")), "{finding} is not in the index");
    }
}

/// What a page tells, by the words that begin its parts: what is lost, on which file systems, the steps, whether the
/// target's documentation promises otherwise, which call is missing, and how to see it again.
const PARTS: [&str; 6] =
    ["**Lost:**", "**Where:**", "**Steps", "**Documented?**", "**Missing call:**", "## Replay"];

/// The parts that a page lacks, has twice, or begins and says nothing in. The next line that begins a part ends one.
fn wrong_parts(page: &str) -> Vec<&'static str> {
    let said_in = |part: &str| {
        let mut lines = page.lines();
        let first = lines.find_map(|line| line.strip_prefix(part))?;
        let rest = lines.clone().take_while(|line| !PARTS.iter().any(|other| line.starts_with(other)));
        let words = std::iter::once(first).chain(rest).flat_map(str::split_whitespace);
        let again = lines.clone().any(|line| line.starts_with(part));
        Some(words.count()).filter(|_| !again)
    };
    PARTS.into_iter().filter(|part| said_in(part).is_none_or(|words| words < 3)).collect()
}

#[test]
fn every_page_has_all_that_a_finding_must_say() {
    let dir = root().join("docs/findings");
    let pages: Vec<PathBuf> = std::fs::read_dir(&dir)
        .expect("the pages")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == "md") && name(path) != "README.md")
        .collect();
    assert!(pages.len() >= 16, "{pages:?}");
    let mut wrong = Vec::new();
    for path in &pages {
        let page = std::fs::read_to_string(path).expect("a page");
        let missing = wrong_parts(&page);
        if !missing.is_empty() {
            wrong.push(format!("{}: {missing:?}", name(path)));
        }
        for part in PARTS {
            assert!(wrong_parts(&page.replacen(part, "", 1)).contains(&part), "{}: {part}", name(path));
        }
        let finding = name(path).strip_suffix(".md").expect("a page");
        let has_repro = repros().iter().any(|repro| parts(repro).0 == finding);
        assert!(has_repro, "{finding} has no repro");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_repro_is_violated_as_its_name_says() {
    let Some(version) = real::redis_version() else { return };
    if !version.contains(VERSION) {
        eprintln!("NOT MEASURED: no redis-server {VERSION}, but '{}'", version.trim());
        return;
    }
    let mut wrong = Vec::new();
    for path in repros() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unplug"));
        command.arg("replay").arg(&path).stdin(Stdio::null());
        let ran = command.output().expect("unplug runs");
        let text = String::from_utf8_lossy(&ran.stdout);
        let (_, case) = parts(&path);
        let said = text.lines().find_map(|l| l.strip_prefix("VIOLATED as in the repro: "));
        let said = said.and_then(|l| l.split(':').next());
        if ran.status.code() != Some(1) || !said.is_some_and(|class| is_of(case, class)) {
            let error = String::from_utf8_lossy(&ran.stderr);
            wrong.push(format!("{}: {}\n{text}{error}", name(&path), ran.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
