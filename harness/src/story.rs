//! A violation told as a short story: what was acknowledged, what the disk kept, what came back, what was
//! allowed, and which call left the gap.

use crate::cell::Story;
use crate::dump::Dump;
use crate::judge::{First, Judge, Seen};
use crate::verdict::Violation;
use unplug_faults::effect::{EffectId, EffectKind, Effects, Names, Outcome};
use unplug_faults::event::{FileId, Op};
use unplug_faults::state::CrashState;
use unplug_faults::trace::{Frame, Trace};

/// Lines of one paragraph; the report cuts further.
const MOST_LINES: usize = 40;

/// What became of an effect in a state.
pub(crate) fn outcome_of(state: &CrashState, index: usize) -> Outcome {
    match state.except.binary_search_by_key(&EffectId(index as u32), |(id, _)| *id) {
        Ok(at) => state.except[at].1,
        Err(_) if (index as u64) < u64::from(state.prefix) => Outcome::Whole,
        Err(_) => Outcome::Absent,
    }
}

/// Modules whose frames say nothing of who wanted the call.
const PLUMBING: [&str; 6] = ["libc.so", "libc-", "ld-linux", "libpthread", "unplug-shim", "unplug_shim"];

fn is_plumbing(frame: &Frame) -> bool {
    let module = PLUMBING.iter().any(|p| frame.module.starts_with(p));
    let symbol = frame.symbol.as_deref().unwrap_or_default().trim_start_matches('<');
    // A module that is the shim goes by the descriptor that it was loaded from.
    module
        || frame.module.contains("memfd:")
        || ["std::", "core::", "alloc::", "libc::", "nix::", "rustix::", "__rust"]
            .iter()
            .any(|p| symbol.starts_with(p))
}

/// The call site of an event as a person would look it up: the innermost frame that is the target's own.
pub fn interesting_frame(trace: &Trace, event: u32) -> Option<String> {
    let site = trace.events.get(event as usize)?.site?;
    let frames = &trace.sites.get(site.0 as usize)?.frames;
    let frame = frames.iter().find(|f| !is_plumbing(f)).or(frames.first())?;
    Some(match (&frame.symbol, &frame.line) {
        (Some(symbol), Some(line)) => format!("{symbol} at {line}"),
        (Some(symbol), None) => format!("{symbol} in {}", frame.module),
        (None, Some(line)) => line.clone(),
        (None, None) => format!("{}+{:#x}", frame.module, frame.offset),
    })
}

/// The parts of a story's subject.
pub struct Subject<'a> {
    /// The trace.
    pub trace: &'a Trace,
    /// Its effects.
    pub effects: &'a Effects,
    /// Who judged.
    pub judge: &'a Judge,
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

/// The last operations before the crash, and how far each had got.
fn acknowledged(subject: &Subject<'_>) -> Vec<String> {
    let history = subject.judge.history();
    let point = subject.violation.crash_point;
    let before: Vec<_> = history.operations.iter().enumerate().filter(|(_, o)| o.invoked <= point).collect();
    // The operation that the violation is about must be among those told.
    let about = subject.violation.operation;
    let place = before.iter().position(|(_, o)| Some(o.id) == about).unwrap_or(before.len());
    let from = before.len().saturating_sub(MOST_LINES / 4).min(place.saturating_sub(2));
    let mut lines = Vec::new();
    if from > 0 {
        lines.push(format!("({from} earlier operations)"));
    }
    for (index, o) in before[from..].iter().take(MOST_LINES) {
        let how = match (o.acked, o.reply.as_deref()) {
            (Some(acked), Some(reply)) if acked <= point && !subject.judge.oracle().is_error(reply) => {
                format!("acknowledged at {acked}")
            }
            (Some(acked), Some(_)) if acked <= point => format!("answered with an error at {acked}"),
            _ => "not answered yet".to_string(),
        };
        let mark = if Some(o.id) == about { "  <--" } else { "" };
        lines.push(format!("{}: {how}{mark}", subject.judge.name(*index)));
    }
    lines.push(format!("power lost at {point}"));
    lines
}

/// What the disk did not keep of what had been asked for.
fn disk(subject: &Subject<'_>, names: &Names) -> Vec<String> {
    let issued = issued(subject);
    let odd: Vec<usize> = (0..issued).filter(|i| outcome_of(subject.state, *i) != Outcome::Whole).collect();
    if odd.is_empty() {
        return vec!["everything that was written until the crash".to_string()];
    }
    let mut lines = vec![format!("{} of {issued} changes whole", issued - odd.len())];
    let line = |i: &usize| names.story(subject.effects, EffectId(*i as u32), outcome_of(subject.state, *i));
    lines.extend(odd.iter().take(MOST_LINES).map(line));
    if odd.len() > MOST_LINES {
        lines.push(format!("and {} more", odd.len() - MOST_LINES));
    }
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
                lines.push(format!("{} keys; compared with the newest allowed state:", dump.0.len()));
                let differences = crate::judge::differences(newest, dump, subject.judge.now_ms());
                lines.extend(differences.into_iter().take(MOST_LINES));
            } else if let Some(dump) = dump {
                lines.push(format!("{} keys", dump.0.len()));
            }
        }
    }
    lines.extend(subject.seen.across.iter().map(|(_, text)| text.clone()));
    lines
}

fn allowed(subject: &Subject<'_>) -> (Vec<String>, Option<Dump>) {
    let (states, count) = subject.judge.allowed_at(subject.violation.crash_point, 4);
    let newest = states.first().and_then(|s| subject.judge.dump_of(s.digest));
    let mut lines: Vec<String> = states.iter().map(|s| format!("the state {}", s.label)).collect();
    if count > states.len() {
        lines.push(format!("and {} other states", count - states.len()));
    }
    if count == 0 {
        lines.push("no state at all".to_string());
    }
    (lines, newest)
}

/// The first call whose effect is missing or odd, and what became of its sync.
fn gap(subject: &Subject<'_>, names: &Names) -> Option<String> {
    let odd = (0..issued(subject)).find(|i| outcome_of(subject.state, *i) != Outcome::Whole)?;
    let effect = subject.effects.get(EffectId(odd as u32))?;
    let what = names.describe(effect);
    let by = interesting_frame(subject.trace, effect.event).map_or_else(String::new, |f| format!(", by {f}"));
    let point = subject.violation.crash_point;
    let about = synced_by(effect);
    let covers = |op: &Op| match op {
        Op::Sync { file, .. } => about.contains(file),
        Op::SyncAll => true,
        _ => false,
    };
    let after = subject.trace.events.iter().enumerate().skip(effect.event as usize + 1);
    let sync = after.filter(|(_, e)| e.errno == 0).find(|(_, e)| covers(&e.op));
    let late = match sync {
        None => "no sync ever follows".to_string(),
        Some((_, e)) if e.begin > point => format!("the first sync begins at {}, after the crash", e.begin),
        Some((_, e)) if e.end > point => format!("its sync, begun at {}, had not returned", e.begin),
        Some((i, e)) => {
            let by =
                interesting_frame(subject.trace, i as u32).map_or_else(String::new, |f| format!(" by {f}"));
            format!("the sync at {}{by} does not force it", e.begin)
        }
    };
    Some(format!("{what}{by}: {late}"))
}

/// Whose sync would force an effect: the file's for its content, the directory's for its names.
fn synced_by(effect: &unplug_faults::effect::Effect) -> Vec<FileId> {
    use unplug_faults::effect::Meta;
    match &effect.kind {
        EffectKind::Data { file, .. } | EffectKind::Size { file, .. } => vec![*file],
        EffectKind::Meta(meta) => match meta {
            Meta::Create { dir, .. } | Meta::Link { dir, .. } | Meta::Unlink { dir, .. } => vec![*dir],
            Meta::Rename { from_dir, to_dir, .. } => vec![*to_dir, *from_dir],
            Meta::Exchange { a_dir, b_dir, .. } => vec![*a_dir, *b_dir],
            Meta::Truncate { file, .. } | Meta::Allocate { file, .. } => vec![*file],
        },
    }
}
