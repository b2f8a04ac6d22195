//! What a run's JSON says was found.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeSet;
use std::process::Output;

/// The class and mechanism of each finding.
pub fn mechanisms(ran: &Output) -> BTreeSet<(String, String)> {
    let text = String::from_utf8_lossy(&ran.stdout);
    let cells = text.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let of = |v: &serde_json::Value| {
        let text = |field: &str| v[field].as_str().unwrap_or_default().to_owned();
        (text("class"), text("mechanism"))
    };
    let violations = |c: serde_json::Value| c["violations"].as_array().cloned().unwrap_or_default();
    let all: Vec<serde_json::Value> = cells.flat_map(violations).collect();
    // What a later start shows is no finding of its own where some state shows both.
    let shown = |v: &serde_json::Value| v["also"].as_array().cloned().unwrap_or_default().into_iter();
    let also =
        |v: &serde_json::Value| shown(v).map(|class| (class, v["mechanism"].clone())).collect::<Vec<_>>();
    let later: Vec<_> = all.iter().flat_map(also).collect();
    let own = |v: &&serde_json::Value| !later.contains(&(v["class"].clone(), v["mechanism"].clone()));
    all.iter().filter(own).map(of).collect()
}

/// The classes of all violations, and what kept the run from being one.
pub fn classes(ran: &Output) -> (BTreeSet<String>, Option<String>) {
    let mut found = BTreeSet::new();
    let mut cells = 0;
    for line in String::from_utf8_lossy(&ran.stdout).lines() {
        let Ok(cell) = serde_json::from_str::<serde_json::Value>(line) else {
            return (found, Some(format!("no JSON: {line}")));
        };
        cells += 1;
        let verdict = cell["verdict"].as_str().unwrap_or_default();
        if !["holds", "violated"].contains(&verdict) {
            return (found, Some(format!("{}: {verdict} {}", cell["phase"], cell["not_measured"])));
        }
        let violations = cell["violations"].as_array().into_iter().flatten();
        found.extend(violations.filter_map(|v| v["class"].as_str()).map(str::to_owned));
    }
    let code = ran.status.code();
    let trouble = (cells == 0 || !matches!(code, Some(0 | 1))).then(|| {
        format!("{cells} cells, exit code {code:?}: {}", String::from_utf8_lossy(&ran.stderr).trim())
    });
    (found, trouble)
}
