//! DEBUG: fingerprints, made-up data, reloading.

use super::args::{self, is};
use super::digest::{digest, value_digest};
use super::error::{CommandError, NOT_FLOAT};
use super::help;
use crate::engine::Engine;
use crate::keyspace::Value;
use crate::number::parse_double;
use crate::resp::{Out, parse_integer};
use crate::session::{Outcome, Session};

type Done = Result<Outcome, CommandError>;

/// DEBUG DIGEST|DIGEST-VALUE|HELP|POPULATE|RELOAD|LOADAOF|SET-ACTIVE-EXPIRE|SLEEP
pub(super) fn debug(engine: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    let arguments = &argv[2..];
    match argv[1].to_ascii_lowercase().as_slice() {
        b"digest" if arguments.is_empty() => out.simple(&digest(&engine.keyspace).to_string()),
        b"digest-value" if !arguments.is_empty() => {
            out.array(arguments.len());
            for key in arguments {
                let mut cx = engine.context(session.db);
                let text = value_digest(cx.entry(key).map(|entry| &*entry)).to_string();
                out.simple(&text);
            }
        }
        b"help" if arguments.is_empty() => help::tell(help::DEBUG, out),
        b"populate" if (1..=3).contains(&arguments.len()) => {
            populate(engine, session, arguments)?;
            out.ok();
        }
        b"reload" => {
            reload(engine, arguments)?;
            out.ok();
        }
        b"loadaof" if arguments.is_empty() => {
            engine.reload_aof().map_err(|error| failed("AOF", error))?;
            out.ok();
        }
        b"set-active-expire" if arguments.len() == 1 => {
            // As C's atoi reads it: what is no number is 0.
            engine.active_expire = parse_integer(arguments[0]).unwrap_or(0) != 0;
            out.ok();
        }
        b"sleep" if arguments.len() == 1 => {
            let seconds = parse_double(arguments[0]).unwrap_or(0.0).max(0.0);
            std::thread::sleep(std::time::Duration::try_from_secs_f64(seconds).map_err(|_| NOT_FLOAT)?);
            out.ok();
        }
        _ => {
            return Err(CommandError::quoting(
                "ERR unknown subcommand or wrong number of arguments for '",
                &argv[1][..argv[1].len().min(128)],
                "'. Try DEBUG HELP.",
            ));
        }
    }
    Ok(Outcome::Done)
}

fn failed(what: &str, error: impl std::fmt::Display) -> CommandError {
    CommandError::text(format!("ERR Error trying to load the {what}: {error}"))
}

/// DEBUG POPULATE count [prefix] [size]: `prefix:0` and so on, with `value:0` and so on, filled up with zeros or cut
/// to the size. Keys that are there stay. Unlike in Redis it is logged, and counted for save points: what a server holds,
/// it holds after a restart.
fn populate(engine: &mut Engine, session: &Session, arguments: &[&[u8]]) -> Result<(), CommandError> {
    let count = args::count(arguments[0])?;
    let prefix = arguments.get(1).copied().unwrap_or(b"key");
    let size = arguments.get(2).map_or(Ok(0), |size| args::count(size))?;
    let mut cx = engine.context(session.db);
    let (mut key, mut value, mut added) = (Vec::new(), Vec::new(), 0);
    for number in 0..count {
        key.clear();
        key.extend_from_slice(prefix);
        key.extend_from_slice(format!(":{number}").as_bytes());
        if cx.exists(&key) {
            continue;
        }
        value.clear();
        value.extend_from_slice(format!("value:{number}").as_bytes());
        if size > 0 {
            value.resize(size, 0);
        }
        cx.put(&key, Value::from(value.as_slice()), None);
        cx.translate(&[b"SET", &key, &value]);
        added += 1;
    }
    engine.persistence.count_changes(added);
    Ok(())
}

/// DEBUG RELOAD [NOSAVE] [NOFLUSH] [MERGE]: saves, and loads what was saved.
fn reload(engine: &mut Engine, options: &[&[u8]]) -> Result<(), CommandError> {
    let (mut save, mut flush) = (true, true);
    for option in options {
        if is(option, "nosave") {
            save = false;
        } else if is(option, "noflush") {
            flush = false;
        } else if !is(option, "merge") {
            return Err(CommandError::fixed(
                "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
            ));
        }
    }
    if !flush {
        // What is there would have to be put together with what is loaded, and no log would know of it.
        return Err(CommandError::fixed("ERR DEBUG RELOAD NOFLUSH is not supported"));
    }
    if save {
        let saved = engine.persistence.save(&engine.keyspace, engine.now_ms);
        saved.map_err(|error| CommandError::text(format!("ERR {error}")))?;
    }
    engine.reload_snapshot().map_err(|error| failed("RDB dump", error))
}
