//! A cell's teeth check, and the verdict that follows.

use super::phases::Ordered;
use super::run::{Run, TeethCheck, with_names};
use super::sweep::{Means, sweep};
use crate::cell::Teeth;
use crate::history::Phase;
use crate::judge::{FOREIGN, First, Judge, LIVE};
use crate::pool::PoolError;
use crate::teeth;
use crate::verdict::{Class, Verdict};
use std::ops::ControlFlow;
use unplug_faults::event::{Event, Op};
use unplug_faults::state::Plan;
use unplug_faults::trace::{Blind, Trace};

/// What the teeth check of one phase came to.
pub(super) enum Bite {
    /// It was run.
    Teeth(Teeth),
    /// No state of the phase came back with any content.
    NothingToBreak,
    /// The sabotage showed in none of the states that were tried, which are not all.
    NotAmongThose,
}

/// What a sabotage came to.
enum Sabotaged {
    Found(Class),
    /// In none of all states.
    Nowhere,
    /// In none of those that were tried.
    NotAmongThose,
}

impl Sabotaged {
    fn bite(self, sabotage: String) -> Bite {
        match self {
            Sabotaged::Found(class) => teeth_of(sabotage, Some(class)),
            Sabotaged::Nowhere => teeth_of(sabotage, None),
            Sabotaged::NotAmongThose => Bite::NotAmongThose,
        }
    }
}

pub(super) fn teeth_of(sabotage: String, class: Option<Class>) -> Bite {
    Bite::Teeth(match class {
        Some(class) => Teeth::Bit { sabotage, class },
        None => Teeth::Blunt { sabotage },
    })
}

pub(super) fn broken_off(error: &PoolError) -> Blind {
    let what = match error {
        PoolError::Interrupted => "interrupted",
        _ => "recovery of images",
    };
    Blind { what: what.to_string(), detail: error.to_string() }
}

/// A cell's verdict: what was found weighs more than what was not looked at, and a harness without teeth
/// more than either.
pub(super) fn verdict(violated: bool, not_measured: bool, teeth: &Teeth) -> Verdict {
    match teeth {
        Teeth::Blunt { .. } => Verdict::HarnessBroken,
        _ if violated => Verdict::Violated,
        _ if not_measured => Verdict::NotMeasured,
        Teeth::Bit { .. } => Verdict::Holds,
        // Nothing was found and nothing was shown to be findable.
        Teeth::NotNeeded => Verdict::NotMeasured,
    }
}

impl Run<'_> {
    /// The teeth check of a phase that has neither a violation nor a reason not to be measured.
    pub(super) fn teeth(&mut self, means: &mut Means<'_>, judge: &Judge, index: usize) -> Bite {
        let run = &self.phases[index];
        if !run.clusters.is_empty() || !run.blind.is_empty() || run.incomplete || run.states == 0 {
            return Bite::Teeth(Teeth::NotNeeded);
        }
        let phase = run.phase.clone();
        // Where keeping nothing would break a promise, the syncs are what the promise rests on.
        let bite = if judge.forbids_nothing_kept(phase.begin, phase.end) {
            let sabotaged = teeth::drop_syncs(self.search.trace);
            let bite = self.bites_in_the_end(means, &sabotaged, judge, &phase, self.sabotage_budget());
            bite.map(|bite| bite.bite(teeth::SYNCS_DROPPED.to_string()))
        } else {
            self.bite_content(means, judge, &phase)
        };
        match bite {
            Ok(bite) => bite,
            Err(error) => {
                self.phases[index].blind.push(broken_off(&error));
                Bite::Teeth(Teeth::NotNeeded)
            }
        }
    }

    /// Where nothing must be kept, only the content can be wrong: a write that was never made, and, since a
    /// target with checksums rightly turns that into an older state, an operation that the judge knows
    /// nothing of. Where even that can show in no state of the phase, content that nobody wrote.
    fn bite_content(&self, means: &mut Means<'_>, judge: &Judge, phase: &Phase) -> Result<Bite, PoolError> {
        if let Some(sabotaged) = teeth::delete_middle_write(self.search.trace, phase.begin, phase.end)
            && let Sabotaged::Found(class) =
                self.bites(means, &sabotaged, judge, phase, self.sabotage_budget())?
        {
            return Ok(teeth_of(teeth::WRITE_DELETED.to_string(), Some(class)));
        }
        let write = |e: &Event| e.errno == 0 && matches!(e.op, Op::Write { .. });
        let wrote =
            |from, to| self.search.trace.events.iter().any(|e| write(e) && (from..=to).contains(&e.begin));
        if let Some((hidden, id)) = judge.hiding_one(phase.begin, phase.end, wrote)
            && judge.differs_within(&hidden, phase.begin, phase.end)
        {
            let budget = self.search.plan.budget.max(1);
            let bite = self.bites_in_the_end(means, self.search.trace, &hidden, phase, budget)?;
            return Ok(bite.bite(format!("operation {id} hidden from the judge")));
        }
        self.bite_impostor(means, judge, phase)
    }

    /// The last resort: what came back from the last state of the phase's first lot is exchanged for content that
    /// nobody wrote.
    fn bite_impostor(&self, means: &mut Means<'_>, judge: &Judge, phase: &Phase) -> Result<Bite, PoolError> {
        let (effects, names) = with_names(self.search.model, self.search.trace);
        let ordered = Ordered { trace: self.search.trace, effects: &effects, names: &names, index: 0 };
        let space = self.space(&ordered, phase);
        let plan = Plan { budget: IMPOSTOR_BUDGET, ..self.search.plan.clone() };
        let (mut live, mut foreign, mut tried) = (None, None, false);
        let swept = sweep(means, &space, &plan, judge, &mut |state, _, seen, memo| {
            let First::Holds(digest) = &seen.first else { return ControlFlow::Continue(()) };
            let known = memo.dump_of(seen).cloned().or_else(|| judge.dump_of(*digest));
            let Some(dump) = known else { return ControlFlow::Continue(()) };
            tried = true;
            live = live.or_else(|| judge.refuses_live(state.first, state.last));
            foreign = foreign.or_else(|| judge.refuses_foreign(state.first, state.last, &dump));
            if live.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match (live, foreign, swept.error) {
            (Some(class), ..) => Ok(teeth_of(LIVE.to_string(), Some(class))),
            (None, Some(class), _) => Ok(teeth_of(FOREIGN.to_string(), Some(class))),
            (None, None, Some(error)) => Err(error),
            (None, None, None) if tried => Ok(teeth_of(FOREIGN.to_string(), None)),
            (None, None, None) => Ok(Bite::NothingToBreak),
        }
    }

    /// As [`bites`](Run::bites), and in many more states if in none of those.
    fn bites_in_the_end(
        &self,
        means: &mut Means<'_>,
        trace: &Trace,
        judge: &Judge,
        phase: &Phase,
        budget: u64,
    ) -> Result<Sabotaged, PoolError> {
        let further = budget.saturating_mul(FURTHER).min(SABOTAGE_BUDGET);
        match self.bites(means, trace, judge, phase, budget)? {
            // Where a disk may lose much, few of its states hold, or lack, the one thing in question.
            Sabotaged::NotAmongThose if further > budget => self.bites(means, trace, judge, phase, further),
            found => Ok(found),
        }
    }

    /// How many states of a sabotaged trace are tried.
    fn sabotage_budget(&self) -> u64 {
        SABOTAGE_BUDGET.min(self.search.plan.budget.max(1))
    }

    /// Explores a phase of a sabotaged trace until it has a violation; its class.
    fn bites(
        &self,
        means: &mut Means<'_>,
        trace: &Trace,
        judge: &Judge,
        phase: &Phase,
        budget: u64,
    ) -> Result<Sabotaged, PoolError> {
        let (effects, names) = with_names(self.search.model, trace);
        let ordered = Ordered { trace, effects: &effects, names: &names, index: 0 };
        let space = self.space(&ordered, phase);
        let plan = Plan { budget, ..self.search.plan.clone() };
        let mut found = None;
        let swept = sweep(means, &space, &plan, judge, &mut |state, _, seen, memo| {
            found = match self.how.teeth {
                TeethCheck::Classed => {
                    let violation = judge.check_seen(state.first, state.last, seen, memo.dump_of(seen));
                    violation.map(|v| v.class)
                }
                TeethCheck::Found | TeethCheck::Skipped => judge.forbids(state.first, state.last, seen),
            };
            if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // What was found counts, even if it was the last thing before an interruption.
        match (found, swept.error) {
            (None, Some(error)) => Err(error),
            (Some(class), _) => Ok(Sabotaged::Found(class)),
            (None, None) if swept.exhaustive => Ok(Sabotaged::Nowhere),
            (None, None) => Ok(Sabotaged::NotAmongThose),
        }
    }
}

/// How many states are tried for a sabotage at the most: one that bites shows among the first.
const SABOTAGE_BUDGET: u64 = 20_000;
/// How many times as many states are tried where a sabotage shows in none of the first.
const FURTHER: u64 = 32;
/// How many states are tried with content that nobody wrote: the judge refuses it at once or never.
const IMPOSTOR_BUDGET: u64 = 64;
