//! Which operations were doubled, left out or torn: the states that such mistakes give, made in advance and
//! looked up.

use super::orders::{Orders, Step};
use crate::dump::Digest;
use crate::history::History;
use crate::target::{Meaning, Oracle};
use crate::verdict::Class;
use std::collections::HashMap;

/// One mistake that explains a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) class: Class,
    /// The oldest operation doubled, left out or torn (index into the history).
    pub(super) operation: usize,
    /// How many operations in a row.
    pub(super) count: usize,
    /// The newest operation that the state holds (index into the history).
    pub(super) newest: usize,
}

/// States by the mistake that gives them.
pub(super) struct Table(HashMap<Digest, Hit>);

/// How many applications of operations the table may cost; longer histories are covered less far around each
/// operation, and what the table does not hold is explained key by key.
const BUDGET: usize = 400_000;

impl Table {
    pub(super) fn build(
        history: &History,
        orders: &Orders,
        known: &HashMap<Digest, usize>,
        oracle: &dyn Oracle,
        now_ms: u64,
    ) -> Table {
        let is_write = |s: &&Step| s.applied && orders.meanings[s.operation] == Meaning::Write;
        let writes: Vec<Step> = orders.path.iter().filter(is_write).copied().collect();
        let (table, parts) = (HashMap::new(), HashMap::new());
        let mut builder = Builder { history, orders, writes, known, now_ms, table, parts };
        builder.fill(oracle);
        // The classes are decided in their order: a doubled or missing operation before a torn one.
        let Builder { mut table, parts, .. } = builder;
        for (digest, hit) in parts {
            table.entry(digest).or_insert(hit);
        }
        Table(table)
    }

    /// The mistake that gives this state, if it needs no operation beyond those that `may` be there.
    pub(super) fn find(&self, digest: Digest, may: impl Fn(usize) -> bool) -> Option<Hit> {
        self.0.get(&digest).copied().filter(|hit| may(hit.newest))
    }
}

struct Builder<'a> {
    history: &'a History,
    orders: &'a Orders,
    /// The operations that took effect, in their order.
    writes: Vec<Step>,
    known: &'a HashMap<Digest, usize>,
    now_ms: u64,
    table: HashMap<Digest, Hit>,
    parts: HashMap<Digest, Hit>,
}

impl Builder<'_> {
    fn apply(&self, oracle: &mut dyn Oracle, write: usize) {
        let o = &self.history.operations[self.writes[write].operation];
        oracle.apply(
            &o.op,
            self.orders.reply(self.history, self.writes[write]),
            self.history.wall_ms(o.invoked_at),
        );
    }

    fn note(&mut self, oracle: &mut dyn Oracle, class: Class, from: usize, count: usize, newest: usize) {
        let digest = oracle.digest(self.now_ms);
        if self.known.contains_key(&digest) {
            return;
        }
        let hit = Hit {
            class,
            operation: self.writes[from].operation,
            count,
            newest: self.writes[newest].operation,
        };
        let table = if class == Class::TornOperation { &mut self.parts } else { &mut self.table };
        match table.entry(digest) {
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(hit);
            }
            // Classes in their order; of one class the fewest operations.
            std::collections::hash_map::Entry::Occupied(mut slot) => {
                if (hit.class, hit.count, hit.operation)
                    < (slot.get().class, slot.get().count, slot.get().operation)
                {
                    slot.insert(hit);
                }
            }
        }
    }

    fn fill(&mut self, oracle: &dyn Oracle) {
        let n = self.writes.len();
        if n == 0 {
            return;
        }
        let mut last = oracle.fork();
        (0..n).for_each(|i| self.apply(last.as_mut(), i));
        // A fork copies the whole state.
        let fork = 1 + last.dump().0.len() / 10;
        let single = (BUDGET / 4 / n).saturating_sub(fork).clamp(8, n.max(8));
        let run = ((BUDGET / 2 / n / fork.max(1)) as f64).sqrt() as usize;
        let run = run.clamp(2, 64);
        let mut base = oracle.fork();
        for i in 0..n {
            self.singles(base.as_ref(), i, single);
            self.runs(base.as_ref(), i, run);
            self.torn(base.as_ref(), i, run);
            self.apply(base.as_mut(), i);
        }
    }

    /// Operation `i` twice, and not at all.
    fn singles(&mut self, base: &dyn Oracle, i: usize, span: usize) {
        let end = self.writes.len().min(i + 1 + span);
        let mut twice = base.fork();
        self.apply(twice.as_mut(), i);
        self.apply(twice.as_mut(), i);
        self.note(twice.as_mut(), Class::DuplicatedOperation, i, 1, i);
        let mut without = base.fork();
        for k in i + 1..end {
            self.apply(twice.as_mut(), k);
            self.note(twice.as_mut(), Class::DuplicatedOperation, i, 1, k);
            self.apply(without.as_mut(), k);
            self.note(without.as_mut(), Class::Gap, i, 1, k);
        }
    }

    /// A run of operations from `i` on twice, and not at all.
    fn runs(&mut self, base: &dyn Oracle, i: usize, span: usize) {
        let n = self.writes.len();
        let mut through = base.fork();
        for j in i + 1..n.min(i + span) {
            // The run is i..=j.
            if j == i + 1 {
                self.apply(through.as_mut(), i);
            }
            self.apply(through.as_mut(), j);
            let mut twice = through.fork();
            for k in i..n.min(j + 1 + span) {
                self.apply(twice.as_mut(), k);
                // A replay comes to its end: half of one is not looked for.
                if k >= j {
                    self.note(twice.as_mut(), Class::DuplicatedOperation, i, j + 1 - i, k);
                }
            }
            let mut without = base.fork();
            for k in j + 1..n.min(j + 1 + span) {
                self.apply(without.as_mut(), k);
                self.note(without.as_mut(), Class::Gap, i, j + 1 - i, k);
            }
        }
    }

    /// A part of operation `i`, alone and with what came after it.
    fn torn(&mut self, base: &dyn Oracle, i: usize, span: usize) {
        let o = &self.history.operations[self.writes[i].operation];
        let at_ms = self.history.wall_ms(o.invoked_at);
        for part in base.parts(&o.op) {
            let mut torn = base.fork();
            torn.apply(&part, None, at_ms);
            self.note(torn.as_mut(), Class::TornOperation, i, 1, i);
            for k in i + 1..self.writes.len().min(i + 1 + span) {
                self.apply(torn.as_mut(), k);
                self.note(torn.as_mut(), Class::TornOperation, i, 1, k);
            }
        }
    }
}
