//! A store that goes on from what a recovery has come to.

use crate::contract::Contract;
use crate::dump::Dump;
use crate::target::{Meaning, Oracle, Outcomes};
use std::sync::Arc;

/// A reference model that begins with a content instead of with nothing. The operations must not depend on it: they go to
/// a model of their own, and what they change there is put over the content.
pub(crate) struct Onward {
    content: Arc<Dump>,
    /// What the model of the operations held before the first of them.
    before: Arc<Dump>,
    model: Box<dyn Oracle>,
}

impl Onward {
    /// Goes on from this content; the model is one before its first operation.
    pub(crate) fn new(content: Dump, model: Box<dyn Oracle>) -> Onward {
        Onward { content: Arc::new(content), before: Arc::new(model.dump()), model }
    }
}

impl Oracle for Onward {
    fn apply(&mut self, op: &[u8], reply: Option<&[u8]>, at_ms: u64) {
        self.model.apply(op, reply, at_ms);
    }

    fn meaning(&self, op: &[u8], reply: Option<&[u8]>) -> Meaning {
        self.model.meaning(op, reply)
    }

    fn meaning_under(&self, op: &[u8], reply: Option<&[u8]>, contract: &Contract, at_ms: u64) -> Meaning {
        self.model.meaning_under(op, reply, contract, at_ms)
    }

    fn is_error(&self, reply: &[u8]) -> bool {
        self.model.is_error(reply)
    }

    fn is_refusal(&self, reply: &[u8]) -> bool {
        self.model.is_refusal(reply)
    }

    fn is_storage_error(&self, reply: &[u8]) -> bool {
        self.model.is_storage_error(reply)
    }

    fn expects(&self, op: &[u8], reply: &[u8], at_ms: u64) -> bool {
        self.model.expects(op, reply, at_ms)
    }

    fn outcomes(&self, op: &[u8], at_ms: u64) -> Outcomes {
        self.model.outcomes(op, at_ms)
    }

    fn parts(&self, op: &[u8]) -> Vec<Vec<u8>> {
        self.model.parts(op)
    }

    fn may_save_behind(&self, op: &[u8]) -> bool {
        self.model.may_save_behind(op)
    }

    fn describe(&self, op: &[u8]) -> String {
        self.model.describe(op)
    }

    fn dump(&self) -> Dump {
        let mut all = Dump::clone(&self.content);
        let now = self.model.dump();
        for key in self.before.0.keys().filter(|key| !now.0.contains_key(*key)) {
            all.0.remove(key);
        }
        all.0.extend(now.0.into_iter().filter(|(key, entry)| self.before.0.get(key) != Some(entry)));
        all
    }

    fn fork(&self) -> Box<dyn Oracle> {
        let (content, before) = (self.content.clone(), self.before.clone());
        Box::new(Onward { content, before, model: self.model.fork() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::RespOracle;
    use crate::target::resp_op::RespOp;

    fn line(text: &str) -> Vec<u8> {
        RespOp::command(&text.split(' ').collect::<Vec<_>>()).encode()
    }

    fn state(lines: &[&str]) -> RespOracle {
        let mut model = RespOracle::new();
        lines.iter().for_each(|l| model.apply(&line(l), None, 1_000));
        model
    }

    #[test]
    fn what_is_changed_is_put_over_the_content() {
        let content = state(&["SET a 1", "SET b 1"]).dump();
        let mut onward = Onward::new(content, Box::new(RespOracle::new()));
        assert_eq!(onward.dump(), state(&["SET a 1", "SET b 1"]).dump());
        let earlier = onward.fork();
        onward.apply(&line("SET c 1"), None, 1_000);
        onward.apply(&line("SET b 2"), None, 1_000);
        assert_eq!(onward.dump(), state(&["SET a 1", "SET b 2", "SET c 1"]).dump());
        assert_eq!(earlier.dump(), state(&["SET a 1", "SET b 1"]).dump(), "a copy is one of its own");
        // What the model began with is not the operations' doing; what they take from it is.
        let mut onward = Onward::new(state(&["SET a 5"]).dump(), Box::new(state(&["SET a 1", "SET b 1"])));
        assert_eq!(onward.dump(), state(&["SET a 5"]).dump());
        onward.apply(&line("DEL a"), None, 1_000);
        assert_eq!(onward.dump(), Dump::default());
    }
}
