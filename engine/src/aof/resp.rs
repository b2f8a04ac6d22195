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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way to spell a number of up to five bytes with these.
    fn spellings() -> Vec<Vec<u8>> {
        let mut all = vec![Vec::new()];
        let mut from = 0;
        for _ in 0..5 {
            let to = all.len();
            for at in from..to {
                let longer = b"019\r\nx-".iter().map(|b| [all[at].as_slice(), &[*b]].concat());
                all.extend(longer.collect::<Vec<_>>());
            }
            from = to;
        }
        all
    }

    #[test]
    fn a_short_number_is_read_as_any_number_is() {
        let mut good = 0;
        for text in spellings() {
            for behind in [&b""[..], b"$3\r\nabc\r\n"] {
                let bytes = [b"*", text.as_slice(), behind].concat();
                let quick = number(&bytes, 1);
                assert_eq!(quick, any_number(&bytes, 1), "{}", bytes.escape_ascii());
                good += u32::from(quick.is_ok());
            }
        }
        assert!(good > 100, "{good}");
    }

    #[test]
    fn a_command_that_is_cut_is_told_from_one_that_is_wrong() {
        let whole = b"*2\r\n$3\r\nabc\r\n$12\r\n0123456789ab\r\n";
        let read = |bytes: &[u8]| next_item(bytes, 0, &mut Vec::new()).map(|parsed| parsed.end);
        assert_eq!(read(whole), Ok(whole.len()));
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len]), Err(RespError::Truncated), "{len}");
        }
        // Any other byte than that of the frame is wrong wherever it stands.
        let content = |at: usize| (8..11).contains(&at) || (18..30).contains(&at);
        for at in (0..whole.len()).filter(|at| !content(*at)) {
            let mut bytes = whole.to_vec();
            bytes[at] = b'x';
            assert_eq!(read(&bytes), Err(RespError::Malformed), "{at}");
        }
        let many = |n: u64| format!("*{n}\r\n").into_bytes();
        assert_eq!(read(&many(MAX_ARGS)), Err(RespError::Truncated));
        assert_eq!(
            (read(&many(MAX_ARGS + 1)), read(&many(0))),
            (Err(RespError::Malformed), Err(RespError::Malformed))
        );
    }
}
