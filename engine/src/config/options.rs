//! Each option: how it is read, checked and shown.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{AofLayout, AppendFsync, Config};
use crate::keyspace::MOST_DATABASES;

/// Options that only a start can set.
const IMMUTABLE: &[&str] = &[
    "appenddirname",
    "appendfilename",
    "aof-checksum",
    "aof-layout",
    "bind",
    "daemonize",
    "databases",
    "dbfilename",
    "dir",
    "maxmemory",
    "maxmemory-policy",
    "port",
    "recover-until",
    "supervised",
    "tcp-backlog",
    "unixsocket",
    "unixsocketperm",
];

/// Options that CONFIG SET can change.
const MUTABLE: &[&str] = &[
    "aof-load-truncated",
    "aof-rewrite-incremental-fsync",
    "aof-timestamp-enabled",
    "aof-use-rdb-preamble",
    "appendfsync",
    "appendonly",
    "auto-aof-rewrite-min-size",
    "auto-aof-rewrite-percentage",
    "hz",
    "maxclients",
    "no-appendfsync-on-rewrite",
    "protected-mode",
    "rdb-del-sync-files",
    "rdb-save-incremental-fsync",
    "rdbchecksum",
    "rdbcompression",
    "save",
    "stop-writes-on-bgsave-error",
    "tcp-keepalive",
    "timeout",
];

/// The names of all options.
pub fn names() -> impl Iterator<Item = &'static str> {
    IMMUTABLE.iter().chain(MUTABLE).copied()
}

/// Whether only a start can set it.
pub fn immutable(name: &str) -> bool {
    IMMUTABLE.contains(&name)
}

impl Config {
    /// Sets one option from its words; the error says what it must be. Several `save` lines add up.
    pub fn set(&mut self, name: &str, words: &[&str]) -> Result<(), String> {
        if name == "save" {
            return self.add_save_points(words);
        }
        if name == "bind" {
            // CONFIG REWRITE writes them as one word with blanks in it.
            let words: Vec<&str> = words.iter().flat_map(|w| w.split_ascii_whitespace()).collect();
            if words.is_empty() {
                return Err("an address is needed".into());
            }
            self.bind = words.join(" ");
            return Ok(());
        }
        let [word] = words else { return Err("wrong number of arguments".into()) };
        match name {
            "aof-load-truncated" => self.aof_load_truncated = yes_no(word)?,
            "aof-use-rdb-preamble" => self.aof_use_rdb_preamble = yes_no(word)?,
            "aof-checksum" => self.aof_checksum = yes_no(word)?,
            "aof-layout" => self.aof_layout = layout(word)?,
            "aof-rewrite-incremental-fsync" => self.aof_rewrite_incremental_fsync = yes_no(word)?,
            "aof-timestamp-enabled" => self.aof_timestamp_enabled = yes_no(word)?,
            "appenddirname" => self.appenddirname = file_name(word)?,
            "appendfilename" => self.appendfilename = file_name(word)?,
            "dbfilename" => self.dbfilename = file_name(word)?,
            "appendfsync" => self.appendfsync = policy(word)?,
            "appendonly" => self.appendonly = yes_no(word)?,
            "auto-aof-rewrite-min-size" => self.auto_aof_rewrite_min_size = memory(word)?,
            "auto-aof-rewrite-percentage" => {
                self.auto_aof_rewrite_percentage = number(word, 0, i32::MAX.unsigned_abs().into())?
            }
            "daemonize" if !yes_no(word)? => {}
            "daemonize" => {
                return Err(
                    "it does not go to the background: only 'no' is supported; run it under a supervisor"
                        .into(),
                );
            }
            "databases" => self.databases = number(word, 1, MOST_DATABASES as u64)?,
            "dir" => self.dir = text(word, "a directory")?.into(),
            "hz" => self.hz = number(word, 1, 500)?,
            "maxclients" => self.maxclients = number(word, 1, 1_000_000)?,
            "maxmemory" if memory(word)? == 0 => {}
            "maxmemory" => return Err("no limit can be set: only 0 is supported".into()),
            "maxmemory-policy" if *word == "noeviction" => {}
            "maxmemory-policy" => return Err("only 'noeviction' is supported".into()),
            "protected-mode" => self.protected_mode = yes_no(word)?,
            "supervised" if *word == "no" => {}
            "supervised" => return Err("only 'no' is supported".into()),
            "tcp-backlog" => self.tcp_backlog = number(word, 0, 65_535)?,
            "tcp-keepalive" => self.tcp_keepalive = number(word, 0, 32_767)?,
            "timeout" => self.timeout = number(word, 0, i32::MAX.unsigned_abs().into())?,
            "unixsocketperm" => self.unixsocketperm = permissions(word)?,
            "no-appendfsync-on-rewrite" => self.no_appendfsync_on_rewrite = yes_no(word)?,
            "port" => self.port = number(word, 0, 65535)?,
            "rdb-del-sync-files" => self.rdb_del_sync_files = yes_no(word)?,
            "rdb-save-incremental-fsync" => self.rdb_save_incremental_fsync = yes_no(word)?,
            "rdbchecksum" => self.rdbchecksum = yes_no(word)?,
            "rdbcompression" => self.rdbcompression = yes_no(word)?,
            "stop-writes-on-bgsave-error" => self.stop_writes_on_bgsave_error = yes_no(word)?,
            "recover-until" if word.is_empty() => self.recover_until = None,
            "recover-until" => self.recover_until = Some(number(word, 1, i64::MAX.unsigned_abs())?),
            "unixsocket" => self.unixsocket = (!word.is_empty()).then(|| (*word).into()),
            _ => return Err("unknown option".into()),
        }
        Ok(())
    }

    fn add_save_points(&mut self, words: &[&str]) -> Result<(), String> {
        if words == [""] {
            self.save.clear();
            return Ok(());
        }
        // "60 100" is one word where it stands in quotes.
        let words: Vec<&str> = words.iter().flat_map(|word| word.split_ascii_whitespace()).collect();
        let point = |pair: &[&str]| {
            let [seconds, changes] = pair else { return None };
            let seconds = number(seconds, 1, i64::MAX.unsigned_abs()).ok()?;
            Some((seconds, number(changes, 0, i64::MAX.unsigned_abs()).ok()?))
        };
        let points: Option<Vec<_>> = words.chunks(2).map(point).collect();
        self.save.extend(points.filter(|points| !points.is_empty()).ok_or("Invalid save parameters")?);
        Ok(())
    }

    /// The value of an option, as CONFIG GET shows it and a file would hold it.
    pub fn get(&self, name: &str) -> Option<String> {
        let yes_no = |v: bool| if v { "yes" } else { "no" }.to_owned();
        Some(match name {
            "aof-load-truncated" => yes_no(self.aof_load_truncated),
            "aof-use-rdb-preamble" => yes_no(self.aof_use_rdb_preamble),
            "aof-checksum" => yes_no(self.aof_checksum),
            "aof-layout" => match self.aof_layout {
                AofLayout::Multi => "multi".into(),
                AofLayout::Single => "single".into(),
            },
            "aof-rewrite-incremental-fsync" => yes_no(self.aof_rewrite_incremental_fsync),
            "aof-timestamp-enabled" => yes_no(self.aof_timestamp_enabled),
            "appenddirname" => self.appenddirname.clone(),
            "appendfilename" => self.appendfilename.clone(),
            "dbfilename" => self.dbfilename.clone(),
            "appendfsync" => match self.appendfsync {
                AppendFsync::Always => "always".into(),
                AppendFsync::EverySec => "everysec".into(),
                AppendFsync::No => "no".into(),
            },
            "appendonly" => yes_no(self.appendonly),
            "auto-aof-rewrite-min-size" => self.auto_aof_rewrite_min_size.to_string(),
            "auto-aof-rewrite-percentage" => self.auto_aof_rewrite_percentage.to_string(),
            "bind" => self.bind.clone(),
            "daemonize" => "no".into(),
            "databases" => self.databases.to_string(),
            "dir" => self.dir.display().to_string(),
            "hz" => self.hz.to_string(),
            "maxclients" => self.maxclients.to_string(),
            "maxmemory" => "0".into(),
            "maxmemory-policy" => "noeviction".into(),
            "protected-mode" => yes_no(self.protected_mode),
            "supervised" => "no".into(),
            "tcp-backlog" => self.tcp_backlog.to_string(),
            "tcp-keepalive" => self.tcp_keepalive.to_string(),
            "timeout" => self.timeout.to_string(),
            "unixsocketperm" => format!("{:o}", self.unixsocketperm),
            "no-appendfsync-on-rewrite" => yes_no(self.no_appendfsync_on_rewrite),
            "port" => self.port.to_string(),
            "rdb-del-sync-files" => yes_no(self.rdb_del_sync_files),
            "rdb-save-incremental-fsync" => yes_no(self.rdb_save_incremental_fsync),
            "rdbchecksum" => yes_no(self.rdbchecksum),
            "rdbcompression" => yes_no(self.rdbcompression),
            "recover-until" => self.recover_until.map(|at| at.to_string()).unwrap_or_default(),
            "save" => {
                let points: Vec<_> = self.save.iter().map(|(s, c)| format!("{s} {c}")).collect();
                points.join(" ")
            }
            "stop-writes-on-bgsave-error" => yes_no(self.stop_writes_on_bgsave_error),
            "unixsocket" => self.unixsocket.as_ref().map(|p| p.display().to_string()).unwrap_or_default(),
            _ => return None,
        })
    }

    /// The addresses to listen on, and which of them need not be there.
    pub fn addresses(&self) -> Result<Vec<(IpAddr, bool)>, String> {
        let address = |word: &str| {
            let name = word.strip_prefix('-').unwrap_or(word);
            let address = match name {
                "*" => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                "::*" => Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
                name => name.parse().map_err(|_| format!("bind '{word}' is not an IP address")),
            };
            Ok((address?, name.len() < word.len()))
        };
        self.bind.split_ascii_whitespace().map(address).collect()
    }

    /// What the options must be together.
    pub fn check(&self) -> Result<(), String> {
        self.addresses()?;
        if self.appendfilename == self.dbfilename || self.appendfilename == self.appenddirname {
            let name = &self.appendfilename;
            return Err(format!("appendfilename '{name}' is another file's name, too"));
        }
        if self.recover_until.is_some() && !self.appendonly {
            return Err("recover-until needs appendonly yes: it is the log that has the times".into());
        }
        if self.appenddirname == self.dbfilename {
            return Err(format!("appenddirname and dbfilename are both '{}'", self.dbfilename));
        }
        if let Some(socket) = &self.unixsocket {
            let files = [&self.appendfilename, &self.appenddirname, &self.dbfilename];
            if files.iter().any(|name| self.dir.join(socket) == self.dir.join(name)) {
                return Err(format!("unixsocket '{}' is another file's name, too", socket.display()));
            }
        }
        Ok(())
    }
}

pub(super) fn yes_no(word: &str) -> Result<bool, String> {
    match word.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("argument must be 'yes' or 'no'".into()),
    }
}

fn layout(word: &str) -> Result<AofLayout, String> {
    match word.to_ascii_lowercase().as_str() {
        "multi" => Ok(AofLayout::Multi),
        "single" => Ok(AofLayout::Single),
        _ => Err("argument(s) must be one of the following: multi, single".into()),
    }
}

fn policy(word: &str) -> Result<AppendFsync, String> {
    match word.to_ascii_lowercase().as_str() {
        "always" => Ok(AppendFsync::Always),
        "everysec" => Ok(AppendFsync::EverySec),
        "no" => Ok(AppendFsync::No),
        _ => Err("argument(s) must be one of the following: everysec, always, no".into()),
    }
}

/// Permissions in octal digits.
fn permissions(word: &str) -> Result<u32, String> {
    u32::from_str_radix(word, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "argument must be an octal number between 0 and 777".into())
}

fn text(word: &str, what: &str) -> Result<String, String> {
    if word.is_empty() { Err(format!("{what} is needed")) } else { Ok(word.into()) }
}

/// What the name of a file in a directory of the engine's must be.
pub fn check_file_name(name: &str) -> Result<(), String> {
    match name {
        "" | "." | ".." => Err("a file name is needed".into()),
        w if w.contains('/') => Err("it can't be a path, just a file name".into()),
        w if w.contains(char::is_control) => Err("a file name must have no control characters".into()),
        // As long as a file system takes it, with what is put in front of it and behind it.
        w if w.len() > 200 => Err("a file name must have no more than 200 bytes".into()),
        _ => Ok(()),
    }
}

fn file_name(word: &str) -> Result<String, String> {
    check_file_name(word).map(|()| word.to_owned())
}

fn number<T: TryFrom<u64>>(word: &str, low: u64, high: u64) -> Result<T, String> {
    let value = word.parse::<u64>().ok().filter(|v| (low..=high).contains(v));
    value
        .and_then(|v| T::try_from(v).ok())
        .ok_or_else(|| format!("argument must be between {low} and {high} inclusive"))
}

/// A size with redis.conf's units: 1k is 1000, 1kb is 1024, and so on.
pub(super) fn memory(word: &str) -> Result<u64, String> {
    let lower = word.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor: u64 = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return Err("argument must be a memory value".into()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|n| *n <= i64::MAX.unsigned_abs())
        .ok_or_else(|| "argument must be a memory value".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_shows_a_value_that_sets_it_to_itself() {
        let config = Config { unixsocket: Some("/tmp/s".into()), ..Config::default() };
        let mut copy = Config { save: Vec::new(), ..Config::default() };
        for name in names() {
            let value = config.get(name).unwrap();
            let words: Vec<&str> = if name == "save" { value.split(' ').collect() } else { vec![&value] };
            assert_eq!(copy.set(name, &words), Ok(()), "{name} {value}");
        }
        assert_eq!(copy, config);
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let mut config = Config::default();
        for (name, value) in [
            ("hz", "0"),
            ("hz", "501"),
            ("port", "65536"),
            ("port", "-1"),
            ("appendonly", "maybe"),
            ("appendfsync", "sometimes"),
            ("appendfilename", "a/b"),
            ("dbfilename", ""),
            ("auto-aof-rewrite-min-size", "64mib"),
            ("auto-aof-rewrite-min-size", "mb"),
            ("auto-aof-rewrite-min-size", "99999999999gb"),
            ("auto-aof-rewrite-percentage", "-1"),
            ("save", "900"),
            ("databases", "0"),
            ("daemonize", "yes"),
            ("maxclients", "0"),
            ("maxmemory", "1gb"),
            ("maxmemory-policy", "allkeys-lru"),
            ("unixsocketperm", "778"),
            ("protected-mode", "1"),
            ("nonsense", "1"),
        ] {
            assert!(config.set(name, &[value]).is_err(), "{name} {value}");
        }
        assert_eq!(config, Config::default());
        assert_eq!((memory("64mb"), memory("1K"), memory("7b")), (Ok(64 << 20), Ok(1000), Ok(7)));
    }
}
