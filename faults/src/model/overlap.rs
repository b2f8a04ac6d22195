//! Which change comes before which, where calls ran at the same time.
//!
//! A call comes before another one if it was over when that one began. Of two calls that overlap either can have been
//! carried out first, and both ways are legal: so neither needs the other, and what a sync forces of one says nothing
//! of the other. But where both change names, or the content of one file, they keep the order of the trace: the other
//! one is another trace ([`Orders`](crate::effect::Orders)).

use crate::effect::{EffectId, Effects};
use crate::event::{Clock, Event, FileId, Op};
use crate::trace::Trace;
use std::collections::BTreeMap;

/// When each call of a trace can have been carried out.
pub(crate) struct Spans {
    calls: Vec<(Clock, Clock)>,
}

impl Spans {
    /// A call in which the target was killed was over then, for those that came later. And one was carried out before
    /// any that changes the same thing after it had ended: the trace has them in this order.
    pub(crate) fn of(trace: &Trace) -> Spans {
        let mut calls: Vec<(Clock, Clock)> =
            trace.events.iter().enumerate().map(|(n, e)| (e.begin, trace.over(n))).collect();
        let mut next: BTreeMap<Option<FileId>, Clock> = BTreeMap::new();
        for (event, (_, over)) in trace.events.iter().zip(&mut calls).rev() {
            if let Some(subject) = subject(&event.op).filter(|_| event.took_effect()) {
                let next = next.entry(subject).or_insert(Event::NEVER);
                *over = (*over).min(*next);
                *next = *over;
            }
        }
        Spans { calls }
    }

    /// When the call of an event began, and when it was over, or had been carried out at the latest.
    pub(crate) fn of_event(&self, event: u32) -> (Clock, Clock) {
        self.calls.get(event as usize).copied().unwrap_or((0, Event::NEVER))
    }

    /// Whether one effect's call comes before the other's.
    pub(crate) fn first(&self, effects: &Effects, on: EffectId, id: EffectId) -> bool {
        let (a, b) = (&effects.list[on.0 as usize], &effects.list[id.0 as usize]);
        let alike = a.kind.content_of() == b.kind.content_of();
        on < id && (alike || self.of_event(a.event).1 < self.of_event(b.event).0)
    }
}

/// What a call changes: names, or the content of one file.
fn subject(op: &Op) -> Option<Option<FileId>> {
    match op {
        Op::Write { file, .. } | Op::Truncate { file, .. } | Op::Allocate { file, .. } => Some(Some(*file)),
        Op::Create { .. } | Op::Link { .. } | Op::Unlink { .. } | Op::Rename { .. } | Op::Exchange { .. } => {
            Some(None)
        }
        _ => None,
    }
}

/// Walks over effects in the order of the trace, and tells behind which of them each one stands.
#[derive(Default)]
pub(crate) struct Behind {
    /// Calls that a later one may have to name: the others are before one of these that is over.
    calls: Vec<Call>,
}

#[derive(Clone, Copy)]
struct Call {
    event: u32,
    /// Its last effect so far.
    last: EffectId,
    begin: Clock,
    over: Clock,
    /// Whose content it changes; or names.
    subject: Option<FileId>,
    /// Whether everything before it is there when it is.
    brings: bool,
}

/// So many calls are kept at the most, the latest: naming fewer allows more.
const MOST: usize = 64;

impl Call {
    fn before(&self, other: &Call) -> bool {
        self.last < other.last && (self.over < other.begin || self.subject == other.subject)
    }
}

impl Behind {
    /// The latest effects of calls before this effect's (and, within its call, the one before), as far as others of
    /// these do not stand behind them. Unless this one `brings` what is before it, those behind it name that too.
    pub(crate) fn add(
        &mut self,
        spans: &Spans,
        effects: &Effects,
        id: EffectId,
        brings: bool,
    ) -> Vec<EffectId> {
        let effect = &effects.list[id.0 as usize];
        if let Some(own) = self.calls.last_mut().filter(|call| call.event == effect.event) {
            return vec![std::mem::replace(&mut own.last, id)];
        }
        let (begin, over) = spans.of_event(effect.event);
        let new =
            Call { event: effect.event, last: id, begin, over, subject: effect.kind.content_of(), brings };
        let found = latest(self.calls.iter().filter(|call| call.before(&new)).copied().collect());
        let all = std::mem::take(&mut self.calls);
        let settled = |call: &Call| all.iter().any(|s| s.brings && s.over < begin && call.before(s));
        self.calls = all.iter().filter(|call| !settled(call)).copied().collect();
        if self.calls.len() >= MOST {
            let first = self.calls.iter().position(|call| call.over < begin).unwrap_or(0);
            self.calls.remove(first);
        }
        self.calls.push(new);
        found
    }

    /// The same for an effect that is none of those walked over.
    pub(crate) fn of(&self, spans: &Spans, effects: &Effects, id: EffectId) -> Vec<EffectId> {
        let effect = &effects.list[id.0 as usize];
        let (begin, subject) = (spans.of_event(effect.event).0, effect.kind.content_of());
        let before = |call: &&Call| call.over < begin || call.subject == subject;
        latest(self.calls.iter().filter(before).copied().collect())
    }
}

/// Those behind which no other one stands that brings them.
fn latest(calls: Vec<Call>) -> Vec<EffectId> {
    let open = |call: &&Call| !calls.iter().any(|other| other.brings && call.before(other));
    calls.iter().filter(open).map(|call| call.last).collect()
}
