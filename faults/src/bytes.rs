//! Byte vectors, written and read as a whole: serde takes a `Vec<u8>` number by number. The format is the same,
//! in postcard as in JSON.

use serde::de::{SeqAccess, Visitor};
use serde::{Deserializer, Serializer};
use std::fmt;

/// For `#[serde(with = "...")]`.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

/// For `#[serde(with = "...")]`.
///
/// # Errors
/// The deserializer's.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    from.deserialize_byte_buf(Bytes)
}

struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Vec<u8>, A::Error> {
        // The number is the sender's word: a wrong one must not take memory.
        let mut bytes = Vec::with_capacity(numbers.size_hint().unwrap_or(0).min(1 << 16));
        while let Some(byte) = numbers.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Whole {
        #[serde(with = "super")]
        data: Vec<u8>,
        more: u32,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Plain {
        data: Vec<u8>,
        more: u32,
    }

    #[test]
    fn the_format_is_that_of_a_plain_vector() {
        for len in [0usize, 1, 127, 128, 70_000] {
            let data: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let whole = Whole { data: data.clone(), more: 7 };
            let bytes = postcard::to_stdvec(&whole).unwrap();
            assert_eq!(bytes, postcard::to_stdvec(&Plain { data, more: 7 }).unwrap());
            assert_eq!(postcard::from_bytes::<Whole>(&bytes).unwrap(), whole);
            assert!(postcard::from_bytes::<Whole>(&bytes[..bytes.len() - 1]).is_err());
        }
    }
}
