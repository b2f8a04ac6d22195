//! Reading commands and annotation lines out of a file's bytes.

/// Redis's bound on a command's arguments.
const MAX_ARGS: u64 = 1024 * 1024;
/// Longest annotation line that Redis reads in one piece.
const MAX_LINE: usize = 1022;

/// What stands at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A command; its arguments were appended to the caller's list.
    Command,
    /// A line that begins with `#`.
    Line,
}

/// An item and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// What it is.
    pub item: Item,
    /// Offset of the byte after it.
    pub end: usize,
}

/// Why nothing could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RespError {
    /// The bytes end inside the item.
    Truncated,
    /// The bytes are no RESP.
    Malformed,
}

/// Reads the item at `at`; a command's arguments are appended to `args`.
pub fn next_item<'b>(bytes: &'b [u8], at: usize, args: &mut Vec<&'b [u8]>) -> Result<Parsed, RespError> {
    match bytes.get(at) {
        None => Err(RespError::Truncated),
        Some(b'#') => {
            let window = &bytes[at..bytes.len().min(at + MAX_LINE)];
            match window.iter().position(|b| *b == b'\n') {
                Some(n) => Ok(Parsed { item: Item::Line, end: at + n + 1 }),
                None if window.len() < MAX_LINE => Err(RespError::Truncated),
                None => Err(RespError::Malformed),
            }
        }
        Some(b'*') => command(bytes, at, args),
        Some(_) => Err(RespError::Malformed),
    }
}

fn command<'b>(bytes: &'b [u8], at: usize, args: &mut Vec<&'b [u8]>) -> Result<Parsed, RespError> {
    let (count, mut pos) = number(bytes, at + 1)?;
    if count == 0 || count > MAX_ARGS {
        return Err(RespError::Malformed);
    }
    for _ in 0..count {
        match bytes.get(pos) {
            None => return Err(RespError::Truncated),
            Some(b'$') => {}
            Some(_) => return Err(RespError::Malformed),
        }
        let (len, start) = number(bytes, pos + 1)?;
        let len = usize::try_from(len).map_err(|_| RespError::Malformed)?;
        let rest = &bytes[start..];
        let Some((arg, behind)) = rest.split_at_checked(len) else { return Err(RespError::Truncated) };
        match behind {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Err(RespError::Truncated),
            _ => return Err(RespError::Malformed),
        }
        args.push(arg);
        pos = start + len + 2;
    }
    Ok(Parsed { item: Item::Command, end: pos })
}

/// A decimal number that ends with CR LF, and the offset behind it.
#[inline]
fn number(bytes: &[u8], at: usize) -> Result<(u64, usize), RespError> {
    // Nearly all have one digit or two.
    match bytes.get(at..at + 4) {
        Some([a @ b'0'..=b'9', b'\r', b'\n', _]) => Ok((u64::from(a - b'0'), at + 3)),
        Some([a @ b'0'..=b'9', b @ b'0'..=b'9', b'\r', b'\n']) => {
            Ok((u64::from(a - b'0') * 10 + u64::from(b - b'0'), at + 4))
        }
        _ => any_number(bytes, at),
    }
}

/// The same, of any length and wherever the bytes end.
fn any_number(bytes: &[u8], at: usize) -> Result<(u64, usize), RespError> {
    let mut value = 0u64;
    let mut pos = at;
    loop {
        match bytes.get(pos) {
            None => return Err(RespError::Truncated),
            Some(d @ b'0'..=b'9') if pos - at < 19 => value = value * 10 + u64::from(d - b'0'),
            Some(b'\r') if pos > at => break,
            Some(_) => return Err(RespError::Malformed),
        }
        pos += 1;
    }
    match bytes.get(pos + 1) {
        None => Err(RespError::Truncated),
        Some(b'\n') => Ok((value, pos + 2)),
        Some(_) => Err(RespError::Malformed),
    }
}
