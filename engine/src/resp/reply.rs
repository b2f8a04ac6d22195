//! Replies as values.

use super::parse_integer;

/// A reply, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A status, as `OK`.
    Simple(String),
    /// An error with its code, as `ERR syntax error`.
    Error(String),
    /// An integer.
    Int(i64),
    /// A string.
    Bulk(Vec<u8>),
    /// The null bulk string or the null array; RESP3's null.
    Null,
    /// Several replies.
    Array(Vec<Reply>),
    /// RESP3: keys and values, in turns.
    Map(Vec<Reply>),
    /// RESP3: several replies without an order.
    Set(Vec<Reply>),
    /// RESP3: a double, as it is written.
    Double(String),
}

/// How deep arrays may nest: EXEC of a command that replies with nested arrays needs four.
const MAX_DEPTH: usize = 16;

impl Reply {
    /// Decodes the first reply of `bytes` and says how long it is; `Ok(None)` if it is not complete yet, an
    /// error if it is no RESP.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Reply, usize)>, String> {
        Self::decode_at(bytes, 0, 0)
    }

    fn decode_at(bytes: &[u8], start: usize, depth: usize) -> Result<Option<(Reply, usize)>, String> {
        let Some(length) = bytes[start..].windows(2).position(|w| w == b"\r\n") else { return Ok(None) };
        let Some((kind, text)) = bytes[start..start + length].split_first() else {
            return Err("empty line where a reply begins".into());
        };
        let end = start + length + 2;
        let number =
            || parse_integer(text).ok_or_else(|| format!("bad length {:?}", String::from_utf8_lossy(text)));
        match kind {
            b'+' => Ok(Some((Reply::Simple(String::from_utf8_lossy(text).into_owned()), end))),
            b'-' => Ok(Some((Reply::Error(String::from_utf8_lossy(text).into_owned()), end))),
            b':' => Ok(Some((Reply::Int(number()?), end))),
            b'$' | b'=' => match usize::try_from(number()?) {
                Err(_) => Ok(Some((Reply::Null, end))),
                Ok(len) if bytes.len() - end < len.saturating_add(2) => Ok(None),
                Ok(len) => Ok(Some((Reply::Bulk(bytes[end..end + len].to_vec()), end + len + 2))),
            },
            b'*' | b'%' | b'~' if depth == MAX_DEPTH => Err("arrays nest too deep".into()),
            b'*' | b'%' | b'~' => match usize::try_from(number()?) {
                Err(_) => Ok(Some((Reply::Null, end))),
                Ok(len) => {
                    let (mut items, mut at) = (Vec::new(), end);
                    let len = if *kind == b'%' { len.saturating_mul(2) } else { len };
                    for _ in 0..len {
                        let Some((item, next)) = Self::decode_at(bytes, at, depth + 1)? else {
                            return Ok(None);
                        };
                        items.push(item);
                        at = next;
                    }
                    let whole = match kind {
                        b'%' => Reply::Map(items),
                        b'~' => Reply::Set(items),
                        _ => Reply::Array(items),
                    };
                    Ok(Some((whole, at)))
                }
            },
            b'_' => Ok(Some((Reply::Null, end))),
            b',' => Ok(Some((Reply::Double(String::from_utf8_lossy(text).into_owned()), end))),
            other => Err(format!("unknown reply kind {:?}", char::from(*other))),
        }
    }

    /// Whether this is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_decoded_only_when_whole() {
        let bytes = b"*3\r\n$2\r\nab\r\n*-1\r\n:-7\r\n+rest";
        for cut in 0..22 {
            assert_eq!(Reply::decode(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        let whole = Reply::Array(vec![Reply::Bulk(b"ab".to_vec()), Reply::Null, Reply::Int(-7)]);
        assert_eq!(Reply::decode(bytes), Ok(Some((whole, 22))));
        assert!(Reply::decode(b"?\r\n").is_err());
        let bytes = b"%1\r\n,1.5\r\n~1\r\n_\r\n";
        let map = Reply::Map(vec![Reply::Double("1.5".into()), Reply::Set(vec![Reply::Null])]);
        assert_eq!(Reply::decode(bytes), Ok(Some((map, bytes.len()))));
    }
}
