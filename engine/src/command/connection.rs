//! Commands on the connection.

use super::args::{self, is};
use super::client::set_name;
use super::error::CommandError;
use super::transaction::unwatch_all;
use crate::engine::Engine;
use crate::resp::{Out, parse_integer};
use crate::session::{Outcome, Replies, Session};

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
pub(super) fn select(engine: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    session.db = args::database(&engine.keyspace, argv[1])?;
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
    session.replies = Replies::On;
    out.speak(2);
    out.simple("RESET");
    Ok(Outcome::Done)
}

/// There is one user, and it has no password: any will do.
fn log_in(user: &[u8]) -> Result<(), CommandError> {
    if user == b"default" {
        return Ok(());
    }
    Err(CommandError::fixed("WRONGPASS invalid username-password pair or user is disabled."))
}

/// AUTH [username] password
pub(super) fn auth(_: &mut Engine, _: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    match argv {
        [_, _] => {
            return Err(CommandError::fixed(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                 your configuration is correct?",
            ));
        }
        [_, user, _] => log_in(user)?,
        _ => return Err(super::error::SYNTAX),
    }
    out.ok();
    Ok(Outcome::Done)
}

/// HELLO [2|3 [AUTH username password] [SETNAME name]]
pub(super) fn hello(_: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    let mut protocol = out.protocol();
    if let Some(version) = argv.get(1) {
        let version = parse_integer(version)
            .ok_or(CommandError::fixed("ERR Protocol version is not an integer or out of range"))?;
        protocol = u8::try_from(version)
            .ok()
            .filter(|v| (2..=3).contains(v))
            .ok_or(CommandError::fixed("NOPROTO unsupported protocol version"))?;
    }
    let mut rest = argv.get(2..).unwrap_or(&[]);
    let mut name = None;
    while let Some(option) = rest.first() {
        if is(option, "setname") && rest.len() > 1 {
            name = Some(rest[1]);
            rest = &rest[2..];
        } else if is(option, "auth") && rest.len() > 2 {
            log_in(rest[1])?;
            rest = &rest[3..];
        } else {
            return Err(CommandError::quoting("ERR Syntax error in HELLO option '", option, "'"));
        }
    }
    if let Some(name) = name {
        set_name(session, name)?;
    }
    out.speak(protocol);
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(REDIS_VERSION.as_bytes());
    out.bulk(b"proto");
    out.int(protocol.into());
    out.bulk(b"id");
    out.int(i64::try_from(session.id).unwrap_or(i64::MAX));
    out.bulk(b"mode");
    out.bulk(b"standalone");
    out.bulk(b"role");
    out.bulk(b"master");
    out.bulk(b"modules");
    out.array(0);
    Ok(Outcome::Done)
}
