//! What a RESP server holds, read through its own commands.

use crate::dump::{Dump, Entry};
use crate::target::client::{Client, ClientError};
use crate::target::resp_guess::Guess;
use crate::target::resp_op::{
    canonical_hash, canonical_key, canonical_list, canonical_set, canonical_sorted_set, canonical_string,
};
use crate::target::value::{Value, encode_command};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is asked first: in one piece, and whether or not the server has loaded its data.
#[derive(Debug)]
pub(crate) struct First<'a> {
    keys: Value,
    keyspace: Value,
    guess: &'a Guess,
    guessed: Vec<Value>,
}

impl<'a> First<'a> {
    /// Asks, and says how many answers there will be. INFO is answered during loading too, but not before KEYS, which is
    /// not.
    pub(crate) fn ask(client: &mut Client, guess: &Guess, patience: Duration) -> Result<usize, ClientError> {
        let mut bytes = Vec::new();
        encode_command(&mut bytes, &["KEYS", "*"]);
        encode_command(&mut bytes, &["INFO", "keyspace"]);
        let guessed = guess.ask(&mut bytes);
        client.send(&bytes, patience)?;
        Ok(2 + guessed)
    }

    /// What the answers say, in the order of the questions; `None` while the server loads its data.
    pub(crate) fn read(answers: Vec<Value>, guess: &'a Guess) -> Result<Option<First<'a>>, ClientError> {
        let mut answers = answers.into_iter();
        let (Some(keys), Some(keyspace)) = (answers.next(), answers.next()) else { return Ok(None) };
        match &keys {
            Value::Error(text) if text.starts_with(b"LOADING") => Ok(None),
            Value::Error(text) => Err(ClientError::Refused(String::from_utf8_lossy(text).into_owned())),
            _ => Ok(Some(First { keys, keyspace, guess, guessed: answers.collect() })),
        }
    }

    /// What the first database holds, if that was guessed, and if none of its keys expires.
    fn guessed(&self, counts: Option<Counts>) -> Result<Option<Dump>, ClientError> {
        let keys: Vec<&[u8]> =
            self.keys.items().unwrap_or_default().iter().filter_map(Value::bytes).collect();
        if keys.is_empty() || counts != Some(Counts { keys: keys.len(), expires: 0 }) {
            return Ok(None);
        }
        self.guess.read(&keys, &self.guessed)
    }
}

/// All that a server holds that has answered the first questions.
///
/// # Errors
/// The connection's; [`ClientError::Refused`] where the server does not let itself be read, or holds a type that
/// has no canonical form here.
pub(crate) fn dump(client: &mut Client, first: &First<'_>, patience: Duration) -> Result<Dump, ClientError> {
    let command = |args: &[&[u8]]| args.iter().map(|a| a.to_vec()).collect::<Vec<_>>();
    let text = first.keyspace.bytes().ok_or_else(|| unexpected("INFO", &first.keyspace))?;
    let databases = databases(text);
    let counts = databases.get(&0).copied();
    let mut dump = match first.guessed(counts)? {
        Some(dump) => dump,
        None => {
            let mut dump = Dump::default();
            dump_keys(client, 0, &first.keys, counts, &mut dump, patience)?;
            dump
        }
    };
    let others = databases.range(1..);
    for (db, counts) in others.clone() {
        let select = [command(&[b"SELECT", db.to_string().as_bytes()]), command(&[b"KEYS", b"*"])];
        let replies = client.pipeline(&select, patience)?;
        if let [_, keys] = replies.as_slice() {
            dump_keys(client, *db, keys, Some(*counts), &mut dump, patience)?;
        }
    }
    if others.count() > 0 {
        client.call(&["SELECT", "0"], patience)?;
    }
    Ok(dump)
}

/// How many keys a database has, and how many of them expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    keys: usize,
    expires: usize,
}

/// What INFO's lines `db0:keys=4,expires=1,avg_ttl=0` say.
fn databases(info: &[u8]) -> BTreeMap<u32, Counts> {
    let text = String::from_utf8_lossy(info);
    let count = |counts: &str, name: &str| {
        let of = |pair: &str| pair.split_once('=').filter(|(key, _)| *key == name)?.1.parse().ok();
        // What is not told may be many.
        counts.split(',').find_map(of).unwrap_or(usize::MAX)
    };
    let line = |line: &str| {
        let (number, counts) = line.trim_end().strip_prefix("db")?.split_once(':')?;
        let counts = Counts { keys: count(counts, "keys"), expires: count(counts, "expires") };
        Some((number.parse().ok()?, counts))
    };
    text.lines().filter_map(line).collect()
}

/// Reads the keys: all strings and expiries in one round trip, then what is no string.
fn dump_keys(
    client: &mut Client,
    db: u32,
    keys: &Value,
    counts: Option<Counts>,
    into: &mut Dump,
    patience: Duration,
) -> Result<(), ClientError> {
    let keys = keys.items().ok_or_else(|| unexpected("KEYS", keys))?;
    let keys: Vec<&[u8]> = keys.iter().filter_map(Value::bytes).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let mut bytes = Vec::new();
    encode_command(&mut bytes, &[&[&b"MGET"[..]], keys.as_slice()].concat());
    // Not asked for key by key where none expires; whoever has not counted these keys does not know.
    let none_expires = counts == Some(Counts { keys: keys.len(), expires: 0 });
    let asked = if none_expires { 0 } else { keys.len() };
    keys[..asked].iter().for_each(|key| encode_command(&mut bytes, &[&b"PEXPIRETIME"[..], key]));
    let replies = client.replies(&bytes, 1 + asked, patience)?;
    let Some((strings, expiries)) = replies.split_first() else { return Ok(()) };
    let values = strings.items().filter(|values| values.len() == keys.len());
    let values = values.ok_or_else(|| unexpected("MGET", strings))?;
    let mut others = Vec::new();
    for (at, (key, value)) in keys.iter().zip(values).enumerate() {
        let expires_at_ms = match expiries.get(at) {
            None => None,
            Some(Value::Int(ms)) => u64::try_from(*ms).ok(),
            Some(other) => return Err(unexpected("PEXPIRETIME", other)),
        };
        match value {
            Value::Bulk(Some(string)) => {
                let value = canonical_string(string);
                into.0.insert(canonical_key(db, key), Entry { value, expires_at_ms });
            }
            Value::Bulk(None) => others.push((*key, expires_at_ms)),
            other => return Err(unexpected("MGET", other)),
        }
    }
    dump_collections(client, db, &others, into, patience)
}

/// Reads the keys that are no strings: as each type at once, of which only the right one is no error. That is one round
/// trip, where to ask for the type first would be two.
fn dump_collections(
    client: &mut Client,
    db: u32,
    keys: &[(&[u8], Option<u64>)],
    into: &mut Dump,
    patience: Duration,
) -> Result<(), ClientError> {
    let mut bytes = Vec::new();
    for (key, _) in keys {
        Kind::ALL.into_iter().for_each(|kind| kind.ask(key, &mut bytes));
    }
    let replies = client.replies(&bytes, keys.len() * 4, patience)?;
    for ((key, expires_at_ms), replies) in keys.iter().zip(replies.chunks(4)) {
        if let Some(value) = collection(replies)? {
            into.0.insert(canonical_key(db, key), Entry { value, expires_at_ms: *expires_at_ms });
        }
    }
    Ok(())
}

/// A type that is no string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    List,
    Set,
    Hash,
    SortedSet,
}

impl Kind {
    /// In the order in which a key is read as each.
    pub(crate) const ALL: [Kind; 4] = [Kind::List, Kind::Set, Kind::Hash, Kind::SortedSet];

    /// Reads a key as one.
    pub(crate) fn ask(self, key: &[u8], bytes: &mut Vec<u8>) {
        match self {
            Kind::List => encode_command(bytes, &[&b"LRANGE"[..], key, b"0", b"-1"]),
            Kind::Set => encode_command(bytes, &[&b"SMEMBERS"[..], key]),
            Kind::Hash => encode_command(bytes, &[&b"HGETALL"[..], key]),
            Kind::SortedSet => encode_command(bytes, &[&b"ZRANGE"[..], key, b"0", b"-1", b"WITHSCORES"]),
        }
    }

    /// What its values begin with in a dump.
    pub(crate) fn canonical(self) -> &'static [u8] {
        match self {
            Kind::List => b"list ",
            Kind::Set => b"set ",
            Kind::Hash => b"hash ",
            Kind::SortedSet => b"zset ",
        }
    }
}

/// What a key holds that was asked for as a list, as a set, as a hash and as a sorted set. No collection is empty: where
/// all are, the key has expired since it was named.
fn collection(replies: &[Value]) -> Result<Option<Vec<u8>>, ClientError> {
    let of_its_kind = Kind::ALL.into_iter().zip(replies).find(|(_, reply)| reply.items().is_some());
    let Some((kind, reply)) = of_its_kind else {
        return Err(unexpected("LRANGE", replies.first().unwrap_or(&Value::Array(None))));
    };
    collection_of(kind, reply)
}

/// What a key of this type holds; `None` where it has nothing.
pub(crate) fn collection_of(kind: Kind, reply: &Value) -> Result<Option<Vec<u8>>, ClientError> {
    let strings: Vec<&[u8]> = reply.items().unwrap_or_default().iter().filter_map(Value::bytes).collect();
    let pairs = || strings.chunks_exact(2).map(|pair| (pair[0], pair[1]));
    if strings.is_empty() {
        return Ok(None);
    }
    Ok(Some(match kind {
        Kind::List => canonical_list(strings),
        Kind::Set => canonical_set(strings),
        Kind::Hash => canonical_hash(pairs()),
        Kind::SortedSet => {
            let score = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<f64>().ok();
            let scored = pairs().map(|(member, text)| Some((member, score(text)?)));
            let scored: Option<Vec<(&[u8], f64)>> = scored.collect();
            canonical_sorted_set(scored.ok_or_else(|| unexpected("ZRANGE", reply))?)
        }
    }))
}

fn unexpected(command: &str, reply: &Value) -> ClientError {
    ClientError::Refused(format!("{reply:?} in reply to {command}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_read() {
        let text = b"# Keyspace\r\ndb0:keys=4,expires=1,avg_ttl=0\r\ndb12:keys=1,expires=0,avg_ttl=0,x=9\r\ndb2:new\r\n";
        let counts = |keys, expires| Counts { keys, expires };
        let expected = [(0, counts(4, 1)), (2, counts(usize::MAX, usize::MAX)), (12, counts(1, 0))];
        assert_eq!(databases(text), BTreeMap::from(expected));
    }

    #[test]
    fn a_key_is_what_it_can_be_read_as() {
        let wrong = || Value::Error(b"WRONGTYPE".to_vec());
        let strings = |all: &[&str]| {
            Value::Array(Some(all.iter().map(|s| Value::Bulk(Some(s.as_bytes().to_vec()))).collect()))
        };
        let of = |at: usize, value: Value| {
            let mut replies = vec![wrong(), wrong(), wrong(), wrong()];
            replies[at] = value;
            collection(&replies)
        };
        assert_eq!(of(0, strings(&["b", "a"])).unwrap(), Some(b"list 1:b,1:a,".to_vec()));
        assert_eq!(of(1, strings(&["b", "a"])).unwrap(), Some(b"set 1:a,1:b,".to_vec()));
        assert_eq!(of(2, strings(&["f", "2", "e", "1"])).unwrap(), Some(b"hash 1:e,1:1,1:f,1:2,".to_vec()));
        let zset = of(3, strings(&["m", "0.10000000000000001", "a", "2"])).unwrap();
        assert_eq!(zset, Some(b"zset 1:a,1:2,1:m,3:0.1,".to_vec()));
        assert!(of(3, strings(&["m", "x"])).is_err() && of(0, wrong()).is_err());
        let gone = [strings(&[]), strings(&[]), strings(&[]), strings(&[])];
        assert_eq!(collection(&gone).unwrap(), None);
    }
}
