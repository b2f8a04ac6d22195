//! From a client's arguments to a reply: checks, queueing, execution, logging.

use super::blocking;
use super::error::{CommandError, DB_RANGE};
use super::table::{self, CONTAINER, NO_MULTI, Run, Spec, UNQUEUED, WRITE};
use crate::engine::Engine;
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
    out.error(&error.0);
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
    let shown = |arg: &[u8], room: usize| {
        let arg = &arg[..arg.len().min(room)];
        // Redis prints with %s: a NUL byte ends it.
        let end = arg.iter().position(|b| *b == 0).unwrap_or(arg.len());
        String::from_utf8_lossy(&arg[..end]).into_owned()
    };
    let mut args = String::new();
    for arg in &argv[1..] {
        if args.len() >= LONGEST {
            break;
        }
        let text = shown(arg, LONGEST - args.len());
        args.push_str(&format!("'{text}' "));
    }
    CommandError::text(format!(
        "ERR unknown command '{}', with args beginning with: {args}",
        shown(argv[0], LONGEST)
    ))
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
                // As in Redis, the data are gone whether or not the empty snapshot could be written; that it
                // could not shows in INFO and refuses the next write.
                let _ = engine.persistence.flushed(&engine.keyspace, engine.now_ms);
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
