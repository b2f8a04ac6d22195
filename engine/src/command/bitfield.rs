//! BITFIELD and BITFIELD_RO: integers of any width at any place of a string.

use super::args::{self, is};
use super::bits::MOST;
use super::context::Ctx;
use super::error::{CommandError, SYNTAX};
use crate::keyspace::Str;
use crate::resp::{Out, parse_integer};

type Done = Result<(), CommandError>;

/// An integer's width in bits, and whether it has a sign.
#[derive(Clone, Copy)]
struct Kind {
    bits: u32,
    signed: bool,
}

impl Kind {
    /// Reads `i1` to `i64` and `u1` to `u63`.
    fn read(arg: &[u8]) -> Result<Kind, CommandError> {
        const WRONG: CommandError = CommandError::fixed(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        );
        let (first, digits) = arg.split_first().ok_or(WRONG)?;
        let signed = match first {
            b'i' => true,
            b'u' => false,
            _ => return Err(WRONG),
        };
        let bits = parse_integer(digits).and_then(|n| u32::try_from(n).ok());
        let bits = bits.filter(|n| (1..=63 + u32::from(signed)).contains(n)).ok_or(WRONG)?;
        Ok(Kind { bits, signed })
    }

    fn range(self) -> (i128, i128) {
        if self.signed {
            let half = 1i128 << (self.bits - 1);
            (-half, half - 1)
        } else {
            (0, (1i128 << self.bits) - 1)
        }
    }

    /// The number that so many low bits of `raw` mean.
    fn value(self, raw: u128) -> i128 {
        let raw = raw & ((1u128 << self.bits) - 1);
        let negative = self.signed && raw >> (self.bits - 1) == 1;
        // At most 64 bits are set.
        if negative { raw as i128 - (1i128 << self.bits) } else { raw as i128 }
    }

    /// The field that begins at bit `offset`; behind the string's end there are zeros.
    fn get(self, text: &[u8], offset: u64) -> i128 {
        let first = usize::try_from(offset / 8).unwrap_or(usize::MAX);
        // A field lies in nine bytes at most.
        let window = (0..9).fold(0u128, |sum, i| {
            let byte = first.checked_add(i).and_then(|at| text.get(at)).copied().unwrap_or(0);
            sum << 8 | u128::from(byte)
        });
        self.value(window >> (72 - offset % 8 - u64::from(self.bits)))
    }

    /// Writes a field that lies within the string.
    fn put(self, text: &mut [u8], offset: u64, value: i128) {
        for bit in 0..u64::from(self.bits) {
            let at = offset + bit;
            let (byte, mask) = ((at / 8) as usize, 0x80u8 >> (at % 8));
            let on = value >> (u64::from(self.bits) - 1 - bit) & 1 == 1;
            if let Some(byte) = text.get_mut(byte) {
                *byte = if on { *byte | mask } else { *byte & !mask };
            }
        }
    }
}

/// What becomes of a number that its field cannot hold.
#[derive(Clone, Copy)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl Overflow {
    fn read(arg: &[u8]) -> Result<Overflow, CommandError> {
        if is(arg, "wrap") {
            Ok(Overflow::Wrap)
        } else if is(arg, "sat") {
            Ok(Overflow::Saturate)
        } else if is(arg, "fail") {
            Ok(Overflow::Fail)
        } else {
            Err(CommandError::fixed("ERR Invalid OVERFLOW type specified"))
        }
    }

    /// What is written for `value`; `None`: nothing.
    fn fit(self, kind: Kind, value: i128) -> Option<i128> {
        let (least, most) = kind.range();
        match self {
            _ if (least..=most).contains(&value) => Some(value),
            Overflow::Wrap => Some(kind.value(value as u128)),
            Overflow::Saturate => Some(value.clamp(least, most)),
            Overflow::Fail => None,
        }
    }
}

enum Action {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

struct Operation {
    kind: Kind,
    offset: u64,
    action: Action,
}

/// The bit that a field begins with: a number of bits or, after `#`, of fields.
fn offset(arg: &[u8], kind: Kind) -> Result<u64, CommandError> {
    let (factor, digits) = arg.strip_prefix(b"#").map_or((1, arg), |digits| (u64::from(kind.bits), digits));
    parse_integer(digits)
        .and_then(|n| u64::try_from(n).ok()?.checked_mul(factor))
        .filter(|n| *n < MOST)
        .ok_or(CommandError::fixed("ERR bit offset is not an integer or out of range"))
}

fn operations(mut rest: &[&[u8]]) -> Result<Vec<Operation>, CommandError> {
    let (mut all, mut overflow) = (Vec::new(), Overflow::Wrap);
    while let Some((word, more)) = rest.split_first() {
        let action: fn(i64, Overflow) -> Action = if is(word, "overflow") && !more.is_empty() {
            overflow = Overflow::read(more[0])?;
            rest = &more[1..];
            continue;
        } else if is(word, "get") && more.len() >= 2 {
            let kind = Kind::read(more[0])?;
            all.push(Operation { kind, offset: offset(more[1], kind)?, action: Action::Get });
            rest = &more[2..];
            continue;
        } else if is(word, "set") {
            Action::Set
        } else if is(word, "incrby") {
            Action::Add
        } else {
            return Err(SYNTAX);
        };
        let [kind, place, number, more @ ..] = more else { return Err(SYNTAX) };
        let kind = Kind::read(kind)?;
        let offset = offset(place, kind)?;
        all.push(Operation { kind, offset, action: action(args::integer(number)?, overflow) });
        rest = more;
    }
    Ok(all)
}

fn show(text: &[u8], operations: &[Operation], out: &mut Out) {
    out.array(operations.len());
    for operation in operations {
        int(operation.kind.get(text, operation.offset), out);
    }
}

/// Every field fits 64 bits.
fn int(value: i128, out: &mut Out) {
    out.int(value as i64);
}

/// BITFIELD_RO key [GET type offset]...
pub(super) fn bitfield_ro(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let operations = operations(&argv[2..])?;
    if operations.iter().any(|operation| !matches!(operation.action, Action::Get)) {
        return Err(CommandError::fixed("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    let text = cx.read::<Str>(argv[1])?;
    show(text.map_or(&[], |text| text), &operations, out);
    Ok(())
}

/// BITFIELD key [GET type offset | [OVERFLOW WRAP|SAT|FAIL] SET type offset value | INCRBY type offset increment]...
pub(super) fn bitfield(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let operations = operations(&argv[2..])?;
    let written = operations.iter().filter(|operation| !matches!(operation.action, Action::Get));
    let Some(end) = written.map(|operation| operation.offset + u64::from(operation.kind.bits)).max() else {
        let text = cx.read::<Str>(argv[1])?;
        show(text.map_or(&[], |text| text), &operations, out);
        return Ok(());
    };
    let value = cx.get_or_new::<Str>(argv[1])?;
    let needed = usize::try_from(end.div_ceil(8)).unwrap_or(usize::MAX);
    // It grows even if nothing is written in the end.
    let grown = value.len() < needed;
    value.pad(needed);
    let mut changes = 0;
    out.array(operations.len());
    for Operation { kind, offset, action } in operations {
        let old = kind.get(value, offset);
        let (new, reply) = match action {
            Action::Get => {
                int(old, out);
                continue;
            }
            // As in Redis, a negative number for a field without a sign is a very large one.
            Action::Set(number, overflow) if !kind.signed => {
                (overflow.fit(kind, i128::from(number as u64)), Some(old))
            }
            Action::Set(number, overflow) => (overflow.fit(kind, i128::from(number)), Some(old)),
            Action::Add(by, overflow) => {
                let new = overflow.fit(kind, old + i128::from(by));
                (new, new)
            }
        };
        match (new, reply) {
            (Some(new), Some(reply)) => {
                changes += usize::from(grown || new != old);
                kind.put(value, offset, new);
                int(reply, out);
            }
            _ => out.null(),
        }
    }
    if changes > 0 {
        cx.signal(argv[1]);
    }
    // What has only grown is no change in Redis, which does not log it either: a replay would not make it.
    cx.changed = grown || changes > 0;
    cx.count(changes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_what_is_got_and_nothing_else_changes() {
        for signed in [false, true] {
            for bits in 1..=63 + u32::from(signed) {
                let kind = Kind { bits, signed };
                let (least, most) = kind.range();
                for offset in 0..9 {
                    for value in [least, most, 0, least / 3, most / 5] {
                        for background in [0u8, 0xff] {
                            let mut text = [background; 10];
                            kind.put(&mut text, offset, value);
                            assert_eq!(kind.get(&text, offset), value, "{bits} bits at {offset}");
                            kind.put(&mut text, offset, if background == 0 { 0 } else { -1 });
                            assert_eq!(text, [background; 10]);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_field_behind_the_end_is_zero_and_one_across_it_is_filled_up() {
        let kind = Kind { bits: 16, signed: false };
        assert_eq!((kind.get(b"\xff", 0), kind.get(b"\xff", 8), kind.get(b"", 1 << 40)), (0xff00, 0, 0));
    }
}
