//! DEBUG RELOAD and DEBUG LOADAOF: the data once more from the files, while everything goes on.

use super::core::Persistence;
use super::error::OpenError;
use super::load::{Loader, corrupt};
use super::report::Source;
use crate::config::AofLayout;
use crate::keyspace::Keyspace;

impl Persistence {
    /// The data that the snapshot holds. Keys whose time has come are among them: the log does not know yet that they
    /// are gone.
    pub fn reload_snapshot(&mut self) -> Result<Keyspace, OpenError> {
        let path = self.snapshots.path.clone();
        let mut loader = self.loader(0);
        loader.snapshot(&path)?;
        if loader.report.source != Source::Rdb {
            return Err(corrupt(&path, 0, "there is no snapshot", "SAVE makes one"));
        }
        Ok(loader.keyspace)
    }

    /// The data that the append-only files hold, with everything that was logged until now; `None` if there are none.
    pub fn reload_aof(&mut self, now_ms: u64) -> Result<Option<Keyspace>, OpenError> {
        self.wait_for_sync();
        self.finish_install(now_ms);
        let Some(aof) = &mut self.aof else { return Ok(None) };
        if aof.log.in_transaction() {
            return Err(corrupt(
                &aof.log.path,
                aof.log.len(),
                "a transaction is under way",
                "try again after it",
            ));
        }
        if let Some(trouble) = &aof.trouble {
            // What the files hold is older than what is in memory.
            return Err(corrupt(
                &aof.log.path,
                aof.log.len(),
                trouble.text(),
                "the disk must be mended first",
            ));
        }
        aof.log.write()?;
        let (place, manifest) = (aof.place.clone(), aof.manifest.clone());
        let mut loader = self.loader(now_ms);
        match place.layout {
            AofLayout::Multi => drop(loader.aof(&place.dir, &manifest)?),
            AofLayout::Single => drop(loader.single(&place.single_path(), None)?),
        }
        Ok(Some(loader.keyspace))
    }

    fn loader(&self, now_ms: u64) -> Loader<'_> {
        Loader::new(&self.config, now_ms)
    }
}
