//! From a client's arguments to a reply: checks, queueing, execution, logging.

use super::blocking;
use super::error::{CommandError, DB_RANGE, printed};
use super::table::{self, CONTAINER, NO_MULTI, Run, Spec, UNQUEUED, WRITE};
use super::transaction::unwatch_all;
use crate::engine::Engine;
use crate::persist::{SaveError, complain};
use crate::resp::Out;
use crate::session::{Outcome, Session};

/// Executes one command of a client and writes its reply to `out`.
pub fn execute(engine: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Outcome {
    if argv.is_empty() || session.replica {
        return Outcome::Done;
    }
    let spec = match check(engine, session, argv) {
        Ok(spec) => spec,
        Err(error) => {
            if argv[0].eq_ignore_ascii_case(b"exec") {
                // As Redis: an EXEC that is refused ends the transaction.
                session.transaction = None;
                unwatch_all(&mut engine.hooks, session);
                let why = error.0.strip_prefix(b"ERR ").unwrap_or(&error.0);
                let text = [b"EXECABORT Transaction discarded because of: ", why].concat();
                return refuse(engine, out, out.len(), &CommandError::bytes(text));
            }
            if let Some(transaction) = &mut session.transaction {
                transaction.broken = true;
            }
            return refuse(engine, out, out.len(), &error);
        }
    };
    match &mut session.transaction {
        Some(transaction) if !spec.is(UNQUEUED) => {
            transaction.commands.push(argv.iter().map(|a| a.to_vec()).collect());
            transaction.writes |= spec.is(WRITE);
            out.simple("QUEUED");
            Outcome::Done
        }
        _ => {
            let outcome = call(engine, session, spec, argv, out);
            blocking::serve(engine);
            outcome
        }
    }
}

fn refuse(engine: &mut Engine, out: &mut Out, from: usize, error: &CommandError) -> Outcome {
    engine.stats.errors += 1;
    out.truncate(from);
    out.error_bytes(&error.0);
    Outcome::Done
}

/// What can be refused before anything is executed or queued.
fn check(engine: &Engine, session: &Session, argv: &[&[u8]]) -> Result<&'static Spec, CommandError> {
    let spec = table::find(argv[0]).ok_or_else(|| unknown(argv))?;
    // As in Redis before the number of arguments, and before it is queued: EXEC must not find it out.
    if spec.is(CONTAINER)
        && let (Some(known), Some(sub)) = (table::subcommands(spec.name), argv.get(1))
    {
        match known.iter().find(|(name, _)| sub.eq_ignore_ascii_case(name.as_bytes())) {
            None => return Err(CommandError::subcommand(&spec.name.to_ascii_uppercase(), sub)),
            Some((name, arity)) if !table::fits(*arity, argv.len()) => {
                return Err(CommandError::arity(&format!("{}|{name}", spec.name)));
            }
            Some(_) => {}
        }
    }
    if !spec.takes(argv.len()) {
        return Err(CommandError::arity(spec.name));
    }
    if session.transaction.is_some() && spec.is(NO_MULTI) {
        return Err(CommandError::fixed("ERR Command not allowed inside a transaction"));
    }
    let Some(refusal) = engine.persistence.refuses_writes() else { return Ok(spec) };
    let writes = spec.is(WRITE)
        || spec.name == "ping"
        || (spec.name == "exec" && session.transaction.as_ref().is_some_and(|t| t.writes));
    if writes { Err(CommandError::text(refusal)) } else { Ok(spec) }
}

fn unknown(argv: &[&[u8]]) -> CommandError {
    const LONGEST: usize = 128;
    let mut args = Vec::new();
    for arg in &argv[1..] {
        if args.len() >= LONGEST {
            break;
        }
        let room = LONGEST - args.len();
        args.extend([b"'", printed(&arg[..arg.len().min(room)]), b"' "].concat());
    }
    let name = printed(&argv[0][..argv[0].len().min(LONGEST)]);
    CommandError::bytes([b"ERR unknown command '", name, b"', with args beginning with: ", &args].concat())
}

/// As in Redis, the data are gone whether or not the snapshot behind FLUSHALL could be written; that it could not shows in
/// INFO and refuses the next write.
pub(super) fn not_saved(saved: Result<(), SaveError>) {
    if let Err(e) = saved {
        complain("no snapshot can be made after FLUSHALL", &e);
    }
}

/// Executes a command that was checked, and logs what it did.
pub(super) fn call(
    engine: &mut Engine,
    session: &mut Session,
    spec: &Spec,
    argv: &[&[u8]],
    out: &mut Out,
) -> Outcome {
    engine.stats.commands += 1;
    session.command = spec.name;
    let from = out.len();
    let result = match spec.run {
        Run::Admin(run) => run(engine, session, argv, out),
        Run::Data(run) => {
            if session.db >= engine.keyspace.dbs.len() {
                return refuse(engine, out, from, &DB_RANGE);
            }
            let mut cx = engine.context(session.db);
            let result = run(&mut cx, argv, out);
            let (log, flushed) = (cx.changed && !cx.translated, cx.flushed_all);
            let changes = cx.changes();
            engine.persistence.count_changes(changes);
            if flushed {
                not_saved(engine.persistence.flushed(&engine.keyspace, engine.now_ms));
            }
            if log && result.is_ok() {
                engine.persistence.log(session.db, argv);
            }
            result.map(|()| Outcome::Done)
        }
    };
    match result {
        Ok(outcome) => outcome,
        Err(error) => refuse(engine, out, from, &error),
    }
}
