//! Recovery of the embedded engine as a library: no process, no socket, no fork for an image.

use crate::dump::{Dump, Entry};
use crate::target::options::{ServerOption, engine_config};
use crate::target::policy::Policy;
use crate::target::resp_op::{
    canonical_hash, canonical_key, canonical_list, canonical_set, canonical_sorted_set, canonical_string,
};
use crate::target::resp_recover::{probe_dump, probes};
use crate::target::value::Value as Resp;
use crate::worker::store::{BoxError, Subject};
use std::path::Path;
use unplug_engine::config::Config;
use unplug_engine::keyspace::Value;
use unplug_engine::resp::Reply;
use unplug_engine::store::Store;

/// The engine under one policy.
#[derive(Clone, Debug)]
pub struct EngineSubject {
    config: Config,
}

impl EngineSubject {
    /// The engine with the policy's options, then the extra ones.
    ///
    /// # Errors
    /// An option that the engine does not know.
    pub fn new(policy: Policy, extra: &[ServerOption]) -> Result<Self, BoxError> {
        Ok(EngineSubject { config: engine_config(policy, extra)? })
    }
}

impl Subject for EngineSubject {
    type Life = Store;

    fn reusable(&self) -> bool {
        true
    }

    // The engine reads the real clock. No recorded key has expired by that: see `rig::EPOCH_MS`.
    fn open(&self, dir: &Path, _now_ms: u64) -> Result<Store, BoxError> {
        Ok(Store::open(Config { dir: dir.to_path_buf(), ..self.config.clone() })?)
    }

    fn dump(&self, life: &mut Store) -> Result<Dump, BoxError> {
        let mut dump = Dump::default();
        for (db, key, entry) in life.dump() {
            let value = match &entry.value {
                Value::Str(bytes) => canonical_string(bytes),
                Value::List(items) => canonical_list(items.iter()),
                Value::Set(members) => canonical_set(members.iter()),
                Value::Hash(fields) => canonical_hash(fields.iter()),
                Value::SortedSet(members) => {
                    canonical_sorted_set(members.iter().map(|(m, score)| (m, score.get())))
                }
            };
            let key = canonical_key(u32::try_from(db)?, key);
            dump.0.insert(key, Entry { value, expires_at_ms: entry.expires_at_ms() });
        }
        Ok(dump)
    }

    fn probe(&self, life: &mut Store) -> Result<Dump, BoxError> {
        let probes = probes();
        let commands: Vec<Vec<&[u8]>> =
            probes.iter().map(|(command, _)| command.iter().map(Vec::as_slice).collect()).collect();
        let commands: Vec<&[&[u8]]> = commands.iter().map(Vec::as_slice).collect();
        let replies = life.execute_pipeline(&commands)?;
        for ((command, expected), reply) in probes.iter().zip(&replies) {
            let same = match (expected, reply) {
                (Resp::Int(a), Reply::Int(b)) => a == b,
                (Resp::Simple(a), Reply::Simple(b)) => a == b.as_bytes(),
                _ => false,
            };
            if !same {
                return Err(format!("{}: {reply:?}", String::from_utf8_lossy(&command.join(&b' '))).into());
            }
        }
        if !self.config.appendonly {
            match life.execute(&[b"SAVE"])? {
                Reply::Simple(ok) if ok == "OK" => {}
                other => return Err(format!("SAVE: {other:?}").into()),
            }
        }
        Ok(probe_dump())
    }

    fn close(&self, life: Store) -> Result<(), BoxError> {
        Ok(life.close()?)
    }

    fn abandon(&self, life: Store) {
        life.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::Outcome;
    use crate::worker::serve::Recover;
    use crate::worker::store::StoreRecovery;

    /// In a fork: a recovery sets its process's panic hook.
    fn lives(policy: Policy, dir: &Path, alone: bool) -> crate::recovery::Lives {
        use crate::worker::fork::{ChildEnd, Farewell, in_child};
        let end = in_child(20, None, Farewell::Exit, || {
            let subject = EngineSubject::new(policy, &[]).unwrap();
            let lives = StoreRecovery::new(subject, 5).lives(&dir.join("image"), dir, 0, alone).unwrap();
            postcard::to_stdvec(&lives).unwrap()
        });
        let ChildEnd::Said(message) = end.unwrap() else { panic!("no message") };
        postcard::from_bytes(&message).unwrap()
    }

    fn written(policy: Policy) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::create_dir(&image).unwrap();
        let subject = EngineSubject::new(policy, &[]).unwrap();
        let mut store = subject.open(&image, 0).unwrap();
        for command in [
            &[&b"SET"[..], b"k", b"v"][..],
            &[b"RPUSH", b"l", b"a", b"b"],
            &[b"SELECT", b"2"],
            &[b"INCR", b"n"],
        ] {
            store.execute(command).unwrap();
        }
        if !policy.appends() {
            store.execute(&[b"SAVE"]).unwrap();
        }
        store.abandon();
        dir
    }

    #[test]
    fn three_lives_under_every_policy_in_process_and_forked() {
        for policy in Policy::ALL {
            for alone in [false, true] {
                let dir = written(policy);
                let lives = lives(policy, dir.path(), alone);
                let Outcome::Recovered(first) = &lives.first else { panic!("{policy}: {:?}", lives.first) };
                let keys: Vec<&[u8]> = first.0.keys().map(Vec::as_slice).collect();
                assert_eq!(keys, [&b"0/k"[..], b"0/l", b"2/n"], "{policy}");
                assert_eq!(first.0[&b"0/l"[..]].value, b"list 1:a,1:b,");
                assert_eq!(lives.second.as_ref(), Some(&lives.first), "{policy}");
                let mut all = first.clone();
                all.0.extend(probe_dump().0);
                assert_eq!(lives.third, Some(Outcome::Recovered(all)), "{policy}");
            }
        }
    }

    #[test]
    fn what_the_engine_refuses_is_a_refusal() {
        let dir = written(Policy::Always);
        let manifest = dir.path().join("image/appendonlydir/appendonly.aof.manifest");
        std::fs::write(manifest, "not a manifest\n").unwrap();
        assert!(matches!(lives(Policy::Always, dir.path(), false).first, Outcome::Refused { .. }));
    }

    #[test]
    fn unknown_options_are_told() {
        let extra = [("no-such-option".to_owned(), "1".to_owned())];
        let error = EngineSubject::new(Policy::No, &extra).unwrap_err().to_string();
        assert!(error.contains("no-such-option"), "{error}");
    }
}
