//! What a data command works on: the keyspace, the time, and where its effects are noted.

use super::error::{CommandError, WRONG_TYPE};
use super::hooks::Hooks;
use crate::keyspace::{Db, Entry, Keyspace, Str, Value};
use crate::value::{Hash, List, Set, SortedSet};

/// Takes the commands that are to be replayed.
pub trait Journal {
    /// Notes one command, already in the form in which it is to be replayed.
    fn log(&mut self, db: usize, argv: &[&[u8]]);
}

/// For replay: nothing is logged.
#[derive(Debug, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn log(&mut self, _db: usize, _argv: &[&[u8]]) {}
}

/// A type of value, so that look-ups can check it.
pub trait Typed: Sized {
    /// The value, if it has this type.
    fn of(value: &mut Value) -> Option<&mut Self>;
    /// The value, if it has this type, to be read.
    fn of_ref(value: &Value) -> Option<&Self>;
    /// An empty value of this type.
    fn empty() -> Value;
}

macro_rules! typed {
    ($type:ty, $variant:ident) => {
        impl Typed for $type {
            fn of(value: &mut Value) -> Option<&mut Self> {
                match value {
                    Value::$variant(inner) => Some(inner),
                    _ => None,
                }
            }
            fn of_ref(value: &Value) -> Option<&Self> {
                match value {
                    Value::$variant(inner) => Some(inner),
                    _ => None,
                }
            }
            fn empty() -> Value {
                Value::$variant(Default::default())
            }
        }
    };
}

typed!(Str, Str);
typed!(List, List);
typed!(Set, Set);
typed!(Hash, Hash);
typed!(SortedSet, SortedSet);

/// Everything that a data command may touch. Replies go elsewhere, so that a command can write out what it
/// still borrows from here.
pub struct Ctx<'a> {
    /// The data.
    pub keyspace: &'a mut Keyspace,
    /// Where effects are logged.
    pub journal: &'a mut dyn Journal,
    /// Watched keys, expiries and counters.
    pub hooks: &'a mut Hooks,
    /// The client's database; always within the keyspace.
    pub db: usize,
    /// The time of this turn.
    pub now_ms: u64,
    /// Whether a file is being loaded: expired keys then stay until their DEL.
    pub loading: bool,
    /// Whether the command changed data and is to be logged as it came.
    pub changed: bool,
    /// How many changes the command says it made; where it says nothing, one if it changed anything.
    pub counted: Option<u64>,
    /// Whether the command has logged a translation of itself.
    pub translated: bool,
    /// Whether the command emptied every database.
    pub flushed_all: bool,
}

impl Ctx<'_> {
    /// The client's database.
    pub fn database(&mut self) -> &mut Db {
        &mut self.keyspace.dbs[self.db]
    }

    /// Deletes `key` of `db` if its time has come, and logs that. Says whether it did.
    pub fn expire_if_due(&mut self, db: usize, key: &[u8]) -> bool {
        // Where nothing expires nothing is looked up.
        if self.loading || self.keyspace.dbs[db].expiring() == 0 {
            return false;
        }
        let due = self.keyspace.dbs[db].get(key).is_some_and(|e| e.is_due(self.now_ms));
        if due {
            self.keyspace.dbs[db].remove(key);
            self.hooks.expired_keys += 1;
            self.hooks.watched.touch(db, key);
            self.journal.log(db, &[b"DEL", key]);
        }
        due
    }

    /// The entry of `key`, unless it has expired.
    pub fn entry(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.entry_in(self.db, key)
    }

    /// The entry of `key` in database `db`, unless it has expired.
    pub fn entry_in(&mut self, db: usize, key: &[u8]) -> Option<&mut Entry> {
        if self.expire_if_due(db, key) {
            return None;
        }
        self.keyspace.dbs[db].get_mut(key)
    }

    /// Whether `key` exists.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.entry(key).is_some()
    }

    /// The value of `key`, if it exists; an error if it is of another type.
    pub fn get<T: Typed>(&mut self, key: &[u8]) -> Result<Option<&mut T>, CommandError> {
        match self.entry(key) {
            None => Ok(None),
            Some(entry) => T::of(&mut entry.value).map(Some).ok_or(WRONG_TYPE),
        }
    }

    /// As `get`, to be read, and counted among keyspace hits and misses.
    pub fn read<T: Typed>(&mut self, key: &[u8]) -> Result<Option<&T>, CommandError> {
        self.expire_if_due(self.db, key);
        match self.keyspace.dbs[self.db].get(key) {
            Some(entry) => {
                self.hooks.hits += 1;
                T::of_ref(&entry.value).map(Some).ok_or(WRONG_TYPE)
            }
            None => {
                self.hooks.misses += 1;
                Ok(None)
            }
        }
    }

    /// A value that was looked up before, among others: nothing expires meanwhile.
    pub fn peek<T: Typed>(&self, key: &[u8]) -> Option<&T> {
        self.keyspace.dbs[self.db].get(key).and_then(|entry| T::of_ref(&entry.value))
    }

    /// The value of `key`, made empty if it does not exist.
    pub fn get_or_new<T: Typed>(&mut self, key: &[u8]) -> Result<&mut T, CommandError> {
        self.expire_if_due(self.db, key);
        if !self.database().contains_key(key) {
            self.announce(self.db, key, &T::empty());
            self.database().insert(key, Entry::new(T::empty(), None));
        }
        self.database().get_mut(key).and_then(|e| T::of(&mut e.value)).ok_or(WRONG_TYPE)
    }

    /// Says that `key` changed: whoever watches it must know, and the command is to be logged.
    pub fn touch(&mut self, key: &[u8]) {
        self.hooks.watched.touch(self.db, key);
        self.changed = true;
    }

    /// Says that a command which changes keys has met `key`, but left it as it was: in Redis whoever watches it is told
    /// all the same.
    pub fn signal(&mut self, key: &[u8]) {
        self.hooks.watched.touch(self.db, key);
    }

    /// Says how many changes the command made, as Redis counts them (save points do): of most commands one, of those
    /// on several items or keys one each.
    pub fn count(&mut self, changes: usize) {
        self.counted = Some(changes as u64);
    }

    /// How many changes the command made.
    pub fn changes(&self) -> u64 {
        self.counted.unwrap_or(u64::from(self.changed))
    }

    /// Tells those who wait for `key` that it comes into being.
    fn announce(&mut self, db: usize, key: &[u8], value: &Value) {
        if !self.hooks.blocked.is_empty() && matches!(value, Value::List(_) | Value::SortedSet(_)) {
            self.hooks.blocked.signal(db, key);
        }
    }

    /// Puts a value; whatever was there goes, its expiry too. As in Redis 7.0, who waits for the key hears of it only
    /// if nothing was there.
    pub fn put(&mut self, key: &[u8], value: Value, expires_at_ms: Option<u64>) {
        if !self.hooks.blocked.is_empty() && !self.database().contains_key(key) {
            self.announce(self.db, key, &value);
        }
        self.insert(self.db, key, Entry::new(value, expires_at_ms));
    }

    /// Puts an entry into database `db`, in the place of whatever was there.
    pub fn put_in(&mut self, db: usize, key: &[u8], entry: Entry) {
        self.announce(db, key, &entry.value);
        self.insert(db, key, entry);
    }

    fn insert(&mut self, db: usize, key: &[u8], entry: Entry) {
        if let (Some(at), false) = (entry.expires_at_ms(), self.loading) {
            self.hooks.expiries.add(at, db, key);
        }
        self.keyspace.dbs[db].insert(key, entry);
        self.hooks.watched.touch(db, key);
        self.changed = true;
    }

    /// Takes a key away; `None` if there is none.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        self.expire_if_due(self.db, key);
        let entry = self.database().remove(key)?;
        self.touch(key);
        Some(entry)
    }

    /// Takes the key away if what it holds has become empty, and says that it changed.
    pub fn changed_to(&mut self, key: &[u8], empty: bool) {
        if empty {
            self.remove(key);
        }
        self.touch(key);
    }

    /// Puts what a command has computed, or takes the key away if that is nothing.
    pub fn store(&mut self, key: &[u8], result: Option<Value>) {
        match result {
            Some(value) => self.put(key, value, None),
            None => drop(self.remove(key)),
        }
    }

    /// Sets or takes away the expiry of an existing key.
    pub fn set_expiry(&mut self, key: &[u8], at_ms: Option<u64>) {
        let (db, loading) = (self.db, self.loading);
        self.database().set_expiry(key, at_ms);
        if let (Some(at), false) = (at_ms, loading) {
            self.hooks.expiries.add(at, db, key);
        }
        self.touch(key);
    }

    /// Logs `argv` in the place of the command itself.
    pub fn translate(&mut self, argv: &[&[u8]]) {
        self.journal.log(self.db, argv);
        self.translated = true;
    }
}
