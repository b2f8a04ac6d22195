//! The fewest deviations: from a violating state down to one that no single step makes simpler.

use crate::cluster::Case;
use crate::story::outcome_of;
use crate::verdict::Class;
use unplug_faults::effect::{EffectId, Outcome};
use unplug_faults::event::Clock;
use unplug_faults::state::{CrashState, Space};

/// How many states are tried for one case.
const TRIES: usize = 2000;
/// How many states are recovered at once. It must not depend on the number of workers.
const LOT: usize = 8;
/// How many earlier ends are tried behind the first effect that is missing.
const ENDS: usize = 64;

/// The effects that had been issued by a crash point and are not whole on the disk.
pub fn odd_effects(space: &Space<'_>, state: &CrashState, point: Clock) -> Vec<(EffectId, Outcome)> {
    let issued = space.effects().list.partition_point(|e| e.issued <= point);
    let outcome = |i: usize| (EffectId(i as u32), outcome_of(state, i));
    (0..issued).map(outcome).filter(|(_, outcome)| *outcome != Outcome::Whole).collect()
}

/// What is crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A run, in which more is promised as it goes on. A violation is the same if its class is.
    Run,
    /// A recovery. Nothing is promised while it goes on, and as which class a mistake shows itself depends on how far
    /// it had come: one violation is as good as another, and one that needs less of the recovery is simpler.
    Recovery,
}

/// Replaces a case by simpler ones that are the same violation until it is a local minimum: no missing or odd effect
/// can be made whole, no odd one be simply missing or be cut at its end instead, and the crash cannot come earlier
/// (except for losses of a run, where less on the disk is more that is lost).
///
/// `judge` recovers states and says, in their order, which violate. An error of `judge` ends the search with what was
/// found until then.
pub fn local_minimum<E>(
    space: &Space<'_>,
    case: Case,
    scope: Scope,
    judge: impl FnMut(&[CrashState]) -> Result<Vec<Option<Case>>, E>,
) -> Case {
    let mut descent = Descent { space, scope, cost: cost(space, scope, &case), case, judge, tries: 0 };
    loop {
        let before = descent.cost;
        let done = descent.restore().and_then(|()| descent.weaken()).and_then(|()| descent.cut());
        if done.is_err() || descent.cost == before || descent.tries >= TRIES {
            return descent.case;
        }
    }
}

/// Effects that are not whole; how odd they are; how far the disk had come.
type Cost = (usize, usize, u32);

fn cost(space: &Space<'_>, scope: Scope, case: &Case) -> Cost {
    let odd = odd_effects(space, &case.state, case.violation.crash_point);
    let oddity = odd.iter().map(|(id, outcome)| oddity(space, &case.state, *id, *outcome)).sum();
    (odd.len(), oddity, if loses(scope, case) { 0 } else { top(&case.state) })
}

fn loses(scope: Scope, case: &Case) -> bool {
    scope == Scope::Run && case.violation.class.family() == Class::AcknowledgedLoss
}

/// The latest effect of which something is there, counted from 1.
fn top(state: &CrashState) -> u32 {
    let early = state.except.iter().rev().find(|(_, outcome)| *outcome != Outcome::Absent);
    let top = early.map_or(state.prefix, |(id, _)| state.prefix.max(id.0 + 1));
    (0..top).rev().find(|id| outcome_of(state, *id as usize) != Outcome::Absent).map_or(0, |id| id + 1)
}

fn oddity(space: &Space<'_>, state: &CrashState, id: EffectId, outcome: Outcome) -> usize {
    match outcome {
        Outcome::Whole | Outcome::Absent => 0,
        other if heads(space, state, id).contains(&other) => 1,
        _ => 2,
    }
}

/// The outcomes of a page whose write was cut short.
fn heads(space: &Space<'_>, state: &CrashState, id: EffectId) -> Vec<Outcome> {
    let all = space.graph(state.case).map(|g| g.other_outcomes(id)).unwrap_or_default();
    let sectors = space.effects().get(id).map_or(0, |e| e.kind.sectors());
    let is_head = |mask: u8| mask != 0 && (sectors & !mask).trailing_zeros() > (7 - mask.leading_zeros());
    all.into_iter().filter(|o| matches!(o, Outcome::Sectors(mask) if is_head(*mask))).collect()
}

struct Descent<'s, 't, J> {
    space: &'s Space<'t>,
    scope: Scope,
    case: Case,
    cost: Cost,
    judge: J,
    tries: usize,
}

impl<E, J: FnMut(&[CrashState]) -> Result<Vec<Option<Case>>, E>> Descent<'_, '_, J> {
    /// Takes the first of these states that shows the same and is simpler. Whether there was one.
    fn take_first(&mut self, candidates: &[CrashState]) -> Result<bool, E> {
        for lot in candidates.chunks(LOT) {
            if self.tries >= TRIES {
                return Ok(false);
            }
            self.tries += lot.len();
            let judged = (self.judge)(lot)?;
            let better = |case: &Case| self.is_same(case) && cost(self.space, self.scope, case) < self.cost;
            if let Some(found) = judged.into_iter().flatten().find(better) {
                self.cost = cost(self.space, self.scope, &found);
                self.case = found;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_same(&self, case: &Case) -> bool {
        let class = case.violation.class;
        class == self.case.violation.class || (self.scope == Scope::Recovery && class != Class::RecoveryHang)
    }

    fn odd(&self) -> Vec<(EffectId, Outcome)> {
        odd_effects(self.space, &self.case.state, self.case.violation.crash_point)
    }

    /// Makes effects whole: many at once, then fewer, then each by itself.
    fn restore(&mut self) -> Result<(), E> {
        let mut size = self.odd().len();
        while size > 0 {
            let odd = self.odd();
            size = size.min(odd.len());
            let whole = |part: &[(EffectId, Outcome)]| {
                let changes: Vec<_> = part.iter().map(|(id, _)| (*id, Outcome::Whole)).collect();
                self.space.varied(&self.case.state, &changes)
            };
            let candidates: Vec<CrashState> = odd.chunks(size.max(1)).filter_map(whole).collect();
            if !self.take_first(&candidates)? {
                size = if size == 1 { 0 } else { size.div_ceil(2) };
            }
        }
        Ok(())
    }

    /// Makes odd effects simply missing, or else cut short in order.
    fn weaken(&mut self) -> Result<(), E> {
        loop {
            let state = &self.case.state;
            let odd = self.odd().into_iter().filter(|(_, outcome)| *outcome != Outcome::Absent);
            let weaker = |(id, _): (EffectId, Outcome)| {
                let outcomes = [vec![Outcome::Absent], heads(self.space, state, id)].concat();
                outcomes.into_iter().map(move |outcome| (id, outcome))
            };
            let changes = odd.flat_map(weaker);
            let candidates: Vec<CrashState> =
                changes.filter_map(|change| self.space.varied(state, &[change])).collect();
            if !self.take_first(&candidates)? {
                return Ok(());
            }
        }
    }

    /// Lets the crash come earlier: right behind the first effect that is missing, or in front of its call (one that is
    /// cut short is not to blame for what the disk lacked before), or else step by step.
    fn cut(&mut self) -> Result<(), E> {
        if loses(self.scope, &self.case) {
            return Ok(());
        }
        let state = &self.case.state;
        let end = top(state);
        if let Some((first, _)) = self.odd().first() {
            let event = self.space.effects().get(*first).map(|e| e.event);
            let of_event = |id: &u32| self.space.effects().get(EffectId(*id)).map(|e| e.event) == event;
            let from = (0..=first.0).rev().take_while(of_event).last().unwrap_or(first.0);
            let candidates: Vec<CrashState> =
                (from.max(1)..end).take(ENDS + 1).filter_map(|end| self.ending(end)).collect();
            if self.take_first(&candidates)? {
                return Ok(());
            }
        }
        loop {
            let end = top(&self.case.state);
            let Some(earlier) = (1..end).rev().take(LOT).find_map(|end| self.ending(end)) else {
                return Ok(());
            };
            if !self.take_first(&[earlier])? {
                return Ok(());
            }
        }
    }

    /// The case's state without the effects from this one on (counted from 0).
    fn ending(&self, end: u32) -> Option<CrashState> {
        let state = &self.case.state;
        let there = |id: &u32| outcome_of(state, *id as usize) != Outcome::Absent;
        // The latest first: what needs an effect goes before it.
        let gone: Vec<_> =
            (end..top(state)).rev().filter(there).map(|id| (EffectId(id), Outcome::Absent)).collect();
        self.space.varied(state, &gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::TraceBuilder;
    use crate::verdict::Violation;
    use unplug_faults::effect::Effects;
    use unplug_faults::event::{FileId, NodeKind, Op, WriteSync};
    use unplug_faults::image::ImageHash;
    use unplug_faults::model;
    use unplug_faults::state::Plan;
    use unplug_faults::trace::Trace;

    /// Three files, each written page by page, and nothing synced.
    fn trace() -> Trace {
        let mut b = TraceBuilder::new();
        for n in 1..=3u32 {
            let name = vec![b'a' + n as u8];
            b.event(Op::Create { dir: FileId::ROOT, name, file: FileId(n), kind: NodeKind::File });
            for page in 0..3 {
                let data = vec![n as u8; 4096];
                b.event(Op::Write { file: FileId(n), offset: page * 4096, data, sync: WriteSync::None });
            }
        }
        b.trace()
    }

    fn case(state: &CrashState, class: Class) -> Case {
        let point = if class == Class::AcknowledgedLoss { state.last } else { state.first };
        let violation = Violation::of(class, point, "");
        Case { state: state.clone(), image: ImageHash(0), violation, order: 0 }
    }

    /// From every state that violates, and under every model, down to a state that no single step makes simpler.
    fn minima(
        trace: &Trace,
        class: Class,
        violates: impl Fn(&CrashState) -> bool,
    ) -> Vec<(Vec<(EffectId, Outcome)>, u32)> {
        let effects = Effects::of(trace);
        let mut found = Vec::new();
        for name in ["posix", "ext4-ordered"] {
            let space = Space::new(trace, &effects, model::by_name(name).unwrap(), &[]);
            let judge = |states: &[CrashState]| {
                Ok::<_, ()>(states.iter().map(|s| violates(s).then(|| case(s, class))).collect())
            };
            let plan = Plan { bound: 2, budget: 3000, seed: 1 };
            for state in space.states(&plan).filter(|s| violates(s)) {
                let small = local_minimum(&space, case(&state, class), Scope::Run, judge);
                let odd = odd_effects(&space, &small.state, small.violation.crash_point);
                for (id, outcome) in &odd {
                    for weaker in [Outcome::Whole, Outcome::Absent].iter().filter(|w| *w != outcome) {
                        let next = space.varied(&small.state, &[(*id, *weaker)]).filter(|s| violates(s));
                        let simpler = next.map(|s| cost(&space, Scope::Run, &case(&s, class)));
                        assert!(
                            simpler.is_none_or(|c| c >= cost(&space, Scope::Run, &small)),
                            "{name}: {small:?}"
                        );
                    }
                }
                found.push((odd, top(&small.state)));
            }
        }
        assert!(found.len() > 50, "{}", found.len());
        found
    }

    #[test]
    fn what_does_not_matter_goes_and_the_crash_comes_right_behind_what_depends_on_it() {
        let trace = trace();
        let effects = Effects::of(&trace);
        let data = |file: u32, page: u64| {
            let is = |e: &unplug_faults::effect::Effect| matches!(&e.kind, unplug_faults::effect::EffectKind::Data { file: f, page: p, .. } if f.0 == file && *p == page);
            effects.list.iter().position(is).unwrap()
        };
        let (a, b) = (data(1, 1), data(2, 0));
        // A hole in the first file, once the second one has content.
        let violates =
            |s: &CrashState| outcome_of(s, a) != Outcome::Whole && outcome_of(s, b) == Outcome::Whole;
        for (odd, top) in minima(&trace, Class::Gap, violates) {
            assert_eq!((odd, top), (vec![(EffectId(a as u32), Outcome::Absent)], b as u32 + 1));
        }
    }

    #[test]
    fn of_a_loss_only_what_is_lost_is_missing() {
        let trace = trace();
        let effects = Effects::of(&trace);
        let last = effects.list.len() - 1;
        let violates = |s: &CrashState| outcome_of(s, last) != Outcome::Whole;
        for (odd, _) in minima(&trace, Class::AcknowledgedLoss, violates) {
            assert_eq!(odd, [(EffectId(last as u32), Outcome::Absent)]);
        }
    }
    /// A file that is emptied, and written again by one call of many pages.
    #[test]
    fn a_call_that_is_cut_short_is_not_to_blame_for_what_was_gone_before_it() {
        let mut b = TraceBuilder::new();
        let (file, size) = (FileId(1), 0);
        b.event(Op::Create { dir: FileId::ROOT, name: b"a".to_vec(), file, kind: NodeKind::File });
        b.event(Op::Write { file, offset: 0, data: vec![1; 6 * 4096], sync: WriteSync::Data });
        b.event(Op::Truncate { file, size });
        b.event(Op::Write { file, offset: 0, data: vec![2; 6 * 4096], sync: WriteSync::None });
        let trace = b.trace();
        let effects = Effects::of(&trace);
        let emptied = effects.list.iter().position(|e| e.event == 2).unwrap();
        let again = effects.list.iter().position(|e| e.event == 3).unwrap();
        let violates = |s: &CrashState| {
            outcome_of(s, emptied) == Outcome::Whole
                && (again..effects.list.len()).any(|i| outcome_of(s, i) != Outcome::Whole)
        };
        for (odd, top) in minima(&trace, Class::Gap, violates) {
            assert_eq!((odd, top), (vec![], emptied as u32 + 1));
        }
    }
}
