//! CLIENT.

use super::args::is;
use super::error::{CommandError, SYNTAX};
use super::help;
use crate::clients::Client;
use crate::engine::Engine;
use crate::resp::{Out, parse_integer};
use crate::session::{Outcome, Replies, Session};

type Done = Result<Outcome, CommandError>;

/// The subcommands that there are.
pub(super) const SUBCOMMANDS: &[(&str, i32)] = &[
    ("getname", 2),
    ("getredir", 2),
    ("help", 2),
    ("id", 2),
    ("info", 2),
    ("kill", -3),
    ("list", -2),
    ("no-evict", 3),
    ("no-touch", 3),
    ("reply", 3),
    ("setinfo", 4),
    ("setname", 3),
    ("unblock", -3),
];

/// Gives a client its name.
pub(super) fn set_name(session: &mut Session, name: &[u8]) -> Result<(), CommandError> {
    if name.iter().any(|b| !(b'!'..=b'~').contains(b)) {
        return Err(CommandError::fixed(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ));
    }
    session.name = name.to_vec();
    Ok(())
}

/// CLIENT subcommand [...]
pub(super) fn client(engine: &mut Engine, session: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    let sub = argv[1].to_ascii_lowercase();
    match sub.as_slice() {
        b"id" => {
            out.int(i64::try_from(session.id).unwrap_or(i64::MAX));
        }
        b"getname" => {
            out.bulk_or_null((!session.name.is_empty()).then_some(session.name.as_slice()));
        }
        b"getredir" => {
            out.int(-1);
        }
        b"setname" => {
            set_name(session, argv[2])?;
            out.ok();
        }
        b"setinfo" => {
            out.ok();
        }
        b"help" => help::tell(help::CLIENT, out),
        b"info" => {
            refresh(engine, session, out);
            out.verbatim(&lines(engine, |id, _| id == session.id));
        }
        b"list" => {
            refresh(engine, session, out);
            list(engine, &argv[2..], out)?;
        }
        b"kill" => {
            refresh(engine, session, out);
            return kill(engine, session, &argv[2..], out);
        }
        b"reply" => {
            reply(session, argv[2], out)?;
        }
        b"unblock" => {
            super::blocking::unblock(engine, argv, out)?;
        }
        b"no-evict" | b"no-touch" => {
            if !is(argv[2], "on") && !is(argv[2], "off") {
                return Err(SYNTAX);
            }
            out.ok();
        }
        _ => return Err(CommandError::subcommand("CLIENT", argv[1])),
    }
    Ok(Outcome::Done)
}

/// Others are shown as they were after their last commands; the one who asks, as it is.
fn refresh(engine: &mut Engine, session: &Session, out: &Out) {
    let now_ms = engine.now_ms;
    if let Some(client) = engine.clients.get_mut(session.id) {
        client.update(session, out.resp3(), now_ms);
        client.command = "client";
    }
}

fn lines(engine: &Engine, chosen: impl Fn(u64, &Client) -> bool) -> String {
    let chosen = engine.clients.iter().filter(|(id, client)| chosen(*id, client));
    let waits = |id: u64, client: &Client| client.waits || engine.hooks.blocked.contains(id);
    chosen.map(|(id, client)| client.line(id, waits(id, client), engine.now_ms) + "\n").collect()
}

fn client_id(arg: &[u8]) -> Result<u64, CommandError> {
    let id = parse_integer(arg).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
    id.ok_or(CommandError::fixed("ERR Invalid client ID"))
}

/// Only normal clients come here: there is no other kind.
fn kind(arg: &[u8]) -> Result<bool, CommandError> {
    match arg.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(true),
        b"master" | b"replica" | b"slave" | b"pubsub" => Ok(false),
        _ => Err(CommandError::quoting("ERR Unknown client type '", arg, "'")),
    }
}

/// CLIENT LIST [TYPE type | ID id...]
fn list(engine: &Engine, options: &[&[u8]], out: &mut Out) -> Result<(), CommandError> {
    match options {
        [] => out.verbatim(&lines(engine, |_, _| true)),
        [option, wanted] if is(option, "type") => {
            let normal = kind(wanted)?;
            out.verbatim(&lines(engine, |_, _| normal));
        }
        [option, ids @ ..] if is(option, "id") && !ids.is_empty() => {
            let ids = ids.iter().map(|id| client_id(id)).collect::<Result<Vec<_>, _>>()?;
            out.verbatim(&lines(engine, |id, _| ids.contains(&id)));
        }
        _ => return Err(SYNTAX),
    }
    Ok(())
}

/// CLIENT KILL address, or filters: ID, ADDR, LADDR, TYPE, USER, SKIPME.
fn kill(engine: &mut Engine, session: &Session, options: &[&[u8]], out: &mut Out) -> Done {
    let me = session.id;
    let count = if let [address] = options {
        let count = engine.clients.kill(|_, client| client.address.as_bytes() == *address);
        if count == 0 {
            return Err(CommandError::fixed("ERR No such client"));
        }
        out.ok();
        count
    } else {
        let mut skip_me = true;
        type Filter<'a> = Box<dyn Fn(u64, &Client) -> bool + 'a>;
        let mut filters: Vec<Filter<'_>> = Vec::new();
        for pair in options.chunks(2) {
            let [option, value] = *pair else { return Err(SYNTAX) };
            if is(option, "id") {
                let wanted = client_id(value)
                    .map_err(|_| CommandError::fixed("ERR client-id should be greater than 0"))?;
                filters.push(Box::new(move |id, _| id == wanted));
            } else if is(option, "addr") {
                filters.push(Box::new(move |_, client| client.address.as_bytes() == value));
            } else if is(option, "laddr") {
                filters.push(Box::new(move |_, client| client.local.as_bytes() == value));
            } else if is(option, "type") {
                let normal = kind(value)?;
                filters.push(Box::new(move |_, _| normal));
            } else if is(option, "user") {
                if value != b"default" {
                    return Err(CommandError::quoting("ERR No such user '", value, "'"));
                }
            } else if is(option, "skipme") && (is(value, "yes") || is(value, "no")) {
                skip_me = is(value, "yes");
            } else {
                return Err(SYNTAX);
            }
        }
        let count = engine
            .clients
            .kill(|id, client| !(skip_me && id == me) && filters.iter().all(|filter| filter(id, client)));
        out.count(count);
        count
    };
    let myself = count > 0 && engine.clients.get(me).is_some_and(|client| client.killed);
    Ok(if myself { Outcome::Close } else { Outcome::Done })
}

/// CLIENT REPLY ON|OFF|SKIP
fn reply(session: &mut Session, how: &[u8], out: &mut Out) -> Result<(), CommandError> {
    if is(how, "on") {
        session.replies = Replies::On;
        out.ok();
    } else if is(how, "off") {
        session.replies = Replies::Off;
    } else if is(how, "skip") {
        if session.replies == Replies::On {
            session.replies = Replies::SkipNext;
        }
    } else {
        return Err(SYNTAX);
    }
    Ok(())
}
