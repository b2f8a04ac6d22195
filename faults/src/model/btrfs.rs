//! `btrfs`: commits, copy-on-write, and the log that fsync writes. Measured: docs/persistence-rules.md, *btrfs*.
//!
//! After a crash the disk holds some commit at or after the last forced one, and the logs written since then are
//! replayed on it. So an effect can come by a commit, with everything before it, or by a log, with what that log
//! holds. The graph has the edges that are true in *both* ways, over all commits at once: one case then holds what
//! one case a commit would, and what is exact in it (what is forced, and from when on) stays exact.

use crate::effect::{Back, EffectId, EffectKind, Effects, Meta, PAGE};
use crate::event::{AllocateMode, Event, FileId};
use crate::model::btrfs_log::Logs;
use crate::model::cover::{self, Came, Point};
use crate::model::graph::{Grain, Graph, Need, Oddities};
use crate::model::overlap::{Behind, Spans};
use crate::model::visible::{data_in_size, size_chain};
use crate::model::{Allowance, Case, Kind, Model, Rule};
use crate::trace::Trace;
use std::collections::BTreeMap;

/// See the module.
pub struct Btrfs;

impl Model for Btrfs {
    fn name(&self) -> &'static str {
        "btrfs"
    }

    fn summary(&self) -> &'static str {
        "btrfs: pages never torn, a sync logs its own file and names and nothing else"
    }

    fn kind(&self) -> Kind {
        Kind::Default { system: "btrfs" }
    }

    fn effects(&self, trace: &Trace) -> Effects {
        Effects::with_returns(trace)
    }

    fn cases<'t>(&self, trace: &'t Trace, effects: &'t Effects) -> Vec<Box<dyn Case + 't>> {
        vec![Box::new(graph(trace, effects, None))]
    }
}

/// The one case; without an allowance where a test asks for that.
pub(crate) fn graph(trace: &Trace, effects: &Effects, lacks: Option<Allowance>) -> Graph {
    let logs = Logs::of(trace, effects, lacks);
    let mut rules = Rules {
        edges: data_in_size(effects),
        spans: Spans::of(trace),
        commit: Behind::default(),
        files: BTreeMap::new(),
    };
    rules.edges.extend(size_chain(effects));
    for (id, effect) in effects.list.iter().enumerate() {
        rules.effect(effects, &logs, EffectId(id as u32), &effect.kind);
    }
    rules.edges.extend(logs.places.iter().map(|(from, on)| edge(*from, *on, Rule::Place)));
    // "Overwrites are copy-on-write: a page is old or new, never torn (nodatacow excepted)". "cross-directory
    // rename + fsync(destination dir) only: both names".
    let odd = Oddities { both: true, ..Oddities::NONE };
    let mut graph = Graph::new(effects, odd, rules.edges);
    for (id, fact) in graph.facts.iter_mut().enumerate() {
        let id = EffectId(id as u32);
        match logs.both.get(&id) {
            Some(new_name) if fact.parts != 0 => {
                let whole = logs.forced[id.0 as usize];
                graph.halves.insert(id, ((*new_name).min(whole), whole));
            }
            // Without a log that holds the new name alone, a rename is one step of a commit.
            // A file that comes back does so beside the log.
            _ if fact.given => {}
            _ => fact.parts = 0,
        }
    }
    let mut whole = logs.forced;
    // A log that may bring a file back is gone with the next commit that is known of.
    let points = cover::points(trace);
    for (at, effect) in whole.iter_mut().zip(&effects.list).filter(|(_, e)| e.kind.is_given()) {
        let EffectKind::Meta(Meta::Return { dir, back, .. }) = effect.kind else { continue };
        let gone = trace.over(effect.event as usize);
        let settles = |p: &&Point| match p.file {
            None => p.end > effect.issued,
            Some(file) => back == Back::Replaced && file == dir && p.begin > gone && p.own.is_none(),
        };
        let end = points.iter().filter(|p| p.came == Came::Forced).filter(settles).map(|p| p.end).min();
        *at = end.unwrap_or(Event::NEVER);
    }
    graph.halves.keys().for_each(|id| whole[id.0 as usize] = Event::NEVER);
    graph.force(&whole);
    graph
}

fn edge(from: EffectId, on: EffectId, rule: Rule) -> (EffectId, Need) {
    (from, Need { on, grain: Grain::Whole, rule })
}

struct Rules {
    edges: Vec<(EffectId, Need)>,
    spans: Spans,
    /// The changes of names and shapes so far: what commits keep in order, where the calls do not overlap.
    commit: Behind,
    files: BTreeMap<FileId, FileRules>,
}

#[derive(Default)]
struct FileRules {
    last_size: Option<EffectId>,
    /// All data effects on each page that the present content comes from.
    pages: BTreeMap<u64, Vec<EffectId>>,
}

impl Rules {
    fn effect(&mut self, effects: &Effects, logs: &Logs, id: EffectId, kind: &EffectKind) {
        match kind {
            EffectKind::Size { file, .. } => {
                self.came_with(effects, logs, id, self.commit.of(&self.spans, effects, id));
                self.files.entry(*file).or_default().last_size = Some(id);
            }
            EffectKind::Data { file, page, .. } => {
                // "D needs c at or after the M before that write, or an fsync of f", overwrites too: copy-on-write
                // makes every extent a part of the tree that is committed.
                self.came_with(effects, logs, id, self.commit.of(&self.spans, effects, id));
                let page = self.files.entry(*file).or_default().pages.entry(*page).or_default();
                self.edges.extend(page.last().map(|on| edge(id, *on, Rule::PageHoldsEarlier)));
                page.push(id);
            }
            // What may come back stands beside all that was asked for.
            EffectKind::Meta(Meta::Return { .. }) => {}
            EffectKind::Meta(meta) => {
                // One that came by a commit has all before it; one that a log may have brought has not.
                let before = self.commit.add(&self.spans, effects, id, !logs.ways.contains_key(&id));
                self.came_with(effects, logs, id, before);
                self.shape(id, meta);
                // A removal that a log brings need not bring what was written before.
                if let Some(file) = effects.deaths.get(&id)
                    && !logs.ways.contains_key(&id)
                {
                    self.gone(id, *file, 0..u64::MAX);
                    self.size_set(id, *file);
                }
            }
        }
    }

    /// What came along with the effect, whichever way it came: all before it (`before` are the latest of that) by a
    /// commit; of that, what every log has that could have brought it.
    fn came_with(&mut self, effects: &Effects, logs: &Logs, id: EffectId, before: Vec<EffectId>) {
        if let Some(held) = logs.ways.get(&id) {
            let needs = held.latest(|on| self.spans.first(effects, on, id));
            let needs =
                needs.map(|(on, grain)| (id, Need { on, grain, rule: Rule::Log })).collect::<Vec<_>>();
            self.edges.extend(needs);
            return;
        }
        let issued = effects.list[id.0 as usize].issued;
        // What was forced before this was issued is there anyway.
        let open = before.into_iter().filter(|on| logs.forced[on.0 as usize] > issued);
        self.edges.extend(open.map(|on| edge(id, on, Rule::Commit)));
    }

    fn shape(&mut self, id: EffectId, meta: &Meta) {
        match meta {
            // The zeros within a page are data (btrfs_truncate_block), which a commit does not wait for: no edge.
            // Measured (`cut-in-page-pages`): a commit has the cut, a page behind it is written back and moves the
            // size, and what was cut off shows again between the two.
            Meta::Truncate { file, size } => {
                self.gone(id, *file, size.div_ceil(PAGE)..u64::MAX);
                self.size_set(id, *file);
            }
            // The same of zeros within a page.
            Meta::Allocate { file, mode: AllocateMode::Punch | AllocateMode::Zero { .. }, offset, len } => {
                let end = offset.saturating_add(*len);
                self.gone(id, *file, offset.div_ceil(PAGE)..end / PAGE);
            }
            // btrfs has neither FALLOC_FL_COLLAPSE_RANGE nor FALLOC_FL_INSERT_RANGE: a trace that does comes from
            // elsewhere, and is read as where they are.
            Meta::Allocate { file, mode: AllocateMode::Collapse | AllocateMode::Insert, offset, .. } => {
                self.gone(id, *file, offset / PAGE..u64::MAX);
                self.size_set(id, *file);
            }
            _ => {}
        }
    }

    /// What was cut off no longer shows, and counts as there; what is written there later needs the cut.
    fn gone(&mut self, id: EffectId, file: FileId, pages: std::ops::Range<u64>) {
        if pages.is_empty() {
            return;
        }
        for (_, page) in self.files.entry(file).or_default().pages.range_mut(pages) {
            self.edges.extend(page.drain(..).map(|on| edge(id, on, Rule::OutOfReach)));
        }
    }

    fn size_set(&mut self, id: EffectId, file: FileId) {
        let last = self.files.entry(file).or_default().last_size.take();
        self.edges.extend(last.map(|on| edge(id, on, Rule::OutOfReach)));
    }
}
