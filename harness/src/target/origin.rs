//! Directories that another server has written, for runs that begin on them.

use crate::oracle::RespOracle;
use crate::record::RecordError;
use crate::target::Oracle;
use crate::target::policy::Policy;
use crate::target::resp_op::RespOp;
use std::path::Path;

/// A file, by its path, and its bytes.
type File = (&'static str, &'static [u8]);

/// A directory as a server has left it, and what it had been told.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who wrote it: how it is called in a trace.
    pub name: &'static str,
    /// With a log.
    log: &'static [File],
    /// With snapshots alone.
    snapshot: &'static [File],
    /// The commands, a line each.
    commands: &'static str,
}

macro_rules! written {
    ($name:literal) => {
        include_bytes!(concat!("from_redis/", $name)) as &[u8]
    };
}

/// Written by Debian's redis-server 7.0.15, with `appendonly yes` and a rewrite after the tenth command; the snapshot is
/// that of a SAVE behind the last one.
pub static REDIS: Origin = Origin {
    name: "redis-server 7.0.15",
    log: &[
        ("appendonlydir/appendonly.aof.2.base.rdb", written!("appendonly.aof.2.base.rdb")),
        ("appendonlydir/appendonly.aof.2.incr.aof", written!("appendonly.aof.2.incr.aof")),
        ("appendonlydir/appendonly.aof.manifest", written!("appendonly.aof.manifest")),
    ],
    snapshot: &[("dump.rdb", written!("dump.rdb"))],
    commands: include_str!("from_redis/commands.txt"),
};

impl Origin {
    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Origin> {
        [&REDIS].into_iter().find(|origin| origin.name == name)
    }

    /// Lays the files out.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn lay_out(&self, dir: &Path, policy: Policy) -> Result<(), RecordError> {
        for (name, bytes) in if policy.appends() { self.log } else { self.snapshot } {
            let path = dir.join(name);
            let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            written
                .and_then(|()| std::fs::write(&path, bytes))
                .map_err(RecordError::io("cannot write", &path))?;
        }
        Ok(())
    }

    /// A reference model that has been told the commands.
    pub fn oracle(&self) -> RespOracle {
        let mut oracle = RespOracle::new();
        for line in self.commands.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            oracle.apply(&RespOp::command(&words).encode(), None, 0);
        }
        oracle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::embedded::EngineSubject;
    use crate::worker::store::Subject;

    /// What the commands say is what the files hold; that the engine reads them is what the variant is about.
    #[test]
    fn the_files_hold_what_the_commands_say() {
        for policy in Policy::ALL {
            let dir = tempfile::tempdir().unwrap();
            REDIS.lay_out(dir.path(), policy).unwrap();
            let subject = EngineSubject::new(policy, &[]).unwrap();
            let mut life = subject.open(dir.path(), 0).unwrap();
            assert_eq!(subject.dump(&mut life).unwrap(), REDIS.oracle().dump(), "{policy}");
            assert!(REDIS.oracle().dump().0.len() >= 6);
        }
    }
}
