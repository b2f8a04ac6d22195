//! Variants of a workload: the same steps with write-back in the background. Without it kernels show clean states.

use crate::Result;
use crate::script::{Script, Step, lower};
use std::collections::BTreeSet;
use unplug_faults::event::{Op, WriteSync};

/// A variant.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Its name, unique among the workload's variants.
    pub name: String,
    /// Further mount options.
    pub options: String,
    /// Its steps.
    pub script: Script,
}

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// A few variants: for kinds that differ little from another.
    Few,
    /// All but those that wait.
    All,
    /// Also those that wait for the file system's own commits: seconds each.
    Waiting,
    /// Also those that tell it to commit: only for what can be told.
    Committing,
}

/// A sync of another file: on a journalling file system it commits what came before it.
fn other_sync() -> [Step; 2] {
    let file = "z".to_owned();
    let write =
        Step::Write { file: file.clone(), offset: None, letter: 'Z', len: 4096, sync: WriteSync::None };
    [write, Step::Fsync(file)]
}

/// All variants of a script. They share their setup, which is the script's and an empty helper file.
///
/// # Errors
/// The script is refused by the simulation.
pub fn variants(script: &Script, depth: Depth) -> Result<Vec<Variant>> {
    let mut plain = script.clone();
    plain.setup.push(Step::Create("z".into()));
    let lowered = lower(&plain)?;
    let n = plain.steps.len();
    let mut all = Vec::new();
    let mut add = |name: String, options: &str, steps: Vec<Step>| {
        let mut script = Script { steps, ..plain.clone() };
        script.name = format!("{}/{name}", plain.name);
        all.push(Variant { name, options: options.into(), script });
    };
    // After every step, or after one of them.
    let woven = |only: Option<usize>, more: &dyn Fn(usize) -> Vec<Step>| -> Vec<Step> {
        let behind = |k: usize| if only.is_none_or(|only| only == k) { more(k) } else { Vec::new() };
        plain.steps.iter().enumerate().flat_map(|(k, s)| [vec![s.clone()], behind(k)].concat()).collect()
    };
    let write_back = |k: usize| -> Vec<Step> {
        let files = lowered.files[k].iter();
        let back = |file: &String| Step::WriteBack { file: file.clone(), offset: 0, len: 0, wait: true };
        files.map(back).chain(other_sync()).collect()
    };
    // Of what a step wrote, one page alone.
    let part = |k: usize, last: bool| -> Vec<Step> {
        let event = (lowered.clocks[k].1 / 2).checked_sub(1).map(|n| &lowered.trace.events[n as usize].op);
        let (Step::Write { file, .. }, Some(Op::Write { offset, data, .. })) = (&plain.steps[k], event)
        else {
            return Vec::new();
        };
        let end = offset + data.len() as u64;
        let offset = if last { (end - 1) / 4096 * 4096 } else { offset / 4096 * 4096 };
        let back = Step::WriteBack { file: file.clone(), offset, len: 4096, wait: true };
        std::iter::once(back).chain(other_sync()).collect()
    };
    let changes = |k: usize| !matches!(plain.steps[k], Step::Fsync(_) | Step::Fdatasync(_) | Step::Syncfs);
    let with = |more: &[Step]| [plain.steps.clone(), more.to_vec()].concat();

    add("plain".into(), "", plain.steps.clone());
    add("end".into(), "", with(&[Step::Syncfs]));
    add("other".into(), "", woven(None, &|_| other_sync().to_vec()));
    add("back".into(), "", woven(None, &write_back));
    add("tail".into(), "", woven(None, &|k| part(k, true)));
    add("slow".into(), "", [vec![Step::Jitter(3000)], with(&[Step::BackgroundSync]), slow_end()].concat());
    if depth == Depth::Few {
        return Ok(all);
    }
    add("head".into(), "", woven(None, &|k| part(k, false)));
    for letter in letters(&plain) {
        let started = woven(None, &|k| match &plain.steps[k] {
            Step::Write { file, letter: l, .. } if *l == letter => {
                vec![Step::WriteBack { file: file.clone(), offset: 0, len: 0, wait: false }]
            }
            _ => Vec::new(),
        });
        let [write, sync] = other_sync();
        let all = [vec![Step::Hold(letter, 30)], started, vec![write, sync, Step::Sleep(45)]].concat();
        add(format!("hold-{letter}"), "", all);
    }
    for k in (0..n.saturating_sub(1)).filter(|k| changes(*k)) {
        add(format!("other-{k}"), "", woven(Some(k), &|_| other_sync().to_vec()));
        add(format!("back-{k}"), "", woven(Some(k), &write_back));
        if !part(k, true).is_empty() {
            add(format!("tail-{k}"), "", [woven(Some(k), &|k| part(k, true)), vec![Step::Syncfs]].concat());
        }
    }
    // One page is written back alone, or nothing, then the file system commits without the rest.
    let parted = |last: bool, commit: &Step| {
        woven(None, &|k| {
            let back = part(k, last).into_iter().take(1);
            back.flat_map(|back| [back, commit.clone()]).collect()
        })
    };
    if depth >= Depth::Waiting {
        let wait = Step::Sleep(1150);
        add("wait".into(), "commit=1", woven(None, &|_| vec![wait.clone()]));
        add("wait-tail".into(), "commit=1", parted(true, &wait));
    }
    if depth == Depth::Committing {
        add("commit".into(), "", woven(None, &|_| vec![Step::Commit]));
        add("commit-tail".into(), "", parted(true, &Step::Commit));
        add("commit-head".into(), "", parted(false, &Step::Commit));
        for k in (0..n).filter(|k| changes(*k)) {
            let commit = |_: usize| vec![Step::Commit];
            add(format!("commit-{k}"), "", woven(Some(k), &commit));
            if !part(k, true).is_empty() {
                let steps = |k: usize| part(k, true).into_iter().take(1).chain([Step::Commit]).collect();
                add(format!("commit-tail-{k}"), "", woven(Some(k), &steps));
            }
        }
    }
    Ok(all)
}

/// A sync of another file while one of everything is under way.
fn slow_end() -> Vec<Step> {
    let [write, sync] = other_sync();
    vec![write, sync, Step::Syncfs]
}

fn letters(script: &Script) -> BTreeSet<char> {
    let letter = |step: &Step| match step {
        Step::Write { letter, .. } => Some(*letter),
        _ => None,
    };
    script.steps.iter().filter_map(letter).collect()
}

/// The variant of this name: fixtures keep names, not steps.
///
/// # Errors
/// As for [`variants`].
pub fn variant(script: &Script, name: &str) -> Result<Option<Variant>> {
    Ok(variants(script, Depth::Committing)?.into_iter().find(|variant| variant.name == name))
}
