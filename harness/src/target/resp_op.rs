//! How one operation on a RESP target is written down in a workload and in a trace.

use serde::{Deserialize, Serialize};
use std::io::Write;

/// One operation of a client: a command with its arguments, or a transaction.
///
/// Its bytes are what [`Step::Invoke`](crate::workload::Step::Invoke) and
/// [`Op::Invoke`](unplug_faults::event::Op::Invoke) carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RespOp {
    /// The commands. One is sent as it is; several are sent as MULTI, the commands, EXEC in one piece, and the
    /// operation's reply is EXEC's.
    pub commands: Vec<Vec<Vec<u8>>>,
}

/// An operation's bytes are not a [`RespOp`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RespOpError {
    /// They do not decode.
    #[error("not a RESP operation: {0}")]
    Encoding(String),
    /// They decode to nothing that could be sent.
    #[error("a RESP operation without a command, or with an empty command")]
    Empty,
}

impl RespOp {
    /// One command.
    pub fn command<A: AsRef<[u8]>>(args: &[A]) -> Self {
        RespOp { commands: vec![args.iter().map(|a| a.as_ref().to_vec()).collect()] }
    }

    /// A transaction of several commands. Of one command it is the same as that command alone.
    pub fn transaction(commands: Vec<Vec<Vec<u8>>>) -> Self {
        RespOp { commands }
    }

    /// Whether it is sent as MULTI ... EXEC.
    pub fn is_transaction(&self) -> bool {
        self.commands.len() > 1
    }

    /// Whether it is a CONFIG SET of `appendonly`, and to what.
    pub(crate) fn switches_the_log(&self) -> Option<bool> {
        let of = |command: &Vec<Vec<u8>>| {
            let [config, set, pairs @ ..] = command.as_slice() else { return None };
            if !config.eq_ignore_ascii_case(b"CONFIG") || !set.eq_ignore_ascii_case(b"SET") {
                return None;
            }
            let pair = pairs.chunks_exact(2).find(|pair| pair[0].eq_ignore_ascii_case(b"appendonly"))?;
            Some(pair[1].eq_ignore_ascii_case(b"yes"))
        };
        self.commands.iter().rev().find_map(of)
    }

    /// The operation's bytes. Encoding plain byte strings cannot fail.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// The operation that `bytes` encode.
    ///
    /// # Errors
    /// [`RespOpError`] where they encode none, have trailing bytes, or hold an empty command.
    pub fn decode(bytes: &[u8]) -> Result<Self, RespOpError> {
        let (op, rest): (RespOp, &[u8]) =
            postcard::take_from_bytes(bytes).map_err(|e| RespOpError::Encoding(e.to_string()))?;
        if !rest.is_empty() {
            return Err(RespOpError::Encoding(format!("{} bytes too many", rest.len())));
        }
        if op.commands.is_empty() || op.commands.iter().any(|c| c.first().is_none_or(Vec::is_empty)) {
            return Err(RespOpError::Empty);
        }
        Ok(op)
    }
}

/// The value of a string key as it stands in a [`Dump`](crate::dump::Dump).
pub fn canonical_string(value: &[u8]) -> Vec<u8> {
    [b"string ", value].concat()
}

/// The value of a list key as it stands in a [`Dump`](crate::dump::Dump): each element with its length, so
/// that no two lists look the same.
pub fn canonical_list<'a>(elements: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    canonical_elements("list", elements)
}

/// The value of a set key as it stands in a [`Dump`](crate::dump::Dump): its members, sorted.
pub fn canonical_set<'a>(members: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut members: Vec<&[u8]> = members.into_iter().collect();
    members.sort_unstable();
    canonical_elements("set", members)
}

/// The value of a hash key as it stands in a [`Dump`](crate::dump::Dump): fields and values, sorted by field.
pub fn canonical_hash<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut fields: Vec<(&[u8], &[u8])> = fields.into_iter().collect();
    fields.sort_unstable();
    canonical_elements("hash", fields.into_iter().flat_map(|(field, value)| [field, value]))
}

/// The value of a sorted set as it stands in a [`Dump`](crate::dump::Dump): members and the shortest decimals
/// of their scores, sorted by member.
pub fn canonical_sorted_set<'a>(members: impl IntoIterator<Item = (&'a [u8], f64)>) -> Vec<u8> {
    let mut members: Vec<(&[u8], Vec<u8>)> =
        members.into_iter().map(|(member, score)| (member, score.to_string().into_bytes())).collect();
    members.sort_unstable();
    canonical_elements("zset", members.iter().flat_map(|(member, score)| [*member, score]))
}

fn canonical_elements<'a>(kind: &str, elements: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = format!("{kind} ").into_bytes();
    for element in elements {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{}:", element.len());
        out.extend_from_slice(element);
        out.push(b',');
    }
    out
}

/// The name of a key as it stands in a [`Dump`](crate::dump::Dump).
pub fn canonical_key(database: u32, key: &[u8]) -> Vec<u8> {
    [format!("{database}/").as_bytes(), key].concat()
}

/// As a person would type it; transactions in braces, bytes that are not printable escaped.
impl std::fmt::Display for RespOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = |c: &Vec<Vec<u8>>| c.iter().map(|a| argument(a)).collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = self.commands.iter().map(line).collect();
        match lines.as_slice() {
            [one] => f.write_str(one),
            several => write!(f, "MULTI {{ {} }} EXEC", several.join("; ")),
        }
    }
}

/// How many bytes of one argument are shown.
const SHOWN: usize = 48;

fn argument(bytes: &[u8]) -> String {
    let plain = !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_graphic() && *b != b'"');
    let (head, cut) = if bytes.len() > SHOWN { (&bytes[..SHOWN], true) } else { (bytes, false) };
    let text = if plain {
        String::from_utf8_lossy(head).into_owned()
    } else {
        format!("\"{}\"", head.escape_ascii())
    };
    if cut { format!("{text}... ({} bytes)", bytes.len()) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_display() {
        let one = RespOp::command(&["SET", "k", "a b"]);
        assert_eq!(RespOp::decode(&one.encode()), Ok(one.clone()));
        assert_eq!(one.to_string(), "SET k \"a b\"");
        let tx = RespOp::transaction(vec![
            vec![b"INCR".to_vec(), b"a".to_vec()],
            vec![b"RPUSH".to_vec(), b"l".to_vec(), vec![0; 60]],
        ]);
        assert!(tx.is_transaction());
        assert_eq!(RespOp::decode(&tx.encode()), Ok(tx.clone()));
        assert!(tx.to_string().starts_with("MULTI { INCR a; RPUSH l \"\\x00"), "{tx}");
        assert!(tx.to_string().contains("(60 bytes)"));
    }

    #[test]
    fn foreign_bytes_are_told() {
        assert_eq!(RespOp::decode(&RespOp::default().encode()), Err(RespOpError::Empty));
        assert_eq!(RespOp::decode(&RespOp::command::<&str>(&[]).encode()), Err(RespOpError::Empty));
        assert!(matches!(RespOp::decode(&[0xff]), Err(RespOpError::Encoding(_))));
        let mut long = RespOp::command(&["PING"]).encode();
        long.push(0);
        assert!(matches!(RespOp::decode(&long), Err(RespOpError::Encoding(_))));
    }
}
