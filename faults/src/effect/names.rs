//! What effects are called when a person reads about them.

use crate::effect::{Effect, EffectId, EffectKind, Effects, Meta, Outcome, PAGE, RETURNED, SECTOR};
use crate::event::{Clock, FileId, Name, NodeKind};
use crate::trace::Trace;
use std::collections::BTreeMap;

/// A page of a file as it was before it was set free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldPage {
    /// The file.
    pub file: FileId,
    /// The page's number in it.
    pub page: u64,
    /// The last crash point before the call that set it free.
    pub until: Clock,
}

/// The names of files over time: a file is spoken of by the name that it had when something was done to it.
#[derive(Clone, Debug)]
pub struct Names {
    /// For each file: from which clock on it has which parent and name. Never empty, in order of clock.
    history: BTreeMap<FileId, Vec<(Clock, FileId, Name)>>,
}

impl Names {
    /// The names of all files of a trace.
    pub fn of(trace: &Trace, effects: &Effects) -> Names {
        let mut history: BTreeMap<FileId, Vec<(Clock, FileId, Name)>> = BTreeMap::new();
        for node in &trace.base {
            // The first name of a file with several is the one that it is called by.
            history.entry(node.file).or_insert_with(|| vec![(0, node.dir, node.name.clone())]);
        }
        let mut note = |file: FileId, at: Clock, dir: FileId, name: &Name| {
            history.entry(file).or_default().push((at, dir, name.clone()));
        };
        for effect in &effects.list {
            let at = effect.issued;
            match &effect.kind {
                EffectKind::Meta(Meta::Create { dir, name, file, .. }) => note(*file, at, *dir, name),
                EffectKind::Meta(Meta::Rename { to_dir, to_name, file, .. }) => {
                    note(*file, at, *to_dir, to_name);
                }
                EffectKind::Meta(Meta::Exchange { a_dir, a_name, a, b_dir, b_name, b }) => {
                    note(*a, at, *b_dir, b_name);
                    note(*b, at, *a_dir, a_name);
                }
                _ => {}
            }
        }
        Names { history }
    }

    /// The path of a file at a clock, relative to the recorded directory. A file that had no name yet is
    /// called by its first one; one that never had any by its number.
    pub fn path_at(&self, file: FileId, clock: Clock) -> String {
        let mut parts = Vec::new();
        let mut at = file;
        // A bound instead of a visited set: no path is deeper than there are files.
        for _ in 0..=self.history.len() {
            if at == FileId::ROOT {
                break;
            }
            let Some(history) = self.history.get(&at) else {
                parts.push(format!("(file {})", at.0));
                break;
            };
            let known = history.iter().rev().find(|(since, _, _)| *since <= clock).or(history.first());
            let Some((_, dir, name)) = known else { break };
            parts.push(String::from_utf8_lossy(name).into_owned());
            at = *dir;
        }
        if parts.is_empty() {
            return ".".to_owned();
        }
        parts.reverse();
        parts.join("/")
    }

    fn entry(&self, dir: FileId, name: &Name, clock: Clock) -> String {
        let name = String::from_utf8_lossy(name);
        if dir == FileId::ROOT { name.into_owned() } else { format!("{}/{name}", self.path_at(dir, clock)) }
    }

    /// What the effect is: `page 3 of appendonly.aof.1.incr.aof (bytes 12288..12344)`.
    pub fn describe(&self, effect: &Effect) -> String {
        let at = effect.issued;
        match &effect.kind {
            EffectKind::Data { file, page, .. } if effect.kind.is_freed() => {
                format!("page {page} of {}, whose block is about to be set free,", self.path_at(*file, at))
            }
            EffectKind::Data { file, page, .. } if effect.kind.is_zeros() => {
                format!(
                    "zeros in page {page} of {}, which the write has found zeroed,",
                    self.path_at(*file, at)
                )
            }
            EffectKind::Data { file, page, start, bytes, .. } => {
                let from = page * PAGE + u64::from(*start);
                let to = from + u64::from(bytes.end - bytes.start);
                format!("page {page} of {} (bytes {from}..{to})", self.path_at(*file, at))
            }
            EffectKind::Size { file, to } => format!("size {to} of {}", self.path_at(*file, at)),
            EffectKind::Meta(meta) => self.describe_meta(meta, at),
        }
    }

    fn describe_meta(&self, meta: &Meta, at: Clock) -> String {
        // Names before the change are those of the clock before it.
        let before = at.saturating_sub(1);
        match meta {
            Meta::Create { dir, name, kind, .. } => {
                let what = match kind {
                    NodeKind::File => "creation of",
                    NodeKind::Dir => "creation of directory",
                    NodeKind::Symlink(_) => "creation of symbolic link",
                };
                format!("{what} {}", self.entry(*dir, name, at))
            }
            Meta::Link { dir, name, file } => {
                format!("link {} to {}", self.entry(*dir, name, at), self.path_at(*file, at))
            }
            Meta::Return { dir, name, file, .. } => {
                format!("{} (once {})", self.path_at(*file, before), self.entry(*dir, name, at))
            }
            Meta::Unlink { dir, name, .. } => format!("removal of {}", self.entry(*dir, name, at)),
            Meta::Rename { from_dir, from_name, to_dir, to_name, .. } => format!(
                "rename of {} to {}",
                self.entry(*from_dir, from_name, before),
                self.entry(*to_dir, to_name, before)
            ),
            Meta::Exchange { a_dir, a_name, b_dir, b_name, .. } => format!(
                "exchange of {} and {}",
                self.entry(*a_dir, a_name, before),
                self.entry(*b_dir, b_name, before)
            ),
            Meta::Truncate { file, size } => format!("truncation of {} to {size}", self.path_at(*file, at)),
            Meta::Allocate { file, mode, offset, len } => format!(
                "fallocate ({mode:?}) of {} at {offset}..{}",
                self.path_at(*file, at),
                offset.saturating_add(*len)
            ),
        }
    }

    /// What became of an effect, as one line of a story: `page 3 of a.aof (bytes 12288..12344) not written`. `old` is
    /// what a block shows that shows something old, where that is known
    /// ([`Space::old_page`](crate::state::Space::old_page)).
    pub fn story(&self, effects: &Effects, id: EffectId, outcome: Outcome, old: Option<OldPage>) -> String {
        let Some(effect) = effects.get(id) else { return format!("effect {} (unknown)", id.0) };
        let what = self.describe(effect);
        let data = matches!(effect.kind, EffectKind::Data { .. });
        match outcome {
            Outcome::Absent if data => format!("{what} not written"),
            Outcome::Absent => format!("{what} not on the disk"),
            Outcome::Whole => format!("{what} on the disk"),
            Outcome::Zeros => format!("{what} reads as zeros"),
            Outcome::Stale if effect.kind.is_freed() => {
                format!("{what} shows what another file has written there since")
            }
            Outcome::Stale => match old {
                Some(OldPage { file, page, until }) => format!(
                    "{what} shows what stood in the block before: page {page} of {}, which was set free",
                    self.path_at(file, until)
                ),
                None => format!("{what} shows what stood in the block before: rubbish"),
            },
            Outcome::Sectors(mask) => format!("{what} torn: only {} written", sectors(mask)),
            Outcome::Parts(RETURNED) => {
                format!("{what}, which was replaced, is there again under the name by which it was synced")
            }
            Outcome::Parts(parts) => format!("{what} half done: {}", rename_parts(parts)),
        }
    }
}

/// `sectors 0-2, 5` as byte ranges within the page, which a person can look up in a hex dump.
fn sectors(mask: u8) -> String {
    let set: Vec<String> = (0..8u64)
        .filter(|bit| mask & (1 << bit) != 0)
        .map(|bit| format!("{}..{}", bit * SECTOR, (bit + 1) * SECTOR))
        .collect();
    format!("bytes {} of the page", set.join(", "))
}

fn rename_parts(parts: u8) -> String {
    let on =
        |bit: u8, yes: &str, no: &str| if parts & (1 << bit) != 0 { yes.to_owned() } else { no.to_owned() };
    [
        on(0, "the old target's name is gone", "the old target's name stays"),
        on(1, "the source's name is gone", "the source's name stays"),
        on(2, "the new name is there", "the new name is missing"),
    ]
    .join(", ")
}
