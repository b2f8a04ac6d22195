//! Strings as arrays of bits; the first bit is the highest of the first byte.

use super::args::{self, is};
use super::context::Ctx;
use super::error::{CommandError, SYNTAX};
use crate::keyspace::{Origin, Str, Value};
use crate::resp::{Out, parse_integer};

type Done = Result<(), CommandError>;

/// Bits in the longest string.
pub(super) const MOST: u64 = 8 * 512 * 1024 * 1024;

/// The byte of a bit, and the bit's mask in it.
fn place(arg: &[u8]) -> Result<(usize, u8), CommandError> {
    let offset = parse_integer(arg).and_then(|n| u64::try_from(n).ok()).filter(|n| *n < MOST);
    let offset = offset.ok_or(CommandError::fixed("ERR bit offset is not an integer or out of range"))?;
    Ok((usize::try_from(offset / 8).unwrap_or(usize::MAX), 0x80 >> (offset % 8)))
}

/// SETBIT key offset 0|1
pub(super) fn setbit(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (byte, mask) = place(argv[2])?;
    let on = match parse_integer(argv[3]) {
        Some(bit @ (0 | 1)) => bit == 1,
        _ => return Err(CommandError::fixed("ERR bit is not an integer or out of range")),
    };
    let value = cx.get_or_new::<Str>(argv[1])?;
    let missing = (byte + 1).saturating_sub(value.len());
    if missing > 0 {
        value.extend_from_slice(&vec![0; missing]);
    }
    let was = value[byte] & mask != 0;
    value[byte] = if on { value[byte] | mask } else { value[byte] & !mask };
    if missing > 0 || was != on {
        cx.touch(argv[1]);
    }
    out.int(i64::from(was));
    Ok(())
}

/// GETBIT key offset
pub(super) fn getbit(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (byte, mask) = place(argv[2])?;
    let value = cx.read::<Str>(argv[1])?;
    out.int(i64::from(value.and_then(|v| v.get(byte)).is_some_and(|b| b & mask != 0)));
    Ok(())
}

/// The bits from the first to behind the last that `start end [BYTE|BIT]` means in a string of `len` bytes. `counting`:
/// as BITCOUNT means it, to which two negative ends in the wrong order are nothing, whatever stands behind them.
fn range(argv: &[&[u8]], len: usize, counting: bool) -> Result<std::ops::Range<usize>, CommandError> {
    let start = argv.first().map_or(Ok(0), |n| args::integer(n))?;
    let end = argv.get(1).map_or(Ok(-1), |n| args::integer(n))?;
    if argv.len() > 3 {
        return Err(SYNTAX);
    }
    if counting && start < 0 && end < 0 && start > end {
        return Ok(0..0);
    }
    let bits = match argv.get(2) {
        Some(unit) if is(unit, "bit") => true,
        Some(unit) if !is(unit, "byte") => return Err(SYNTAX),
        _ => false,
    };
    let len = if bits { len * 8 } else { len };
    // Unlike in a list, an end before the first is the first.
    let end = if end < 0 { i64::try_from(len).unwrap_or(i64::MAX).saturating_add(end).max(0) } else { end };
    let range = args::range(start, end, len);
    Ok(if bits { range } else { range.start * 8..range.end * 8 })
}

/// Gives the bytes of a range of bits, those outside of it as `fill`, and the number of each byte.
fn bytes(text: &[u8], range: std::ops::Range<usize>, fill: bool) -> impl Iterator<Item = (usize, u8)> {
    let (first, last) = (range.start / 8, range.end.div_ceil(8));
    text[first..last.max(first)].iter().enumerate().map(move |(i, byte)| {
        let at = first + i;
        let mut inside = 0xffu8;
        if at == first {
            inside &= 0xff >> (range.start % 8);
        }
        if (at + 1) * 8 > range.end {
            inside &= !(0xffu16 >> (range.end - at * 8)) as u8;
        }
        (at, if fill { byte | !inside } else { byte & inside })
    })
}

/// BITCOUNT key [start end [BYTE|BIT]]
pub(super) fn bitcount(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let Some(text) = cx.read::<Str>(argv[1])? else {
        out.int(0);
        return Ok(());
    };
    if argv.len() == 3 {
        return Err(SYNTAX);
    }
    let range = range(&argv[2..], text.len(), true)?;
    let found: u64 = bytes(text, range, false).map(|(_, byte)| u64::from(byte.count_ones())).sum();
    out.int(i64::try_from(found).unwrap_or(i64::MAX));
    Ok(())
}

/// BITPOS key 0|1 [start [end [BYTE|BIT]]]
pub(super) fn bitpos(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let ones = match args::integer(argv[2])? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::fixed("ERR The bit argument must be 1 or 0.")),
    };
    let Some(text) = cx.read::<Str>(argv[1])? else {
        out.int(if ones { -1 } else { 0 });
        return Ok(());
    };
    let range = range(&argv[3..], text.len(), false)?;
    let nothing = range.is_empty();
    let found = bytes(text, range, !ones).find_map(|(at, byte)| {
        let byte = if ones { byte } else { !byte };
        (byte != 0).then(|| at * 8 + byte.leading_zeros() as usize)
    });
    match found {
        Some(place) => out.count(place),
        // Where no end is given, zeros follow the last byte.
        None if !ones && !nothing && argv.len() < 5 => out.count(text.len() * 8),
        None => out.int(-1),
    }
    Ok(())
}

/// BITOP AND|OR|XOR|NOT destination key...
pub(super) fn bitop(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let combine: fn(u8, u8) -> u8 = match argv[1].to_ascii_lowercase().as_slice() {
        b"and" => |a, b| a & b,
        b"or" => |a, b| a | b,
        b"xor" => |a, b| a ^ b,
        b"not" if argv.len() != 4 => {
            return Err(CommandError::fixed("ERR BITOP NOT must be called with a single source key."));
        }
        b"not" => |a, _| !a,
        _ => return Err(SYNTAX),
    };
    let mut texts = Vec::with_capacity(argv.len() - 3);
    for key in &argv[3..] {
        texts.push(cx.read::<Str>(key)?.map_or(Vec::new(), |text| text.to_vec()));
    }
    let len = texts.iter().map(Vec::len).max().unwrap_or(0);
    // What is shorter goes on with zeros.
    texts.iter_mut().for_each(|text| text.resize(len, 0));
    let (mut result, others) = texts.split_first().map_or((Vec::new(), &[][..]), |(a, b)| (a.clone(), b));
    if others.is_empty() {
        result.iter_mut().for_each(|byte| *byte = combine(*byte, *byte));
    }
    for other in others {
        result.iter_mut().zip(other).for_each(|(a, b)| *a = combine(*a, *b));
    }
    out.count(len);
    let result = (len > 0).then(|| Value::Str(Str::new(&result, Origin::Changed)));
    cx.store(argv[2], result);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_bits_is_cut_out_of_its_bytes() {
        let text = [0xff, 0x0f, 0xf0];
        for (range, expected) in [
            (0..24, vec![(0, 0xff), (1, 0x0f), (2, 0xf0)]),
            (3..5, vec![(0, 0x18)]),
            (8..16, vec![(1, 0x0f)]),
            (12..17, vec![(1, 0x0f), (2, 0x80)]),
            (0..0, vec![]),
        ] {
            assert_eq!(bytes(&text, range.clone(), false).collect::<Vec<_>>(), expected, "{range:?}");
        }
        assert_eq!(bytes(&text, 13..15, true).collect::<Vec<_>>(), [(1, 0xff)]);
    }
}
