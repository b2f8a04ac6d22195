//! A violation told as a short story: what was acknowledged, what the disk kept, what came back, what was
//! allowed, and which call left the gap.

mod disk;
mod frame;

pub use frame::interesting_frame;

use crate::cell::Story;
use crate::dump::Dump;
use crate::history::History;
use crate::judge::{First, Judge, Seen};
use crate::verdict::Violation;
use std::collections::BTreeSet;
use unplug_faults::effect::{Effect, EffectId, EffectKind, Effects, Names, Outcome};
use unplug_faults::event::{FileId, Op, SyncKind};
use unplug_faults::state::{CrashState, Space};
use unplug_faults::trace::Trace;

/// Lines of one paragraph: a story is to be read at a glance. The repro holds the rest.
const MOST_LINES: usize = 3;

/// What became of an effect in a state.
pub(crate) fn outcome_of(state: &CrashState, index: usize) -> Outcome {
    match state.except.binary_search_by_key(&EffectId(index as u32), |(id, _)| *id) {
        Ok(at) => state.except[at].1,
        Err(_) if (index as u64) < u64::from(state.prefix) => Outcome::Whole,
        Err(_) => Outcome::Absent,
    }
}

/// The effect that a violation is best told by: of a lost operation its own bytes, else the first that is odd among
/// those of which a later one is there.
pub(crate) fn culprit(
    history: &History,
    effects: &Effects,
    state: &CrashState,
    violation: &Violation,
) -> Option<usize> {
    let issued = effects.list.partition_point(|e| e.issued <= violation.crash_point);
    let odd: Vec<usize> = (0..issued).filter(|i| outcome_of(state, *i) != Outcome::Whole).collect();
    let own = violation.operation.and_then(|id| history.operation(id)).and_then(|o| {
        let until = o.acked.unwrap_or(violation.crash_point);
        let its = |i: &&usize| (o.invoked..=until).contains(&effects.list[**i].issued);
        let data = |i: &&usize| matches!(effects.list[**i].kind, EffectKind::Data { .. });
        odd.iter().filter(its).find(data).or_else(|| odd.iter().find(its))
    });
    own.or(odd.first()).copied()
}

/// The parts of a story's subject.
pub struct Subject<'a> {
    /// The trace.
    pub trace: &'a Trace,
    /// Its effects.
    pub effects: &'a Effects,
    /// Who judged.
    pub judge: &'a Judge,
    /// The space that the crash state is of.
    pub space: &'a Space<'a>,
    /// The crash state.
    pub state: &'a CrashState,
    /// How it breaks the contract.
    pub violation: &'a Violation,
    /// What came back.
    pub seen: &'a Seen,
    /// Its content, where it is known.
    pub dump: Option<&'a Dump>,
}

/// Tells the story.
pub fn tell(subject: &Subject<'_>) -> Story {
    let names = Names::of(subject.trace, subject.effects);
    let (allowed_lines, newest) = allowed(subject);
    Story {
        acknowledged: acknowledged(subject),
        disk: disk(subject, &names),
        recovered: recovered(subject, newest.as_ref()),
        allowed: allowed_lines,
        gap: gap(subject, &names),
    }
}

/// The operation that the violation is about, the last ones before the crash, and how far each had got.
fn acknowledged(subject: &Subject<'_>) -> Vec<String> {
    let history = subject.judge.history();
    let point = subject.violation.crash_point;
    let before: Vec<_> = history.operations.iter().enumerate().filter(|(_, o)| o.invoked <= point).collect();
    let about = subject.violation.operation;
    let place = before.iter().position(|(_, o)| Some(o.id) == about);
    // The operation in question, then the newest.
    let newest = before.len().saturating_sub(if place.is_some() { 1 } else { 2 });
    let told: BTreeSet<usize> = place.into_iter().chain(newest..before.len()).collect();
    let mut lines = Vec::new();
    for (index, o) in told.iter().map(|i| before[*i]) {
        let how = match (o.acked, o.reply.as_deref()) {
            (Some(acked), Some(reply)) if acked <= point && !subject.judge.oracle().is_error(reply) => {
                format!("acknowledged at {acked}")
            }
            (Some(acked), Some(_)) if acked <= point => format!("answered with an error at {acked}"),
            _ => "not answered yet".to_string(),
        };
        let mark = if Some(o.id) == about { "  <--" } else { "" };
        lines.push(format!("{}: {how}{mark}", subject.judge.name(index)));
    }
    let others = match before.len() - told.len() {
        0 => String::new(),
        1 => ", after 1 other operation".to_string(),
        n => format!(", after {n} other operations"),
    };
    lines.push(format!("power lost at {point}{others}"));
    lines
}

/// What the disk did not keep of what had been asked for: what explains the violation first.
fn disk(subject: &Subject<'_>, names: &Names) -> Vec<String> {
    let issued = issued(subject);
    let odd: Vec<usize> = (0..issued).filter(|i| outcome_of(subject.state, *i) != Outcome::Whole).collect();
    if odd.is_empty() {
        return vec!["everything that was written until the crash".to_string()];
    }
    let culprit = culprit(subject.judge.history(), subject.effects, subject.state, subject.violation);
    let mut lines = disk::in_words(subject, names, &odd, culprit);
    let more = lines.len().saturating_sub(MOST_LINES);
    lines.truncate(MOST_LINES);
    let more = if more > 0 { format!("{more} more things are missing; ") } else { String::new() };
    lines.push(format!("{more}{} of {issued} changes are there whole", issued - odd.len()));
    lines
}

fn issued(subject: &Subject<'_>) -> usize {
    subject.effects.list.partition_point(|e| e.issued <= subject.violation.crash_point)
}

/// What came back, compared with the newest allowed state.
fn recovered(subject: &Subject<'_>, newest: Option<&Dump>) -> Vec<String> {
    let mut lines = Vec::new();
    match &subject.seen.first {
        First::Broke(_, message) => lines.push(message.clone()),
        First::Holds(digest) => {
            let own;
            let dump = match subject.dump {
                Some(dump) => Some(dump),
                None => {
                    own = subject.judge.dump_of(*digest);
                    own.as_ref()
                }
            };
            if let (Some(dump), Some(newest)) = (dump, newest) {
                let differences = crate::judge::differences(newest, dump, subject.judge.now_ms());
                let (keys, odd) = (dump.0.len(), differences.len());
                let more = if odd > 2 { ", such as" } else { "" };
                lines.push(format!("{keys} keys; {odd} not as in the newest allowed state{more}:"));
                lines.extend(differences.into_iter().take(2));
            } else if let Some(dump) = dump {
                lines.push(format!("{} keys", dump.0.len()));
            }
        }
    }
    lines.extend(subject.seen.across.iter().map(|(_, text)| text.clone()));
    lines
}

fn allowed(subject: &Subject<'_>) -> (Vec<String>, Option<Dump>) {
    let (states, count) = subject.judge.allowed_at(subject.violation.crash_point, 1);
    let newest = states.first().and_then(|s| subject.judge.dump_of(s.digest));
    let others = match count.saturating_sub(states.len()) {
        0 => String::new(),
        1 => ", or 1 older state".to_string(),
        n => format!(", or {n} older states"),
    };
    let mut lines: Vec<String> = states.iter().map(|s| format!("the state {}{others}", s.label)).collect();
    if count == 0 {
        lines.push("no state at all".to_string());
    }
    (lines, newest)
}

/// The call whose effect is missing or odd, and the sync that did not force it.
fn gap(subject: &Subject<'_>, names: &Names) -> Option<String> {
    let odd = culprit(subject.judge.history(), subject.effects, subject.state, subject.violation)?;
    let effect = subject.effects.get(EffectId(odd as u32))?;
    let what = match &effect.kind {
        EffectKind::Data { file, .. } | EffectKind::Size { file, .. } => {
            format!("the write to {}", names.path_at(*file, effect.issued))
        }
        EffectKind::Meta(_) => format!("the {}", names.describe(effect)),
    };
    let by = |event: usize| {
        interesting_frame(subject.trace, event as u32).map_or_else(String::new, |f| format!(" by {f}"))
    };
    let (sync, whose) = sync_after(subject.trace, names, effect);
    let sync = sync.and_then(|i| Some((i as usize, subject.trace.events.get(i as usize)?)));
    let point = subject.violation.crash_point;
    let acked = subject.violation.operation.and_then(|id| subject.judge.history().operation(id)?.acked);
    let reply = acked.filter(|a| *a > effect.issued && *a <= point);
    let until = reply.map_or_else(|| format!("the crash at {point}"), |a| format!("the reply at {a}"));
    let late = match sync {
        Some((i, e)) if e.begin > point => {
            format!(
                "no sync of {whose} between it and {until}; the first begins at {}{}, after the crash",
                e.begin,
                by(i)
            )
        }
        Some((i, e)) if e.end > point => {
            format!("its sync, begun at {}{}, had not returned", e.begin, by(i))
        }
        Some((i, e)) => format!("the sync of {whose} at {}{} did not force it", e.begin, by(i)),
        None => format!("no sync of {whose} between it and {until}, nor ever after"),
    };
    let at = subject.trace.events.get(effect.event as usize).map_or(effect.issued, |e| e.begin);
    Some(format!("{what} at {at}{}: {late}", by(effect.event as usize)))
}

/// The first sync after an effect's call that forces it, as an event, and what it would have to be a sync of.
pub(crate) fn sync_after(trace: &Trace, names: &Names, effect: &Effect) -> (Option<u32>, String) {
    let about = synced_by(effect);
    let covers = |op: &Op| match op {
        Op::Sync { file, kind } => about.contains(file) && !matches!(kind, SyncKind::Range { .. }),
        Op::SyncAll => true,
        _ => false,
    };
    let mut after = trace.events.iter().zip(0..).skip(effect.event as usize + 1);
    let sync = after.find(|(e, _)| e.errno == 0 && covers(&e.op)).map(|(_, index)| index);
    let whose: Vec<String> = about.iter().map(|f| names.path_at(*f, effect.issued)).collect();
    (sync, whose.join(" or "))
}

/// Whose sync would force an effect: the file's for its content, the directory's for its names.
pub(crate) fn synced_by(effect: &Effect) -> Vec<FileId> {
    use unplug_faults::effect::Meta;
    match &effect.kind {
        EffectKind::Data { file, .. } | EffectKind::Size { file, .. } => vec![*file],
        EffectKind::Meta(meta) => match meta {
            Meta::Create { dir, .. } | Meta::Link { dir, .. } | Meta::Unlink { dir, .. } => vec![*dir],
            Meta::Rename { from_dir, to_dir, .. } => vec![*to_dir, *from_dir],
            Meta::Exchange { a_dir, b_dir, .. } => vec![*a_dir, *b_dir],
            Meta::Return { dir, .. } => vec![*dir],
            Meta::Truncate { file, .. } | Meta::Allocate { file, .. } => vec![*file],
        },
    }
}
