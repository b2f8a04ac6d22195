//! Wrong rules put into models on purpose: the observations must find them.

use std::collections::{BTreeMap, BTreeSet};
use unplug_faults::model;
use unplug_kernels::kernel::kinds;
use unplug_kernels::modelled::Wrong;
use unplug_kernels::suite::{check, fixtures};

/// The models for which each wrong rule must be found. Where a rule is right for a model, it is not listed: ext4
/// with data=journal never shows zeros before data, say.
fn expected(wrong: Wrong) -> &'static [&'static str] {
    match wrong.name() {
        // On xfs the size moves when the data of its page are there: both rules are right for the last page.
        "no-zero-fill" | "size-with-data" => &["ext4-ordered", "ext4-writeback", "btrfs"],
        "ordered-names" => &["btrfs"],
        "names-with-data" => &["ext4-ordered", "ext4-writeback", "xfs", "btrfs"],
        "syncs-are-global" => &["ext4-ordered", "ext4-writeback", "ext4-journal", "xfs", "btrfs"],
        "write-back-forces" => &["ext4-ordered", "ext4-writeback", "ext4-journal", "xfs", "btrfs"],
        _ => &["ext4-ordered", "ext4-writeback", "ext4-journal", "xfs", "btrfs"],
    }
}

#[test]
fn each_wrong_rule_is_found_in_each_model() {
    let fixtures = fixtures().expect("fixtures read");
    let mut missed = Vec::new();
    for wrong in Wrong::all() {
        let mut found: BTreeMap<&str, String> = BTreeMap::new();
        let models: BTreeSet<&str> = expected(wrong).iter().copied().collect();
        for fixture in &fixtures {
            // One find is enough for a model; the three variants of ext4-ordered need not all be asked.
            let open = |kind: &unplug_kernels::kernel::Kind| {
                models.contains(kind.model) && !found.contains_key(kind.model)
            };
            if !kinds().iter().any(open) {
                break;
            }
            let checked = check(fixture, Some(wrong), &open).expect("checked");
            if checked.findings.is_empty() {
                continue;
            }
            // What the rule as it is does not find either.
            let plain = check(fixture, None, &open).expect("checked");
            let known: BTreeSet<String> = plain.findings.iter().map(ToString::to_string).collect();
            for finding in checked.findings.into_iter().filter(|f| !known.contains(&f.to_string())) {
                let kind = kinds().iter().find(|kind| kind.name == finding.kind).expect("a kind");
                found.entry(kind.model).or_insert_with(|| finding.to_string());
            }
        }
        for name in models {
            match found.get(name) {
                Some(first) => println!("{} in {name}: {first}", wrong.name()),
                None if model::by_name(name).is_none() => println!("*not measured*: no model {name}"),
                None => missed.push(format!("{} in {name}", wrong.name())),
            }
        }
    }
    assert!(missed.is_empty(), "wrong rules that no observation finds: {missed:?}");
}

/// A model in the place of another: what one file system shows is outside the other's model.
#[test]
fn another_file_systems_model_is_found_wrong() {
    use unplug_kernels::compare::misses;
    use unplug_kernels::modelled::modelled;
    use unplug_kernels::variant::{Depth, variants};
    let fixtures = fixtures().expect("fixtures read");
    for (kind, other) in
        [("ext4-ordered", "prefix"), ("xfs", "ext4-journal"), ("btrfs", "xfs"), ("btrfs", "ext4-ordered")]
    {
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
