//! The models against what kernels have shown: no privileges needed.

use unplug_faults::event::AllocateMode;
use unplug_faults::model;
use unplug_kernels::compare::misses;
use unplug_kernels::known::{KNOWN, unshown};
use unplug_kernels::modelled::modelled;
use unplug_kernels::script::Step;
use unplug_kernels::suite::{check_all, fixtures, home, workloads};
use unplug_kernels::variant::{Depth, variants};
use unplug_kernels::{rules, table};

/// Every real tree is one that its model allows, at every moment at which the kernel could leave it.
#[test]
fn no_real_state_is_outside_its_model() {
    let fixtures = fixtures().expect("fixtures read");
    let all = check_all(&fixtures, None, &|_| true).expect("checked");
    for model in &all.unmodelled {
        println!("*not measured*: no model {model}");
    }
    let said: Vec<String> = all.findings.iter().map(ToString::to_string).collect();
    println!("{} runs, {} crash images, {} outside", all.runs, all.images, said.len());
    assert!(said.is_empty(), "{} real states outside their model:\n{}", said.len(), said.join("\n"));
    let unshown = unshown(KNOWN, &all.known);
    assert!(unshown.is_empty(), "nothing shows {unshown:?} any more");
    assert!(all.runs > 10_000 && all.images > 200_000, "{} runs, {} images", all.runs, all.images);
    let kept =
        std::fs::read_to_string(home().join("../../docs/ground-truth.md")).expect("docs/ground-truth.md");
    // The section of the rules is checked with the wrong ones, in tests/teeth.rs.
    let rules =
        kept.split_once(rules::TITLE).and_then(|(_, rest)| rest.split_once("\n## ")).expect("rules").0;
    let page = table::page(&fixtures, &all, &format!("{}{rules}", rules::TITLE)).expect("a page");
    assert!(page == kept, "docs/ground-truth.md is not what `cargo run -p unplug-kernels -- table` prints");
}

/// What was recorded is what stands here.
#[test]
fn every_workload_is_recorded_as_it_is() {
    let fixtures = fixtures().expect("fixtures read");
    let workloads = workloads().expect("workloads read");
    assert!(workloads.len() >= 30);
    for script in &workloads {
        assert!(!script.about.is_empty(), "{} says what it is", script.name);
        let fixture = fixtures.iter().find(|f| f.script.name == script.name);
        let fixture = fixture.unwrap_or_else(|| panic!("{} is not recorded", script.name));
        assert_eq!(fixture.script.to_string(), script.to_string(), "{}: record it again", script.name);
        for kind in unplug_kernels::kernel::kinds() {
            let found = fixture.kinds.iter().any(|of_kind| of_kind.kind == kind.name);
            assert!(found, "{} is not recorded on {}", script.name, kind.name);
        }
    }
}

/// ext4 without dioread_nolock (it needs delalloc too) is compared with what may be mounted besides the defaults. The
/// defaults' own model leaves out nothing of it but what writes do to ranges that ZERO_RANGE has zeroed.
#[test]
fn without_dioread_nolock_ext4_is_as_by_default_but_for_zeroed_ranges() {
    let ordered = model::by_name("ext4-ordered").expect("a model");
    let zeroes = |step: &Step| matches!(step, Step::Allocate { mode: AllocateMode::Zero { .. }, .. });
    let (mut outside, mut runs) = (0, 0);
    for fixture in fixtures().expect("fixtures read") {
        let known = variants(&fixture.script, Depth::Committing).expect("variants");
        let mut cache = std::collections::BTreeMap::new();
        for of_kind in &fixture.kinds {
            if !["ext4-nodelalloc", "ext4-dioread_lock"].contains(&of_kind.kind.as_str()) {
                continue;
            }
            for run in &of_kind.runs {
                let variant = known.iter().find(|v| v.name == run.variant).expect("a variant");
                let trees = cache
                    .entry(run.fingerprint)
                    .or_insert_with(|| modelled(&variant.script, ordered, None).expect("few states"));
                let missed = misses(&run.trees, trees);
                runs += 1;
                outside += missed.len();
                let zeroed = fixture.script.steps.iter().any(zeroes);
                assert!(missed.is_empty() || zeroed, "{}: {missed:?}", variant.script.name);
            }
        }
    }
    println!("{runs} runs, {outside} trees outside ext4-ordered");
    assert!(runs > 1000 && outside > 0, "{runs} runs, {outside} outside");
}
