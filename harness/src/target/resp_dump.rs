//! What a RESP server holds, read through its own commands.

use crate::dump::{Dump, Entry};
use crate::target::client::{Client, ClientError};
use crate::target::resp_op::{canonical_key, canonical_list, canonical_string};
use crate::target::value::Value;
use std::time::Duration;

/// All that a server holds.
///
/// # Errors
/// The connection's; [`ClientError::Refused`] where the server does not let itself be read, or holds a type that
/// has no canonical form here.
pub fn dump(client: &mut Client, patience: Duration) -> Result<Dump, ClientError> {
    let mut dump = Dump::default();
    let command = |args: &[&[u8]]| args.iter().map(|a| a.to_vec()).collect::<Vec<_>>();
    let first = [command(&[b"INFO", b"keyspace"]), command(&[b"KEYS", b"*"])];
    let replies = client.pipeline(&first, patience)?;
    let [info, keys] = replies.as_slice() else { return Err(unexpected("INFO", &Value::Array(None))) };
    let text = info.bytes().ok_or_else(|| unexpected("INFO", info))?;
    dump_keys(client, 0, keys, &mut dump, patience)?;
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

/// Reads the keys in one round trip: each is asked for as a string and as a list, as its type is not known
/// before; the one that does not fit answers with a short error.
fn dump_keys(
    client: &mut Client,
    db: u32,
    keys: &Value,
    into: &mut Dump,
    patience: Duration,
) -> Result<(), ClientError> {
    let keys = keys.items().ok_or_else(|| unexpected("KEYS", keys))?;
    let keys: Vec<&[u8]> = keys.iter().filter_map(Value::bytes).collect();
    let mut commands: Vec<Vec<Vec<u8>>> = Vec::with_capacity(keys.len() * 4);
    for key in &keys {
        for args in [&[&b"TYPE"[..], key][..], &[b"PEXPIRETIME", key], &[b"GET", key]] {
            commands.push(args.iter().map(|a| a.to_vec()).collect());
        }
        commands.push([&b"LRANGE"[..], key, b"0", b"-1"].iter().map(|a| a.to_vec()).collect());
    }
    let replies = client.pipeline(&commands, patience)?;
    for (key, replies) in keys.iter().zip(replies.chunks(4)) {
        let [kind, expiry, string, list] = replies else { continue };
        let value = match kind.bytes() {
            Some(b"string") => canonical_string(string.bytes().ok_or_else(|| unexpected("GET", string))?),
            Some(b"list") => {
                let items = list.items().ok_or_else(|| unexpected("LRANGE", list))?;
                canonical_list(items.iter().filter_map(Value::bytes))
            }
            // Expired between the two round trips.
            Some(b"none") => continue,
            _ => return Err(unexpected("TYPE", kind)),
        };
        let expires_at_ms = match expiry {
            Value::Int(ms) => u64::try_from(*ms).ok(),
            other => return Err(unexpected("PEXPIRETIME", other)),
        };
        into.0.insert(canonical_key(db, key), Entry { value, expires_at_ms });
    }
    Ok(())
}

fn unexpected(command: &str, reply: &Value) -> ClientError {
    ClientError::Refused(format!("{reply:?} in reply to {command}"))
}
