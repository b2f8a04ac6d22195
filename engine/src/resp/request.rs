//! The request parser: multi-bulk and inline commands, with Redis's limits and error texts.

use super::parse_integer;

/// Longest line (inline command, or a length), as Redis's PROTO_INLINE_MAX_SIZE.
const MAX_LINE: usize = 64 * 1024;
/// Longest argument, as the default of proto-max-bulk-len.
const MAX_BULK: i64 = 512 * 1024 * 1024;

/// A request that is not RESP; the connection is closed after the reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ERR Protocol error: {0}")]
pub struct ProtocolError(pub String);

/// What the parser found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The command is not complete.
    NeedMore,
    /// A command (perhaps an empty one), and how many bytes it took.
    Command(usize),
}

/// Parses one command at a time. It keeps its place in an incomplete command, so that a large one that
/// arrives in pieces is not read again from its start.
#[derive(Debug, Default)]
pub struct RequestParser {
    position: usize,
    arguments_left: usize,
    in_command: bool,
    bulk_length: Option<usize>,
    ranges: Vec<(usize, usize)>,
    inline: Vec<Vec<u8>>,
}

impl RequestParser {
    /// Continues with `bytes`, which must begin where the command began, at every call.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Parsed, ProtocolError> {
        if !self.in_command {
            self.ranges.clear();
            self.inline.clear();
            match bytes.first() {
                None => return Ok(Parsed::NeedMore),
                Some(b'*') => {}
                Some(_) => return self.inline_command(bytes),
            }
            let Some((count, next)) = length_line(bytes, 0, "too big mbulk count string")? else {
                return Ok(Parsed::NeedMore);
            };
            let count = count
                .filter(|c| *c <= i64::from(i32::MAX))
                .ok_or_else(|| ProtocolError("invalid multibulk length".into()))?;
            if count <= 0 {
                return Ok(Parsed::Command(next));
            }
            self.in_command = true;
            self.position = next;
            self.arguments_left = usize::try_from(count).unwrap_or(0);
        }
        while self.arguments_left > 0 {
            if !self.argument(bytes)? {
                return Ok(Parsed::NeedMore);
            }
        }
        self.in_command = false;
        Ok(Parsed::Command(self.position))
    }

    /// How many bytes the incomplete argument still needs, so that the reader can make room once.
    pub fn wanted(&self) -> usize {
        self.bulk_length.map_or(0, |len| len + 2)
    }

    /// How many arguments the command that `advance` completed has.
    pub fn argc(&self) -> usize {
        self.ranges.len() + self.inline.len()
    }

    /// Argument `i` of the command that `advance` completed in `bytes`.
    pub fn arg<'a>(&'a self, bytes: &'a [u8], i: usize) -> &'a [u8] {
        match self.ranges.get(i) {
            Some((from, to)) => &bytes[*from..*to],
            None => self.inline.get(i - self.ranges.len()).map_or(b"", Vec::as_slice),
        }
    }

    fn argument(&mut self, bytes: &[u8]) -> Result<bool, ProtocolError> {
        let len = match self.bulk_length {
            Some(len) => len,
            None => {
                let Some((len, next)) = length_line(bytes, self.position, "too big bulk count string")?
                else {
                    return Ok(false);
                };
                if bytes[self.position] != b'$' {
                    let got = char::from(bytes[self.position]);
                    return Err(ProtocolError(format!("expected '$', got '{got}'")));
                }
                let len = len
                    .filter(|l| (0..=MAX_BULK).contains(l))
                    .and_then(|l| usize::try_from(l).ok())
                    .ok_or_else(|| ProtocolError("invalid bulk length".into()))?;
                self.position = next;
                self.bulk_length = Some(len);
                len
            }
        };
        if bytes.len() < self.position + len + 2 {
            return Ok(false);
        }
        self.ranges.push((self.position, self.position + len));
        self.position += len + 2;
        self.bulk_length = None;
        self.arguments_left -= 1;
        Ok(true)
    }

    fn inline_command(&mut self, bytes: &[u8]) -> Result<Parsed, ProtocolError> {
        let Some(end) = bytes.iter().take(MAX_LINE + 1).position(|b| *b == b'\n') else {
            if bytes.len() > MAX_LINE {
                return Err(ProtocolError("too big inline request".into()));
            }
            return Ok(Parsed::NeedMore);
        };
        let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
        self.inline = split_line(line).ok_or_else(|| ProtocolError("unbalanced quotes in request".into()))?;
        Ok(Parsed::Command(end + 1))
    }
}

/// Nearly every number: one that is not 0, of a few digits, whose line is whole. Its value, and the line's length.
fn short_number(line: &[u8]) -> Option<(i64, usize)> {
    let mut value = i64::from(line.get(1)?.wrapping_sub(b'0'));
    if !(1..=9).contains(&value) {
        return None;
    }
    for at in 2..9 {
        match *line.get(at)? {
            digit @ b'0'..=b'9' => value = value * 10 + i64::from(digit - b'0'),
            b'\r' => return line.get(at + 1).map(|_| (value, at + 2)),
            _ => return None,
        }
    }
    None
}

/// Reads `<kind><number>\r\n` at `start`: the number (`None` if it is none) and where the line ends.
fn length_line(
    bytes: &[u8],
    start: usize,
    too_long: &str,
) -> Result<Option<(Option<i64>, usize)>, ProtocolError> {
    let rest = bytes.get(start..).unwrap_or(b"");
    if let Some((number, len)) = short_number(rest) {
        return Ok(Some((Some(number), start + len)));
    }
    let Some(cr) = rest.iter().take(MAX_LINE + 1).position(|b| *b == b'\r') else {
        if rest.len() > MAX_LINE {
            return Err(ProtocolError(too_long.into()));
        }
        return Ok(None);
    };
    if rest.len() < cr + 2 {
        return Ok(None);
    }
    Ok(Some((rest.get(1..cr).and_then(parse_integer), start + cr + 2)))
}

/// Splits a line as Redis's `sdssplitargs`: blanks separate, `"..."` takes escapes, `'...'` takes only `\'`.
/// `None` if a quote is not closed, or is followed by something other than a blank.
pub fn split_line(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|b| is_blank(*b)) {
            at += 1;
        }
        if at >= line.len() {
            return Some(words);
        }
        let mut word = Vec::new();
        loop {
            match line.get(at) {
                None | Some(0) => break,
                Some(b) if is_blank(*b) => break,
                Some(quote @ (b'"' | b'\'')) => {
                    at = quoted(line, at + 1, *quote, &mut word)?;
                    match line.get(at) {
                        None => {}
                        Some(b) if is_blank(*b) => {}
                        Some(_) => return None,
                    }
                    break;
                }
                Some(b) => {
                    word.push(*b);
                    at += 1;
                }
            }
        }
        words.push(word);
        if line.get(at) == Some(&0) {
            return Some(words);
        }
    }
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Reads up to the closing quote, and says where the text after it begins.
fn quoted(line: &[u8], mut at: usize, quote: u8, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match (*line.get(at)?, quote) {
            (b, q) if b == q => return Some(at + 1),
            (b'\\', b'"') => {
                let hex = |i: usize| line.get(i).and_then(|b| char::from(*b).to_digit(16));
                if let (Some(b'x'), Some(high), Some(low)) = (line.get(at + 1), hex(at + 2), hex(at + 3)) {
                    word.push(u8::try_from(high * 16 + low).ok()?);
                    at += 4;
                } else {
                    word.push(match *line.get(at + 1)? {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 8,
                        b'a' => 7,
                        other => other,
                    });
                    at += 2;
                }
            }
            (b'\\', b'\'') if line.get(at + 1) == Some(&b'\'') => {
                word.push(b'\'');
                at += 2;
            }
            (b, _) => {
                word.push(b);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
        let (mut parser, mut at, mut commands) = (RequestParser::default(), 0, Vec::new());
        while let Parsed::Command(used) = parser.advance(&bytes[at..])? {
            commands.push((0..parser.argc()).map(|i| parser.arg(&bytes[at..], i).to_vec()).collect());
            at += used;
        }
        Ok(commands)
    }

    #[test]
    fn pipelined_commands_of_both_forms_are_parsed() {
        let commands =
            parse(b"*2\r\n$3\r\nGET\r\n$2\r\na\n\r\nPING \"x\\x41\\n\" 'it\\'s'\r\n*0\r\n\r\n*1\r\n$4\r\nPI");
        let expected: Vec<Vec<Vec<u8>>> = vec![
            vec![b"GET".to_vec(), b"a\n".to_vec()],
            vec![b"PING".to_vec(), b"xA\n".to_vec(), b"it's".to_vec()],
            vec![],
            vec![],
        ];
        assert_eq!(commands, Ok(expected));
    }

    #[test]
    fn a_command_that_arrives_byte_by_byte_is_the_same_command() {
        let bytes = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n";
        let mut parser = RequestParser::default();
        for cut in 0..bytes.len() {
            assert_eq!(parser.advance(&bytes[..cut]), Ok(Parsed::NeedMore), "cut at {cut}");
        }
        assert_eq!(parser.advance(bytes), Ok(Parsed::Command(bytes.len())));
        assert_eq!((parser.argc(), parser.arg(bytes, 2)), (3, b"".as_slice()));
    }

    #[test]
    fn what_is_not_resp_gets_redis_error() {
        let long = vec![b'a'; MAX_LINE + 1];
        for (bytes, error) in [
            (b"*x\r\n".as_slice(), "invalid multibulk length"),
            (b"*2147483648\r\n", "invalid multibulk length"),
            (b"*1\r\n:3\r\n", "expected '$', got ':'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$536870913\r\n", "invalid bulk length"),
            (b"GET \"a\n", "unbalanced quotes in request"),
            (b"GET \"a\"b\n", "unbalanced quotes in request"),
            (&long, "too big inline request"),
        ] {
            assert_eq!(parse(bytes), Err(ProtocolError(error.into())));
        }
    }
}
