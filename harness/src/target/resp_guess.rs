//! What a server is asked for before it has named its keys.
//!
//! Which keys there are is known, as a rule, before the server says so: a third life holds what the first did, and the
//! probes; an image holds much of what the one before it did. So their values are asked for along with the names. Where
//! the names are others, or a type is, the answers do not count, and it is asked once more in their order.

use crate::dump::{Dump, Entry};
use crate::target::client::ClientError;
use crate::target::resp_dump::{Kind, collection_of};
use crate::target::resp_op::{canonical_key, canonical_string};
use crate::target::value::{Value, encode_command};
use std::collections::BTreeMap;

/// Keys of database 0 that a server may hold, as what: `None` is a string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guess(BTreeMap<Vec<u8>, Option<Kind>>);

/// More keys are not guessed: what is asked in vain costs more than a round trip.
const MOST: usize = 256;

impl Guess {
    /// That a server holds keys by these names, of these types.
    pub(crate) fn of(dump: &Dump) -> Guess {
        let mut guess = Guess::default();
        guess.add(dump);
        guess
    }

    /// That it holds these keys too.
    pub(crate) fn add(&mut self, dump: &Dump) {
        let few = dump.0.len() <= MOST;
        for (key, entry) in dump.0.iter().filter(|_| few) {
            let kind = Kind::ALL.into_iter().find(|kind| entry.value.starts_with(kind.canonical()));
            if let Some(key) = key.strip_prefix(canonical_key(0, b"").as_slice()) {
                self.0.insert(key.to_vec(), kind);
            }
        }
    }

    fn strings(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(|(_, kind)| kind.is_none()).map(|(key, _)| key.as_slice())
    }

    fn collections(&self) -> impl Iterator<Item = (&[u8], Kind)> {
        self.0.iter().filter_map(|(key, kind)| Some((key.as_slice(), (*kind)?)))
    }

    /// Asks for their values. How many replies there will be.
    pub(crate) fn ask(&self, bytes: &mut Vec<u8>) -> usize {
        let mut strings: Vec<&[u8]> = vec![b"MGET"];
        strings.extend(self.strings());
        let mget = usize::from(strings.len() > 1);
        if mget > 0 {
            encode_command(bytes, &strings);
        }
        for (key, kind) in self.collections() {
            kind.ask(key, bytes);
        }
        mget + self.collections().count()
    }

    /// What the server holds that has these keys and has replied so; `None` where it has not been guessed.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where a reply is of the right type and cannot be read.
    pub(crate) fn read(&self, keys: &[&[u8]], replies: &[Value]) -> Result<Option<Dump>, ClientError> {
        if keys.len() != self.0.len() || !keys.iter().all(|key| self.0.contains_key(*key)) {
            return Ok(None);
        }
        let mut dump = Dump::default();
        let mut put = |key: &[u8], value| {
            dump.0.insert(canonical_key(0, key), Entry { value, expires_at_ms: None });
        };
        let mut replies = replies.iter();
        if self.strings().next().is_some() {
            let Some(values) = replies.next().and_then(Value::items) else { return Ok(None) };
            let mut values = values.iter();
            for key in self.strings() {
                let Some(Value::Bulk(Some(value))) = values.next() else { return Ok(None) };
                put(key, canonical_string(value));
            }
        }
        for (key, kind) in self.collections() {
            let Some(reply @ Value::Array(Some(_))) = replies.next() else { return Ok(None) };
            // Empty is what is not there: it was named, so it has expired since.
            let Some(value) = collection_of(kind, reply)? else { return Ok(None) };
            put(key, value);
        }
        Ok(Some(dump))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::resp_op::{canonical_list, canonical_set};

    fn bulk(text: &str) -> Value {
        Value::Bulk(Some(text.as_bytes().to_vec()))
    }

    fn array(texts: &[&str]) -> Value {
        Value::Array(Some(texts.iter().map(|text| bulk(text)).collect()))
    }

    fn dump(entries: &[(u32, &str, Vec<u8>)]) -> Dump {
        let entry = |value: &Vec<u8>| Entry { value: value.clone(), expires_at_ms: None };
        Dump(
            entries
                .iter()
                .map(|(db, key, value)| (canonical_key(*db, key.as_bytes()), entry(value)))
                .collect(),
        )
    }

    fn held(string: &[u8]) -> Dump {
        let list = canonical_list([&b"x"[..], b"y"]);
        dump(&[(0, "a", canonical_string(string)), (0, "l", list), (0, "s", canonical_set([&b"m"[..]]))])
    }

    #[test]
    fn what_was_guessed_is_read_and_the_values_are_the_servers() {
        let guess = Guess::of(&held(b"before"));
        let mut bytes = Vec::new();
        assert_eq!(guess.ask(&mut bytes), 3);
        let text = String::from_utf8(bytes).unwrap().replace("\r\n", " ");
        assert_eq!(
            text.matches("MGET").count() + text.matches("LRANGE").count() + text.matches("SMEMBERS").count(),
            3
        );
        let replies = [array(&["now"]), array(&["x", "y"]), array(&["m"])];
        assert_eq!(guess.read(&[b"s", b"l", b"a"], &replies).unwrap(), Some(held(b"now")));
    }

    #[test]
    fn other_keys_other_types_and_what_has_gone_are_no_answer() {
        let guess = Guess::of(&held(b"before"));
        let good = [array(&["now"]), array(&["x", "y"]), array(&["m"])];
        for keys in [&[&b"s"[..], b"l"][..], &[b"s", b"l", b"b"], &[b"s", b"l", b"a", b"b"]] {
            assert_eq!(guess.read(keys, &good).unwrap(), None, "{keys:?}");
        }
        let wrong = Value::Error(b"WRONGTYPE".to_vec());
        for (at, reply) in [(0, Value::Array(Some(vec![Value::Bulk(None)]))), (1, wrong), (2, array(&[]))] {
            let mut replies = good.clone();
            replies[at] = reply;
            assert_eq!(guess.read(&[b"a", b"l", b"s"], &replies).unwrap(), None, "{at}");
        }
    }

    #[test]
    fn only_the_first_database_is_guessed_and_a_guess_of_nothing_asks_nothing() {
        let mut guess = Guess::of(&dump(&[(3, "k", canonical_string(b"v"))]));
        assert_eq!((guess.ask(&mut Vec::new()), guess.read(&[], &[]).unwrap()), (0, Some(Dump::default())));
        guess.add(&dump(&[(0, "k", canonical_string(b"v"))]));
        assert_eq!(
            guess.read(&[b"k"], &[array(&["w"])]).unwrap(),
            Some(dump(&[(0, "k", canonical_string(b"w"))]))
        );
    }
}
