//! What is missing on the disk, in words.

use super::{Subject, outcome_of};
use std::collections::BTreeMap;
use unplug_faults::effect::{EffectId, EffectKind, Names, Outcome, PAGE};
use unplug_faults::event::FileId;

/// Effects in words, the culprit's first: what is simply absent of one file in one line, everything else by itself.
pub(super) fn in_words(
    subject: &Subject<'_>,
    names: &Names,
    odd: &[usize],
    culprit: Option<usize>,
) -> Vec<String> {
    let mut told: Vec<(Option<FileId>, String)> = Vec::new();
    let mut absent: BTreeMap<FileId, Absent> = BTreeMap::new();
    let mut first = None;
    for index in odd {
        let outcome = outcome_of(subject.state, *index);
        let Some(effect) = subject.effects.get(EffectId(*index as u32)) else { continue };
        let file = match (&effect.kind, outcome) {
            (EffectKind::Data { file, .. } | EffectKind::Size { file, .. }, Outcome::Absent) => Some(*file),
            _ => None,
        };
        if Some(*index) == culprit {
            first = Some(file.ok_or(told.len()));
        }
        match file {
            None => {
                let id = EffectId(*index as u32);
                let old = (outcome == Outcome::Stale).then(|| subject.space.old_page(id)).flatten();
                told.push((None, names.story(subject.effects, id, outcome, old)));
            }
            Some(file) => {
                if !absent.contains_key(&file) {
                    told.push((Some(file), String::new()));
                }
                absent.entry(file).or_default().add(effect, names.path_at(file, effect.issued));
            }
        }
    }
    let place = match first {
        Some(Ok(file)) => told.iter().position(|(f, _)| *f == Some(file)),
        Some(Err(place)) => Some(place),
        None => None,
    };
    if let Some(place) = place {
        let line = told.remove(place);
        told.insert(0, line);
    }
    let words = |(file, line): (Option<FileId>, String)| match file.and_then(|f| absent.get(&f)) {
        Some(absent) => absent.words(),
        None => line,
    };
    told.into_iter().map(words).collect()
}

/// What is absent of one file's content.
#[derive(Default)]
struct Absent {
    path: String,
    bytes: Option<(u64, u64)>,
    pages: u64,
    size: Option<u64>,
}

impl Absent {
    fn add(&mut self, effect: &unplug_faults::effect::Effect, path: String) {
        self.path = path;
        match &effect.kind {
            EffectKind::Data { page, start, bytes, .. } => {
                let from = page * PAGE + u64::from(*start);
                let to = from + u64::from(bytes.end - bytes.start);
                let (a, b) = self.bytes.unwrap_or((from, to));
                self.bytes = Some((a.min(from), b.max(to)));
                self.pages += 1;
            }
            EffectKind::Size { to, .. } => self.size = Some(*to),
            EffectKind::Meta(_) => {}
        }
    }

    fn words(&self) -> String {
        let path = &self.path;
        match (self.bytes, self.size) {
            (Some((from, to)), Some(_)) if self.pages <= 1 => {
                format!("{path}: bytes {from}..{to} were not written, nor did the file grow by them")
            }
            (Some((from, to)), Some(_)) => {
                format!(
                    "{path}: {} writes within bytes {from}..{to} are missing, and the file did not grow by them",
                    self.pages
                )
            }
            (Some((from, to)), None) if self.pages <= 1 => {
                format!("{path}: bytes {from}..{to} were not written, though the file has its size")
            }
            (Some((from, to)), None) => {
                format!(
                    "{path}: {} writes within bytes {from}..{to} are missing, though the file has its size",
                    self.pages
                )
            }
            (None, Some(size)) => format!("{path}: did not grow to {size} bytes"),
            (None, None) => format!("{path}: is incomplete"),
        }
    }
}
