//! This machine's own kernel, as root: a bounded set in every run, everything with `--ignored full`.

use std::path::Path;
use unplug_kernels::generate::generate;
use unplug_kernels::kernel::{Kind, kinds, release, sweep};
use unplug_kernels::live::{Run, measure_all, usable};
use unplug_kernels::script::Script;
use unplug_kernels::suite::{Checked, workloads};

const PROGRAM: &str = env!("CARGO_BIN_EXE_unplug-kernels");

/// The kinds that this machine can mount; the others are said aloud.
fn usable_here() -> Vec<&'static Kind> {
    let (usable, lacking) = usable(kinds());
    for said in lacking {
        // To the terminal itself, since `cargo test` keeps what a passing test prints.
        eprintln!("{said}");
        drop(std::fs::write("/dev/tty", said + "\n"));
    }
    usable
}

fn judge(all: &Checked) {
    for model in &all.unmodelled {
        println!("*not measured*: no model {model}");
    }
    let said: Vec<String> = all.findings.iter().map(ToString::to_string).collect();
    println!("kernel {}: {} runs, {} crash images, {} outside", release(), all.runs, all.images, said.len());
    assert!(said.is_empty(), "{} real states outside their model:\n{}", said.len(), said.join("\n"));
}

fn measured(jobs: &[(Script, &Kind)], wanted: &(dyn Fn(&str) -> bool + Sync), limit: usize) -> Checked {
    let run = Run { program: Path::new(PROGRAM), wanted, limit, at_once: 8 };
    let (all, failed) = measure_all(jobs, &run, &|_, _, _| {});
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    all
}

#[test]
fn a_bounded_set_on_this_kernel() {
    sweep();
    let usable = usable_here();
    if usable.is_empty() {
        return;
    }
    // Each workload on one kind: what a change of kernel would break first.
    let list = workloads().expect("workloads read").into_iter().enumerate();
    let jobs: Vec<_> = list.map(|(n, script)| (script, usable[n % usable.len()])).collect();
    let all = measured(&jobs, &|name| name == "back" || name == "slow", 24);
    assert!(all.runs + all.unmodelled.len() > 10, "{} runs", all.runs);
    judge(&all);
}

#[test]
#[ignore = "every workload on every file system of this machine: half an hour"]
fn full() {
    sweep();
    let mut list = workloads().expect("workloads read");
    list.extend((5000..5040).map(|seed| generate(seed).expect("a workload")));
    let usable = usable_here();
    let jobs: Vec<_> =
        list.iter().flat_map(|script| usable.iter().map(move |kind| (script.clone(), *kind))).collect();
    judge(&measured(&jobs, &|_| true, 60));
}
