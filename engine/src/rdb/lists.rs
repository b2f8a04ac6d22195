//! Ziplists and listpacks: the packed arrays inside a list's nodes.

/// A part of `bytes`; `None` outside them.
fn part(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

/// A little-endian signed integer of up to 8 bytes.
fn integer(bytes: &[u8]) -> i64 {
    let mut wide = [0u8; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let shift = 64 - 8 * bytes.len() as u32;
    (i64::from_le_bytes(wide) << shift) >> shift
}

fn decimal(n: i64) -> Vec<u8> {
    n.to_string().into_bytes()
}

/// Gives `sink` the elements of a listpack; `None` if it is malformed.
pub(super) fn listpack(bytes: &[u8], sink: &mut dyn FnMut(Vec<u8>)) -> Option<()> {
    let total = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let count = usize::from(u16::from_le_bytes(bytes.get(4..6)?.try_into().ok()?));
    if total != bytes.len() || bytes.last() != Some(&0xff) {
        return None;
    }
    let (mut at, mut seen) = (6, 0);
    while at + 1 < bytes.len() {
        let first = bytes[at];
        // Length of the encoding byte or bytes, length of what follows, and whether that is a string.
        let (head, body, text) = match first {
            0x00..=0x7f => (1, 0, false),
            0x80..=0xbf => (1, usize::from(first & 0x3f), true),
            0xc0..=0xdf => (2, 0, false),
            0xe0..=0xef => (2, (usize::from(first & 0x0f) << 8) | usize::from(*bytes.get(at + 1)?), true),
            0xf0 => (5, u32::from_le_bytes(part(bytes, at + 1, 4)?.try_into().ok()?) as usize, true),
            0xf1..=0xf4 => (1, [2, 3, 4, 8][usize::from(first - 0xf1)], false),
            _ => return None,
        };
        let tail = part(bytes, at + head, body)?;
        sink(match first {
            _ if text => tail.to_vec(),
            0x00..=0x7f => decimal(i64::from(first)),
            0xc0..=0xdf => {
                let raw = (i64::from(first & 0x1f) << 8) | i64::from(*bytes.get(at + 1)?);
                decimal(if raw >= 1 << 12 { raw - (1 << 13) } else { raw })
            }
            _ => decimal(integer(tail)),
        });
        let entry = head.checked_add(body)?;
        let back = match entry {
            0..=127 => 1,
            128..=16382 => 2,
            16383..=2097150 => 3,
            2097151..=268435454 => 4,
            _ => 5,
        };
        at = at.checked_add(entry)?.checked_add(back)?;
        seen += 1;
    }
    // 65535 stands for "count them".
    (at + 1 == bytes.len() && (count == 65535 || count == seen)).then_some(())
}

/// Gives `sink` the elements of a ziplist; `None` if it is malformed.
pub(super) fn ziplist(bytes: &[u8], sink: &mut dyn FnMut(Vec<u8>)) -> Option<()> {
    let total = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let count = usize::from(u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?));
    if total != bytes.len() || bytes.last() != Some(&0xff) {
        return None;
    }
    let (mut at, mut seen) = (10, 0);
    while at + 1 < bytes.len() {
        at += if bytes[at] < 254 { 1 } else { 5 };
        let first = *bytes.get(at)?;
        let (head, body, text) = match first {
            0x00..=0x3f => (1, usize::from(first), true),
            0x40..=0x7f => (2, (usize::from(first & 0x3f) << 8) | usize::from(*bytes.get(at + 1)?), true),
            0x80 => (5, u32::from_be_bytes(part(bytes, at + 1, 4)?.try_into().ok()?) as usize, true),
            0xc0 => (1, 2, false),
            0xd0 => (1, 4, false),
            0xe0 => (1, 8, false),
            0xf0 => (1, 3, false),
            0xfe => (1, 1, false),
            0xf1..=0xfd => (1, 0, false),
            _ => return None,
        };
        let tail = part(bytes, at + head, body)?;
        sink(match first {
            _ if text => tail.to_vec(),
            0xf1..=0xfd => decimal(i64::from(first & 0x0f) - 1),
            _ => decimal(integer(tail)),
        });
        at = at.checked_add(head)?.checked_add(body)?;
        seen += 1;
    }
    (at + 1 == bytes.len() && (count == 65535 || count == seen)).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Reader = fn(&[u8], &mut dyn FnMut(Vec<u8>)) -> Option<()>;

    fn read(f: Reader, bytes: &[u8]) -> Option<Vec<String>> {
        let mut items = Vec::new();
        f(bytes, &mut |item| items.push(String::from_utf8_lossy(&item).into_owned()))?;
        Some(items)
    }

    /// A ziplist with each of its encodings: the entries' previous lengths are not looked at.
    fn old() -> Vec<u8> {
        let mut body = Vec::new();
        for entry in [
            &b"\x00\x02hi"[..],
            b"\x00\x40\x03abc",
            b"\x00\x80\0\0\0\x01z",
            b"\x00\xc0\x00\x80",
            b"\x00\xd0\xff\xff\xff\xff",
            b"\xfe\0\0\0\0\xe0\0\0\0\0\0\0\0\x80",
            b"\x00\xf0\xff\xff\x7f",
            b"\x00\xfe\x9c",
            b"\x00\xf1",
            b"\x00\xfd",
        ] {
            body.extend_from_slice(entry);
        }
        let mut bytes = (body.len() as u32 + 11).to_le_bytes().to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 0, 10, 0]);
        bytes.extend_from_slice(&body);
        bytes.push(0xff);
        bytes
    }

    #[test]
    fn every_encoding_of_a_ziplist() {
        let min = i64::MIN.to_string();
        let want = ["hi", "abc", "z", "-32768", "-1", min.as_str(), "8388607", "-100", "0", "12"];
        assert_eq!(read(ziplist, &old()).unwrap(), want);
    }

    #[test]
    fn a_damaged_length_is_refused_and_nothing_panics() {
        let whole = old();
        for at in 0..whole.len() {
            assert_eq!(read(ziplist, &whole[..at]), None);
            for value in 0..=255 {
                let mut bytes = whole.clone();
                bytes[at] = value;
                // Whatever they are taken for, they are taken to their end or refused.
                let _ = read(ziplist, &bytes);
                let _ = read(listpack, &bytes);
            }
        }
    }
}
