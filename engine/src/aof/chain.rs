//! The checksum chain of one file: sealing batches, and judging annotations.

use crc64fast::Digest;

/// First bytes of an annotation.
pub(super) const ANNOTATION: &[u8] = b"#CRC64:";
const HEADER: &[u8] = b"#UNPLUG:1 ";
/// The last batch of a chained base.
pub const END_LINE: &[u8] = b"#UNPLUG-END\r\n";

/// What the first line of a chained file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The file's sequence number.
    pub seq: u64,
    /// Length of the incr file before it; 0 if there was none.
    pub prev_len: u64,
    /// Last checksum of the incr file before it; 0 if there was none, or it has no chain.
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
        Chain { seq: header.seq, key: None, crc: header.prev_crc, len: 0 }
    }

    fn batch_crc(&self, batch: &[u8], mark: u64) -> u64 {
        let mut digest = Digest::new();
        for word in [self.seq, self.len, self.crc, mark] {
            digest.write(&word.to_le_bytes());
        }
        digest.write(batch);
        digest.sum64()
    }

    fn check(&self, at: u64, mark: u64, crc: u64) -> u32 {
        let mut digest = Digest::new();
        // The first batch has no key yet: what stands there is the predecessor's checksum.
        for word in [self.key.unwrap_or(self.crc), at, mark, crc] {
            digest.write(&word.to_le_bytes());
        }
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
        let text = std::str::from_utf8(&rest[..end]).ok()?;
        let mut words = text.split(' ');
        let crc = u64::from_str_radix(words.next()?, 16).ok()?;
        let mark = u64::from_str_radix(words.next()?, 16).ok()?;
        let check = u32::from_str_radix(words.next()?, 16).ok()?;
        let same = words.next().is_none() && format!("{crc:016x} {mark:x} {check:08x}") == text;
        same.then_some(Annotation { crc, mark, check, len: ANNOTATION.len() + end + 2 })
    }
}
