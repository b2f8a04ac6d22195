//! DEBUG DIGEST: a fingerprint of the data, equal to the one that Redis computes.
//!
//! Two ways of putting something in: *xor*, where order does not matter, and *mix*, where it does.

use sha1::{Digest as _, Sha1};

use crate::keyspace::{Db, Entry, Keyspace, Value};
use crate::number::format_double;

/// A fingerprint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u8; 20]);

impl Digest {
    fn xor(&mut self, bytes: &[u8]) {
        let hash = Sha1::digest(bytes);
        self.0.iter_mut().zip(hash).for_each(|(a, b)| *a ^= b);
    }

    fn mix(&mut self, bytes: &[u8]) {
        self.xor(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Two things that belong together, as one.
    fn xor_pair(&mut self, a: &[u8], b: &[u8]) {
        let mut pair = Digest::default();
        pair.mix(a);
        pair.mix(b);
        self.xor(&pair.0);
    }

    fn entry(&mut self, entry: &Entry) {
        let kind: u32 = match entry.value {
            Value::Str(_) => 0,
            Value::List(_) => 1,
            Value::Set(_) => 2,
            Value::SortedSet(_) => 3,
            Value::Hash(_) => 4,
        };
        self.mix(&kind.to_be_bytes());
        match &entry.value {
            Value::Str(text) => self.mix(text),
            Value::List(list) => list.iter().for_each(|item| self.mix(item)),
            Value::Set(set) => set.iter().for_each(|member| self.xor(member)),
            Value::SortedSet(set) => {
                for (member, score) in set.iter() {
                    self.xor_pair(member, format_double(score.get()).as_bytes());
                }
            }
            Value::Hash(hash) => hash.iter().for_each(|(field, value)| self.xor_pair(field, value)),
        }
        // That there is an expiry, not which: it would differ by the time between two servers' turns.
        if entry.expires_at_ms().is_some() {
            self.xor(b"!!expire!!");
        }
    }

    fn database(&mut self, number: usize, db: &Db) {
        self.mix(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
        for (key, entry) in db.iter() {
            let mut digest = Digest::default();
            digest.mix(key);
            digest.entry(entry);
            self.xor(&digest.0);
        }
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The fingerprint of all data; of none it is 0.
pub fn digest(keyspace: &Keyspace) -> Digest {
    let mut digest = Digest::default();
    for (number, db) in keyspace.dbs.iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        digest.database(number, db);
    }
    digest
}

/// The fingerprint of one value; of none it is 0.
pub(super) fn value_digest(entry: Option<&Entry>) -> Digest {
    let mut digest = Digest::default();
    if let Some(entry) = entry {
        digest.entry(entry);
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::replay;

    #[test]
    fn it_is_what_redis_computes() {
        let (mut keyspace, mut db) = (Keyspace::default(), 0);
        assert_eq!(digest(&keyspace).to_string(), "0".repeat(40));
        for line in [
            "SET a 1 PXAT 99999999999999",
            "RPUSH l x y",
            "SADD s 1 b",
            "HSET h f v",
            "ZADD z 1.5 m -inf n",
            "SELECT 3",
            "SET b 2",
        ] {
            let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            assert_eq!(replay(&mut keyspace, &mut db, &argv, 0), Ok(()));
        }
        // redis-server 7.0.15's answer to DEBUG DIGEST after the same commands.
        assert_eq!(digest(&keyspace).to_string(), "48dd39b1f32ec9bea34392c4822b07e066bf5049");
        assert_eq!(value_digest(None), Digest::default());
    }
}
