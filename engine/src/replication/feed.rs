//! What the replica is sent.

use crate::aof::encode_command;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Handed out at once at most, so that other clients get their turn.
const PIECE: usize = 256 << 10;
/// A replica that is further behind than this is let go, as with Redis's client-output-buffer-limit.
const LIMIT: usize = 256 << 20;
/// Time between two signs of life (repl-ping-replica-period).
const PING_MS: u64 = 10_000;

/// Why a replica is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no server that would send it anything.
    #[error("ERR SYNC is for servers")]
    NoServer,
    /// There is one.
    #[error("ERR another replica is served already, and there can be only one")]
    Taken,
}

/// The replica, if there is one.
#[derive(Debug, Default)]
pub struct Feed {
    /// A server asks for what is to be sent.
    served: bool,
    replica: Option<Replica>,
}

#[derive(Debug)]
struct Replica {
    client: u64,
    phase: Phase,
    /// What comes before the snapshot: signs of life, and its length.
    front: Vec<u8>,
    /// Commands since the fork.
    stream: Vec<u8>,
    selected: Option<usize>,
    /// MULTI is due before the next command, or EXEC after the last.
    transaction: Transaction,
    pinged_ms: Option<u64>,
}

#[derive(Debug)]
enum Phase {
    /// No snapshot has begun.
    Waiting,
    /// A child writes the snapshot.
    Saving,
    /// The snapshot is being sent; so many bytes of it are left.
    Sending(File, u64),
    /// It has the snapshot, and is sent what is written.
    Streaming,
    /// It cannot be served: its connection is to be closed.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    None,
    Begun,
    Sent,
}

impl Feed {
    /// From here on a server asks for what is to be sent: a replica can be taken.
    pub fn serve(&mut self) {
        self.served = true;
    }

    /// Takes `client` as the replica.
    pub fn begin(&mut self, client: u64) -> Result<(), Refusal> {
        if !self.served {
            return Err(Refusal::NoServer);
        }
        if self.replica.is_some() {
            return Err(Refusal::Taken);
        }
        self.replica = Some(Replica {
            client,
            phase: Phase::Waiting,
            front: Vec::new(),
            stream: Vec::new(),
            selected: None,
            transaction: Transaction::None,
            pinged_ms: None,
        });
        Ok(())
    }

    /// The client that is the replica.
    pub fn client(&self) -> Option<u64> {
        self.replica.as_ref().map(|r| r.client)
    }

    /// What INFO calls its state.
    pub(crate) fn state(&self) -> Option<&'static str> {
        self.replica.as_ref().map(|r| match r.phase {
            Phase::Waiting | Phase::Saving => "wait_bgsave",
            Phase::Sending(..) | Phase::Lost => "send_bulk",
            Phase::Streaming => "online",
        })
    }

    /// `client` is gone.
    pub fn forget(&mut self, client: u64) {
        if self.client() == Some(client) {
            self.replica = None;
        }
    }

    /// No snapshot was begun for it yet.
    pub(crate) fn wants_snapshot(&self) -> bool {
        matches!(self.replica, Some(Replica { phase: Phase::Waiting, .. }))
    }

    /// Its snapshot is still to be made, or to be sent.
    pub(crate) fn needs_snapshot(&self) -> bool {
        self.replica.as_ref().is_some_and(|r| !matches!(r.phase, Phase::Streaming | Phase::Lost))
    }

    /// A child was forked that writes the snapshot: from here on what is logged is the replica's too.
    pub(crate) fn snapshot_begun(&mut self) {
        if let Some(replica) = &mut self.replica {
            replica.phase = Phase::Saving;
            replica.selected = None;
        }
    }

    /// The child was ended: there will be another one.
    pub(crate) fn snapshot_put_off(&mut self) {
        if let Some(replica) = self.replica.as_mut().filter(|r| matches!(r.phase, Phase::Saving)) {
            replica.phase = Phase::Waiting;
            replica.stream.clear();
        }
    }

    /// The snapshot could not be made.
    pub(crate) fn snapshot_failed(&mut self) {
        if let Some(replica) = self.replica.as_mut().filter(|r| !matches!(r.phase, Phase::Streaming)) {
            replica.lose();
        }
    }

    /// The snapshot is at `path`.
    pub(crate) fn snapshot_made(&mut self, path: &Path) {
        let Some(replica) = self.replica.as_mut().filter(|r| matches!(r.phase, Phase::Saving)) else {
            return;
        };
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((len, file)) => {
                replica.front.extend_from_slice(format!("${len}\r\n").as_bytes());
                replica.phase = Phase::Sending(file, len);
            }
            Err(_) => replica.lose(),
        }
    }

    /// A command was logged.
    pub(crate) fn log(&mut self, db: usize, argv: &[&[u8]]) {
        if let Some(replica) = &mut self.replica {
            replica.log(db, argv);
        }
    }

    pub(crate) fn begin_transaction(&mut self) {
        if let Some(replica) = &mut self.replica {
            replica.transaction = Transaction::Begun;
        }
    }

    pub(crate) fn end_transaction(&mut self) {
        if let Some(replica) = &mut self.replica {
            if replica.transaction == Transaction::Sent {
                encode_command(&mut replica.stream, &[b"EXEC"]);
            }
            replica.transaction = Transaction::None;
        }
    }

    /// The timer: a sign of life from time to time, so that the replica does not give up.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        let Some(replica) = &mut self.replica else { return };
        let last = *replica.pinged_ms.get_or_insert(now_ms);
        // A clock that was set back must not put it off for ever.
        if now_ms >= last && now_ms - last < PING_MS {
            return;
        }
        replica.pinged_ms = Some(now_ms);
        match replica.phase {
            Phase::Streaming => encode_command(&mut replica.stream, &[b"PING"]),
            Phase::Waiting | Phase::Saving => replica.front.push(b'\n'),
            Phase::Sending(..) | Phase::Lost => {}
        }
    }

    /// Moves what is to be sent now to the end of `out`, of which nobody has taken anything back yet. Says whether the
    /// connection is still of use.
    pub fn fill(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(replica) = &mut self.replica else { return true };
        if out.len() < PIECE && replica.fill(out).is_err() {
            replica.lose();
        }
        !matches!(replica.phase, Phase::Lost)
    }

    /// Whether there is more that could be sent at once.
    pub fn has_more(&self) -> bool {
        self.replica.as_ref().is_some_and(|r| match r.phase {
            Phase::Waiting | Phase::Saving => !r.front.is_empty(),
            Phase::Lost => false,
            Phase::Sending(..) => true,
            Phase::Streaming => !r.stream.is_empty(),
        })
    }
}

impl Replica {
    fn lose(&mut self) {
        self.phase = Phase::Lost;
        self.front = Vec::new();
        self.stream = Vec::new();
    }

    fn log(&mut self, db: usize, argv: &[&[u8]]) {
        if matches!(self.phase, Phase::Waiting | Phase::Lost) {
            return;
        }
        if self.selected != Some(db) {
            encode_command(&mut self.stream, &[b"SELECT", db.to_string().as_bytes()]);
            self.selected = Some(db);
        }
        if self.transaction == Transaction::Begun {
            encode_command(&mut self.stream, &[b"MULTI"]);
            self.transaction = Transaction::Sent;
        }
        encode_command(&mut self.stream, argv);
        if self.stream.len() > LIMIT {
            self.lose();
        }
    }

    fn fill(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        out.append(&mut self.front);
        if let Phase::Sending(file, left) = &mut self.phase {
            let begin = out.len();
            let piece = (*left).min(PIECE as u64);
            file.take(piece).read_to_end(out)?;
            if (out.len() - begin) as u64 != piece {
                // Its length was said already.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *left -= piece;
            if *left > 0 {
                return Ok(());
            }
            self.phase = Phase::Streaming;
        }
        if matches!(self.phase, Phase::Streaming) {
            if out.is_empty() {
                std::mem::swap(out, &mut self.stream);
            } else {
                out.append(&mut self.stream);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn sent(feed: &mut Feed) -> String {
        let mut out = Vec::new();
        assert!(feed.fill(&mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_snapshot_and_then_what_was_logged_since_its_fork() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dump");
        File::create(&path).unwrap().write_all(&vec![b'x'; PIECE + 3]).unwrap();
        let mut feed = Feed { served: true, replica: None };
        feed.begin(7).unwrap();
        assert!(feed.begin(8).is_err() && feed.wants_snapshot());
        assert!(Feed::default().begin(7).is_err(), "nobody would send it anything");
        feed.log(0, &[b"SET", b"before", b"1"]);
        feed.snapshot_begun();
        feed.log(3, &[b"DEL", b"a"]);
        feed.tick(1);
        feed.tick(PING_MS);
        assert_eq!(sent(&mut feed), "", "a tick early");
        feed.tick(PING_MS + 1);
        assert_eq!(sent(&mut feed), "\n");
        feed.snapshot_made(&path);
        assert_eq!(sent(&mut feed).len(), PIECE + format!("${}\r\n", PIECE + 3).len());
        feed.begin_transaction();
        feed.log(3, &[b"A"]);
        feed.log(3, &[b"B"]);
        feed.end_transaction();
        feed.begin_transaction();
        feed.end_transaction();
        assert!(feed.has_more() && feed.needs_snapshot());
        let rest = "xxx*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*2\r\n$3\r\nDEL\r\n$1\r\na\r\n*1\r\n$5\r\nMULTI\r\n*1\r\n$1\r\nA\r\n\
                    *1\r\n$1\r\nB\r\n*1\r\n$4\r\nEXEC\r\n";
        assert_eq!(sent(&mut feed), rest);
        assert!(!feed.has_more() && !feed.needs_snapshot());
        feed.tick(3 * PING_MS);
        assert_eq!(sent(&mut feed), "*1\r\n$4\r\nPING\r\n");
        feed.forget(8);
        assert_eq!(feed.client(), Some(7));
        feed.forget(7);
        assert!(feed.begin(8).is_ok());
    }

    #[test]
    fn what_was_captured_for_a_child_that_was_ended_goes_with_it() {
        let mut feed = Feed { served: true, replica: None };
        feed.begin(1).unwrap();
        feed.snapshot_begun();
        feed.log(0, &[b"A"]);
        feed.snapshot_put_off();
        assert!(feed.wants_snapshot() && !feed.has_more());
        feed.snapshot_begun();
        feed.snapshot_failed();
        assert!(!feed.fill(&mut Vec::new()), "its connection is closed");
    }

    #[test]
    fn a_snapshot_that_shrinks_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dump");
        std::fs::write(&path, "abc").unwrap();
        let mut feed = Feed { served: true, replica: None };
        feed.begin(1).unwrap();
        feed.snapshot_begun();
        feed.snapshot_made(&path);
        std::fs::write(&path, "a").unwrap();
        assert!(!feed.fill(&mut Vec::new()));
    }
}
