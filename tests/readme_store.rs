//! The store of the README: a map in one file, replaced as a whole. The README shows this file.
// README: from here
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use unplug::dump::Dump;
use unplug::testing::{BoxError, Map, MapOp, Reply, Store};

struct MyStore {
    dir: PathBuf,
    map: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Store for MyStore {
    type Op = MapOp;
    type Model = Map;

    fn open(dir: &Path) -> Result<Self, BoxError> {
        let map = match fs::read(dir.join("map")) {
            Ok(bytes) => serde_json::from_slice::<Vec<_>>(&bytes)?.into_iter().collect(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(e.into()),
        };
        Ok(MyStore { dir: dir.to_path_buf(), map })
    }

    fn apply(&mut self, op: &MapOp) -> Result<Reply, BoxError> {
        match op {
            MapOp::Put { key, value } => drop(self.map.insert(key.clone(), value.clone())),
            MapOp::Delete { key } => drop(self.map.remove(key)),
            other => return Err(format!("no such operation: {other:?}").into()),
        }
        let mut file = File::create(self.dir.join("map.new"))?;
        file.write_all(&serde_json::to_vec(&self.map.iter().collect::<Vec<_>>())?)?;
        file.sync_all()?; // without this line: torn or empty files
        fs::rename(self.dir.join("map.new"), self.dir.join("map"))?;
        File::open(&self.dir)?.sync_all()?; // without this one: lost operations
        Ok(Reply::DONE)
    }

    fn dump(&mut self) -> Result<Dump, BoxError> {
        Ok(self.map.clone().into_iter().collect())
    }
}

#[test]
fn what_was_put_survives_a_power_loss() {
    unplug::check!(MyStore)
        .ops([MapOp::put("a", "1"), MapOp::put("b", "2"), MapOp::delete("a")])
        .models(["ext4-ordered", "posix"])
        .assert_holds();
}
