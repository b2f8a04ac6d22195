//! Assumptions: rules that the user adds with `--assume`, so that what a known mechanism hides shows.

use crate::effect::{EffectId, EffectKind, Effects, Meta};
use crate::event::FileId;
use crate::model::Rule;
use crate::model::graph::{Grain, Graph, Need};
use crate::model::visible::size_chain;
use crate::state::Assumption;
use std::collections::BTreeMap;

impl Graph {
    /// The graph under further assumptions. They only ever forbid.
    pub(crate) fn assume(&mut self, effects: &Effects, assumptions: &[Assumption]) {
        let mut edges = Vec::new();
        for assumption in assumptions {
            match assumption {
                Assumption::NoTear => self.facts.iter_mut().for_each(|fact| fact.tears = false),
                Assumption::NoZeroFill => size_before_data(effects, true, &mut edges),
                Assumption::SizeWithData => size_before_data(effects, false, &mut edges),
                Assumption::OrderedNames => ordered_names(effects, &mut edges),
                Assumption::NamesWithData => names_with_data(effects, &mut edges),
                // Of what is shown, not of what is there: the space's.
                Assumption::NoOldPages => {}
            }
        }
        if !edges.is_empty() {
            self.add_edges(edges);
        }
    }
}

type Edges = Vec<(EffectId, Need)>;

fn edge(from: EffectId, on: EffectId) -> (EffectId, Need) {
    (from, Need { on, grain: Grain::Whole, rule: Rule::Assumed })
}

/// A size needs the data of its page; those of the pages below follow by the sizes before it, which not every model
/// has in their order by itself.
fn size_before_data(effects: &Effects, fresh_only: bool, edges: &mut Edges) {
    for (id, pair) in effects.list.windows(2).enumerate() {
        let (size, data) = (&pair[0], &pair[1]);
        if let (EffectKind::Size { .. }, EffectKind::Data { fresh, .. }) = (&size.kind, &data.kind)
            && size.event == data.event
            && (*fresh || !fresh_only)
        {
            edges.push(edge(EffectId(id as u32), EffectId(id as u32 + 1)));
        }
    }
    edges.extend(size_chain(effects).into_iter().map(|(id, need)| edge(id, need.on)));
}

fn ordered_names(effects: &Effects, edges: &mut Edges) {
    let mut last = None;
    for (id, effect) in effects.list.iter().enumerate() {
        if effect.kind.is_name() {
            let id = EffectId(id as u32);
            edges.extend(last.replace(id).map(|on| edge(id, on)));
        }
    }
}

fn names_with_data(effects: &Effects, edges: &mut Edges) {
    let mut content: BTreeMap<FileId, Vec<EffectId>> = BTreeMap::new();
    for (id, effect) in effects.list.iter().enumerate() {
        let id = EffectId(id as u32);
        if let Some(file) = effect.kind.content_of() {
            content.entry(file).or_default().push(id);
        }
        let named = match &effect.kind {
            EffectKind::Meta(Meta::Link { file, .. } | Meta::Rename { file, .. }) => [Some(*file), None],
            EffectKind::Meta(Meta::Exchange { a, b, .. }) => [Some(*a), Some(*b)],
            _ => [None, None],
        };
        for file in named.into_iter().flatten() {
            edges.extend(content.get(&file).into_iter().flatten().map(|on| edge(id, *on)));
        }
    }
}
