//! RESP2 values: what servers say and are told.

use crate::target::client::ClientError;
use std::io::Write;

/// A RESP2 value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `+...`
    Simple(Vec<u8>),
    /// `-...`
    Error(Vec<u8>),
    /// `:...`
    Int(i64),
    /// `$...`; `None` is the null bulk string.
    Bulk(Option<Vec<u8>>),
    /// `*...`; `None` is the null array.
    Array(Option<Vec<Value>>),
}

impl Value {
    /// The bytes of a string reply.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(b) | Value::Bulk(Some(b)) => Some(b),
            _ => None,
        }
    }

    /// The elements of an array reply.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Value::Array(Some(items)) => Some(items),
            _ => None,
        }
    }
}

/// Arrays deeper than this are not a server's.
const DEPTH: u8 = 32;

/// Parses the value that `bytes` begin with, and says how many bytes it took; `None` if it is not whole yet.
///
/// # Errors
/// [`ClientError::Protocol`] where no more bytes could make it a value.
pub fn parse(bytes: &[u8]) -> Result<Option<(Value, usize)>, ClientError> {
    parse_at(bytes, 0, DEPTH)
}

fn parse_at(bytes: &[u8], at: usize, depth: u8) -> Result<Option<(Value, usize)>, ClientError> {
    let Some((line, next)) = line_at(bytes, at)? else { return Ok(None) };
    let (kind, rest) = (line[0], &line[1..]);
    let value = match kind {
        b'+' => Value::Simple(rest.to_vec()),
        b'-' => Value::Error(rest.to_vec()),
        b':' => Value::Int(number(rest)?),
        b'$' => match number(rest)? {
            -1 => Value::Bulk(None),
            n => {
                let len = usize::try_from(n).map_err(|_| protocol("a negative length"))?;
                let end = next.checked_add(len).ok_or_else(|| protocol("a length beyond memory"))?;
                if bytes.len() < end + 2 {
                    return Ok(None);
                }
                if &bytes[end..end + 2] != b"\r\n" {
                    return Err(protocol("a bulk string without its line end"));
                }
                return Ok(Some((Value::Bulk(Some(bytes[next..end].to_vec())), end + 2)));
            }
        },
        b'*' => match number(rest)? {
            -1 => Value::Array(None),
            n if n < 0 => return Err(protocol("a negative length")),
            _ if depth == 0 => return Err(protocol("arrays nested too deeply")),
            n => {
                let (mut items, mut next) = (Vec::new(), next);
                for _ in 0..n {
                    let Some((item, after)) = parse_at(bytes, next, depth - 1)? else { return Ok(None) };
                    items.push(item);
                    next = after;
                }
                return Ok(Some((Value::Array(Some(items)), next)));
            }
        },
        other => return Err(protocol(&format!("a value that begins with {:?}", char::from(other)))),
    };
    Ok(Some((value, next)))
}

/// The line at `at` without its end, never empty, and where the next begins.
fn line_at(bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, ClientError> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(end) = rest.windows(2).position(|w| w == b"\r\n") else {
        return Ok(None);
    };
    if end == 0 { Err(protocol("an empty line")) } else { Ok(Some((&rest[..end], at + end + 2))) }
}

fn number(digits: &[u8]) -> Result<i64, ClientError> {
    let text = std::str::from_utf8(digits).map_err(|_| protocol("a number that is not one"))?;
    text.parse().map_err(|_| protocol(&format!("the number {text:?}")))
}

fn protocol(what: &str) -> ClientError {
    ClientError::Protocol(what.to_owned())
}

/// Appends a command in RESP form.
pub fn encode_command<A: AsRef<[u8]>>(out: &mut Vec<u8>, args: &[A]) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "*{}\r\n", args.len());
    for arg in args {
        let arg = arg.as_ref();
        let _ = write!(out, "${}\r\n", arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Value {
        let (value, len) = parse(bytes).unwrap().unwrap();
        assert_eq!(len, bytes.len());
        value
    }

    #[test]
    fn every_kind_of_value_parses() {
        assert_eq!(whole(b"+OK\r\n"), Value::Simple(b"OK".to_vec()));
        assert_eq!(whole(b"-ERR no\r\n"), Value::Error(b"ERR no".to_vec()));
        assert_eq!(whole(b":-12\r\n"), Value::Int(-12));
        assert_eq!(whole(b"$-1\r\n"), Value::Bulk(None));
        assert_eq!(whole(b"$4\r\na\r\nb\r\n"), Value::Bulk(Some(b"a\r\nb".to_vec())));
        assert_eq!(whole(b"*-1\r\n"), Value::Array(None));
        assert_eq!(
            whole(b"*2\r\n*1\r\n:1\r\n$0\r\n\r\n"),
            Value::Array(Some(vec![Value::Array(Some(vec![Value::Int(1)])), Value::Bulk(Some(vec![]))]))
        );
    }

    #[test]
    fn no_proper_prefix_of_a_value_parses() {
        let bytes = b"*3\r\n$5\r\nhello\r\n:42\r\n*1\r\n+x\r\n";
        for cut in 0..bytes.len() {
            assert!(parse(&bytes[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        assert!(parse(bytes).unwrap().is_some());
    }

    #[test]
    fn what_is_not_resp_is_an_error() {
        for bad in [&b"\r\n"[..], b"hello\r\n", b":x\r\n", b"$-2\r\n", b"$1\r\nabc\r\n", b"*-5\r\n"] {
            assert!(
                matches!(parse(bad), Err(ClientError::Protocol(_))),
                "{:?}",
                bad.escape_ascii().to_string()
            );
        }
        let deep = b"*1\r\n".repeat(usize::from(DEPTH) + 1);
        assert!(matches!(parse(&deep), Err(ClientError::Protocol(_))));
    }
}
