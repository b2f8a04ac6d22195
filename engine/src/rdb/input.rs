//! The primitives that a snapshot is made of: lengths, strings, and fixed-width numbers.

use super::RdbError;
use super::lzf;
use std::borrow::Cow;

/// What is left to read, and where that is.
pub(super) struct Input<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Input<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Input<'b> {
        Input { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn fail<T>(&self, what: impl Into<String>) -> Result<T, RdbError> {
        Err(RdbError { offset: self.at as u64, what: what.into() })
    }

    pub(super) fn take(&mut self, len: u64) -> Result<&'b [u8], RdbError> {
        let left = &self.bytes[self.at..];
        match usize::try_from(len).ok().and_then(|len| left.get(..len)) {
            Some(part) => {
                self.at += part.len();
                Ok(part)
            }
            None => self.fail(format!("{len} bytes are wanted and {} are left", left.len())),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(super) fn byte(&mut self) -> Result<u8, RdbError> {
        Ok(self.array::<1>()?[0])
    }

    /// A length, or (`Err`) the number of a special encoding.
    fn len_or_encoding(&mut self) -> Result<Result<u64, u8>, RdbError> {
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Ok(u64::from(first)),
            1 => Ok((u64::from(first & 0x3f) << 8) | u64::from(self.byte()?)),
            3 => Err(first & 0x3f),
            _ if first == 0x80 => Ok(u64::from(u32::from_be_bytes(self.array()?))),
            _ if first == 0x81 => Ok(u64::from_be_bytes(self.array()?)),
            _ => return self.fail(format!("{first:#x} begins no length")),
        })
    }

    pub(super) fn len(&mut self) -> Result<u64, RdbError> {
        match self.len_or_encoding()? {
            Ok(len) => Ok(len),
            Err(code) => self.fail(format!("a length, not the string encoding {code}, belongs here")),
        }
    }

    pub(super) fn string(&mut self) -> Result<Cow<'b, [u8]>, RdbError> {
        let begin = self.at;
        let number = match self.len_or_encoding()? {
            Ok(len) => return Ok(Cow::Borrowed(self.take(len)?)),
            Err(0) => i64::from(i8::from_le_bytes(self.array()?)),
            Err(1) => i64::from(i16::from_le_bytes(self.array()?)),
            Err(2) => i64::from(i32::from_le_bytes(self.array()?)),
            Err(3) => {
                let packed = self.len()?;
                let len = self.len()?;
                let input = self.take(packed)?;
                let out = usize::try_from(len).ok().and_then(|len| lzf::decompress(input, len));
                let broken =
                    || RdbError { offset: begin as u64, what: "a compressed string is broken".into() };
                return out.map(Cow::Owned).ok_or_else(broken);
            }
            Err(code) => return self.fail(format!("unknown string encoding {code}")),
        };
        Ok(Cow::Owned(number.to_string().into_bytes()))
    }

    /// A double as text, as sorted sets had them before version 8: one byte of length, of which three values
    /// stand for what is no number.
    pub(super) fn text_double(&mut self) -> Result<f64, RdbError> {
        let begin = self.at;
        match self.byte()? {
            253 => Ok(f64::NAN),
            254 => Ok(f64::INFINITY),
            255 => Ok(f64::NEG_INFINITY),
            len => {
                let text = self.take(len.into())?;
                let wrong = || RdbError { offset: begin as u64, what: "a score is no number".into() };
                score(text).ok_or_else(wrong)
            }
        }
    }

    /// A length of the part of a module that describes its own parts; skipped by what it says of itself.
    pub(super) fn skip_module_parts(&mut self) -> Result<(), RdbError> {
        loop {
            match self.len()? {
                0 => return Ok(()),
                1 | 2 => drop(self.len()?),
                3 => drop(self.array::<4>()?),
                4 => drop(self.array::<8>()?),
                5 => drop(self.string()?),
                other => return self.fail(format!("unknown part {other} of a module's value")),
            }
        }
    }
}

/// A score written as text.
pub(super) fn score(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A module's name and the version of its encoding, as packed in 64 bits: nine characters of six bits, then ten
/// bits.
pub(super) fn module_name(id: u64) -> (String, u64) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let name = (0..9).map(|n| char::from(LETTERS[(id >> (58 - 6 * n) & 63) as usize])).collect();
    (name, id & 1023)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_named() {
        // As Redis computes it: `moduleTypeEncodeId("rejson-rl", 3)`.
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let place = |c: u8| letters.iter().position(|l| *l == c).unwrap() as u64;
        let id = b"rejson-rl".iter().fold(0, |id, c| (id << 6) | place(*c)) << 10 | 3;
        assert_eq!(module_name(id), ("rejson-rl".into(), 3));
    }

    #[test]
    fn doubles_as_text() {
        let read = |bytes: &[u8]| Input::new(bytes).text_double();
        assert_eq!(read(b"\x033.5"), Ok(3.5));
        assert_eq!(read(b"\x05-1e-5"), Ok(-1e-5));
        assert_eq!(read(&[254]), Ok(f64::INFINITY));
        assert_eq!(read(&[255]), Ok(f64::NEG_INFINITY));
        assert!(read(&[253]).unwrap().is_nan());
        assert!(read(b"\x023x").is_err() && read(b"\x00").is_err() && read(b"\x033").is_err());
    }

    #[test]
    fn lengths() {
        let read = |bytes: &[u8]| Input::new(bytes).len();
        assert_eq!(read(&[63]), Ok(63));
        assert_eq!(read(&[0x41, 2]), Ok(258));
        assert_eq!(read(&[0x80, 0, 1, 0, 0]), Ok(65536));
        assert_eq!(read(&[0x81, 0, 0, 0, 1, 0, 0, 0, 0]), Ok(1 << 32));
        assert!(read(&[0x82]).is_err() && read(&[0xc0, 1]).is_err() && read(&[0x40]).is_err());
    }
}
