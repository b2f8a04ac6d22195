//! Commands on the connection, and the list of commands.

use super::args::{self, is};
use super::error::{CommandError, SYNTAX};
use super::table::{self, FLAG_NAMES, Spec, TABLE};
use super::transaction::unwatch_all;
use crate::engine::Engine;
use crate::resp::{Out, parse_integer};
use crate::session::{Outcome, Session};

type Done = Result<Outcome, CommandError>;

/// The version of Redis whose behaviour this is; clients choose features by it.
pub(super) const REDIS_VERSION: &str = "7.0.15";

/// PING [message]
pub(super) fn ping(_: &mut Engine, _: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    match argv {
        [_] => out.simple("PONG"),
        [_, message] => out.bulk(message),
        _ => return Err(CommandError::arity("ping")),
    }
    Ok(Outcome::Done)
}

/// ECHO message
pub(super) fn echo(_: &mut Engine, _: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    out.bulk(argv[1]);
    Ok(Outcome::Done)
}

/// SELECT db
pub(super) fn select(_: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    session.db = args::database(argv[1])?;
    out.ok();
    Ok(Outcome::Done)
}

/// QUIT
pub(super) fn quit(_: &mut Engine, _: &mut Session, _: &[&[u8]], out: &mut Out) -> Done {
    out.ok();
    Ok(Outcome::Close)
}

/// RESET
pub(super) fn reset(engine: &mut Engine, session: &mut Session, _: &[&[u8]], out: &mut Out) -> Done {
    session.transaction = None;
    unwatch_all(&mut engine.hooks, session);
    session.db = 0;
    session.name.clear();
    out.set_resp3(false);
    out.simple("RESET");
    Ok(Outcome::Done)
}

/// HELLO [2|3 [SETNAME name]]
pub(super) fn hello(_: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    let mut resp3 = out.resp3();
    if let Some(version) = argv.get(1) {
        match parse_integer(version) {
            None => {
                return Err(CommandError::fixed("ERR Protocol version is not an integer or out of range"));
            }
            Some(version @ (2 | 3)) => resp3 = version == 3,
            Some(_) => return Err(CommandError::fixed("NOPROTO unsupported protocol version")),
        }
    }
    let mut rest = argv.get(2..).unwrap_or(&[]);
    while let Some(option) = rest.first() {
        if is(option, "setname") && rest.len() > 1 {
            set_name(session, rest[1])?;
            rest = &rest[2..];
        } else {
            let option = String::from_utf8_lossy(option);
            return Err(CommandError::text(format!("ERR Syntax error in HELLO option '{option}'")));
        }
    }
    let id = i64::try_from(session.id).unwrap_or(i64::MAX);
    out.set_resp3(resp3);
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(REDIS_VERSION.as_bytes());
    out.bulk(b"proto");
    out.int(if resp3 { 3 } else { 2 });
    out.bulk(b"id");
    out.int(id);
    out.bulk(b"mode");
    out.bulk(b"standalone");
    out.bulk(b"role");
    out.bulk(b"master");
    out.bulk(b"modules");
    out.array(0);
    Ok(Outcome::Done)
}

fn set_name(session: &mut Session, name: &[u8]) -> Result<(), CommandError> {
    if name.iter().any(|b| !(b'!'..=b'~').contains(b)) {
        return Err(CommandError::fixed(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ));
    }
    session.name = name.to_vec();
    Ok(())
}

/// CLIENT ID|GETNAME|SETNAME|SETINFO|NO-EVICT
pub(super) fn client(_: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    let sub = argv[1].to_ascii_lowercase();
    let arity = |n: usize, name: &str| {
        if argv.len() == n { Ok(()) } else { Err(CommandError::arity(&format!("client|{name}"))) }
    };
    match sub.as_slice() {
        b"id" => {
            arity(2, "id")?;
            out.int(i64::try_from(session.id).unwrap_or(i64::MAX));
        }
        b"getname" => {
            arity(2, "getname")?;
            out.bulk_or_null((!session.name.is_empty()).then_some(session.name.as_slice()));
        }
        b"setname" => {
            arity(3, "setname")?;
            set_name(session, argv[2])?;
            out.ok();
        }
        b"setinfo" => {
            arity(4, "setinfo")?;
            out.ok();
        }
        b"no-evict" => {
            arity(3, "no-evict")?;
            if !is(argv[2], "on") && !is(argv[2], "off") {
                return Err(SYNTAX);
            }
            out.ok();
        }
        _ => return Err(CommandError::subcommand("CLIENT", argv[1])),
    }
    Ok(Outcome::Done)
}

fn describe(spec: &Spec, out: &mut Out) {
    out.array(6);
    out.bulk(spec.name.as_bytes());
    out.int(i64::from(spec.arity));
    let flags: Vec<&str> = FLAG_NAMES.iter().filter(|(f, _)| spec.is(*f)).map(|(_, n)| *n).collect();
    out.set(flags.len());
    flags.iter().for_each(|flag| out.simple(flag));
    for position in [spec.keys.0, spec.keys.1, spec.keys.2] {
        out.int(i64::from(position));
    }
}

/// COMMAND, COMMAND COUNT, COMMAND INFO name..., COMMAND DOCS (empty)
pub(super) fn command(_: &mut Engine, _: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    match argv.get(1) {
        None => {
            out.array(TABLE.len());
            TABLE.iter().for_each(|spec| describe(spec, out));
        }
        Some(sub) if is(sub, "count") => out.count(TABLE.len()),
        Some(sub) if is(sub, "docs") => out.map(0),
        Some(sub) if is(sub, "info") => {
            out.array(argv.len() - 2);
            for name in &argv[2..] {
                match table::find(name) {
                    Some(spec) => describe(spec, out),
                    None => out.null_array(),
                }
            }
        }
        Some(sub) => return Err(CommandError::subcommand("COMMAND", sub)),
    }
    Ok(Outcome::Done)
}
