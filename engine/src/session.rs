//! What the engine knows of one client.

use crate::command::Block;

/// A client's state, apart from its socket.
#[derive(Debug, Default)]
pub struct Session {
    /// Its number; CLIENT ID.
    pub id: u64,
    /// Its name; CLIENT SETNAME.
    pub name: Vec<u8>,
    /// Its database.
    pub db: usize,
    /// The commands since MULTI.
    pub transaction: Option<Transaction>,
    /// The keys that it watches.
    pub watching: Vec<Watch>,
    /// It is a replica: it is sent what was written, and nothing that it says is answered.
    pub replica: bool,
    /// Whether it wants replies; CLIENT REPLY.
    pub replies: Replies,
    /// The last command that it gave; "" before the first.
    pub command: &'static str,
}

/// Which replies a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replies {
    /// All.
    #[default]
    On,
    /// None.
    Off,
    /// Not that to CLIENT REPLY SKIP, nor that to the command after it.
    SkipNext,
    /// Not that to the command that comes now.
    Skip,
}

/// Commands queued since MULTI.
#[derive(Debug, Default)]
pub struct Transaction {
    /// The commands, each with its arguments.
    pub commands: Vec<Vec<Vec<u8>>>,
    /// A command was refused when it was queued: EXEC will refuse them all.
    pub broken: bool,
    /// Whether one of them writes.
    pub writes: bool,
}

/// A watched key.
#[derive(Debug)]
pub struct Watch {
    /// Its database.
    pub db: usize,
    /// Its name.
    pub key: Vec<u8>,
    /// Its version when it was watched.
    pub version: u64,
    /// It had expired by then, without having been deleted: that it is then deleted is no change.
    pub expired: bool,
}

impl Session {
    /// A new client.
    pub fn new(id: u64) -> Session {
        Session { id, ..Session::default() }
    }
}

/// How the server is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// With a snapshot, without, or as configured.
    pub save: Option<bool>,
    /// Even if what is to be saved cannot be.
    pub force: bool,
}

/// What the caller of a command has to do after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing; the reply is written.
    Done,
    /// Close the connection once the reply is sent.
    Close,
    /// End the server once this turn's replies are sent.
    Shutdown(Stop),
    /// No reply yet: the client waits for a key.
    Block(Box<Block>),
    /// No reply yet: it is due when the log is durable, or at the deadline (0 is never).
    AwaitDurable {
        /// How many local copies are waited for: 0 or 1.
        local: i64,
        /// How many replicas are waited for; there are none.
        replicas: i64,
        /// When to stop waiting, in milliseconds since 1970; 0 is never.
        deadline_ms: u64,
    },
}
