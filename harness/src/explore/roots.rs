//! Which images' recoveries are crashed in their turn: a few of every kind.

use crate::cluster::role;
use std::collections::{BTreeMap, HashSet};
use std::hash::Hasher;
use unplug_faults::effect::Outcome;
use unplug_faults::image::{ImageHash, SharedImage};
use unplug_faults::state::CrashState;
use xxhash_rust::xxh3::Xxh3;

/// A crash state whose recovery may be crashed.
#[derive(Clone, Debug)]
pub(super) struct Root {
    pub(super) state: CrashState,
    pub(super) image: ImageHash,
    /// Which of the trace's orders it belongs to.
    pub(super) order: usize,
}

/// Candidates, by kind. Of each kind those with the smallest hashes are kept: a spread that does not depend on when
/// an image was met, and that falls on the same images under every model.
#[derive(Debug, Default)]
pub(super) struct Roots {
    most: usize,
    /// The images of all candidates, chosen or not.
    images: HashSet<ImageHash>,
    kinds: BTreeMap<(u64, u8), BTreeMap<ImageHash, Root>>,
}

impl Roots {
    /// At the most so many.
    pub(super) fn at_most(most: usize) -> Roots {
        Roots { most, ..Roots::default() }
    }

    /// Takes note of a state whose image recovers; `shape` is that of its names.
    pub(super) fn offer(&mut self, shape: u64, image: ImageHash, state: &CrashState, order: usize) {
        if self.most == 0 {
            return;
        }
        self.images.insert(image);
        let kind = self.kinds.entry((shape, deviation(state))).or_default();
        if kind.len() >= self.most && kind.last_key_value().is_some_and(|(last, _)| *last < image) {
            return;
        }
        kind.entry(image).or_insert_with(|| Root { state: state.clone(), image, order });
        if kind.len() > self.most {
            kind.pop_last();
        }
    }

    /// How many images there were to choose from.
    pub(super) fn candidates(&self) -> u64 {
        self.images.len() as u64
    }

    /// The chosen ones: of every shape a kind, then another of every shape, until there are enough. What came in
    /// order comes last: it leaves recovery the least to do.
    pub(super) fn chosen(self) -> Vec<Root> {
        let mut shapes: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for ((shape, deviation), kind) in self.kinds {
            let kinds = shapes.entry(shape).or_default();
            let at = if deviation == 0 { kinds.len() } else { 0 };
            kinds.insert(at, kind.into_values());
        }
        let (mut chosen, mut seen) = (Vec::new(), std::collections::BTreeSet::new());
        while chosen.len() < self.most && !shapes.is_empty() {
            shapes.retain(|_, kinds| {
                let Some(root) = kinds[0].next() else {
                    drop(kinds.remove(0));
                    return !kinds.is_empty();
                };
                if chosen.len() < self.most && seen.insert(root.image) {
                    chosen.push(root);
                }
                kinds.rotate_left(1);
                true
            });
        }
        chosen
    }
}

/// In which ways a state differs from one in which everything came in order.
fn deviation(state: &CrashState) -> u8 {
    state.except.iter().fold(0, |bits, (id, outcome)| {
        let bit = match outcome {
            Outcome::Absent => 1,
            Outcome::Whole => 2,
            Outcome::Zeros => 4,
            Outcome::Stale => 8,
            Outcome::Sectors(_) => 16,
            Outcome::Parts(_) => 32,
        };
        bits | bit | if id.0 >= state.prefix { 64 } else { 0 }
    })
}

/// What names an image has, but for their numbers: recoveries of one shape do much the same.
pub(super) fn shape(image: &SharedImage) -> u64 {
    let mut hasher = Xxh3::new();
    for name in image.names() {
        hasher.write(role(&String::from_utf8_lossy(name)).as_bytes());
        hasher.write_u8(0);
    }
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use unplug_faults::effect::EffectId;

    fn state(prefix: u32, except: &[(u32, Outcome)]) -> CrashState {
        let except = except.iter().map(|(id, outcome)| (EffectId(*id), *outcome)).collect();
        CrashState { case: 0, prefix, except, deviations: 0, first: 0, last: 9 }
    }

    /// Whatever comes first, and however often: the same few, and of each kind.
    #[test]
    fn a_few_of_every_kind_whatever_the_order() {
        let offers: Vec<(u64, u128, CrashState)> = (0..60u32)
            .map(|n| {
                let torn = [(n, Outcome::Sectors(1))];
                let except: &[(u32, Outcome)] = if n % 20 == 7 { &torn } else { &[] };
                (u64::from(n % 3), u128::from(n * 37 % 60), state(n, except))
            })
            .collect();
        let choose = |offers: &mut dyn Iterator<Item = &(u64, u128, CrashState)>| {
            let mut roots = Roots::at_most(6);
            offers.for_each(|(shape, image, state)| roots.offer(*shape, ImageHash(*image), state, 0));
            assert_eq!(roots.candidates(), 60);
            roots.chosen().into_iter().map(|root| root.image.0).collect::<Vec<_>>()
        };
        let chosen = choose(&mut offers.iter());
        assert_eq!(chosen.len(), 6);
        assert_eq!(chosen, choose(&mut offers.iter().rev()));
        assert_eq!(chosen, choose(&mut offers.iter().chain(&offers)));
        let shape =
            |image: &u128| offers.iter().find(|o| o.1 == *image).map(|o| (o.0, o.2.except.is_empty()));
        let kinds: Vec<_> = chosen.iter().filter_map(shape).collect();
        assert_eq!(kinds, [(0, false), (1, false), (2, false), (0, true), (1, true), (2, true)]);
        assert!(Roots::at_most(0).chosen().is_empty());
    }
}
