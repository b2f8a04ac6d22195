//! Which workload tries which rule, and which kernel has shown which allowance.
//!
//! A rule forbids: a workload tries it if its model would allow more without. (Nothing of that was seen, or the check
//! would say so.) An allowance, or what no file system has, is tried by taking it away or putting it in: an
//! observation that is outside then shows that the model needs what was taken, or must not have what was put in.

use crate::fixture::Fixture;
use crate::kernel::{Kind, kinds};
use crate::modelled::{Wrong, few};
use crate::suite::{Finding, check};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use unplug_faults::effect::EffectId;
use unplug_faults::model::{self, Altered, Lacks, Model, Rule};

/// The models for which each wrong rule must be found. Where a rule is right for a model, it is not listed: ext4
/// with data=journal never shows zeros before data, say.
pub fn expected(wrong: Wrong) -> Vec<&'static str> {
    if let Wrong::Lacks(allowance) = wrong {
        return allowance.models().to_vec();
    }
    match wrong.name() {
        // On xfs the size moves when the data of its page are there: both rules are right for the last page.
        "no-zero-fill" | "size-with-data" => vec!["ext4-ordered", "ext4-writeback", "btrfs"],
        "ordered-names" => vec!["btrfs"],
        "names-with-data" => vec!["ext4-ordered", "ext4-writeback", "xfs", "btrfs"],
        // On xfs and btrfs fdatasync takes names along as fsync does.
        "fdatasync-is-fsync" => vec!["ext4-ordered", "ext4-writeback", "ext4-journal"],
        _ => vec!["ext4-ordered", "ext4-writeback", "ext4-journal", "xfs", "btrfs"],
    }
}

/// Runs `work` on every item, on all cores; the results are in the items' order.
fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let worker = || {
        while let (n, Some(item)) = {
            let n = next.fetch_add(1, Ordering::Relaxed);
            (n, items.get(n))
        } {
            let result = work(item);
            if let Ok(mut done) = done.lock() {
                done.insert(n, result);
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(worker))));
    let done = done.into_inner().map_err(|_| Error::Other("a check gave up".into()))?;
    if done.len() != items.len() {
        return Err(Error::Other("a check gave up".into()));
    }
    done.into_values().collect()
}

/// For every wrong rule and every model that must not have it: the first observation that is outside then.
///
/// # Errors
/// As for [`check`].
pub fn shown(fixtures: &[Fixture]) -> Result<Vec<(Wrong, &'static str, Option<Finding>)>> {
    let pairs: Vec<(Wrong, &str)> = Wrong::all()
        .into_iter()
        .flat_map(|wrong| expected(wrong).into_iter().map(move |m| (wrong, m)))
        .collect();
    on_all_cores(&pairs, |(wrong, model)| {
        let of_model = |kind: &Kind| kind.model == *model;
        for fixture in fixtures {
            let checked = check(fixture, Some(*wrong), &of_model)?;
            if checked.findings.is_empty() {
                continue;
            }
            // What the rule as it is does not find either.
            let plain = check(fixture, None, &of_model)?;
            let known: BTreeSet<String> = plain.findings.iter().map(ToString::to_string).collect();
            if let Some(first) = checked.findings.into_iter().find(|f| !known.contains(&f.to_string())) {
                return Ok((*wrong, *model, Some(first)));
            }
        }
        Ok((*wrong, *model, None))
    })
}

/// For every model and every rule with edges in it: the workloads whose plain run has more trees without the rule.
///
/// # Errors
/// A script is refused.
pub fn tried(fixtures: &[Fixture]) -> Result<BTreeMap<(&'static str, Rule), Vec<String>>> {
    let models: BTreeSet<&str> = kinds().iter().map(|kind| kind.model).collect();
    let each = on_all_cores(fixtures, |fixture| {
        let mut found = Vec::new();
        for model in models.iter().filter_map(|name| model::by_name(name)) {
            for rule in rules_of(fixture, model)? {
                let lacks = Altered { model, lacks: Lacks::Rule(rule) };
                let with = few(&fixture.script, model)?;
                let more = match (with, few(&fixture.script, &lacks)?) {
                    (Some(with), Some(without)) => without.len() > with.len(),
                    (with, _) => with.is_some(),
                };
                found.push((model.name(), rule, more));
            }
        }
        Ok((fixture.script.name.clone(), found))
    })?;
    let mut tried: BTreeMap<(&str, Rule), Vec<String>> = BTreeMap::new();
    for (workload, found) in each {
        for (model, rule, more) in found {
            let list = tried.entry((model, rule)).or_default();
            list.extend(more.then(|| workload.clone()));
        }
    }
    Ok(tried)
}

fn rules_of(fixture: &Fixture, model: &dyn Model) -> Result<BTreeSet<Rule>> {
    let trace = crate::script::lower(&fixture.script)?.trace;
    let effects = model.effects(&trace);
    let mut found = BTreeSet::new();
    for case in model.cases(&trace, &effects) {
        let ids = (0..effects.len() as u32).map(EffectId);
        found.extend(ids.flat_map(|id| case.graph().needs(id).to_vec()).map(|need| need.rule));
    }
    Ok(found)
}

/// Where the section begins in docs/ground-truth.md.
pub const TITLE: &str = "## Rules and allowances\n";

/// The section of docs/ground-truth.md.
///
/// # Errors
/// As for [`shown`] and [`tried`].
pub fn section(fixtures: &[Fixture]) -> Result<String> {
    let mut out = String::from(TITLE);
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "\nWhat models forbid: in so many workloads a model would allow more without the rule. None of that was seen.\n\n\
         | rule | model | workloads | such as |\n|---|---|---|---|"
    );
    let tried = tried(fixtures)?;
    let mut rows: Vec<_> = tried.iter().filter(|((_, rule), _)| !rule.only_counts()).collect();
    rows.sort_by_key(|((model, rule), _)| (*rule, *model));
    for ((model, rule), workloads) in rows {
        let by_hand = workloads.iter().find(|name| !name.starts_with("seed-"));
        let such = by_hand.or(workloads.first()).map_or("*none*", String::as_str);
        let _ = writeln!(out, "| {} | {model} | {} | {such} |", rule.name(), workloads.len());
    }
    let _ = writeln!(
        out,
        "\nWhat models allow: the first observation that is outside the model without it. And rules that no file system \
         has, put into each model on purpose: the first observation that is outside then.\n\n\
         | allowance, or wrong rule | model | shown by | tree |\n|---|---|---|---|"
    );
    for (wrong, model, found) in shown(fixtures)? {
        let what = if matches!(wrong, Wrong::Lacks(_)) {
            wrong.name().into()
        } else {
            format!("`{}`", wrong.name())
        };
        let (by, tree) = match &found {
            Some(f) => {
                (format!("{} on {}, {}", f.workload, f.kind, f.variant.name), format!("`{}`", f.miss.tree))
            }
            None => ("*no kernel so far*".into(), String::new()),
        };
        let _ = writeln!(out, "| {what} | {model} | {by} | {tree} |");
    }
    Ok(out)
}
