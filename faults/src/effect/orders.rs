//! Calls that overlapped and touch the same thing: the trace gives them one order, the kernel may have taken
//! the other. Orders that the calls' results rule out are left out. Calls that touch nothing in common are not put
//! into all orders here: the models themselves keep none between those that overlap.

use crate::event::{Event, FileId, Name, Op};
use crate::trace::{Blind, Trace};
use std::collections::{BTreeMap, BTreeSet};

/// How many linearisations are explored at the most.
pub const MAX_ORDERS: usize = 16;

/// The linearisations of a trace.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The traces, the recorded order first. They differ only in the order of overlapping, conflicting calls.
    pub traces: Vec<Trace>,
    /// Why not all orders are here, where they are not: then the run is *not measured*.
    pub blind: Option<Blind>,
}

impl Orders {
    /// All linearisations of overlapping conflicting calls, up to [`MAX_ORDERS`].
    ///
    /// Two calls conflict when both change one file's content, or both change names (a journalling file
    /// system orders all changes of names, so their order matters even over directories). Of two calls that
    /// ran at the same time the earlier can have taken effect after the later: it then begins when the later one
    /// did, so no call moves out of the time in which it ran. An order is left out if it contradicts what the
    /// calls returned or what was there in the end: a name that was made twice, a name that was taken away
    /// before it was there, other names left over.
    pub fn of(trace: &Trace) -> Orders {
        let pairs = conflicts(trace);
        let recorded: Vec<usize> = (0..trace.events.len()).collect();
        let (orders, all) = linearisations(trace, &pairs, recorded);
        let end = Tree::before(trace).after(&trace.events);
        // Where a call stands that conflicts with nothing makes no difference: a model takes it for neither before nor
        // behind those that it overlaps with (`model/overlap.rs`).
        let mut seen = BTreeSet::new();
        let new = |order: &&Vec<usize>| {
            let place = |call: usize| order.iter().position(|&c| c == call);
            seen.insert(pairs.iter().map(|&(a, b)| place(a) < place(b)).collect::<Vec<_>>())
        };
        let possible = |order: &Vec<usize>| reordered(trace, order, end.as_ref());
        let mut traces: Vec<Trace> = orders.iter().filter(new).filter_map(possible).collect();
        let dropped = if all { traces.len().saturating_sub(MAX_ORDERS) } else { pairs.len() };
        traces.truncate(MAX_ORDERS);
        let blind = (dropped > 0).then(|| Blind {
            what: "overlapping calls".to_owned(),
            detail: format!(
                "{} pairs of calls ran at the same time on one file or directory: more orders than can be \
                 explored; record with the gate",
                pairs.len()
            ),
        });
        Orders { traces, blind }
    }
}

/// How many orders are looked at, possible or not.
const CANDIDATES: usize = 128;

/// The orders, by index, in which each call stands within the time in which it ran; whether that is all of them.
fn linearisations(trace: &Trace, pairs: &[(usize, usize)], recorded: Vec<usize>) -> (Vec<Vec<usize>>, bool) {
    let mut orders = vec![recorded];
    let mut seen = 0;
    while seen < orders.len() {
        for &(a, b) in pairs {
            let Some(order) = moved_behind(trace, &orders[seen], a, b) else { continue };
            if orders.contains(&order) {
                continue;
            }
            if orders.len() == CANDIDATES {
                return (orders, false);
            }
            orders.push(order);
        }
        seen += 1;
    }
    (orders, true)
}

/// The order with one of two overlapping calls moved right behind the other; `None` if it stands there already, or
/// would come behind a call that began after its end.
fn moved_behind(trace: &Trace, order: &[usize], one: usize, other: usize) -> Option<Vec<usize>> {
    let place = |call| order.iter().position(|&c| c == call);
    let (from, to) = (place(one)?, place(other)?);
    let (from, to) = (from.min(to), from.max(to));
    let moved_ends = trace.over(order[from]);
    // Even one that it does not conflict with: what stands behind may be bound to it.
    let late = |&passed: &usize| trace.events[passed].begin > moved_ends;
    if order[from..=to].iter().skip(1).any(late) {
        return None;
    }
    let mut order = order.to_vec();
    order[from..=to].rotate_left(1);
    Some(order)
}

/// The trace in another order; `None` if the calls could not have returned what they did, or would have left other
/// names. Where even the recorded order cannot be followed, every order is possible.
fn reordered(trace: &Trace, order: &[usize], end: Option<&Tree>) -> Option<Trace> {
    let mut events: Vec<Event> = order.iter().map(|&i| trace.events[i].clone()).collect();
    let mut latest = 0;
    for event in &mut events {
        // What was moved takes effect when the call before which it stood had begun.
        event.begin = event.begin.max(latest);
        latest = event.begin;
    }
    if let Some(end) = end {
        let mut tree = Tree::before(trace);
        if !events.iter_mut().all(|e| !e.took_effect() || tree.apply(&mut e.op)) || tree.names != end.names {
            return None;
        }
    }
    Some(Trace { events, ..trace.clone() })
}

/// The names while calls change them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tree {
    names: BTreeMap<(FileId, Name), FileId>,
    /// How many names each file has.
    links: BTreeMap<FileId, usize>,
}

impl Tree {
    /// The names before the run.
    fn before(trace: &Trace) -> Tree {
        let mut tree = Tree { names: BTreeMap::new(), links: BTreeMap::from([(FileId::ROOT, 1)]) };
        for node in &trace.base {
            tree.set(node.dir, &node.name, node.file);
        }
        tree
    }

    /// The names after the calls; `None` if one of them cannot have succeeded.
    fn after(mut self, events: &[Event]) -> Option<Tree> {
        let succeeded = |e: &&Event| e.took_effect();
        events.iter().filter(succeeded).all(|e| self.apply(&mut e.op.clone())).then_some(self)
    }

    fn get(&self, dir: FileId, name: &Name) -> Option<FileId> {
        self.names.get(&(dir, name.clone())).copied()
    }

    fn set(&mut self, dir: FileId, name: &Name, file: FileId) {
        self.take(dir, name);
        self.names.insert((dir, name.clone()), file);
        *self.links.entry(file).or_default() += 1;
    }

    fn take(&mut self, dir: FileId, name: &Name) {
        if let Some(file) = self.names.remove(&(dir, name.clone()))
            && let Some(n) = self.links.get_mut(&file)
        {
            *n = n.saturating_sub(1);
        }
    }

    /// A directory that new names can be made in.
    fn is_there(&self, dir: FileId) -> bool {
        self.links.get(&dir).is_some_and(|n| *n > 0)
    }

    fn is_empty(&self, dir: FileId) -> bool {
        self.names.range((dir, Name::new())..).next().is_none_or(|((parent, _), _)| *parent != dir)
    }

    /// Follows a call that succeeded; false if it cannot have. What a rename replaced is put right.
    fn apply(&mut self, op: &mut Op) -> bool {
        match op {
            Op::Create { dir, name, file, .. } | Op::Link { dir, name, file } => {
                let free = self.is_there(*dir) && self.get(*dir, name).is_none();
                self.set(*dir, name, *file);
                free
            }
            Op::Unlink { dir, name, file } => {
                let there = self.get(*dir, name) == Some(*file) && self.is_empty(*file);
                self.take(*dir, name);
                there
            }
            Op::Rename { from_dir, from_name, to_dir, to_name, file, replaced } => {
                let there = self.get(*from_dir, from_name) == Some(*file) && self.is_there(*to_dir);
                *replaced = self.get(*to_dir, to_name);
                let free = replaced.is_none_or(|r| self.is_empty(r));
                // Two names of one file: rename(2) leaves both.
                if *replaced != Some(*file) {
                    self.take(*from_dir, from_name);
                    self.set(*to_dir, to_name, *file);
                }
                there && free
            }
            Op::Exchange { a_dir, a_name, a, b_dir, b_name, b } => {
                let there = self.get(*a_dir, a_name) == Some(*a) && self.get(*b_dir, b_name) == Some(*b);
                self.set(*a_dir, a_name, *b);
                self.set(*b_dir, b_name, *a);
                there
            }
            _ => true,
        }
    }
}

/// Pairs of neighbours among the changing events that overlap and conflict, by index.
fn conflicts(trace: &Trace) -> Vec<(usize, usize)> {
    let changing: Vec<usize> = (0..trace.events.len())
        .filter(|i| trace.events[*i].took_effect() && changes(&trace.events[*i].op).is_some())
        .collect();
    let mut pairs = Vec::new();
    for (n, &a) in changing.iter().enumerate() {
        let over = trace.over(a);
        for &b in &changing[n + 1..] {
            if trace.events[b].begin > over {
                break;
            }
            if conflict(&trace.events[a], &trace.events[b]) {
                pairs.push((a, b));
            }
        }
    }
    pairs
}

#[derive(PartialEq, Eq)]
enum Change {
    Content(FileId),
    Names,
}

fn changes(op: &Op) -> Option<Change> {
    match op {
        Op::Write { file, .. } | Op::Truncate { file, .. } | Op::Allocate { file, .. } => {
            Some(Change::Content(*file))
        }
        Op::Create { .. } | Op::Link { .. } | Op::Unlink { .. } | Op::Rename { .. } | Op::Exchange { .. } => {
            Some(Change::Names)
        }
        _ => None,
    }
}

fn conflict(a: &Event, b: &Event) -> bool {
    match (changes(&a.op), changes(&b.op)) {
        // Writes to disjoint ranges of one file give the same content in either order, but their sizes do
        // not: the order in which an append extends the file is the order of its size effects.
        (Some(x), Some(y)) => x == y,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{NodeKind, Task, WriteSync};
    use crate::trace::BaseNode;

    const ROOT: FileId = FileId::ROOT;

    fn event(begin: u64, end: u64, op: Op) -> Event {
        Event { begin, end, at: 0, task: Task::default(), site: None, errno: 0, op }
    }

    fn create(name: &str, file: u32) -> Op {
        Op::Create { dir: ROOT, name: name.into(), file: FileId(file), kind: NodeKind::File }
    }

    fn unlink(name: &str, file: u32) -> Op {
        Op::Unlink { dir: ROOT, name: name.into(), file: FileId(file) }
    }

    fn rename(from: &str, to: &str, file: u32, replaced: Option<u32>) -> Op {
        let (from_name, to_name) = (from.into(), to.into());
        let replaced = replaced.map(FileId);
        Op::Rename { from_dir: ROOT, from_name, to_dir: ROOT, to_name, file: FileId(file), replaced }
    }

    fn write(file: u32, offset: u64) -> Op {
        Op::Write { file: FileId(file), offset, data: b"x".to_vec(), sync: WriteSync::None }
    }

    fn trace(base: &[(&str, u32)], events: Vec<Event>) -> Trace {
        let node = |&(name, file): &(&str, u32)| BaseNode {
            file: FileId(file),
            dir: ROOT,
            name: name.into(),
            kind: NodeKind::File,
            data: Vec::new(),
        };
        Trace { base: base.iter().map(node).collect(), events, ..Trace::default() }
    }

    fn orders(base: &[(&str, u32)], events: Vec<Event>) -> Vec<Vec<Op>> {
        let orders = Orders::of(&trace(base, events));
        assert_eq!(orders.blind, None);
        for trace in &orders.traces {
            assert!(trace.events.is_sorted_by_key(|e| e.begin));
            assert!(trace.events.iter().all(|e| e.begin <= e.end));
        }
        orders.traces.into_iter().map(|t| t.events.into_iter().map(|e| e.op).collect()).collect()
    }

    /// O_EXCL: the creation succeeded, so the name was gone.
    #[test]
    fn a_name_is_not_made_before_it_was_taken_away() {
        let ops = [unlink("a", 1), create("a", 2)];
        let events = vec![event(1, 4, ops[0].clone()), event(2, 3, ops[1].clone())];
        assert_eq!(orders(&[("a", 1)], events), [ops.to_vec()]);
        // The same calls on two names can have come in either order.
        let ops = [unlink("a", 1), create("b", 2)];
        let events = vec![event(1, 4, ops[0].clone()), event(2, 3, ops[1].clone())];
        let swapped = vec![ops[1].clone(), ops[0].clone()];
        assert_eq!(orders(&[("a", 1)], events), [ops.to_vec(), swapped]);
    }

    /// What a rename found can only be what was there then; what it left is what was found in the end.
    #[test]
    fn renames_to_one_name_come_in_the_order_that_the_end_shows() {
        let ops = [rename("a", "c", 1, None), rename("b", "c", 2, Some(1))];
        let events = vec![event(1, 4, ops[0].clone()), event(2, 3, ops[1].clone())];
        assert_eq!(orders(&[("a", 1), ("b", 2)], events), [ops.to_vec()], "c is file 2 in the end");
        // With the name taken away afterwards either can have been first, and replaces what it finds.
        let ops = [ops[0].clone(), ops[1].clone(), unlink("c", 2)];
        let mut events = vec![event(1, 4, ops[0].clone()), event(2, 3, ops[1].clone())];
        events.push(event(5, 6, ops[2].clone()));
        assert_eq!(orders(&[("a", 1), ("b", 2)], events), [ops.to_vec()], "the unlink took file 2 away");
        // A name moved on and taken by another file: the reverse would have moved the wrong file on.
        let ops = [rename("a", "b", 1, None), rename("c", "a", 3, None)];
        let events = vec![event(1, 4, ops[0].clone()), event(2, 3, ops[1].clone())];
        assert_eq!(orders(&[("a", 1), ("c", 3)], events), [ops.to_vec()]);
    }

    #[test]
    fn a_directory_is_there_before_what_is_in_it_and_empty_when_it_goes() {
        let dir = Op::Create { dir: ROOT, name: "d".into(), file: FileId(1), kind: NodeKind::Dir };
        let inside = Op::Create { dir: FileId(1), name: "f".into(), file: FileId(2), kind: NodeKind::File };
        let events = vec![event(1, 4, dir.clone()), event(2, 3, inside.clone())];
        assert_eq!(orders(&[], events), [vec![dir.clone(), inside.clone()]]);
        let out = Op::Unlink { dir: FileId(1), name: "f".into(), file: FileId(2) };
        let events = vec![
            event(1, 2, dir.clone()),
            event(3, 4, inside.clone()),
            event(5, 8, out.clone()),
            event(6, 7, unlink("d", 1)),
        ];
        assert_eq!(orders(&[], events), [vec![dir, inside, out, unlink("d", 1)]]);
    }

    /// A call does not come behind one that began after its end, whatever stands between.
    #[test]
    fn no_call_leaves_the_time_in_which_it_ran() {
        // One long call, two short ones of another task, one after the other.
        let (long, first, second) = (write(1, 0), write(1, 1), write(1, 2));
        let events = vec![event(1, 9, long.clone()), event(2, 3, first.clone()), event(4, 5, second.clone())];
        let all = orders(&[("a", 1)], events);
        let expected = [
            vec![long.clone(), first.clone(), second.clone()],
            vec![first.clone(), long.clone(), second.clone()],
            vec![first, second, long],
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn three_at_once_come_in_all_orders_but_no_more_than_can_be_explored() {
        let at_once = |n: u64| (0..n).map(|i| event(1 + i, 100 + i, write(1, i))).collect::<Vec<_>>();
        assert_eq!(orders(&[("a", 1)], at_once(3)).len(), 6);
        let orders = Orders::of(&trace(&[("a", 1)], at_once(4)));
        assert_eq!(orders.traces.len(), MAX_ORDERS);
        assert!(orders.blind.is_some_and(|b| b.what == "overlapping calls"));
    }

    /// A sync between two overlapping calls stays where it was.
    #[test]
    fn what_conflicts_with_nothing_stays() {
        let sync = Op::Sync { file: FileId(1), kind: crate::event::SyncKind::Fsync };
        let events = vec![event(1, 9, write(1, 0)), event(2, 3, sync.clone()), event(4, 5, write(1, 1))];
        let orders = Orders::of(&trace(&[("a", 1)], events));
        let begins: Vec<Vec<u64>> =
            orders.traces.iter().map(|t| t.events.iter().map(|e| e.begin).collect()).collect();
        assert_eq!(begins, [[1, 2, 4], [2, 4, 4]]);
        assert_eq!(orders.traces[1].events[0].op, sync);
    }
}
