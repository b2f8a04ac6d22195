//! This machine's own kernel, as root: a bounded set in every run, everything with `--ignored full`.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use unplug_kernels::fixture::{Fixture, OfKind};
use unplug_kernels::generate::generate;
use unplug_kernels::kernel::{Kind, kinds, missing, release, sweep};
use unplug_kernels::observe::observe;
use unplug_kernels::script::Script;
use unplug_kernels::suite::{Checked, check, workloads};
use unplug_kernels::variant::{Depth, variants};

const PROGRAM: &str = env!("CARGO_BIN_EXE_unplug-kernels");

/// The kinds that this machine can mount; the others are said aloud.
fn usable() -> Vec<&'static Kind> {
    let mut usable = Vec::new();
    for kind in kinds() {
        let missing = missing(kind);
        if missing.is_empty() {
            usable.push(kind);
        } else {
            // To the terminal itself, since `cargo test` keeps what a passing test prints.
            let said = format!("*not measured*: {}: missing {}\n", kind.name, missing.join(", "));
            eprint!("{said}");
            drop(std::fs::write("/dev/tty", said));
        }
    }
    usable
}

fn measure(script: &Script, kind: &Kind, wanted: &(dyn Fn(&str) -> bool + Sync), limit: usize) -> Checked {
    let mut list =
        variants(script, if kind.fs == "btrfs" { Depth::Committing } else { Depth::All }).expect("variants");
    list.retain(|variant| wanted(&variant.name));
    let observed = observe(&list, kind, Path::new(PROGRAM), limit);
    let observed = observed.unwrap_or_else(|e| panic!("{} on {}: {e}", script.name, kind.name));
    let runs = observed.into_iter().flatten().collect();
    let of_kind = OfKind { kind: kind.name.into(), kernel: release(), runs };
    let fixture = Fixture { script: script.clone(), kinds: vec![of_kind] };
    check(&fixture, None, &|_| true).expect("checked")
}

fn judge(all: &Checked) {
    for model in &all.unmodelled {
        println!("*not measured*: no model {model}");
    }
    let said: Vec<String> = all.findings.iter().map(ToString::to_string).collect();
    println!("kernel {}: {} runs, {} crash images, {} outside", release(), all.runs, all.images, said.len());
    assert!(said.is_empty(), "{} real states outside their model:\n{}", said.len(), said.join("\n"));
}

/// Mounting waits more than it works.
const AT_ONCE: usize = 8;

fn measure_all(jobs: &[(Script, &Kind)], wanted: &(dyn Fn(&str) -> bool + Sync), limit: usize) -> Checked {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Checked::default();
        while let Some((script, kind)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.join(measure(script, kind, wanted, limit));
        }
        done
    };
    let mut all = Checked::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        threads.into_iter().for_each(|thread| all.join(thread.join().expect("measured")));
    });
    all
}

#[test]
fn a_bounded_set_on_this_kernel() {
    sweep();
    let usable = usable();
    if usable.is_empty() {
        return;
    }
    // Each workload on one kind: what a change of kernel would break first.
    let list = workloads().expect("workloads read").into_iter().enumerate();
    let jobs: Vec<_> = list.map(|(n, script)| (script, usable[n % usable.len()])).collect();
    let all = measure_all(&jobs, &|name| name == "back" || name == "slow", 24);
    assert!(all.runs + all.unmodelled.len() > 10, "{} runs", all.runs);
    judge(&all);
}

#[test]
#[ignore = "every workload on every file system of this machine: half an hour"]
fn full() {
    sweep();
    let mut list = workloads().expect("workloads read");
    list.extend((5000..5040).map(|seed| generate(seed).expect("a workload")));
    let usable = usable();
    let jobs: Vec<_> =
        list.iter().flat_map(|script| usable.iter().map(move |kind| (script.clone(), *kind))).collect();
    judge(&measure_all(&jobs, &|_| true, 60));
}
