//! States next to another one: some effects with other outcomes, and what follows from that by the model's edges.

use crate::effect::{EffectId, Outcome};
use crate::model::Grain;
use crate::state::space::SpaceCase;
use crate::state::work::{Choice, Work};
use crate::state::{CrashState, Space};

impl Space<'_> {
    /// The state with these outcomes instead. An effect that is made whole brings along what it cannot be there
    /// without; one that loses something takes along what cannot be there without that. `None` where the model
    /// allows no such state at any crash point of this space.
    pub fn varied(&self, state: &CrashState, changes: &[(EffectId, Outcome)]) -> Option<CrashState> {
        let case = self.cases.get(state.case as usize)?;
        let mut work = Work::new(&case.graph);
        work.start(state.prefix);
        state.except.iter().for_each(|(id, outcome)| work.set(id.0, *outcome));
        for &(id, outcome) in changes.iter().filter(|(id, _)| (id.0 as usize) < case.graph.len()) {
            match outcome {
                Outcome::Whole => raise(&mut work, case, id.0),
                Outcome::Absent if work.get(id.0) == Outcome::Absent => {}
                _ => work.lose(Choice { id, outcome }),
            }
        }
        // One change may have undone another.
        if changes.iter().any(|(id, outcome)| work.get(id.0) != *outcome) || !work.is_closed() {
            return None;
        }
        let mut varied = work.state(state.case, 0, &case.soon, self.range)?;
        varied.deviations = self.roots(&varied).len().min(255) as u8;
        Some(varied)
    }
}

/// Makes an effect whole, and whatever it needs as far as it needs it.
fn raise(work: &mut Work<'_>, case: &SpaceCase, id: u32) {
    work.set(id, Outcome::Whole);
    let mut todo = vec![id];
    while let Some(id) = todo.pop() {
        let have = work.mask(id, work.get(id));
        for need in case.graph.needs(EffectId(id)) {
            let (other, was) = (need.on.0, work.get(need.on.0));
            let fact = case.graph.facts[other as usize];
            let there = work.mask(other, was);
            let wanted = match need.grain {
                Grain::Whole => fact.sectors,
                Grain::Sectors => have & fact.sectors,
            };
            let both = there | wanted;
            let new = match both == fact.sectors || !fact.tears {
                true => Outcome::Whole,
                false => Outcome::Sectors(both),
            };
            let enough = match need.grain {
                Grain::Whole => was == Outcome::Whole,
                Grain::Sectors => wanted & !there == 0,
            };
            if !enough && new != was {
                work.set(other, new);
                todo.push(other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::effect::{EffectId, Effects, Outcome};
    use crate::event::{Event, FileId, NodeKind, Op, SyncKind, Task, WriteSync};
    use crate::model;
    use crate::state::{Plan, Space};
    use crate::trace::Trace;

    fn trace() -> Trace {
        let mut trace = Trace::default();
        let mut push = |op: Op| {
            let begin = 1 + trace.events.len() as u64 * 2;
            let task = Task::default();
            trace.events.push(Event { begin, end: begin + 1, at: 0, task, site: None, errno: 0, op });
        };
        let (a, b) = (FileId(1), FileId(2));
        push(Op::Create { dir: FileId::ROOT, name: b"a".to_vec(), file: a, kind: NodeKind::File });
        push(Op::Write { file: a, offset: 0, data: vec![1; 6000], sync: WriteSync::None });
        push(Op::Create { dir: FileId::ROOT, name: b"b".to_vec(), file: b, kind: NodeKind::File });
        push(Op::Write { file: b, offset: 0, data: vec![2; 700], sync: WriteSync::None });
        push(Op::Write { file: a, offset: 100, data: vec![3; 900], sync: WriteSync::None });
        push(Op::Sync { file: a, kind: SyncKind::Fsync });
        push(Op::Write { file: b, offset: 700, data: vec![4; 900], sync: WriteSync::None });
        trace
    }

    /// Whatever is varied, what comes out is legal, and has the outcomes that were asked for.
    #[test]
    fn what_comes_out_is_legal_and_as_asked() {
        let trace = trace();
        let effects = Effects::of(&trace);
        for name in ["prefix", "posix", "posix-split", "ext4-ordered"] {
            let model = model::by_name(name).unwrap();
            let space = Space::new(&trace, &effects, model, &[]);
            let plan = Plan { bound: 2, budget: 400, seed: 1 };
            let (mut varied, mut refused) = (0, 0);
            for state in space.states(&plan) {
                for id in (0..effects.list.len() as u32).map(EffectId) {
                    for outcome in [Outcome::Whole, Outcome::Absent] {
                        let Some(new) = space.varied(&state, &[(id, outcome)]) else {
                            refused += 1;
                            continue;
                        };
                        assert!(space.is_legal(&new), "{name}: {state:?} with {id:?} {outcome:?}: {new:?}");
                        let usual = if id.0 < new.prefix { Outcome::Whole } else { Outcome::Absent };
                        let is = new.except.iter().find(|(e, _)| *e == id).map_or(usual, |(_, o)| *o);
                        assert_eq!(is, outcome, "{name}: {state:?} with {id:?}: {new:?}");
                        varied += 1;
                    }
                }
            }
            // In order every change can be made by taking along what follows.
            assert!(varied > 100 && (refused > 0 || name == "prefix"), "{name}: {varied} {refused}");
        }
    }

    #[test]
    fn nothing_changed_is_the_same_state() {
        let trace = trace();
        let effects = Effects::of(&trace);
        let space = Space::new(&trace, &effects, model::by_name("posix").unwrap(), &[]);
        for state in space.states(&Plan { bound: 1, budget: 200, seed: 1 }) {
            let same = space.varied(&state, &[]).unwrap();
            assert_eq!(space.identity(&same), space.identity(&state));
        }
    }
}
