//! The order of a large sorted set: a B+ tree whose branches know how many items they hold, so that a place is found
//! by rank and a rank by order in logarithmic time.
//!
//! The tree compares nothing itself: it is asked with a predicate that holds for the items before some border.

use super::sorted_set::Score;

/// Most items in a leaf.
const LEAF: usize = 64;
/// Most children of a branch.
const BRANCH: usize = 32;

/// A score, and the place in the set's table where its member is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) score: Score,
    pub(super) place: usize,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Vec<Item>),
    Branch(Vec<Child>),
}

#[derive(Clone, Debug)]
struct Child {
    /// The first item below it.
    first: Item,
    /// How many items are below it.
    count: usize,
    node: Node,
}

/// Items in their order.
#[derive(Clone, Debug)]
pub(super) struct Order(Node);

impl Default for Order {
    fn default() -> Self {
        Order(Node::Leaf(Vec::new()))
    }
}

impl Child {
    /// `None` for a node without items, which no branch holds.
    fn new(node: Node) -> Option<Child> {
        let (first, count) = match &node {
            Node::Leaf(items) => (*items.first()?, items.len()),
            Node::Branch(children) => (children.first()?.first, children.iter().map(|c| c.count).sum()),
        };
        Some(Child { first, count, node })
    }
}

/// The child that holds `rank`, and the rank within it. `past_end`: a rank just behind a child's last counts as its
/// own, as for an insertion.
fn locate(children: &[Child], mut rank: usize, past_end: bool) -> (usize, usize) {
    for (at, child) in children.iter().enumerate() {
        if rank < child.count + usize::from(past_end) {
            return (at, rank);
        }
        rank -= child.count;
    }
    let last = children.len().saturating_sub(1);
    (last, children.last().map_or(0, |c| c.count))
}

impl Node {
    fn size(&self) -> usize {
        match self {
            Node::Leaf(items) => items.len(),
            Node::Branch(children) => children.len(),
        }
    }

    fn least(&self) -> usize {
        match self {
            Node::Leaf(_) => LEAF / 4,
            Node::Branch(_) => BRANCH / 4,
        }
    }

    /// Gives the upper part as a node of its own if there is too much in it.
    fn split(&mut self, ascending: bool) -> Option<Node> {
        match self {
            // Where items come in order, leaves stay full.
            Node::Leaf(items) if items.len() > LEAF => {
                Some(Node::Leaf(items.split_off(if ascending { LEAF } else { LEAF / 2 })))
            }
            Node::Branch(children) if children.len() > BRANCH => {
                Some(Node::Branch(children.split_off(BRANCH / 2)))
            }
            _ => None,
        }
    }

    fn insert(&mut self, rank: usize, item: Item) -> Option<Node> {
        let ascending = match self {
            Node::Leaf(items) => {
                items.insert(rank, item);
                rank + 1 == items.len()
            }
            Node::Branch(children) => {
                let (at, inner) = locate(children, rank, true);
                let split = children[at].node.insert(inner, item);
                children[at].count += 1;
                if inner == 0 {
                    children[at].first = item;
                }
                if let Some(right) = split.and_then(Child::new) {
                    children[at].count -= right.count;
                    children.insert(at + 1, right);
                }
                false
            }
        };
        self.split(ascending)
    }

    fn remove(&mut self, rank: usize) -> Item {
        match self {
            Node::Leaf(items) => items.remove(rank),
            Node::Branch(children) => {
                let (at, inner) = locate(children, rank, false);
                let child = &mut children[at];
                let item = child.node.remove(inner);
                child.count -= 1;
                if child.node.size() < child.node.least() {
                    mend(children, at);
                } else if inner == 0
                    && let Some(first) = child.node.first()
                {
                    child.first = first;
                }
                item
            }
        }
    }

    fn first(&self) -> Option<Item> {
        match self {
            Node::Leaf(items) => items.first().copied(),
            Node::Branch(children) => children.first().map(|c| c.first),
        }
    }
}

/// Joins a child that has become small with a neighbour, and parts them again if they are too much for one.
fn mend(children: &mut Vec<Child>, at: usize) {
    let left = at.saturating_sub(1).min(children.len().saturating_sub(2));
    let mut pair = children.drain(left..(left + 2).min(children.len())).map(|c| c.node);
    let (first, second) = (pair.next(), pair.next());
    drop(pair);
    let mut joined = match (first, second) {
        (Some(Node::Leaf(mut a)), Some(Node::Leaf(b))) => {
            a.extend(b);
            Node::Leaf(a)
        }
        (Some(Node::Branch(mut a)), Some(Node::Branch(b))) => {
            a.extend(b);
            Node::Branch(a)
        }
        // All children of a branch are of one kind; the last child of a root becomes the root.
        (Some(one), _) => one,
        (None, _) => return,
    };
    let rest = joined.split(false);
    for (offset, node) in [Some(joined), rest].into_iter().flatten().enumerate() {
        if let Some(child) = Child::new(node) {
            children.insert(left + offset, child);
        }
    }
}

impl Order {
    /// Puts an item at a rank, which is at most the length.
    pub(super) fn insert(&mut self, rank: usize, item: Item) {
        if let Some(right) = self.0.insert(rank, item) {
            let left = std::mem::replace(&mut self.0, Node::Leaf(Vec::new()));
            self.0 = Node::Branch([left, right].into_iter().filter_map(Child::new).collect());
        }
    }

    /// Takes the item of a rank away, which is below the length.
    pub(super) fn remove(&mut self, rank: usize) -> Item {
        let item = self.0.remove(rank);
        while let Node::Branch(children) = &mut self.0
            && children.len() <= 1
        {
            self.0 = children.pop().map_or(Node::Leaf(Vec::new()), |only| only.node);
        }
        item
    }

    /// Says that the member of the item of a rank has moved to another place.
    pub(super) fn moved(&mut self, mut rank: usize, place: usize) {
        let mut node = &mut self.0;
        loop {
            match node {
                Node::Leaf(items) => {
                    items[rank].place = place;
                    return;
                }
                Node::Branch(children) => {
                    let (at, inner) = locate(children, rank, false);
                    if inner == 0 {
                        children[at].first.place = place;
                    }
                    rank = inner;
                    node = &mut children[at].node;
                }
            }
        }
    }

    /// How many items stand before a border: `before` holds for them, and for none behind it.
    pub(super) fn rank(&self, before: impl Fn(&Item) -> bool) -> usize {
        let (mut node, mut passed) = (&self.0, 0);
        loop {
            match node {
                Node::Leaf(items) => return passed + items.partition_point(before),
                Node::Branch(children) => {
                    // The border is in the last child that begins before it.
                    let at = children.partition_point(|c| before(&c.first)).saturating_sub(1);
                    passed += children[..at].iter().map(|c| c.count).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }

    /// The items of a rank and behind it that are stored together, and how many stand before it in the same leaf.
    fn leaf(&self, mut rank: usize) -> (&[Item], usize) {
        let mut node = &self.0;
        loop {
            match node {
                Node::Leaf(items) => return (items, rank),
                Node::Branch(children) => {
                    let (at, inner) = locate(children, rank, false);
                    rank = inner;
                    node = &children[at].node;
                }
            }
        }
    }

    /// The items of some ranks.
    pub(super) fn range(&self, ranks: std::ops::Range<usize>) -> Ranks<'_> {
        Ranks { order: self, ranks, front: [].iter(), back: [].iter() }
    }
}

/// The items of some ranks, from either end.
#[derive(Clone, Debug)]
pub(super) struct Ranks<'a> {
    order: &'a Order,
    ranks: std::ops::Range<usize>,
    front: std::slice::Iter<'a, Item>,
    back: std::slice::Iter<'a, Item>,
}

impl<'a> Iterator for Ranks<'a> {
    type Item = &'a Item;

    fn next(&mut self) -> Option<&'a Item> {
        let rank = self.ranks.next()?;
        if self.front.as_slice().is_empty() {
            let (leaf, before) = self.order.leaf(rank);
            self.front = leaf[before..].iter();
        }
        self.front.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ranks.size_hint()
    }
}

impl DoubleEndedIterator for Ranks<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let rank = self.ranks.next_back()?;
        if self.back.as_slice().is_empty() {
            let (leaf, before) = self.order.leaf(rank);
            self.back = leaf[..=before].iter();
        }
        self.back.next_back()
    }
}

impl ExactSizeIterator for Ranks<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn item(score: u32, place: usize) -> Item {
        Item { score: Score::new(f64::from(score)).unwrap(), place }
    }

    /// Holds what the tree says of itself against what is in it, and how full its nodes are.
    fn sound(node: &Node, root: bool) -> (usize, usize) {
        assert!(root || node.size() >= 1);
        match node {
            Node::Leaf(items) => {
                assert!(items.len() <= LEAF);
                (items.len(), 1)
            }
            Node::Branch(children) => {
                assert!((2..=BRANCH).contains(&children.len()), "{} children", children.len());
                let mut depths = Vec::new();
                let mut total = 0;
                for child in children {
                    let (count, depth) = sound(&child.node, false);
                    assert_eq!((child.count, Some(child.first)), (count, child.node.first()));
                    depths.push(depth);
                    total += count;
                }
                assert!(depths.iter().all(|d| *d == depths[0]), "all leaves are equally deep");
                (total, depths[0] + 1)
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_tree_is_a_sorted_vector(
            steps in prop::collection::vec((0u8..8, 0u32..3000), 1..6000),
            growing in 3u8..7,
        ) {
            let (mut order, mut model) = (Order::default(), Vec::<Item>::new());
            for (place, (kind, score)) in steps.into_iter().enumerate() {
                let before = |i: &Item| i.score < item(score, 0).score;
                let rank = model.partition_point(before);
                prop_assert_eq!(order.rank(before), rank);
                if kind < growing {
                    model.insert(rank, item(score, place));
                    order.insert(rank, item(score, place));
                } else if rank < model.len() {
                    prop_assert_eq!(order.remove(rank), model.remove(rank));
                }
                if kind == 0 {
                    model[rank].place = 9;
                    order.moved(rank, 9);
                }
            }
            prop_assert_eq!(sound(&order.0, true).0, model.len());
            prop_assert!(order.range(0..model.len()).eq(model.iter()));
            prop_assert!(order.range(0..model.len()).rev().eq(model.iter().rev()));
            let (a, b) = (model.len() / 3, model.len() / 2);
            let mut both = order.range(a..b);
            let mut expected = model[a..b].iter();
            while let Some(front) = both.next() {
                prop_assert_eq!(Some(front), expected.next());
                prop_assert_eq!(both.next_back(), expected.next_back());
            }
            while !model.is_empty() {
                let rank = (model.len() * 7) % model.len().max(1);
                prop_assert_eq!(order.remove(rank), model.remove(rank));
            }
            prop_assert!(order.range(0..0).next().is_none());
        }
    }
}
