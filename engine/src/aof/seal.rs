//! What a stop in order says of a single file.

use super::chain::Chain;
use crc64fast::Digest;

/// A single file that was whole and synced when the server stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Its length then.
    pub len: u64,
    /// Its generation.
    pub seq: u64,
    /// `crc` of its first batch: of which file it speaks.
    pub key: u64,
    /// No server of ours has been started since: what stands behind that length, none has written.
    pub closed: bool,
}

const MARK: &str = "#unplug:1 ";

fn sum(line: &str) -> String {
    let mut digest = Digest::new();
    digest.write(line.as_bytes());
    format!("{MARK}crc64 {:016x}\n", digest.sum64())
}

impl Seal {
    /// The text.
    pub fn encode(&self) -> String {
        let word = if self.closed { "closed" } else { "seal" };
        let line = format!("{MARK}{word} {} {} {:016x}\n", self.len, self.seq, self.key);
        let sum = sum(&line);
        line + &sum
    }

    /// Whether it is about the file with this chain.
    pub fn speaks_of(&self, chain: &Chain) -> bool {
        (self.seq, self.key) == (chain.seq, chain.key())
    }

    /// Whether it is about a later file than the one with this chain. A crash leaves none such: each file has a higher
    /// number than the seal that it finds, and is durable before it is sealed.
    pub fn is_newer(&self, chain: &Chain) -> bool {
        self.seq > chain.seq
    }

    /// Reads the text; `None` if it is damaged.
    pub fn parse(bytes: &[u8]) -> Option<Seal> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (line, _) = text.split_once('\n')?;
        let mut words = line.strip_prefix(MARK)?.split(' ');
        let closed = words.next()? == "closed";
        let len = words.next()?.parse().ok()?;
        let seq = words.next()?.parse().ok()?;
        let key = u64::from_str_radix(words.next()?, 16).ok()?;
        let seal = Seal { len, seq, key, closed };
        (seal.encode() == text).then_some(seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_damaged_byte_is_seen() {
        for closed in [false, true] {
            let seal = Seal { len: 12_345, seq: 7, key: 0xab, closed };
            let text = seal.encode();
            assert_eq!(Seal::parse(text.as_bytes()), Some(seal));
            for at in 0..text.len() {
                assert_eq!(Seal::parse(&text.as_bytes()[..at]), None);
                for bit in 0..8 {
                    let mut bytes = text.clone().into_bytes();
                    bytes[at] ^= 1 << bit;
                    assert_eq!(Seal::parse(&bytes), None, "byte {at} bit {bit}");
                }
            }
        }
    }
}
