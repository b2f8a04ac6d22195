//! Edges between the sizes and the data of one file: which of them can be seen without which, and models in
//! which one waits for the other.

use crate::effect::{EffectId, EffectKind, Effects, Meta, PAGE};
use crate::event::AllocateMode::{Collapse, Insert};
use crate::event::{Clock, FileId, Op};
use crate::model::Rule;
use crate::model::graph::{Grain, Graph, Need};
use crate::model::overlap::{Behind, Spans};
use crate::trace::Trace;
use std::collections::{BTreeMap, BTreeSet};

type Edges = Vec<(EffectId, Need)>;

fn edge(from: EffectId, on: EffectId, rule: Rule) -> (EffectId, Need) {
    (from, Need { on, grain: Grain::Whole, rule })
}

/// The size that an extending write's data stand behind.
pub(crate) fn size_of(effects: &Effects, data: EffectId) -> Option<EffectId> {
    let before = EffectId(data.0.checked_sub(1)?);
    let (size, here) = (effects.get(before)?, effects.get(data)?);
    match (&size.kind, &here.kind) {
        (EffectKind::Size { file: a, .. }, EffectKind::Data { file: b, .. })
            if a == b && size.event == here.event =>
        {
            Some(before)
        }
        _ => None,
    }
}

fn sets_size(kind: &EffectKind) -> Option<FileId> {
    match kind {
        EffectKind::Meta(
            Meta::Truncate { file, .. } | Meta::Allocate { file, mode: Collapse | Insert, .. },
        ) => Some(*file),
        _ => None,
    }
}

/// Forbids nothing that could be seen: the data of an extending write show only if that size is there. Unless
/// a part of them lies within the old size; or the file was cut before, for then they show under the size from
/// before the cut too, where the block is old and the cut is missing.
pub(crate) fn data_in_size(effects: &Effects) -> Edges {
    let mut edges = Vec::new();
    let mut cut: BTreeSet<FileId> = BTreeSet::new();
    for (id, effect) in effects.list.iter().enumerate() {
        let id = EffectId(id as u32);
        cut.extend(sets_size(&effect.kind));
        if let EffectKind::Data { file, fresh, .. } = &effect.kind
            && (*fresh || !cut.contains(file))
            && !effects.straddles.contains(&id)
            && let Some(size) = size_of(effects, id)
        {
            edges.push(edge(id, size, Rule::DataInSize));
        }
    }
    edges
}

/// Forbids nothing that could be seen: of the sizes of one file between two truncates only the largest shows.
pub(crate) fn size_chain(effects: &Effects) -> Edges {
    let mut edges = Vec::new();
    let mut last: BTreeMap<FileId, EffectId> = BTreeMap::new();
    for (id, effect) in effects.list.iter().enumerate() {
        let id = EffectId(id as u32);
        if let Some(file) = sets_size(&effect.kind) {
            last.remove(&file);
        }
        if let EffectKind::Size { file, .. } = &effect.kind
            && let Some(on) = last.insert(*file, id)
        {
            edges.push(edge(id, on, Rule::SizeChain));
        }
    }
    edges
}

/// R4 for XFS: the size moves when the data of its page have been written; where a later write left a gap, with all
/// that the last page before it has.
pub(crate) fn size_needs_data(effects: &Effects) -> Edges {
    let mut edges = Vec::new();
    let mut last: BTreeMap<(FileId, u64), EffectId> = BTreeMap::new();
    for (id, effect) in effects.list.iter().enumerate() {
        let id = EffectId(id as u32);
        match &effect.kind {
            EffectKind::Data { file, page, fresh, .. } => {
                edges.extend(size_of(effects, id).map(|size| edge(size, id, Rule::SizeAfterData)));
                // Over a block that was there it may stay behind when the size is moved on by another page.
                if *fresh {
                    last.insert((*file, *page), id);
                }
            }
            EffectKind::Size { file, to } if size_of(effects, EffectId(id.0 + 1)) != Some(id) => {
                let page = to.saturating_sub(1) / PAGE;
                edges.extend(last.get(&(*file, page)).map(|data| edge(id, *data, Rule::SizeAfterData)));
            }
            _ => {}
        }
    }
    edges
}

/// A size is forced no earlier than the data behind it: where a failed sync has given those up, a later success
/// says nothing of the size either.
pub(crate) fn sizes_follow_data(effects: &Effects, forced: &mut [Clock]) {
    for id in 0..effects.list.len() as u32 {
        if let Some(size) = size_of(effects, EffectId(id)) {
            forced[size.0 as usize] = forced[size.0 as usize].max(forced[id as usize]);
        }
    }
}

/// Zeros in place do not show once what zeroed the page is there: they count as there when it must be.
pub(crate) fn unseen_zeros(graph: &Graph, effects: &Effects, forced: &mut [Clock]) {
    for (id, zeros) in &effects.zeros {
        let seen = graph.facts[zeros.by.0 as usize].absent_until;
        let issued = effects.list[id.0 as usize].issued;
        let at = &mut forced[id.0 as usize];
        *at = (*at).min(seen.max(issued + 1));
    }
}

/// Everything in the order of the calls, where they do not overlap, and as one step: a size with the data that it covers, the zeros of a cut
/// with their truncate. But for zeros in place, which are in no order; what comes behind them needs what zeroed those
/// pages, so that they do not show any more.
pub(crate) fn in_order(trace: &Trace, effects: &Effects) -> Edges {
    let mut edges = Vec::new();
    let spans = Spans::of(trace);
    let mut order = Behind::default();
    for (id, here) in effects.list.iter().enumerate() {
        if here.kind.is_zeros() {
            continue;
        }
        let in_front = effects.list[..id].iter().rev().take_while(|effect| effect.kind.is_zeros()).count();
        let id = EffectId(id as u32);
        for zeros in id.0 - in_front as u32..id.0 {
            edges.push(edge(id, EffectId(zeros), Rule::OutOfReach));
        }
        for on in order.add(&spans, effects, id, true) {
            edges.push(edge(id, on, Rule::InOrder));
            let before = &effects.list[on.0 as usize];
            let shape = !matches!(trace.events[here.event as usize].op, Op::Write { .. });
            if before.event == here.event && (shape || matches!(before.kind, EffectKind::Size { .. })) {
                edges.push(edge(on, id, Rule::InOrder));
            }
        }
    }
    edges
}
