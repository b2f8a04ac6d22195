//! Wrong rules put into models on purpose: the observations must find them.

use unplug_faults::model;
use unplug_kernels::rules::section;
use unplug_kernels::suite::{fixtures, home};

/// Allowances that no kernel has shown so far. They are kept: without them a model would forbid what its sources say
/// may be.
const NOT_SHOWN: [(&str, &str); 0] = [];

/// Each wrong rule is found in each model, and each allowance that is taken away is missed; each rule has a workload
/// that tries it; and docs/ground-truth.md says so.
#[test]
fn each_wrong_rule_is_found_in_each_model() {
    let fixtures = fixtures().expect("fixtures read");
    let section = section(&fixtures).expect("checked");
    println!("{section}");
    let row = |line: &&str| line.contains("*no kernel so far*");
    let missed: Vec<&str> = section.lines().filter(row).collect();
    let known =
        |line: &&str| NOT_SHOWN.iter().any(|(what, model)| line.contains(&format!("| {what} | {model} |")));
    assert!(missed.iter().all(known), "wrong rules that no observation finds: {missed:#?}");
    assert_eq!(missed.len(), NOT_SHOWN.len(), "shown by now: {missed:#?}");
    let untried: Vec<&str> = section.lines().filter(|line| line.contains("*none*")).collect();
    assert!(untried.is_empty(), "rules that no workload tries: {untried:#?}");
    let kept =
        std::fs::read_to_string(home().join("../../docs/ground-truth.md")).expect("docs/ground-truth.md");
    assert!(
        kept.contains(&section),
        "docs/ground-truth.md is not what `cargo run -p unplug-kernels -- table` prints"
    );
}

/// A model in the place of another: what one file system shows is outside the other's model.
#[test]
fn another_file_systems_model_is_found_wrong() {
    use unplug_kernels::compare::misses;
    use unplug_kernels::modelled::modelled;
    use unplug_kernels::variant::{Depth, variants};
    let fixtures = fixtures().expect("fixtures read");
    for (kind, other) in [
        ("ext4-ordered", "prefix"),
        ("ext4-noauto", "ext4-ordered"),
        ("ext4-writeback", "ext4-ordered"),
        ("xfs", "ext4-journal"),
        ("xfs", "ext4-ordered"),
        ("btrfs", "xfs"),
        ("btrfs", "ext4-ordered"),
    ] {
        let Some(model) = model::by_name(other) else {
            println!("*not measured*: no model {other}");
            continue;
        };
        let outside = fixtures.iter().find_map(|fixture| {
            let of_kind = fixture.kinds.iter().find(|of_kind| of_kind.kind == kind)?;
            let known = variants(&fixture.script, Depth::Committing).expect("variants");
            of_kind.runs.iter().find_map(|run| {
                let variant = known.iter().find(|v| v.name == run.variant).expect("a variant");
                let trees = modelled(&variant.script, model, None).expect("few states");
                misses(&run.trees, &trees).pop().map(|miss| format!("{}: {}", variant.script.name, miss.tree))
            })
        });
        println!("{kind} under {other}: {outside:?}");
        assert!(outside.is_some(), "{kind} under {other}");
    }
}
