//! OBJECT: how Redis would store a value.

use super::context::Ctx;
use super::error::CommandError;
use crate::keyspace::{Origin, Str, Value};
use crate::resp::{Out, parse_integer};

/// Longest string that Redis stores together with its header.
const EMBEDDED: usize = 44;

const HELP: [&str; 15] = [
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Prints this help.",
];

/// What Redis calls the way in which it would store a value.
pub(super) fn encoding(value: &Value) -> &'static str {
    match value {
        Value::List(_) => "quicklist",
        Value::Set(set) => set.encoding(),
        Value::Hash(hash) => hash.encoding(),
        Value::SortedSet(set) => set.encoding(),
        Value::Str(text) if text.origin() == Origin::Changed => "raw",
        Value::Str(text) if text.origin() == Origin::Given && parse_integer(text).is_some() => "int",
        Value::Str(text) if text.len() <= EMBEDDED => "embstr",
        Value::Str(_) => "raw",
    }
}

/// References to a value: small integers are shared in Redis, and are said to have very many.
fn references(value: &Value) -> i64 {
    let shared = |text: &[u8]| parse_integer(text).is_some_and(|n| (0..10_000).contains(&n));
    let given = |text: &Str| text.origin() == Origin::Given;
    if matches!(value, Value::Str(text) if given(text) && shared(text)) { i64::from(i32::MAX) } else { 1 }
}

/// OBJECT ENCODING|FREQ|IDLETIME|REFCOUNT key, OBJECT HELP (what there is, and what each takes, is checked before)
pub(super) fn object(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Result<(), CommandError> {
    let sub = argv[1].to_ascii_lowercase();
    if sub == b"help" {
        out.array(HELP.len());
        HELP.iter().for_each(|line| out.simple(line));
        return Ok(());
    }
    let Some(entry) = cx.entry(argv[2]) else {
        out.null();
        return Ok(());
    };
    match sub.as_slice() {
        b"encoding" => out.bulk(encoding(&entry.value).as_bytes()),
        b"refcount" => out.int(references(&entry.value)),
        // When a key was last read is not remembered: it counts as just now.
        b"idletime" => out.int(0),
        b"freq" => {
            return Err(CommandError::fixed(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                 switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        _ => return Err(CommandError::subcommand("OBJECT", argv[1])),
    }
    Ok(())
}
