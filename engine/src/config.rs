//! Configuration: redis.conf's option names, syntax and defaults.

mod file;
mod inert;
mod names;
mod options;

use std::path::PathBuf;

use crate::keyspace::DATABASES;

pub use file::{ConfigError, Start, rewrite};
pub use options::{check_file_name, immutable, names};

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

/// How the append-only file is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AofLayout {
    /// Redis 7's: base, incr files and a manifest, in a directory of their own.
    #[default]
    Multi,
    /// Redis 6's: one file, `appendfilename` in `dir`.
    Single,
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
    /// Not Redis's: one file, or several and a manifest.
    pub aof_layout: AofLayout,
    /// Write `#TS:` lines, so that the log can be loaded up to an instant.
    pub aof_timestamp_enabled: bool,
    /// Sync a rewrite's file while it is written, so that its last sync is short.
    pub aof_rewrite_incremental_fsync: bool,
    /// Not Redis's: load the log only up to this second (since 1970); what is left out is kept aside.
    pub recover_until: Option<u64>,
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
    /// Long strings of snapshots are compressed.
    pub rdbcompression: bool,
    /// What a save writes is pushed to the disk as it goes.
    pub rdb_save_incremental_fsync: bool,
    /// Without persistence, a snapshot that was made for a replica is deleted once it is sent.
    pub rdb_del_sync_files: bool,
    /// Writes are refused while the last background save failed and save points are set.
    pub stop_writes_on_bgsave_error: bool,
    /// Timer ticks a second.
    pub hz: u32,
    /// How many databases there are.
    pub databases: usize,
    /// Who may give DEBUG. Redis's default is nobody.
    pub enable_debug_command: Allowed,
    /// `no`, or `auto` where nobody supervises.
    pub supervised: &'static str,
    /// Options of Redis that were given and have no effect here, and their values.
    pub inert: Vec<(&'static str, String)>,
}

impl Config {
    /// Which of the options given have no effect, where they would have one in Redis: in one line.
    pub fn without_effect(&self) -> Option<String> {
        inert::without_effect(&self.inert)
    }

    /// The same of those options alone that have these names.
    pub fn without_effect_among(&self, names: &[String]) -> Option<String> {
        let among = |given: &&(&'static str, String)| names.iter().any(|name| name == given.0);
        let given: Vec<_> = self.inert.iter().filter(among).cloned().collect();
        inert::without_effect(&given)
    }

    /// Takes an option that has no effect, as a file gives it: its words are one text here.
    ///
    /// # Errors
    /// What it must be.
    pub fn set_inert(&mut self, name: &str, value: &str) -> Result<(), String> {
        let check =
            |words: &[&str]| inert::check(name, words).unwrap_or_else(|| Err("unknown option".into()));
        let split: Vec<&str> = value.split_ascii_whitespace().collect();
        let words = if check(&[value]).is_ok() { vec![value] } else { split };
        check(&words)?;
        self.inert.retain(|(given, _)| *given != name);
        inert::note(&mut self.inert, name, &words);
        Ok(())
    }
}

/// Whether an option of Redis is taken and has no effect.
pub fn is_inert(name: &str) -> bool {
    inert::is_known(name)
}

/// Who may give a command that a stranger should not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allowed {
    /// Nobody.
    No,
    /// Everybody.
    Yes,
    /// Who comes by the unix socket or the loopback interface.
    #[default]
    Local,
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
            aof_layout: AofLayout::Multi,
            aof_timestamp_enabled: false,
            aof_rewrite_incremental_fsync: true,
            recover_until: None,
            auto_aof_rewrite_percentage: 100,
            auto_aof_rewrite_min_size: 64 << 20,
            dbfilename: "dump.rdb".into(),
            save: vec![(3600, 1), (300, 100), (60, 10000)],
            rdbchecksum: true,
            rdbcompression: true,
            rdb_save_incremental_fsync: true,
            rdb_del_sync_files: false,
            stop_writes_on_bgsave_error: true,
            hz: 10,
            databases: DATABASES,
            enable_debug_command: Allowed::Local,
            supervised: "no",
            inert: Vec::new(),
        }
    }
}
