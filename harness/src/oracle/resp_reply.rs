//! Replies in RESP2: what a command would reply, and reading the few that say something of durability.

/// What the model says that a command replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// `+...`
    Simple(&'static str),
    /// `:...`
    Int(i64),
    /// A bulk string, or none.
    Bulk(Option<Vec<u8>>),
    /// An array.
    Array(Vec<Reply>),
    /// An array, or none.
    NullArray,
    /// Some error: its text is the server's own.
    Error,
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
