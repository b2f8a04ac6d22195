//! The reply writer.

use crate::number::format_double;

/// A buffer of encoded replies. Commands write into it directly, so that no reply is built twice.
#[derive(Debug, Default)]
pub struct Out {
    bytes: Vec<u8>,
    resp3: bool,
}

impl Out {
    /// What has been written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The buffer itself, for the connection that sends it.
    pub fn buffer_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// How many bytes have been written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets everything written after `len`.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Which protocol the replies are in: 2 or 3.
    pub fn protocol(&self) -> u8 {
        if self.resp3 { 3 } else { 2 }
    }

    /// From here on replies are in this protocol.
    pub fn speak(&mut self, protocol: u8) {
        self.resp3 = protocol == 3;
    }

    /// `+OK` and other status replies.
    pub fn simple(&mut self, text: &str) {
        self.bytes.push(b'+');
        self.bytes.extend_from_slice(text.as_bytes());
        self.end_line();
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.bytes.extend_from_slice(b"+OK\r\n");
    }

    /// An error, given with its code (`ERR ...`). Line ends would break the framing and become spaces.
    pub fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    /// The same, of a text that has bytes in it that a client has sent.
    pub fn error_bytes(&mut self, text: &[u8]) {
        self.bytes.push(b'-');
        self.bytes.extend(text.iter().map(|&b| if b == b'\r' || b == b'\n' { b' ' } else { b }));
        self.end_line();
    }

    /// An integer.
    pub fn int(&mut self, value: i64) {
        self.line(b':', value);
    }

    /// A count as an integer.
    pub fn count(&mut self, value: usize) {
        self.int(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// A bulk string.
    pub fn bulk(&mut self, value: &[u8]) {
        self.line(b'$', i64::try_from(value.len()).unwrap_or(i64::MAX));
        self.bytes.extend_from_slice(value);
        self.end_line();
    }

    /// A bulk string, or the null bulk.
    pub fn bulk_or_null(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bulk(value),
            None => self.null(),
        }
    }

    /// The null bulk string; in RESP3 the null.
    pub fn null(&mut self) {
        self.bytes.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// The null array; in RESP3 the null.
    pub fn null_array(&mut self) {
        self.bytes.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// Whether the client has chosen RESP3.
    pub fn resp3(&self) -> bool {
        self.resp3
    }

    /// The header of a map, whose keys and values follow in turns; in RESP2 of an array of both.
    pub fn map(&mut self, len: usize) {
        if self.resp3 {
            self.line(b'%', i64::try_from(len).unwrap_or(i64::MAX));
        } else {
            self.array(len.saturating_mul(2));
        }
    }

    /// The header of a set; in RESP2 of an array.
    pub fn set(&mut self, len: usize) {
        if self.resp3 {
            self.line(b'~', i64::try_from(len).unwrap_or(i64::MAX));
        } else {
            self.array(len);
        }
    }

    /// A double; in RESP2 a bulk string.
    pub fn double(&mut self, value: f64) {
        let text = format_double(value);
        if self.resp3 {
            self.bytes.push(b',');
            self.bytes.extend_from_slice(text.as_bytes());
            self.end_line();
        } else {
            self.bulk(text.as_bytes());
        }
    }

    /// Text for people; in RESP2 a bulk string.
    pub fn verbatim(&mut self, text: &str) {
        if self.resp3 {
            self.line(b'=', i64::try_from(text.len() + 4).unwrap_or(i64::MAX));
            self.bytes.extend_from_slice(b"txt:");
            self.bytes.extend_from_slice(text.as_bytes());
            self.end_line();
        } else {
            self.bulk(text.as_bytes());
        }
    }

    /// The header of an array; its elements follow.
    pub fn array(&mut self, len: usize) {
        self.line(b'*', i64::try_from(len).unwrap_or(i64::MAX));
    }

    fn line(&mut self, kind: u8, value: i64) {
        let mut text = [0u8; 24];
        let mut at = text.len();
        let mut rest = value.unsigned_abs();
        loop {
            at -= 1;
            // A decimal digit always fits a byte.
            text[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            at -= 1;
            text[at] = b'-';
        }
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&text[at..]);
        self.end_line();
    }

    fn end_line(&mut self) {
        self.bytes.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_framed_as_resp2_says() {
        let mut out = Out::default();
        out.ok();
        out.error("ERR a\r\nb");
        out.int(i64::MIN);
        out.bulk(b"");
        out.null();
        out.array(1);
        out.int(0);
        assert_eq!(
            String::from_utf8_lossy(out.bytes()),
            "+OK\r\n-ERR a  b\r\n:-9223372036854775808\r\n$0\r\n\r\n$-1\r\n*1\r\n:0\r\n"
        );
    }

    #[test]
    fn what_resp3_has_is_something_else_in_resp2() {
        let written = |protocol| {
            let mut out = Out::default();
            out.speak(protocol);
            assert_eq!(out.protocol(), protocol);
            out.null();
            out.null_array();
            out.map(1);
            out.set(2);
            out.double(1.5);
            out.verbatim("a:1\r\n");
            String::from_utf8_lossy(out.bytes()).into_owned()
        };
        assert_eq!(written(2), "$-1\r\n*-1\r\n*2\r\n*2\r\n$3\r\n1.5\r\n$5\r\na:1\r\n\r\n");
        assert_eq!(written(3), "_\r\n_\r\n%1\r\n~2\r\n,1.5\r\n=9\r\ntxt:a:1\r\n\r\n");
    }
}
