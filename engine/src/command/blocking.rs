//! Commands that wait for a list or a sorted set to have something, and who is served when it has.
//!
//! A served command is logged as the command that would have done the same without waiting: what a log holds never
//! waits.

use super::args::{self, is};
use super::blocked::{Block, Want};
use super::context::Ctx;
use super::error::CommandError;
use super::lists::{self, End};
use super::sorted_sets;
use crate::engine::Engine;
use crate::keyspace::Value;
use crate::number::Extended;
use crate::resp::{Out, parse_integer};
use crate::session::{Outcome, Session};

type Done = Result<Outcome, CommandError>;

/// The moment that a timeout in seconds means, in milliseconds since 1970; 0 where it is 0.
fn deadline(arg: &[u8], now_ms: u64) -> Result<u64, CommandError> {
    let seconds = Extended::parse(arg)
        .ok_or(CommandError::fixed("ERR timeout is not a float or out of range"))?
        .to_f64();
    let ms = (seconds * 1000.0).ceil();
    // What 64 bits cannot hold is negative in Redis 7.0.
    if !(0.0..i64::MAX as f64).contains(&ms) {
        return Err(CommandError::fixed("ERR timeout is negative"));
    }
    // It lies in the range of 64 bits.
    Ok(if ms == 0.0 { 0 } else { now_ms.saturating_add(ms as u64) })
}

/// Gives a client what it wants of `key`, if there is such a key. Says whether there is.
fn give(cx: &mut Ctx<'_>, key: &[u8], want: &Want, out: &mut Out) -> Result<bool, CommandError> {
    match want {
        Want::Item(end) => {
            let Some(item) = lists::pop_one(cx, key, *end)? else { return Ok(false) };
            out.array(2);
            out.bulk(key);
            out.bulk(&item);
            cx.translate(&[end.pop_name(), key]);
            Ok(true)
        }
        Want::Items(end, most) => lists::pop_many(cx, key, *end, *most, out),
        Want::Move { from, to, destination, rpoplpush } => {
            if !lists::is_there(cx, key)? {
                return Ok(false);
            }
            lists::move_item(cx, (key, *from), (destination, *to), out)?;
            if *rpoplpush {
                cx.translate(&[b"RPOPLPUSH", key, destination]);
            } else {
                cx.translate(&[b"LMOVE", key, destination, from.name(), to.name()]);
            }
            Ok(true)
        }
        Want::Member { top } => sorted_sets::pop_one(cx, key, *top, out),
        Want::Members { top, most } => sorted_sets::pop_many(cx, key, *most, *top, out),
        Want::Acknowledgement => Ok(false),
    }
}

/// Serves the client from the first key that has something, or tells it to wait.
fn serve_or_wait(
    engine: &mut Engine,
    session: &Session,
    keys: &[&[u8]],
    (want, deadline_ms): (Want, u64),
    out: &mut Out,
) -> Done {
    let mut cx = engine.context(session.db);
    for key in keys {
        if give(&mut cx, key, &want, out)? {
            let changes = cx.changes();
            engine.persistence.count_changes(changes);
            return Ok(Outcome::Done);
        }
    }
    let keys = keys.iter().map(|key| key.to_vec()).collect();
    Ok(Outcome::Block(Box::new(Block { db: session.db, keys, want, deadline_ms })))
}

/// `key... timeout`.
fn pop(engine: &mut Engine, session: &Session, argv: &[&[u8]], want: Want, out: &mut Out) -> Done {
    let (timeout, keys) = argv[1..].split_last().ok_or(super::error::SYNTAX)?;
    let deadline_ms = deadline(timeout, engine.now_ms)?;
    serve_or_wait(engine, session, keys, (want, deadline_ms), out)
}

/// BLPOP key... timeout
pub(super) fn blpop(engine: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    pop(engine, session, argv, Want::Item(End::Left), out)
}

/// BRPOP key... timeout
pub(super) fn brpop(engine: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    pop(engine, session, argv, Want::Item(End::Right), out)
}

/// BZPOPMIN key... timeout
pub(super) fn bzpopmin(engine: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    pop(engine, session, argv, Want::Member { top: false }, out)
}

/// BZPOPMAX key... timeout
pub(super) fn bzpopmax(engine: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    pop(engine, session, argv, Want::Member { top: true }, out)
}

/// BLMPOP timeout numkeys key... LEFT|RIGHT [COUNT n]
pub(super) fn blmpop(engine: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    let (keys, rest) = args::counted_keys(&argv[2..])?;
    let end = End::read(rest.first().ok_or(super::error::SYNTAX)?)?;
    let want = Want::Items(end, sorted_sets::pop_count(&rest[1..])?);
    let deadline_ms = deadline(argv[1], engine.now_ms)?;
    serve_or_wait(engine, session, keys, (want, deadline_ms), out)
}

/// BZMPOP timeout numkeys key... MIN|MAX [COUNT n]
pub(super) fn bzmpop(engine: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    let (keys, rest) = args::counted_keys(&argv[2..])?;
    let (top, most) = sorted_sets::end_and_count(rest)?;
    let deadline_ms = deadline(argv[1], engine.now_ms)?;
    serve_or_wait(engine, session, keys, (Want::Members { top, most }, deadline_ms), out)
}

/// BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout
pub(super) fn blmove(engine: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    let (from, to) = (End::read(argv[3])?, End::read(argv[4])?);
    let want = Want::Move { from, to, destination: argv[2].to_vec(), rpoplpush: false };
    let deadline_ms = deadline(argv[5], engine.now_ms)?;
    serve_or_wait(engine, session, &argv[1..2], (want, deadline_ms), out)
}

/// BRPOPLPUSH source destination timeout
pub(super) fn brpoplpush(engine: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    let destination = argv[2].to_vec();
    let want = Want::Move { from: End::Right, to: End::Left, destination, rpoplpush: true };
    let deadline_ms = deadline(argv[3], engine.now_ms)?;
    serve_or_wait(engine, session, &argv[1..2], (want, deadline_ms), out)
}

/// WAIT numreplicas timeout: the timeout is in milliseconds. A replica is never asked what it has, so none has
/// acknowledged anything.
pub(super) fn wait(engine: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    let replicas = args::integer(argv[1])?;
    let timeout =
        parse_integer(argv[2]).ok_or(CommandError::fixed("ERR timeout is not an integer or out of range"))?;
    let timeout = u64::try_from(timeout).map_err(|_| CommandError::fixed("ERR timeout is negative"))?;
    if replicas <= 0 {
        out.int(0);
        return Ok(Outcome::Done);
    }
    let deadline_ms = if timeout == 0 { 0 } else { engine.now_ms.saturating_add(timeout) };
    serve_or_wait(engine, session, &[], (Want::Acknowledgement, deadline_ms), out)
}

/// Serves those who wait for keys that a command or transaction has brought into being, in the order in which they
/// came, until nothing is left for them. (An item that is moved may bring another key into being.)
pub(super) fn serve(engine: &mut Engine) {
    loop {
        let ready = engine.hooks.blocked.take_ready();
        if ready.is_empty() {
            return;
        }
        for (db, key) in ready {
            for (id, want) in engine.hooks.blocked.queue(db, &key) {
                if !serve_one(engine, (db, &key), id, &want) {
                    break;
                }
            }
        }
    }
}

/// Serves one client from a key, unless it waits for another type. Says whether the key is still there.
fn serve_one(engine: &mut Engine, (db, key): (usize, &[u8]), id: u64, want: &Want) -> bool {
    let mut cx = engine.context(db);
    let list = match cx.entry(key).map(|entry| &entry.value) {
        Some(Value::List(_)) => true,
        Some(Value::SortedSet(_)) => false,
        _ => return false,
    };
    if list == matches!(want, Want::Member { .. } | Want::Members { .. }) {
        return true;
    }
    let mut reply = Out::default();
    reply.speak(cx.hooks.blocked.protocol(id));
    let given = give(&mut cx, key, want, &mut reply);
    let changes = match want {
        // Redis counts the push alone.
        Want::Item(_) | Want::Move { .. } => 0,
        _ => cx.changes(),
    };
    engine.persistence.count_changes(changes);
    if let Err(error) = given {
        // The destination of a move is no list: the client is told, and the item stays.
        engine.stats.errors += 1;
        reply.clear();
        reply.error(&error.0);
    }
    engine.hooks.blocked.wake(id, reply);
    true
}

/// CLIENT UNBLOCK id [TIMEOUT|ERROR]: ends a client's wait as if its time were over, or with an error.
pub(super) fn unblock(engine: &mut Engine, argv: &[&[u8]], out: &mut Out) -> Result<(), CommandError> {
    let with_error = match argv {
        [_, _, _] => false,
        [_, _, _, how] if is(how, "timeout") => false,
        [_, _, _, how] if is(how, "error") => true,
        [_, _, _, _] => {
            return Err(CommandError::fixed("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
        _ => {
            return Err(CommandError::fixed(
                "ERR unknown subcommand or wrong number of arguments for 'unblock'. Try CLIENT HELP.",
            ));
        }
    };
    let id = u64::try_from(args::integer(argv[2])?).unwrap_or(0);
    let waited = engine.hooks.blocked.end_wait(id, with_error) || engine.clients.end_wait(id, with_error);
    out.int(i64::from(waited));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_ends_at_the_millisecond_that_it_says() {
        let at = |text: &str| deadline(text.as_bytes(), 1_000).map_err(|e| e.to_string());
        for (text, wanted) in
            [("0", 0), ("1", 2_000), ("0.25", 1_250), ("0.0001", 1_001), ("0.001", 1_001), ("1.5", 2_500)]
        {
            assert_eq!(at(text), Ok(wanted), "{text}");
        }
        assert!(at("-1").is_err() && at("x").is_err() && at("1e300").is_err());
    }
}
