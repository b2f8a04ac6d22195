//! How a violation comes about: which barrier is missing, and in front of what.

use super::role;
use crate::history::History;
use crate::story::{culprit, interesting_frame, outcome_of, sync_after, synced_by};
use crate::verdict::{Class, Violation};
use std::collections::BTreeSet;
use unplug_faults::effect::{Effect, EffectKind, Effects, Meta, Names, Outcome};
use unplug_faults::event::Op;
use unplug_faults::state::CrashState;
use unplug_faults::trace::Trace;

/// How a violation comes about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mechanism {
    /// In words.
    pub text: String,
    /// The changes of names that were missing, where nothing else was: see [`super::Kin`].
    pub missing: Option<String>,
}

impl Mechanism {
    fn alone(text: String) -> Mechanism {
        Mechanism { text, missing: None }
    }
}

/// The mechanism that a case shows: the sync that would have kept it from coming about (of which file or directory,
/// in front of which call), or, where none would have, the call that was cut short or the last one that was made.
///
/// In which way an effect is missing (absent, torn, stale) and as which class of its family it shows itself is left
/// out: it is one and the same mistake. To be asked of a case that was made small, where nothing is missing that does
/// not matter.
pub fn mechanism(
    trace: &Trace,
    history: &History,
    effects: &Effects,
    names: &Names,
    state: &CrashState,
    violation: &Violation,
) -> Mechanism {
    let issued = effects.list.partition_point(|e| e.issued <= violation.crash_point);
    let odd: Vec<usize> = (0..issued).filter(|i| outcome_of(state, *i) != Outcome::Whole).collect();
    if violation.class.family() == Class::AcknowledgedLoss {
        let lost = culprit(history, effects, state, violation);
        return Mechanism::alone(match lost {
            Some(lost) => {
                format!("no sync of {} in time for what was acknowledged", unsynced(effects, names, &[lost]))
            }
            None => "what was acknowledged is lost, though everything is on the disk".to_string(),
        });
    }
    of_what_is_missing(trace, effects, names, state, &odd, issued)
}

/// The mechanism that a crash of a recovery shows, the crash being the earliest at which the state is legal: as
/// [`mechanism`], but that nothing is promised meanwhile, and that a call of which a part is there is told by the sync
/// that does not follow it, if none does.
pub fn in_recovery(trace: &Trace, effects: &Effects, names: &Names, state: &CrashState) -> Mechanism {
    let issued = effects.list.partition_point(|e| e.issued <= state.first);
    let odd: Vec<usize> = (0..issued).filter(|i| outcome_of(state, *i) != Outcome::Whole).collect();
    let found = of_what_is_missing(trace, effects, names, state, &odd, issued);
    let top = (0..issued).rev().find(|i| outcome_of(state, *i) != Outcome::Absent).map(|i| &effects.list[i]);
    let in_part = |top: &&Effect| odd.iter().all(|i| effects.list[*i].event == top.event) && !odd.is_empty();
    match top.filter(in_part) {
        Some(top) if sync_after(trace, names, top).0.is_none() => {
            let by = interesting_frame(trace, top.event).map_or_else(String::new, |f| format!(", by {f}"));
            let what = match trace.events.get(top.event as usize).map(|e| &e.op) {
                // The zeros behind the cut are one of its effects.
                Some(Op::Truncate { file, .. }) => {
                    format!("the truncation of {}", role(&names.path_at(*file, top.issued)))
                }
                _ => what(top, names),
            };
            let whose = unsynced(effects, names, &odd);
            Mechanism::alone(format!("no sync of {whose} between {what}{by} and the end of recovery"))
        }
        _ => found,
    }
}

/// Which files or directories were not synced, by what these effects are missing of them.
fn unsynced(effects: &Effects, names: &Names, odd: &[usize]) -> String {
    let roles = |i: &usize| {
        let effect = &effects.list[*i];
        synced_by(effect).into_iter().take(1).map(|f| role(&names.path_at(f, effect.issued)))
    };
    odd.iter().flat_map(roles).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" and ")
}

/// The mechanism of a state by what it lacks of the first so many effects, and by the last that is there.
fn of_what_is_missing(
    trace: &Trace,
    effects: &Effects,
    names: &Names,
    state: &CrashState,
    odd: &[usize],
    issued: usize,
) -> Mechanism {
    let Some(top) = (0..issued).rev().find(|i| outcome_of(state, *i) != Outcome::Absent) else {
        return Mechanism::alone("nothing is on the disk".to_string());
    };
    let last = &effects.list[top];
    let by = interesting_frame(trace, last.event).map_or_else(String::new, |f| format!(", by {f}"));
    let what = what(last, names);
    let before: Vec<usize> =
        odd.iter().copied().filter(|i| *i < top && effects.list[*i].event != last.event).collect();
    if !before.is_empty() {
        let text = format!("no sync of {} before {what}{by}", unsynced(effects, names, &before));
        return Mechanism { text, missing: missing_names(trace, effects, names, &before) };
    }
    let text = match odd.iter().any(|i| effects.list[*i].event == last.event) {
        true => format!("a part of {what}{by}"),
        false => format!("all in order up to {what}{by}"),
    };
    Mechanism::alone(text)
}

/// The changes of names among these effects, each with the place in the program that made it, if there is nothing else
/// among them. A write of content is made in one place for many purposes: it says nothing of where a sync belongs.
fn missing_names(trace: &Trace, effects: &Effects, names: &Names, odd: &[usize]) -> Option<String> {
    let one = |i: &usize| {
        let effect = &effects.list[*i];
        let EffectKind::Meta(meta) = &effect.kind else { return None };
        if matches!(meta, Meta::Truncate { .. } | Meta::Allocate { .. }) {
            return None;
        }
        let by = interesting_frame(trace, effect.event).unwrap_or_default();
        Some(format!("{} by {by}", what(effect, names)))
    };
    let all: Option<BTreeSet<String>> = odd.iter().map(one).collect();
    Some(all?.into_iter().collect::<Vec<_>>().join(" and "))
}

/// What tells cases apart before they are made small: finer than the mechanism, so that none hides another.
pub fn sketch(
    trace: &Trace,
    history: &History,
    effects: &Effects,
    names: &Names,
    state: &CrashState,
    violation: &Violation,
) -> String {
    let mut text = mechanism(trace, history, effects, names, state, violation).text;
    let issued = effects.list.partition_point(|e| e.issued <= violation.crash_point);
    if let Some(first) = (0..issued).find(|i| outcome_of(state, *i) != Outcome::Whole) {
        let effect = &effects.list[first];
        let by = interesting_frame(trace, effect.event).unwrap_or_default();
        text.push_str(&format!("; without {} by {by}", self::what(effect, names)));
    }
    text
}

fn what(effect: &Effect, names: &Names) -> String {
    let role = |file| role(&names.path_at(file, effect.issued));
    match &effect.kind {
        EffectKind::Data { file, .. } if effect.kind.is_freed() => {
            format!("a block of {} that was set free", role(*file))
        }
        EffectKind::Data { file, .. } | EffectKind::Size { file, .. } => {
            format!("a write to {}", role(*file))
        }
        EffectKind::Meta(meta) => match meta {
            Meta::Create { file, .. } => format!("the creation of {}", role(*file)),
            Meta::Link { file, .. } => format!("the link of {}", role(*file)),
            Meta::Unlink { file, .. } => format!("the removal of {}", role(*file)),
            Meta::Rename { file, .. } => format!("the rename to {}", role(*file)),
            Meta::Return { file, .. } => format!("the return of a replaced {}", role(*file)),
            Meta::Exchange { a, .. } => format!("the exchange with {}", role(*a)),
            Meta::Truncate { file, .. } => format!("the truncation of {}", role(*file)),
            Meta::Allocate { file, .. } => format!("the fallocate of {}", role(*file)),
        },
    }
}
