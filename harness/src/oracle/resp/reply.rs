//! Replies in RESP2: what a command would reply, and reading the few that say something of durability.

use crate::target::value::{Value, parse};

/// What the model says that a command replies.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    /// `+...`
    Simple(&'static str),
    /// `:...`
    Int(i64),
    /// A bulk string, or none.
    Bulk(Option<Vec<u8>>),
    /// An array.
    Array(Vec<Reply>),
    /// An array of strings in any order.
    Bag(Vec<Vec<u8>>),
    /// An array of fields, each with its value behind it, in any order of the fields.
    Pairs(Vec<(Vec<u8>, Vec<u8>)>),
    /// A string that is a number: which digits say it is the server's own affair, but not which number.
    Double(f64),
    /// An array, or none.
    NullArray,
    /// Some error: its text is the server's own.
    Error,
    /// No reply at all: what the server is known to have said it cannot have said.
    Impossible,
    /// An integer that the model does not follow.
    AnyInt,
    /// Something that the model does not follow, but no error.
    Any,
}

impl Reply {
    /// Whether the bytes are such a reply, whole.
    pub(super) fn matches(&self, bytes: &[u8]) -> bool {
        self.eat(bytes).is_some_and(|rest| rest.is_empty() || matches!(self, Reply::Any))
    }

    /// What follows such a reply at the beginning of `bytes`.
    fn eat<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        match self {
            Reply::Simple(text) => bytes.strip_prefix(format!("+{text}\r\n").as_bytes()),
            Reply::Int(n) => bytes.strip_prefix(format!(":{n}\r\n").as_bytes()),
            Reply::Bulk(None) => bytes.strip_prefix(b"$-1\r\n"),
            Reply::Bulk(Some(value)) => bytes
                .strip_prefix(format!("${}\r\n", value.len()).as_bytes())?
                .strip_prefix(value.as_slice())?
                .strip_prefix(b"\r\n"),
            Reply::Array(items) => {
                let rest = bytes.strip_prefix(format!("*{}\r\n", items.len()).as_bytes())?;
                items.iter().try_fold(rest, |rest, item| item.eat(rest))
            }
            Reply::Bag(strings) => {
                let (said, rest) = Said::read(bytes)?;
                let mut said = said.strings().filter(|_| bytes.starts_with(b"*"))?;
                let mut expected: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
                said.sort_unstable();
                expected.sort_unstable();
                (said == expected).then_some(rest)
            }
            Reply::Pairs(pairs) => {
                let (said, rest) = Said::read(bytes)?;
                let said = said.strings().filter(|s| bytes.starts_with(b"*") && s.len() % 2 == 0)?;
                let mut said: Vec<(&[u8], &[u8])> = said.chunks(2).map(|p| (p[0], p[1])).collect();
                let mut expected: Vec<(&[u8], &[u8])> =
                    pairs.iter().map(|(f, v)| (f.as_slice(), v.as_slice())).collect();
                said.sort_unstable();
                expected.sort_unstable();
                (said == expected).then_some(rest)
            }
            Reply::Double(n) => {
                let (said, rest) = Said::read(bytes)?;
                let text = std::str::from_utf8(said.strings()?.first()?).ok()?;
                let same = bytes.starts_with(b"$") && text.parse() == Ok(*n);
                same.then_some(rest)
            }
            Reply::Impossible => None,
            Reply::NullArray => bytes.strip_prefix(b"*-1\r\n"),
            Reply::Error => line(bytes.strip_prefix(b"-")?).map(|(_, rest)| rest),
            Reply::AnyInt => line(bytes.strip_prefix(b":")?).map(|(_, rest)| rest),
            Reply::Any => {
                let (head, rest) = line(bytes)?;
                match head.split_first() {
                    Some((b'$', len)) => {
                        let len: i64 = std::str::from_utf8(len).ok()?.parse().ok()?;
                        usize::try_from(len).map_or(Some(rest), |len| rest.get(len + 2..))
                    }
                    Some((b'-', _)) | None => None,
                    Some(_) => Some(rest),
                }
            }
        }
    }
}

/// Done.
pub(super) const OK: Reply = Reply::Simple("OK");

/// A number of things.
pub(super) fn whole(n: usize) -> Reply {
    Reply::Int(n as i64)
}

/// 1 or 0.
pub(super) fn flag(yes: bool) -> Reply {
    Reply::Int(i64::from(yes))
}

/// An array of strings, in this order.
pub(super) fn bulks(strings: Vec<Vec<u8>>) -> Reply {
    Reply::Array(strings.into_iter().map(|s| Reply::Bulk(Some(s))).collect())
}

/// What a server has said, read without knowing what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said(Value);

impl Said {
    /// The reply at the beginning of `bytes`, and what follows it.
    pub(super) fn read(bytes: &[u8]) -> Option<(Said, &[u8])> {
        let (value, len) = parse(bytes).ok()??;
        Some((Said(value), &bytes[len..]))
    }

    /// Something that tells of no member drawn.
    pub(super) fn nothing() -> Said {
        Said(Value::Int(0))
    }

    /// As it is sent.
    pub(super) fn encode(&self) -> Vec<u8> {
        match &self.0 {
            Value::Array(Some(items)) => {
                let items = items.iter().flat_map(|item| Said(item.clone()).encode());
                format!("*{}\r\n", self.0.items().map_or(0, <[Value]>::len))
                    .into_bytes()
                    .into_iter()
                    .chain(items)
                    .collect()
            }
            Value::Bulk(Some(string)) => {
                [format!("${}\r\n", string.len()).as_bytes(), string, b"\r\n"].concat()
            }
            _ => b":0\r\n".to_vec(),
        }
    }

    /// A string that the server may say.
    pub(super) fn bulk(string: Vec<u8>) -> Said {
        Said(Value::Bulk(Some(string)))
    }

    /// An array of what the server may say.
    pub(super) fn array(items: Vec<Said>) -> Said {
        Said(Value::Array(Some(items.into_iter().map(|s| s.0).collect())))
    }

    /// The string, or the strings of an array; `None` for anything else.
    pub(super) fn strings(&self) -> Option<Vec<&[u8]>> {
        match &self.0 {
            Value::Bulk(Some(one)) => Some(vec![one]),
            Value::Array(Some(items)) => items.iter().map(Value::bytes).collect(),
            _ => None,
        }
    }

    /// What was said to each command of a transaction.
    pub(super) fn each(self) -> Vec<Said> {
        match self.0 {
            Value::Array(Some(items)) => items.into_iter().map(Said).collect(),
            _ => Vec::new(),
        }
    }
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|w| w == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

/// An integer reply's number.
pub(super) fn integer(reply: &[u8]) -> Option<i64> {
    let (text, _) = line(reply.strip_prefix(b":")?)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The first number of an array of integers.
pub(super) fn first_integer(reply: &[u8]) -> Option<i64> {
    let (_, rest) = line(reply.strip_prefix(b"*")?)?;
    integer(rest)
}

/// Whether an INFO reply shows that the newest background save (or rewrite) has ended, and well.
pub(super) fn info_shows_success(reply: &[u8], rdb: bool) -> bool {
    let text = String::from_utf8_lossy(reply);
    let field = |name: &str| {
        text.lines().find_map(|l| l.strip_prefix(name).and_then(|v| v.strip_prefix(':'))).map(str::trim)
    };
    if rdb {
        field("rdb_bgsave_in_progress") == Some("0") && field("rdb_last_bgsave_status") == Some("ok")
    } else {
        field("aof_rewrite_in_progress") == Some("0")
            && field("aof_rewrite_scheduled").is_none_or(|v| v == "0")
            && field("aof_last_bgrewrite_status") == Some("ok")
    }
}
