//! The packed arrays that small values are: ziplist, listpack, intset, zipmap. Each reader gives its elements to a
//! sink, and checks everything that the bytes say of themselves: lengths, counts, and the way back from each entry.

use std::borrow::Cow;

/// What is wrong with a packed array, or with what it holds.
pub(super) type Broken = &'static str;
/// Takes elements.
pub(super) type Sink<'s, 'b> = &'s mut dyn FnMut(Element<'b>) -> Result<(), Broken>;
/// Reads a packed array whole.
pub(super) type Reader = for<'b> fn(&'b [u8], Sink<'_, 'b>) -> Result<(), Broken>;

/// An element: where it stood, or the number that it was packed as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Element<'b> {
    Text(&'b [u8]),
    Number(i64),
}

impl<'b> Element<'b> {
    pub(super) fn bytes(self) -> Cow<'b, [u8]> {
        match self {
            Element::Text(text) => Cow::Borrowed(text),
            Element::Number(n) => Cow::Owned(n.to_string().into_bytes()),
        }
    }

    pub(super) fn score(self) -> Option<f64> {
        match self {
            Element::Text(text) => super::input::score(text),
            Element::Number(n) => Some(n as f64),
        }
    }
}

/// A part of `bytes`; `None` outside them.
fn part(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

fn u16_le(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(part(bytes, at, 2)?.try_into().ok()?).into())
}

fn u32_le(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(part(bytes, at, 4)?.try_into().ok()?) as usize)
}

/// A little-endian signed integer of up to 8 bytes.
fn integer(bytes: &[u8]) -> i64 {
    let mut wide = [0u8; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let shift = 64 - 8 * bytes.len() as u32;
    (i64::from_le_bytes(wide) << shift) >> shift
}

/// Gives `sink` the elements of a packed array two by two.
pub(super) fn pairs<'b>(
    read: Reader,
    bytes: &'b [u8],
    sink: &mut dyn FnMut(Element<'b>, Element<'b>) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let mut first = None;
    read(bytes, &mut |element| match first.take() {
        None => {
            first = Some(element);
            Ok(())
        }
        Some(before) => sink(before, element),
    })?;
    if first.is_none() { Ok(()) } else { Err("an element has no partner") }
}

const LISTPACK: Broken = "a listpack is broken";
const ZIPLIST: Broken = "a ziplist is broken";
const INTSET: Broken = "an intset is broken";
const ZIPMAP: Broken = "a zipmap is broken";

/// What the head of an array says of its length, its number of elements (65535 stands for "count them"), and
/// where its last entry begins.
struct Said {
    count: usize,
    last: Option<usize>,
}

impl Said {
    fn holds(&self, count: usize, last: usize) -> bool {
        (self.count == 65535 || self.count == count) && self.last.is_none_or(|said| said == last)
    }
}

/// Reads a listpack.
pub(super) fn listpack<'b>(bytes: &'b [u8], sink: Sink<'_, 'b>) -> Result<(), Broken> {
    let head = || Some((u32_le(bytes, 0)?, Said { count: u16_le(bytes, 4)?, last: None }));
    let (total, said) = head().ok_or(LISTPACK)?;
    if total != bytes.len() || total < 7 || bytes.last() != Some(&0xff) {
        return Err(LISTPACK);
    }
    let (mut at, mut count) = (6, 0);
    while at + 1 < bytes.len() {
        let (element, len) = listpack_entry(bytes, at).ok_or(LISTPACK)?;
        sink(element)?;
        at += len;
        count += 1;
    }
    if at + 1 == bytes.len() && said.holds(count, 0) { Ok(()) } else { Err(LISTPACK) }
}

/// The entry at `at`, and how long it is with its own length behind it.
fn listpack_entry(bytes: &[u8], at: usize) -> Option<(Element<'_>, usize)> {
    let first = *bytes.get(at)?;
    // Length of the encoding byte or bytes, length of what follows, and whether that is a string.
    let (head, body, text) = match first {
        0x00..=0x7f => (1, 0, false),
        0x80..=0xbf => (1, usize::from(first & 0x3f), true),
        0xc0..=0xdf => (2, 0, false),
        0xe0..=0xef => (2, (usize::from(first & 0x0f) << 8) | usize::from(*bytes.get(at + 1)?), true),
        0xf0 => (5, u32_le(bytes, at + 1)?, true),
        0xf1..=0xf4 => (1, [2, 3, 4, 8][usize::from(first - 0xf1)], false),
        _ => return None,
    };
    let tail = part(bytes, at + head, body)?;
    let element = match first {
        _ if text => Element::Text(tail),
        0x00..=0x7f => Element::Number(i64::from(first)),
        0xc0..=0xdf => {
            let raw = (i64::from(first & 0x1f) << 8) | i64::from(*bytes.get(at + 1)?);
            Element::Number(if raw >= 1 << 12 { raw - (1 << 13) } else { raw })
        }
        _ => Element::Number(integer(tail)),
    };
    let (back, width) = backwards(head + body);
    (part(bytes, at + head + body, width)? == &back[..width]).then_some((element, head + body + width))
}

/// The length of a listpack's entry as it stands behind it, to be read from its end: seven bits a byte.
fn backwards(len: usize) -> ([u8; 5], usize) {
    let width = match len {
        0..=127 => 1,
        128..=16382 => 2,
        16383..=2097150 => 3,
        2097151..=268435454 => 4,
        _ => 5,
    };
    let mut bytes = [0; 5];
    for (n, byte) in bytes.iter_mut().take(width).enumerate() {
        let seven = (len >> (7 * (width - 1 - n))) as u8 & 127;
        *byte = if n == 0 { seven } else { seven | 128 };
    }
    (bytes, width)
}

/// Reads a ziplist.
pub(super) fn ziplist<'b>(bytes: &'b [u8], sink: Sink<'_, 'b>) -> Result<(), Broken> {
    let head = || Some((u32_le(bytes, 0)?, Said { count: u16_le(bytes, 8)?, last: u32_le(bytes, 4) }));
    let (total, said) = head().ok_or(ZIPLIST)?;
    if total != bytes.len() || total < 11 || bytes.last() != Some(&0xff) {
        return Err(ZIPLIST);
    }
    let (mut at, mut before, mut count) = (10, 0, 0);
    while at + 1 < bytes.len() {
        let (element, len) = ziplist_entry(bytes, at, before).ok_or(ZIPLIST)?;
        sink(element)?;
        at += len;
        before = len;
        count += 1;
    }
    if at + 1 == bytes.len() && said.holds(count, at - before) { Ok(()) } else { Err(ZIPLIST) }
}

/// The entry at `at`, which begins with the length of the one before it, and its own length.
fn ziplist_entry(bytes: &[u8], at: usize, before: usize) -> Option<(Element<'_>, usize)> {
    let (said, skip) = match *bytes.get(at)? {
        255 => return None,
        254 => (u32_le(bytes, at + 1)?, 5),
        len => (usize::from(len), 1),
    };
    if said != before {
        return None;
    }
    let begin = at;
    let at = at + skip;
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
    let element = match first {
        _ if text => Element::Text(tail),
        0xf1..=0xfd => Element::Number(i64::from(first & 0x0f) - 1),
        _ => Element::Number(integer(tail)),
    };
    Some((element, at + head + body - begin))
}

/// Reads an intset: numbers of one width, in order.
pub(super) fn intset<'b>(bytes: &'b [u8], sink: Sink<'_, 'b>) -> Result<(), Broken> {
    let head = || Some((u32_le(bytes, 0)?, u32_le(bytes, 4)?));
    let (width, count) = head().ok_or(INTSET)?;
    let numbers = &bytes[8..];
    if !matches!(width, 2 | 4 | 8) || count.checked_mul(width) != Some(numbers.len()) {
        return Err(INTSET);
    }
    let mut last = None;
    for number in numbers.chunks_exact(width).map(integer) {
        if last.is_some_and(|last| last >= number) {
            return Err(INTSET);
        }
        last = Some(number);
        sink(Element::Number(number))?;
    }
    Ok(())
}

/// Reads a zipmap: fields and values in turn, a value with room behind it.
pub(super) fn zipmap<'b>(bytes: &'b [u8], sink: Sink<'_, 'b>) -> Result<(), Broken> {
    let [said, .., 0xff] = bytes else { return Err(ZIPMAP) };
    let (mut at, mut count) = (1, 0);
    while at + 1 < bytes.len() {
        let (field, len) = zipmap_string(bytes, at, false).ok_or(ZIPMAP)?;
        at += len;
        let (value, len) = zipmap_string(bytes, at, true).ok_or(ZIPMAP)?;
        at += len;
        sink(Element::Text(field))?;
        sink(Element::Text(value))?;
        count += 1;
    }
    // From 254 fields on they are not counted.
    let counted = *said >= 254 || usize::from(*said) == count;
    if at + 1 == bytes.len() && counted { Ok(()) } else { Err(ZIPMAP) }
}

fn zipmap_string(bytes: &[u8], at: usize, room: bool) -> Option<(&[u8], usize)> {
    let (len, mut skip) = match *bytes.get(at)? {
        255 => return None,
        254 => (u32_le(bytes, at + 1)?, 5),
        len => (usize::from(len), 1),
    };
    let mut free = 0;
    if room {
        free = usize::from(*bytes.get(at + skip)?);
        skip += 1;
    }
    let text = part(bytes, at + skip, len)?;
    part(bytes, at + skip, len + free)?;
    Some((text, skip + len + free))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(f: Reader, bytes: &[u8]) -> Result<Vec<String>, Broken> {
        let mut items = Vec::new();
        f(bytes, &mut |item| {
            items.push(String::from_utf8_lossy(&item.bytes()).into_owned());
            Ok(())
        })?;
        Ok(items)
    }

    /// A ziplist with each of its encodings.
    fn old() -> Vec<u8> {
        let (mut body, mut before) = (Vec::new(), 0);
        for entry in [
            &b"\x02hi"[..],
            b"\x40\x03abc",
            b"\x80\0\0\0\x01z",
            b"\xc0\x00\x80",
            b"\xd0\xff\xff\xff\xff",
            b"\xe0\0\0\0\0\0\0\0\x80",
            b"\xf0\xff\xff\x7f",
            b"\xfe\x9c",
            b"\xf1",
            b"\xfd",
        ] {
            body.push(before);
            body.extend_from_slice(entry);
            before = entry.len() as u8 + 1;
        }
        let mut bytes = (body.len() as u32 + 11).to_le_bytes().to_vec();
        bytes.extend_from_slice(&(body.len() as u32 + 10 - u32::from(before)).to_le_bytes());
        bytes.extend_from_slice(&[10, 0]);
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
    fn intsets() {
        let set = |width: u32, numbers: &[i64]| {
            let mut bytes = width.to_le_bytes().to_vec();
            bytes.extend((numbers.len() as u32).to_le_bytes());
            numbers.iter().for_each(|n| bytes.extend(&n.to_le_bytes()[..width as usize]));
            bytes
        };
        assert_eq!(read(intset, &set(2, &[-5, 0, 7])).unwrap(), ["-5", "0", "7"]);
        assert_eq!(
            read(intset, &set(8, &[i64::MIN, i64::MAX])).unwrap(),
            [i64::MIN.to_string(), i64::MAX.to_string()]
        );
        assert!(read(intset, &set(4, &[2, 1])).is_err() && read(intset, &set(4, &[2, 2])).is_err());
        assert!(read(intset, &set(3, &[1])).is_err() && read(intset, &set(2, &[1, 2])[..11]).is_err());
    }

    #[test]
    fn zipmaps_with_room_behind_values() {
        let map = b"\x02\x01a\x02\x03xy...\xfe\x02\0\0\0bc\x00\x00\xff";
        assert_eq!(read(zipmap, map).unwrap(), ["a", "xy", "bc", ""]);
        assert!(read(zipmap, b"\x01\xff").is_err() && read(zipmap, b"\x01\x01a\x09\x00x\xff").is_err());
        assert_eq!(read(zipmap, b"\x00\xff").unwrap(), [""; 0]);
    }

    #[test]
    fn the_way_back_is_checked() {
        // One listpack of "abc", and what it says of the entry's length behind it.
        let good = b"\x0c\0\0\0\x01\0\x83abc\x04\xff";
        assert_eq!(read(listpack, good).unwrap(), ["abc"]);
        assert_eq!(read(listpack, b"\x0c\0\0\0\x01\0\x83abc\x05\xff"), Err(LISTPACK));
        assert_eq!(backwards(127), ([127, 0, 0, 0, 0], 1));
        assert_eq!(backwards(300), ([2, 128 | 44, 0, 0, 0], 2));
        // Redis goes on to the next width one early.
        for (last, width) in [(127, 1), (16_382, 2), (2_097_150, 3), (268_435_454, 4)] {
            assert_eq!((backwards(last).1, backwards(last + 1).1), (width, width + 1), "{last}");
        }
        let mut bent = old();
        // The second entry says how long the first one is.
        bent[14] ^= 1;
        assert_eq!(read(ziplist, &bent), Err(ZIPLIST));
    }

    #[test]
    fn what_the_head_says_is_checked() {
        let good = b"\x0c\0\0\0\x01\0\x83abc\x04\xff".to_vec();
        let changed = |bytes: &[u8], at: usize, to: u8| {
            let mut bytes = bytes.to_vec();
            bytes[at] = to;
            bytes
        };
        // Its length, its number of elements (65535 is "count them"), its last byte.
        for (at, to) in [(0, 0x0b), (0, 0x0d), (1, 1), (4, 0), (4, 2), (11, 0xfe)] {
            assert_eq!(read(listpack, &changed(&good, at, to)), Err(LISTPACK), "{at} {to}");
        }
        let uncounted = changed(&changed(&good, 4, 0xff), 5, 0xff);
        assert_eq!(read(listpack, &uncounted).unwrap(), ["abc"]);
        assert_eq!(read(listpack, b"\x07\0\0\0\0\0\xff").unwrap(), [""; 0]);
        assert_eq!(read(listpack, b"\x06\0\0\0\0\0"), Err(LISTPACK));
        // A last entry that takes the byte at the end for its own.
        let swallows = [&b"\x07\x01\0\0\x01\0\xe0\xfd"[..], &[b'x'; 253], b"\x01\xff"].concat();
        assert_eq!(read(listpack, &swallows), Err(LISTPACK));
        assert_eq!(read(ziplist, b"\x0e\0\0\0\x0a\0\0\0\x01\0\0\x02h\xff"), Err(ZIPLIST));
        assert_eq!(read(zipmap, b"\x01\x01a\x01\0\xff"), Err(ZIPMAP));
        let (whole, end) = (old(), old().len() - 1);
        for (at, to) in
            [(0, whole[0] - 1), (0, whole[0] + 1), (4, whole[4] - 1), (4, 10), (8, 9), (8, 11), (end, 0xfe)]
        {
            assert_eq!(read(ziplist, &changed(&whole, at, to)), Err(ZIPLIST), "{at} {to}");
        }
        assert!(read(ziplist, &changed(&changed(&whole, 8, 0xff), 9, 0xff)).is_ok());
    }

    #[test]
    fn a_damaged_length_is_refused_and_nothing_panics() {
        let whole = old();
        for at in 0..whole.len() {
            assert_eq!(read(ziplist, &whole[..at]), Err(ZIPLIST));
            for value in 0..=255 {
                let mut bytes = whole.clone();
                bytes[at] = value;
                // Whatever they are taken for, they are taken to their end or refused.
                for reader in [ziplist as Reader, listpack, zipmap, intset] {
                    let _ = read(reader, &bytes);
                }
            }
        }
    }
}
