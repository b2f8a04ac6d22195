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
