//! Commands on the server: saving, rewriting, waiting, stopping.

use super::args::is;
use super::error::{CommandError, SYNTAX};
use crate::clock;
use crate::engine::Engine;
use crate::persist::{RewriteError, RewriteStart, SaveError};
use crate::resp::{Out, parse_integer};
use crate::session::{Outcome, Session, Stop};

type Done = Result<Outcome, CommandError>;

fn failed(error: impl std::fmt::Display) -> CommandError {
    CommandError::text(format!("ERR {error}"))
}

/// SAVE
pub(super) fn save(engine: &mut Engine, _: &mut Session, _: &[&[u8]], out: &mut Out) -> Done {
    engine.persistence.save(&engine.keyspace, engine.now_ms).map_err(failed)?;
    out.ok();
    Ok(Outcome::Done)
}

/// BGSAVE [SCHEDULE]
pub(super) fn bgsave(engine: &mut Engine, _: &mut Session, argv: &[&[u8]], out: &mut Out) -> Done {
    let schedule = match argv {
        [_] => false,
        [_, option] if is(option, "schedule") => true,
        _ => return Err(SYNTAX),
    };
    match engine.persistence.begin_bgsave(&engine.keyspace, engine.now_ms) {
        Ok(()) => out.simple("Background saving started"),
        Err(error) if put_off(&error, schedule) => {
            engine.save_scheduled = true;
            out.simple("Background saving scheduled");
        }
        Err(SaveError::RewriteInProgress) => {
            return Err(CommandError::fixed(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in \
                 order to schedule a BGSAVE whenever possible.",
            ));
        }
        Err(error) => return Err(failed(error)),
    }
    Ok(Outcome::Done)
}

/// Whether a BGSAVE waits for what stands in its way, instead of being refused.
fn put_off(error: &SaveError, schedule: bool) -> bool {
    match error {
        SaveError::RewriteInProgress => schedule,
        SaveError::InTransaction => true,
        _ => false,
    }
}

/// BGREWRITEAOF
pub(super) fn bgrewriteaof(engine: &mut Engine, _: &mut Session, _: &[&[u8]], out: &mut Out) -> Done {
    match engine.persistence.begin_rewrite(&engine.keyspace, engine.now_ms) {
        Ok(RewriteStart::Started) => out.simple("Background append only file rewriting started"),
        Ok(RewriteStart::Scheduled) => out.simple("Background append only file rewriting scheduled"),
        Err(error @ (RewriteError::InProgress | RewriteError::Off)) => return Err(failed(error)),
        Err(error) => {
            let text = format!("ERR Can't execute an AOF background rewriting. {error}");
            return Err(CommandError::text(text));
        }
    }
    Ok(Outcome::Done)
}

/// LASTSAVE
pub(super) fn lastsave(engine: &mut Engine, _: &mut Session, _: &[&[u8]], out: &mut Out) -> Done {
    out.int(i64::try_from(engine.persistence.last_save_s()).unwrap_or(i64::MAX));
    Ok(Outcome::Done)
}

/// TIME
pub(super) fn time(_: &mut Engine, _: &mut Session, _: &[&[u8]], out: &mut Out) -> Done {
    let now = clock::now();
    out.array(2);
    out.bulk(now.as_secs().to_string().as_bytes());
    out.bulk(now.subsec_micros().to_string().as_bytes());
    Ok(Outcome::Done)
}

/// What WAITAOF for a local copy gets where there is no log.
pub const WAITAOF_OFF: &str = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

/// WAITAOF numlocal numreplicas timeout (from Redis 7.2): the reply comes when the log is synced as far as
/// it was written, or when the timeout, in milliseconds, is over. There are no replicas.
pub(super) fn waitaof(engine: &mut Engine, _: &mut Session, argv: &[&[u8]], _: &mut Out) -> Done {
    let local = parse_integer(argv[1])
        .filter(|n| (0..=1).contains(n))
        .ok_or(CommandError::fixed("ERR value is out of range, value must between 0 and 1"))?;
    let replicas = parse_integer(argv[2])
        .filter(|n| *n >= 0)
        .ok_or(CommandError::fixed("ERR value is out of range, must be positive"))?;
    let timeout =
        parse_integer(argv[3]).ok_or(CommandError::fixed("ERR timeout is not an integer or out of range"))?;
    let timeout = u64::try_from(timeout).map_err(|_| CommandError::fixed("ERR timeout is negative"))?;
    if local > 0 && !engine.config.appendonly {
        return Err(CommandError::fixed(WAITAOF_OFF));
    }
    let deadline_ms = if timeout == 0 { 0 } else { engine.now_ms.saturating_add(timeout) };
    Ok(Outcome::AwaitDurable { local, replicas, deadline_ms })
}

/// SHUTDOWN [SAVE|NOSAVE] [NOW] [FORCE] [ABORT]. There are no replicas to wait for, so NOW changes nothing and
/// there is never a shutdown to abort.
pub(super) fn shutdown(_: &mut Engine, _: &mut Session, argv: &[&[u8]], _: &mut Out) -> Done {
    let mut stop = Stop::default();
    let (mut abort, mut now) = (false, false);
    for option in &argv[1..] {
        if is(option, "save") && stop.save.is_none() {
            stop.save = Some(true);
        } else if is(option, "nosave") && stop.save.is_none() {
            stop.save = Some(false);
        } else if is(option, "now") {
            now = true;
        } else if is(option, "force") {
            stop.force = true;
        } else if is(option, "abort") {
            abort = true;
        } else {
            return Err(SYNTAX);
        }
    }
    match (abort, stop == Stop::default() && !now) {
        (false, _) => Ok(Outcome::Shutdown(stop)),
        (true, true) => Err(CommandError::fixed("ERR No shutdown in progress.")),
        (true, false) => Err(SYNTAX),
    }
}
