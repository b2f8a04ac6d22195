//! Commands that a replica sends, and ROLE.

use super::args::is;
use super::error::CommandError;
use crate::engine::Engine;
use crate::persist::Persistence;
use crate::resp::Out;
use crate::session::{Outcome, Session};

type Done = Result<Outcome, CommandError>;

/// SYNC: from here on the client is the replica.
pub(super) fn sync(engine: &mut Engine, session: &mut Session, _: &[&[u8]], out: &mut Out) -> Done {
    if !out.is_empty() {
        // What is pending would be taken for a part of the stream.
        return Err(CommandError::fixed("ERR SYNC and PSYNC are invalid with pending output"));
    }
    engine.persistence.feed().begin(session.id).map_err(|e| CommandError::text(e.to_string()))?;
    session.replica = true;
    Ok(Outcome::Done)
}

/// PSYNC: there is no backlog to go on from, so a replica is to fall back to SYNC, as with a master older than 2.8.
pub(super) fn psync(_: &mut Engine, _: &mut Session, _: &[&[u8]], _: &mut Out) -> Done {
    Err(CommandError::fixed("ERR PSYNC is not supported: use SYNC"))
}

/// REPLCONF option value...
pub(super) fn replconf(_: &mut Engine, _: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    if argv.len().is_multiple_of(2) {
        return Err(super::error::SYNTAX);
    }
    let known = ["listening-port", "ip-address", "capa", "ack", "getack", "rdb-only", "rdb-filter-only"];
    for pair in argv[1..].chunks_exact(2) {
        if !known.iter().any(|name| is(pair[0], name)) {
            return Err(CommandError::quoting("ERR Unrecognized REPLCONF option: ", pair[0], ""));
        }
    }
    out.ok();
    Ok(Outcome::Done)
}

/// ROLE
pub(super) fn role(engine: &mut Engine, _: &mut Session, _: &[&[u8]], out: &mut Out) -> Done {
    out.array(3);
    out.bulk(b"master");
    out.int(0);
    // Neither its address nor its offset is known: it was never asked for them.
    let replica = engine.persistence.feed().client().is_some();
    out.array(usize::from(replica));
    if replica {
        out.array(3);
        out.bulk(b"");
        out.bulk(b"0");
        out.bulk(b"0");
    }
    Ok(Outcome::Done)
}

impl Persistence {
    /// The lines of INFO's section on replication.
    pub(super) fn replication_lines(&self) -> String {
        let mut text = String::from("role:master\r\n");
        match self.replica_state() {
            None => text.push_str("connected_slaves:0\r\n"),
            Some(state) => {
                text.push_str(&format!("connected_slaves:1\r\nslave0:state={state}\r\n"));
            }
        }
        text
    }
}
