//! The models against what kernels have shown: no privileges needed.

use unplug_kernels::known::KNOWN;
use unplug_kernels::suite::{check_all, fixtures, home, workloads};
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
    for known in KNOWN {
        assert!(all.known.iter().any(|finding| known.is(finding)), "nothing shows {known:?} any more");
    }
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
