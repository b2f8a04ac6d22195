//! What a RESP server holds, read through its own commands.

use crate::dump::{Dump, Entry};
use crate::target::client::{Client, ClientError};
use crate::target::resp_op::{canonical_key, canonical_list, canonical_string};
use crate::target::value::{Value, encode_command};
use std::time::Duration;

/// What is asked first: in one piece, and whether or not the server has loaded its data.
#[derive(Debug)]
pub(crate) struct First {
    keys: Value,
    keyspace: Value,
}

impl First {
    /// Asks. INFO is answered during loading too, but not before KEYS, which is not.
    pub(crate) fn ask(client: &mut Client, patience: Duration) -> Result<(), ClientError> {
        let mut bytes = Vec::new();
        encode_command(&mut bytes, &["KEYS", "*"]);
        encode_command(&mut bytes, &["INFO", "keyspace"]);
        client.send(&bytes, patience)
    }

    /// What the answers say, in the order of the questions; `None` while the server loads its data.
    pub(crate) fn read([keys, keyspace]: [Value; 2]) -> Result<Option<First>, ClientError> {
        match &keys {
            Value::Error(text) if text.starts_with(b"LOADING") => Ok(None),
            Value::Error(text) => Err(ClientError::Refused(String::from_utf8_lossy(text).into_owned())),
            _ => Ok(Some(First { keys, keyspace })),
        }
    }
}

/// All that a server holds that has answered the first questions.
///
/// # Errors
/// The connection's; [`ClientError::Refused`] where the server does not let itself be read, or holds a type that
/// has no canonical form here.
pub(crate) fn dump(client: &mut Client, first: &First, patience: Duration) -> Result<Dump, ClientError> {
    let mut dump = Dump::default();
    let command = |args: &[&[u8]]| args.iter().map(|a| a.to_vec()).collect::<Vec<_>>();
    let text = first.keyspace.bytes().ok_or_else(|| unexpected("INFO", &first.keyspace))?;
    dump_keys(client, 0, &first.keys, &mut dump, patience)?;
    let others: Vec<u32> = databases(text).into_iter().filter(|db| *db != 0).collect();
    for db in &others {
        let select = [command(&[b"SELECT", db.to_string().as_bytes()]), command(&[b"KEYS", b"*"])];
        let replies = client.pipeline(&select, patience)?;
        if let [_, keys] = replies.as_slice() {
            dump_keys(client, *db, keys, &mut dump, patience)?;
        }
    }
    if !others.is_empty() {
        client.call(&["SELECT", "0"], patience)?;
    }
    Ok(dump)
}

/// The numbers in INFO's lines `db0:keys=...`.
fn databases(info: &[u8]) -> Vec<u32> {
    let text = String::from_utf8_lossy(info);
    text.lines().filter_map(|l| l.strip_prefix("db")?.split_once(':')?.0.parse().ok()).collect()
}

/// Reads the keys: all strings and expiries in one round trip, then what is no string, as a list.
fn dump_keys(
    client: &mut Client,
    db: u32,
    keys: &Value,
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
    keys.iter().for_each(|key| encode_command(&mut bytes, &[&b"PEXPIRETIME"[..], key]));
    let replies = client.replies(&bytes, 1 + keys.len(), patience)?;
    let Some((strings, expiries)) = replies.split_first() else { return Ok(()) };
    let values = strings.items().filter(|values| values.len() == keys.len());
    let values = values.ok_or_else(|| unexpected("MGET", strings))?;
    let mut others = Vec::new();
    for ((key, value), expiry) in keys.iter().zip(values).zip(expiries) {
        let expires_at_ms = match expiry {
            Value::Int(ms) => u64::try_from(*ms).ok(),
            other => return Err(unexpected("PEXPIRETIME", other)),
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
    dump_lists(client, db, &others, into, patience)
}

/// Reads the keys that are no strings.
fn dump_lists(
    client: &mut Client,
    db: u32,
    keys: &[(&[u8], Option<u64>)],
    into: &mut Dump,
    patience: Duration,
) -> Result<(), ClientError> {
    let mut bytes = Vec::new();
    keys.iter().for_each(|(key, _)| encode_command(&mut bytes, &[&b"LRANGE"[..], key, b"0", b"-1"]));
    let replies = client.replies(&bytes, keys.len(), patience)?;
    for ((key, expires_at_ms), list) in keys.iter().zip(&replies) {
        // An error where it is neither string nor list.
        let items = list.items().ok_or_else(|| unexpected("LRANGE", list))?;
        // No list is empty: the key has expired since it was named.
        if !items.is_empty() {
            let value = canonical_list(items.iter().filter_map(Value::bytes));
            into.0.insert(canonical_key(db, key), Entry { value, expires_at_ms: *expires_at_ms });
        }
    }
    Ok(())
}

fn unexpected(command: &str, reply: &Value) -> ClientError {
    ClientError::Refused(format!("{reply:?} in reply to {command}"))
}
