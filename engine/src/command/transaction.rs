//! MULTI, EXEC and WATCH.

use super::dispatch::{call, not_saved};
use super::error::CommandError;
use super::hooks::Hooks;
use super::table;
use crate::engine::Engine;
use crate::resp::Out;
use crate::session::{Outcome, Session, Transaction, Watch};

type Done = Result<Outcome, CommandError>;

/// MULTI
pub(super) fn multi(_: &mut Engine, session: &mut Session, _: &[&[u8]], out: &mut Out) -> Done {
    if session.transaction.is_some() {
        return Err(CommandError::fixed("ERR MULTI calls can not be nested"));
    }
    session.transaction = Some(Transaction::default());
    out.ok();
    Ok(Outcome::Done)
}

/// DISCARD
pub(super) fn discard(engine: &mut Engine, session: &mut Session, _: &[&[u8]], out: &mut Out) -> Done {
    if session.transaction.take().is_none() {
        return Err(CommandError::fixed("ERR DISCARD without MULTI"));
    }
    unwatch_all(&mut engine.hooks, session);
    out.ok();
    Ok(Outcome::Done)
}

/// EXEC: the queued commands, with nothing in between, logged as one.
pub(super) fn exec(engine: &mut Engine, session: &mut Session, _: &[&[u8]], out: &mut Out) -> Done {
    let Some(transaction) = session.transaction.take() else {
        return Err(CommandError::fixed("ERR EXEC without MULTI"));
    };
    let disturbed = session.watching.iter().any(|w| changed(engine, w));
    unwatch_all(&mut engine.hooks, session);
    if transaction.broken {
        return Err(CommandError::fixed("EXECABORT Transaction discarded because of previous errors."));
    }
    if disturbed {
        out.null_array();
        return Ok(Outcome::Done);
    }
    out.array(transaction.commands.len());
    engine.persistence.begin_transaction();
    let mut last = Outcome::Done;
    for command in &transaction.commands {
        let argv: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        match table::find(argv[0]) {
            // What waits outside a transaction answers at once inside it.
            Some(spec) => match call(engine, session, spec, &argv, out) {
                Outcome::AwaitDurable { .. } => {
                    out.array(2);
                    out.int(i64::from(engine.persistence.waitaof_durable()));
                    out.int(0);
                }
                Outcome::Block(block) => block.refuse(out),
                Outcome::Done => {}
                other => last = other,
            },
            None => out.error("ERR unknown command"),
        }
    }
    engine.persistence.end_transaction();
    not_saved(engine.persistence.transaction_flushed(&engine.keyspace, engine.now_ms));
    Ok(last)
}

/// Whether a watched key changed, or expired since.
fn changed(engine: &Engine, watch: &Watch) -> bool {
    let expired = !watch.expired && is_expired(engine, watch.db, &watch.key);
    expired || engine.hooks.watched.version(watch.db, &watch.key) != Some(watch.version)
}

fn is_expired(engine: &Engine, db: usize, key: &[u8]) -> bool {
    engine.keyspace.dbs[db].get(key).is_some_and(|e| e.is_due(engine.now_ms))
}

/// WATCH key...
pub(super) fn watch(engine: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    if session.transaction.is_some() {
        return Err(CommandError::fixed("ERR WATCH inside MULTI is not allowed"));
    }
    for key in &argv[1..] {
        if session.watching.iter().any(|w| w.db == session.db && w.key == *key) {
            continue;
        }
        let expired = is_expired(engine, session.db, key);
        let version = engine.hooks.watched.watch(session.db, key);
        session.watching.push(Watch { db: session.db, key: key.to_vec(), version, expired });
    }
    out.ok();
    Ok(Outcome::Done)
}

/// UNWATCH
pub(super) fn unwatch(engine: &mut Engine, session: &mut Session, _: &[&[u8]], out: &mut Out) -> Done {
    unwatch_all(&mut engine.hooks, session);
    out.ok();
    Ok(Outcome::Done)
}

/// Lets go of every key that a client watches.
pub fn unwatch_all(hooks: &mut Hooks, session: &mut Session) {
    for watch in session.watching.drain(..) {
        hooks.watched.unwatch(watch.db, &watch.key);
    }
}
