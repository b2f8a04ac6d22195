//! The reference model of a command: how often each of its lines is there.

use crate::dump::{Dump, Entry};
use crate::target::{Meaning, Oracle};
use std::collections::BTreeMap;

/// How often each line is there, in whatever order.
pub(crate) fn multiset<'l>(lines: impl IntoIterator<Item = &'l [u8]>) -> BTreeMap<Vec<u8>, u64> {
    let mut found = BTreeMap::new();
    for line in lines {
        *found.entry(line.to_vec()).or_insert(0) += 1;
    }
    found
}

/// Lines as a logical state: the line, and how often it is there.
pub(crate) fn dump(found: &BTreeMap<Vec<u8>, u64>) -> Dump {
    let entry = |n: &u64| Entry { value: n.to_string().into_bytes(), expires_at_ms: None };
    Dump(found.iter().map(|(line, n)| (line.clone(), entry(n))).collect())
}

/// The model: each operation is a line, and adds it.
pub(super) struct LinesOracle(BTreeMap<Vec<u8>, u64>);

impl LinesOracle {
    /// A model that begins with these lines.
    pub(super) fn with<'l>(before: impl IntoIterator<Item = &'l [u8]>) -> LinesOracle {
        LinesOracle(multiset(before))
    }
}

impl Oracle for LinesOracle {
    fn apply(&mut self, op: &[u8], _reply: Option<&[u8]>, _at_ms: u64) {
        *self.0.entry(op.to_vec()).or_insert(0) += 1;
    }

    fn meaning(&self, _op: &[u8], _reply: Option<&[u8]>) -> Meaning {
        Meaning::Write
    }

    fn is_error(&self, _reply: &[u8]) -> bool {
        false
    }

    fn dump(&self) -> Dump {
        dump(&self.0)
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(LinesOracle(self.0.clone()))
    }

    fn describe(&self, op: &[u8]) -> String {
        format!("\"{}\"", op.escape_ascii())
    }
}
