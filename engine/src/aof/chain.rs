//! The checksum chain of one file: sealing batches, and judging annotations.

use crc64fast::Digest;

/// First bytes of an annotation.
pub(super) const ANNOTATION: &[u8] = b"#CRC64:";
const HEADER: &[u8] = b"#UNPLUG:1 ";
/// What every line of the chain, and no other line, begins with.
pub const OUR_LINES: [&[u8]; 2] = [ANNOTATION, b"#UNPLUG"];
/// The last batch of a chained base, and of what a single file held when it got its name.
pub const END_LINE: &[u8] = b"#UNPLUG-END\r\n";

/// What the first line of a chained file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The file's sequence number.
    pub seq: u64,
    /// Length of the incr file before it; 0 if there was none. In a single file: length of the preamble.
    pub prev_len: u64,
    /// Last checksum of the incr file before it; 0 if there was none, or it has no chain. In a single file: the
    /// preamble's checksum.
    pub prev_crc: u64,
}

impl Header {
    /// The line.
    pub fn line(&self) -> Vec<u8> {
        format!("#UNPLUG:1 {} {:x} {:016x}\r\n", self.seq, self.prev_len, self.prev_crc).into_bytes()
    }

    /// Reads the line at the beginning of `bytes`: the header and the line's length.
    pub fn parse(bytes: &[u8]) -> Option<(Header, usize)> {
        let window = &bytes[..bytes.len().min(96)];
        let rest = window.strip_prefix(HEADER)?;
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let text = std::str::from_utf8(&rest[..end]).ok()?;
        let mut words = text.split(' ');
        let seq = words.next()?.parse().ok()?;
        let prev_len = u64::from_str_radix(words.next()?, 16).ok()?;
        let prev_crc = u64::from_str_radix(words.next()?, 16).ok()?;
        let header = Header { seq, prev_len, prev_crc };
        let len = HEADER.len() + end + 2;
        // One spelling only, so that what is verified is what was written.
        (words.next().is_none() && header.line() == bytes[..len]).then_some((header, len))
    }
}

/// Where a chained file stands after its last whole batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The file's sequence number.
    pub seq: u64,
    /// `crc` of the first batch, once there is one.
    key: Option<u64>,
    /// `crc` of the last batch.
    pub crc: u64,
    /// Length of the file up to here.
    pub len: u64,
}

impl Chain {
    /// The chain of an empty file.
    pub fn new(header: &Header) -> Chain {
        Chain::behind(header, 0)
    }

    /// A chain that begins behind the first `len` bytes of a file: a preamble, which has a checksum of its own.
    pub fn behind(header: &Header, len: u64) -> Chain {
        Chain { seq: header.seq, key: None, crc: header.prev_crc, len }
    }

    /// The chain of a file of `len` bytes that was written whole a moment ago: `head` are its first bytes and `tail`
    /// its last ones. What lies between is not looked at.
    pub fn reopen(head: &[u8], tail: &[u8], len: u64) -> Option<Chain> {
        let (header, header_len) = Header::parse(head)?;
        let first = Annotation::parse(&head[header_len..])?;
        let mut chain = Chain::new(&header);
        if !chain.verify(&head[..header_len], &first) {
            return None;
        }
        let at = tail.windows(ANNOTATION.len()).rposition(|w| w == ANNOTATION)?;
        let last = Annotation::parse(&tail[at..]).filter(|a| at + a.len == tail.len())?;
        chain.accept(len, first.crc);
        chain.crc = last.crc;
        Some(chain)
    }

    /// What tells this file from every other one of its number: `crc` of its first batch.
    pub fn key(&self) -> u64 {
        self.key.unwrap_or(self.crc)
    }

    fn batch_crc(&self, batch: &[u8], mark: u64) -> u64 {
        let mut digest = Digest::new();
        digest.write(&words([self.seq, self.len, self.crc, mark]));
        digest.write(batch);
        digest.sum64()
    }

    fn check(&self, at: u64, mark: u64, crc: u64) -> u32 {
        let mut digest = Digest::new();
        // The first batch has no key yet: what stands there is the predecessor's checksum.
        digest.write(&words([self.key.unwrap_or(self.crc), at, mark, crc]));
        (digest.sum64() & 0xffff_ffff) as u32
    }

    /// Ends the batch in `buffer` with its annotation. Nothing is changed but the buffer: [`Chain::accept`]
    /// moves on when the batch is written.
    pub fn seal(&self, buffer: &mut Vec<u8>, mark: u64) -> u64 {
        let crc = self.batch_crc(buffer, mark);
        let check = self.check(self.len + buffer.len() as u64, mark, crc);
        buffer.extend_from_slice(format!("#CRC64:{crc:016x} {mark:x} {check:08x}\r\n").as_bytes());
        crc
    }

    /// Moves past a batch of `len` bytes, annotation included.
    pub fn accept(&mut self, len: u64, crc: u64) {
        self.key.get_or_insert(crc);
        self.crc = crc;
        self.len += len;
    }

    /// Verifies the batch before `annotation`.
    pub fn verify(&self, batch: &[u8], annotation: &Annotation) -> bool {
        if sabotaged!("checksum-skipped") {
            return true;
        }
        let at = self.len + batch.len() as u64;
        annotation.crc == self.batch_crc(batch, annotation.mark)
            && annotation.check == self.check(at, annotation.mark, annotation.crc)
    }

    /// Whether `annotation`, found at offset `at` behind a hole, was written there by this file's owner.
    pub fn vouches(&self, at: u64, annotation: &Annotation) -> bool {
        self.key.is_some() && annotation.check == self.check(at, annotation.mark, annotation.crc)
    }
}

/// What an annotation line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotation {
    pub(super) crc: u64,
    /// Bytes known to be synced when it was written.
    pub mark: u64,
    check: u32,
    /// Length of the line.
    pub len: usize,
}

impl Annotation {
    /// Reads the line at the beginning of `bytes`; `None` if it is not one, whole and in its one spelling.
    pub fn parse(bytes: &[u8]) -> Option<Annotation> {
        let window = &bytes[..bytes.len().min(64)];
        let rest = window.strip_prefix(ANNOTATION)?;
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let mut words = rest[..end].split(|b| *b == b' ');
        let (crc, mark, check) = (words.next()?, words.next()?, words.next()?);
        // The one spelling that is written: whole widths, and no zeros in front of the mark.
        let same = words.next().is_none()
            && (crc.len(), check.len()) == (16, 8)
            && (mark.len() == 1 || !mark.starts_with(b"0"));
        let (crc, mark, check) = (hex(crc)?, hex(mark)?, hex(check)? as u32);
        same.then_some(Annotation { crc, mark, check, len: ANNOTATION.len() + end + 2 })
    }
}

fn words(words: [u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// A number in lower-case hexadecimal digits, as `{:x}` writes it.
fn hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(u64, u64, u32, usize)> {
        Annotation::parse(text.as_bytes()).map(|a| (a.crc, a.mark, a.check, a.len))
    }

    #[test]
    fn a_header_has_one_spelling() {
        let header = Header { seq: 12, prev_len: 0xab, prev_crc: 0x12 };
        let line = header.line();
        assert_eq!(line, b"#UNPLUG:1 12 ab 0000000000000012\r\n");
        assert_eq!(Header::parse(&line), Some((header, line.len())));
        for wrong in [
            "#UNPLUG:1 +12 ab 0000000000000012\r\n",
            "#UNPLUG:1 012 ab 0000000000000012\r\n",
            "#UNPLUG:1 12 AB 0000000000000012\r\n",
            "#UNPLUG:1 12 ab 12\r\n",
            "#UNPLUG:1 12 ab 0000000000000012 \r\n",
            "#UNPLUG:1 12 ab\r\n",
            "#UNPLUG:1 12 ab 0000000000000012\n",
        ] {
            assert_eq!(Header::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_chain_is_read_back_from_both_ends_of_a_whole_file() {
        let header = Header { seq: 3, prev_len: 0, prev_crc: 0 };
        let (mut chain, mut bytes) = (Chain::new(&header), Vec::new());
        for batch in [header.line(), b"*1\r\n$1\r\na\r\n".to_vec(), b"*1\r\n$1\r\nb\r\n".to_vec()] {
            let mut sealed = batch;
            let crc = chain.seal(&mut sealed, 0);
            chain.accept(sealed.len() as u64, crc);
            bytes.extend(sealed);
        }
        let read = |bytes: &[u8]| Chain::reopen(bytes, bytes, bytes.len() as u64);
        assert_eq!(read(&bytes), Some(chain));
        for other in [bytes[..bytes.len() - 1].to_vec(), [bytes.as_slice(), b"*"].concat(), Vec::new()] {
            assert_eq!(read(&other), None, "{}", other.escape_ascii());
        }
        // The first line, and the annotation behind it.
        for at in [10, 14, 40, 60] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(read(&other), None, "{at}");
        }
    }

    #[test]
    fn an_annotation_has_one_spelling() {
        let (crc, mark, check) = (0x00ab_cdef_0123_4567, 0x1f, 0x00c0_ffee);
        let line = format!("#CRC64:{crc:016x} {mark:x} {check:08x}\r\n");
        assert_eq!(parse(&line), Some((crc, mark, check, line.len())));
        assert_eq!(parse(&format!("{line}*1\r\n")), Some((crc, mark, check, line.len())));
        assert_eq!(parse("#CRC64:0000000000000000 0 00000000\r\n"), Some((0, 0, 0, 36)));
        for wrong in [
            "#CRC64:0abcdef01234567 1f 00c0ffee\r\n",
            "#CRC64:00ABCDEF01234567 1f 00c0ffee\r\n",
            "#CRC64:+0abcdef01234567 1f 00c0ffee\r\n",
            "#CRC64:00abcdef01234567 01f 00c0ffee\r\n",
            "#CRC64:00abcdef01234567 00 00c0ffee\r\n",
            "#CRC64:00abcdef01234567  00c0ffee\r\n",
            "#CRC64:00abcdef01234567 1f c0ffee\r\n",
            "#CRC64:00abcdef01234567 1f 00c0ffee \r\n",
            "#CRC64:00abcdef01234567 1f 00c0ffee\n",
            "#CRC64:00abcdef01234567 1ffffffffffffffff 00c0ffee\r\n",
            "#CRC64:00abcdef01234567 1f\r\n",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
