//! The trees that a model allows, with their moments; and models made wrong on purpose.

use crate::observe::{Moments, Trees};
use crate::script::{Script, lower};
use crate::{Error, Result, draw};
use std::collections::HashMap;
use unplug_faults::event::{Op, SyncKind};
use unplug_faults::image::ImageHash;
use unplug_faults::model::{Allowance, Altered, Lacks, Model};
use unplug_faults::state::{Assumption, Plan, Space};
use unplug_faults::trace::Trace;

/// More states than this are not enumerated.
pub const BUDGET: u64 = 400_000;

/// A rule that no real file system has, put into a model to see that the observations find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// An assumption of `--assume`, as if it were a rule: edges between effects.
    Rule(Assumption),
    /// fsync and fdatasync of one file force everything.
    SyncsAreGlobal,
    /// sync_file_range forces what it writes back.
    WriteBackForces,
    /// Every write is forced when it returns.
    WritesForce,
    /// fdatasync forces what fsync does.
    FdatasyncIsFsync,
    /// The model without something that it allows.
    Lacks(Allowance),
}

impl Wrong {
    /// All of them.
    pub fn all() -> Vec<Wrong> {
        // These two are always assumed: the grain is the page, and what stood in a block before may be anything.
        let always = [Assumption::NoTear, Assumption::NoOldPages];
        let rules = Assumption::all().iter().filter(|a| !always.contains(a)).map(|a| Wrong::Rule(*a));
        let syncs =
            [Wrong::SyncsAreGlobal, Wrong::WriteBackForces, Wrong::WritesForce, Wrong::FdatasyncIsFsync];
        rules.chain(syncs).chain(Allowance::ALL.into_iter().map(Wrong::Lacks)).collect()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Wrong::Rule(assumption) => assumption.name(),
            Wrong::SyncsAreGlobal => "syncs-are-global",
            Wrong::WriteBackForces => "write-back-forces",
            Wrong::WritesForce => "writes-force",
            Wrong::FdatasyncIsFsync => "fdatasync-is-fsync",
            Wrong::Lacks(allowance) => allowance.name(),
        }
    }

    fn change(self, trace: &mut Trace) {
        for event in &mut trace.events {
            match (&mut event.op, self) {
                (op @ Op::Sync { .. }, Wrong::SyncsAreGlobal) => {
                    if matches!(op, Op::Sync { kind: SyncKind::Fsync | SyncKind::Fdatasync, .. }) {
                        *op = Op::SyncAll;
                    }
                }
                (Op::Sync { kind: kind @ SyncKind::Range { .. }, .. }, Wrong::WriteBackForces) => {
                    *kind = SyncKind::Fdatasync;
                }
                (Op::Sync { kind: kind @ SyncKind::Fdatasync, .. }, Wrong::FdatasyncIsFsync) => {
                    *kind = SyncKind::Fsync;
                }
                (Op::Write { sync, .. }, Wrong::WritesForce) => *sync = unplug_faults::event::WriteSync::Data,
                _ => {}
            }
        }
    }
}

/// The trees that the model allows for the script, each with its moments. The grain is the page: the recorded disk
/// does not tear smaller either.
///
/// # Errors
/// The script is refused, or has too many states.
pub fn modelled(script: &Script, model: &dyn Model, wrong: Option<Wrong>) -> Result<Trees> {
    let altered;
    let model: &dyn Model = match wrong {
        Some(Wrong::Lacks(allowance)) => {
            altered = Altered { model, lacks: Lacks::Allowance(allowance) };
            &altered
        }
        _ => model,
    };
    let mut trace = lower(script)?.trace;
    let mut assume = vec![Assumption::NoTear];
    match wrong {
        Some(Wrong::Rule(assumption)) => assume.push(assumption),
        Some(wrong) => wrong.change(&mut trace),
        None => {}
    }
    trees_of(&trace, model, &assume, BUDGET)?.ok_or_else(|| {
        let (workload, model) = (script.name.clone(), model.name().to_owned());
        Error::TooMany { workload, model, budget: BUDGET }
    })
}

/// The same, if there are few states.
///
/// # Errors
/// The script is refused.
pub fn few(script: &Script, model: &dyn Model) -> Result<Option<Trees>> {
    trees_of(&lower(script)?.trace, model, &[Assumption::NoTear], BUDGET / 20)
}

fn trees_of(trace: &Trace, model: &dyn Model, assume: &[Assumption], budget: u64) -> Result<Option<Trees>> {
    let effects = model.effects(trace);
    let assume = [assume, &[Assumption::NoOldPages]].concat();
    let space = Space::new(trace, &effects, model, &assume);
    let plan = Plan { bound: u8::MAX, budget, seed: 1 };
    let mut states = space.states(&plan);
    let mut hasher = space.hasher();
    // Many states have one image: it is drawn once. The order of the map is never seen.
    let mut by_hash: HashMap<ImageHash, String> = HashMap::new();
    let mut trees = Trees::new();
    for state in states.by_ref() {
        let tree = by_hash.entry(hasher.hash(&state)).or_insert_with(|| draw::image(&space.image(&state)));
        match trees.get_mut(tree) {
            Some(moments) => moments.add(state.first, state.last),
            None => {
                let mut moments = Moments::default();
                moments.add(state.first, state.last);
                trees.insert(tree.clone(), moments);
            }
        }
    }
    Ok(states.is_exhaustive().then_some(trees))
}
