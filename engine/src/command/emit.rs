//! The commands that rebuild one key, for rewrites without an RDB preamble.

use crate::keyspace::{Entry, Value};
use crate::number::format_double;

/// Elements per RPUSH, as Redis's AOF_REWRITE_ITEMS_PER_CMD.
const ITEMS_PER_COMMAND: usize = 64;

/// Gives `sink` the commands that rebuild `key` in an empty database. SELECT is the caller's: `db` only says
/// which database the commands belong to.
pub fn emit(_db: usize, key: &[u8], entry: &Entry, sink: &mut dyn FnMut(&[&[u8]])) {
    match &entry.value {
        Value::Str(value) => sink(&[b"SET", key, value]),
        Value::List(list) => chunks(b"RPUSH", key, list.iter().map(|item| [item]), sink),
        Value::Set(set) => chunks(b"SADD", key, set.iter().map(|member| [member]), sink),
        Value::Hash(hash) => {
            chunks(b"HMSET", key, hash.iter().map(|(field, value)| [field, value]), sink);
        }
        Value::SortedSet(set) => {
            let scores: Vec<String> = set.iter().map(|(_, score)| format_double(score.get())).collect();
            let items = set.iter().zip(&scores).map(|((member, _), score)| [score.as_bytes(), member]);
            chunks(b"ZADD", key, items, sink);
        }
    }
    if let Some(at) = entry.expires_at_ms() {
        sink(&[b"PEXPIREAT", key, at.to_string().as_bytes()]);
    }
}

/// `name key item...`, with so many items a command as Redis writes.
fn chunks<'a, const N: usize>(
    name: &'a [u8],
    key: &'a [u8],
    items: impl Iterator<Item = [&'a [u8]; N]>,
    sink: &mut dyn FnMut(&[&[u8]]),
) {
    let mut argv: Vec<&[u8]> = Vec::with_capacity(2 + N * ITEMS_PER_COMMAND);
    let mut items = items.peekable();
    while items.peek().is_some() {
        argv.clear();
        argv.extend([name, key]);
        argv.extend(items.by_ref().take(ITEMS_PER_COMMAND).flatten());
        sink(&argv);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(entry: &Entry) -> Vec<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        emit(0, b"k", entry, &mut |argv| all.push(argv.iter().map(|a| a.to_vec()).collect()));
        all
    }

    #[test]
    fn a_long_list_is_cut_into_chunks_and_the_expiry_comes_last() {
        let items: Vec<String> = (0..130).map(|i| i.to_string()).collect();
        let list: crate::value::List = items.iter().map(String::as_bytes).collect();
        let all = commands(&Entry::new(Value::from(list), Some(77)));
        let lengths: Vec<usize> = all.iter().map(Vec::len).collect();
        assert_eq!(lengths, [66, 66, 4, 3]);
        assert_eq!(all[2][3], b"129");
        assert_eq!(all[3], [b"PEXPIREAT".to_vec(), b"k".to_vec(), b"77".to_vec()]);
    }
}
