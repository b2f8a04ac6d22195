//! Expiry: every form becomes one moment in milliseconds, which is what is stored and logged.

use super::args::{self, is};
use super::context::Ctx;
use super::error::{CommandError, NOT_INTEGER};
use crate::resp::{Out, parse_integer};

type Done = Result<(), CommandError>;

/// How an expiry is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// From now, in seconds.
    Seconds,
    /// From now, in milliseconds.
    Milliseconds,
    /// A moment, in seconds since 1970.
    UnixSeconds,
    /// A moment, in milliseconds since 1970.
    UnixMilliseconds,
}

impl Unit {
    /// The option of SET and GETEX that has this unit.
    pub(super) fn of_option(word: &[u8]) -> Option<Unit> {
        [
            ("ex", Unit::Seconds),
            ("px", Unit::Milliseconds),
            ("exat", Unit::UnixSeconds),
            ("pxat", Unit::UnixMilliseconds),
        ]
        .into_iter()
        .find_map(|(name, unit)| is(word, name).then_some(unit))
    }

    fn in_seconds(self) -> bool {
        matches!(self, Unit::Seconds | Unit::UnixSeconds)
    }

    fn base(self, now_ms: u64) -> i64 {
        match self {
            Unit::Seconds | Unit::Milliseconds => i64::try_from(now_ms).unwrap_or(i64::MAX),
            Unit::UnixSeconds | Unit::UnixMilliseconds => 0,
        }
    }

    /// The moment that a positive `value` means; `command` is named in the error.
    pub(super) fn at(self, value: &[u8], now_ms: u64, command: &str) -> Result<u64, CommandError> {
        let value = parse_integer(value).ok_or(NOT_INTEGER)?;
        let factor = if self.in_seconds() { 1000 } else { 1 };
        Some(value)
            .filter(|v| *v > 0)
            .and_then(|v| v.checked_mul(factor))
            .and_then(|v| v.checked_add(self.base(now_ms)))
            .and_then(|v| u64::try_from(v).ok())
            .ok_or_else(|| CommandError::expire_time(command))
    }
}

/// Gives an existing key a moment of expiry, or deletes it if that has come; logs the one or the other.
pub(super) fn expire_at(cx: &mut Ctx<'_>, key: &[u8], at_ms: u64) {
    if at_ms <= cx.now_ms && !cx.loading {
        cx.remove(key);
        cx.translate(&[b"DEL", key]);
    } else {
        cx.set_expiry(key, Some(at_ms));
        if sabotaged!("expire-logged-as-itself") {
            cx.translate(&[b"PEXPIRE", key, at_ms.saturating_sub(cx.now_ms).to_string().as_bytes()]);
        } else {
            cx.translate(&[b"PEXPIREAT", key, at_ms.to_string().as_bytes()]);
        }
    }
}

/// The conditions that EXPIRE takes.
#[derive(Default)]
struct Conditions {
    none: bool,
    some: bool,
    later: bool,
    sooner: bool,
}

impl Conditions {
    fn read(options: &[&[u8]]) -> Result<Conditions, CommandError> {
        let mut c = Conditions::default();
        for option in options {
            let flag = match option.to_ascii_lowercase().as_slice() {
                b"nx" => &mut c.none,
                b"xx" => &mut c.some,
                b"gt" => &mut c.later,
                b"lt" => &mut c.sooner,
                _ => {
                    return Err(CommandError::quoting("ERR Unsupported option ", option, ""));
                }
            };
            *flag = true;
        }
        if c.none && (c.some || c.later || c.sooner) {
            return Err(CommandError::fixed(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if c.later && c.sooner {
            return Err(CommandError::fixed("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(c)
    }

    /// Whether they let `new` take the place of `old`. No expiry counts as later than any.
    fn allow(&self, old: Option<u64>, new: i64) -> bool {
        let old = old.map(|o| i64::try_from(o).unwrap_or(i64::MAX));
        !(self.none && old.is_some()
            || self.some && old.is_none()
            || self.later && old.is_none_or(|o| new <= o)
            || self.sooner && old.is_some_and(|o| new >= o))
    }
}

fn expire_generic(cx: &mut Ctx<'_>, argv: &[&[u8]], unit: Unit, name: &str, out: &mut Out) -> Done {
    let conditions = Conditions::read(&argv[3..])?;
    let key = argv[1];
    let factor = if unit.in_seconds() { 1000 } else { 1 };
    // Unlike SET, EXPIRE takes moments in the past: they delete the key.
    let at = args::integer(argv[2])?
        .checked_mul(factor)
        .and_then(|v| v.checked_add(unit.base(cx.now_ms)))
        .ok_or_else(|| CommandError::expire_time(name))?;
    let allowed = cx.entry(key).is_some_and(|e| conditions.allow(e.expires_at_ms(), at));
    if allowed {
        expire_at(cx, key, u64::try_from(at).unwrap_or(0));
    }
    out.int(i64::from(allowed));
    Ok(())
}

/// EXPIRE key seconds [NX|XX|GT|LT]
pub(super) fn expire(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    expire_generic(cx, argv, Unit::Seconds, "expire", out)
}

/// PEXPIRE key milliseconds [NX|XX|GT|LT]
pub(super) fn pexpire(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    expire_generic(cx, argv, Unit::Milliseconds, "pexpire", out)
}

/// EXPIREAT key unix-seconds [NX|XX|GT|LT]
pub(super) fn expireat(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    expire_generic(cx, argv, Unit::UnixSeconds, "expireat", out)
}

/// PEXPIREAT key unix-milliseconds [NX|XX|GT|LT]
pub(super) fn pexpireat(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    expire_generic(cx, argv, Unit::UnixMilliseconds, "pexpireat", out)
}

fn ttl_generic(cx: &mut Ctx<'_>, key: &[u8], absolute: bool, seconds: bool, out: &mut Out) -> Done {
    let now = cx.now_ms;
    let reply = match cx.entry(key).map(|e| e.expires_at_ms()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => {
            let ms = if absolute { at } else { at.saturating_sub(now) };
            i64::try_from(if seconds { ms.saturating_add(500) / 1000 } else { ms }).unwrap_or(i64::MAX)
        }
    };
    out.int(reply);
    Ok(())
}

/// TTL key
pub(super) fn ttl(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    ttl_generic(cx, argv[1], false, true, out)
}

/// PTTL key
pub(super) fn pttl(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    ttl_generic(cx, argv[1], false, false, out)
}

/// EXPIRETIME key
pub(super) fn expiretime(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    ttl_generic(cx, argv[1], true, true, out)
}

/// PEXPIRETIME key
pub(super) fn pexpiretime(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    ttl_generic(cx, argv[1], true, false, out)
}

/// PERSIST key
pub(super) fn persist(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let had = cx.entry(argv[1]).is_some_and(|e| e.expires());
    if had {
        cx.set_expiry(argv[1], None);
    }
    out.int(i64::from(had));
    Ok(())
}
