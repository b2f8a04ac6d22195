//! Configuration: redis.conf's option names, syntax and defaults.

mod file;
mod inert;
mod options;

use std::path::PathBuf;

pub use file::{ConfigError, Start, rewrite};
pub use options::{immutable, names};

/// When the append-only file is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFsync {
    /// Before any reply of the turn leaves.
    Always,
    /// Once a second, in the background.
    EverySec,
    /// When the kernel likes.
    No,
}

/// Everything that can be configured; field names are redis.conf's with `_` for `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Working directory.
    pub dir: PathBuf,
    /// TCP port; 0 is none.
    pub port: u16,
    /// Addresses to listen on, with blanks between them: `*` and `::*` are all of a family, and one with a `-` in
    /// front need not exist.
    pub bind: String,
    /// Connections that TCP keeps waiting until they are taken.
    pub tcp_backlog: u32,
    /// Seconds between two probes of a silent TCP connection; 0 is none.
    pub tcp_keepalive: u32,
    /// Whether TCP clients from other machines are turned away (there are no passwords).
    pub protected_mode: bool,
    /// Path of a unix socket.
    pub unixsocket: Option<PathBuf>,
    /// Permissions of the unix socket; 0 leaves what the umask gives.
    pub unixsocketperm: u32,
    /// Most clients at a time.
    pub maxclients: u32,
    /// Seconds after which an idle client is disconnected; 0 is never.
    pub timeout: u32,
    /// Whether the append-only file is on.
    pub appendonly: bool,
    /// Base name of the append-only files.
    pub appendfilename: String,
    /// Directory of the append-only files, under `dir`.
    pub appenddirname: String,
    /// The sync policy.
    pub appendfsync: AppendFsync,
    /// No sync while a rewrite or save runs.
    pub no_appendfsync_on_rewrite: bool,
    /// Load a file whose last command is cut off.
    pub aof_load_truncated: bool,
    /// Write the base of a rewrite as RDB.
    pub aof_use_rdb_preamble: bool,
    /// Not Redis's: end each batch with a checksum annotation, verified on load.
    pub aof_checksum: bool,
    /// Growth that starts a rewrite, in percent; 0 is never.
    pub auto_aof_rewrite_percentage: u32,
    /// Smallest file that growth rewrites, in bytes.
    pub auto_aof_rewrite_min_size: u64,
    /// Name of the snapshot, under `dir`.
    pub dbfilename: String,
    /// Save points: seconds, changes.
    pub save: Vec<(u64, u64)>,
    /// CRC64 at the snapshot's end.
    pub rdbchecksum: bool,
    /// Timer ticks a second.
    pub hz: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            dir: PathBuf::from("."),
            port: 6379,
            bind: "127.0.0.1".into(),
            tcp_backlog: 511,
            tcp_keepalive: 300,
            protected_mode: true,
            unixsocket: None,
            unixsocketperm: 0,
            maxclients: 10_000,
            timeout: 0,
            appendonly: false,
            appendfilename: "appendonly.aof".into(),
            appenddirname: "appendonlydir".into(),
            appendfsync: AppendFsync::EverySec,
            no_appendfsync_on_rewrite: false,
            aof_load_truncated: true,
            aof_use_rdb_preamble: true,
            aof_checksum: true,
            auto_aof_rewrite_percentage: 100,
            auto_aof_rewrite_min_size: 64 << 20,
            dbfilename: "dump.rdb".into(),
            save: vec![(3600, 1), (300, 100), (60, 10000)],
            rdbchecksum: true,
            hz: 10,
        }
    }
}
