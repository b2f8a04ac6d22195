//! The append-only directory: bases, manifest, and the steps that replace them.

use super::disk::{self, ReplaceError};
use super::error::{At, FileError};
use super::foreign;
use super::log::{Log, base_name, incr_name};
use crate::aof::{Chain, END_LINE, FileEntry, FileKind, Header, Manifest, encode_command, encode_time};
use crate::command;
use crate::config::{AofLayout, Config};
use crate::keyspace::Keyspace;
use crate::rdb;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Size of a batch in a base that holds commands.
const BASE_BATCH: usize = 64 << 10;

/// Names and settings of the append-only files.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Where they are: a directory of their own, or (a single file) the one of the data.
    pub(super) dir: PathBuf,
    pub(super) prefix: String,
    pub(super) layout: AofLayout,
    pub(super) chained: bool,
    pub(super) rdb_base: bool,
    /// Whether a base is synced while it is written.
    pub(super) incremental: bool,
    pub(super) timestamps: bool,
    pub(super) compress: bool,
}

impl Place {
    pub(super) fn new(config: &Config) -> Place {
        Place::of(config, config.aof_layout)
    }

    /// The same with another layout than the configured one.
    pub(super) fn of(config: &Config, layout: AofLayout) -> Place {
        Place {
            dir: match layout {
                AofLayout::Multi => config.dir.join(&config.appenddirname),
                AofLayout::Single => config.dir.clone(),
            },
            prefix: config.appendfilename.clone(),
            layout,
            chained: config.aof_checksum,
            rdb_base: config.aof_use_rdb_preamble,
            incremental: config.aof_rewrite_incremental_fsync,
            timestamps: config.aof_timestamp_enabled,
            compress: config.rdbcompression,
        }
    }

    pub(super) fn manifest_path(&self) -> PathBuf {
        self.dir.join(format!("{}.manifest", self.prefix))
    }

    /// Writes `manifest` and puts it in the old one's place. Names created in the directory before are durable
    /// before the new manifest's name can be.
    pub(super) fn put_manifest(&self, manifest: &Manifest) -> Result<(), ReplaceError> {
        put_manifest_at(&self.manifest_path(), manifest)
    }

    /// The temporary name of a manifest.
    pub(super) fn temp_manifest(&self) -> PathBuf {
        self.dir.join(format!("temp-{}.manifest", self.prefix))
    }

    /// Writes a manifest under its temporary name, not synced: the file and the name.
    pub(super) fn write_manifest(&self, manifest: &Manifest) -> Result<(fs::File, PathBuf), FileError> {
        let temp = self.temp_manifest();
        let file = disk::write_unsynced(&temp, manifest.encode().as_bytes())?;
        Ok((file, temp))
    }

    /// The temporary name of a base; it is the sequence number, not the process, that makes it unique, so that
    /// equal runs use equal names.
    pub(super) fn base_temp(&self, seq: u64) -> PathBuf {
        self.dir.join(format!("temp-rewriteaof-bg-{seq}.aof"))
    }

    pub(super) fn base_entry(&self, seq: u64) -> FileEntry {
        FileEntry {
            name: base_name(&self.prefix, seq, self.rdb_base),
            seq,
            kind: FileKind::Base,
            chained: !self.rdb_base && self.chained,
            tie: None,
        }
    }

    /// Writes and syncs a base under its temporary name. It says which incr file goes on from it, if one does.
    pub(super) fn write_base(
        &self,
        keyspace: &Keyspace,
        seq: u64,
        first_incr: Option<u64>,
        now_ms: u64,
    ) -> Result<(), FileError> {
        disk::write_synced_by(&self.base_temp(seq), self.incremental, |out| {
            if self.rdb_base {
                // Always with a checksum: the manifest has none of the base's bytes. In a single file the field
                // `aof-base` promises a chain behind it; Redis's own preambles have another field.
                let aof_base = self.layout == AofLayout::Multi || self.chained;
                // Without checksums the bytes are Redis's own.
                let (first_incr, compress) = (first_incr.filter(|_| self.chained), self.compress);
                let options = rdb::WriteOptions { now_ms, aof_base, first_incr, checksum: true, compress };
                rdb::write(out, keyspace, options, &mut |_, _| ())
            } else {
                self.write_commands(out, keyspace, seq, first_incr, now_ms)
            }
        })
    }

    /// Writes the commands that rebuild `keyspace`; chained as file `seq` where that is wanted.
    fn write_commands(
        &self,
        out: &mut dyn Write,
        keyspace: &Keyspace,
        seq: u64,
        first_incr: Option<u64>,
        now_ms: u64,
    ) -> io::Result<()> {
        let prev_len = first_incr.unwrap_or(0);
        let header = self.chained.then_some(Header { seq, prev_len, prev_crc: 0 });
        let mut sink = BaseSink {
            out,
            chain: header.as_ref().map(Chain::new),
            batch: header.map_or_else(Vec::new, |h| h.line()),
        };
        if self.chained {
            sink.end_batch()?;
        }
        if self.timestamps {
            encode_time(&mut sink.batch, now_ms / 1000);
        }
        for (n, db) in keyspace.dbs.iter().enumerate().filter(|(_, db)| !db.is_empty()) {
            encode_command(&mut sink.batch, &[b"SELECT", n.to_string().as_bytes()]);
            for (key, entry) in db.iter() {
                let batch = &mut sink.batch;
                command::emit(n, key, entry, &mut |argv| encode_command(batch, argv));
                if sink.batch.len() >= BASE_BATCH {
                    sink.end_batch()?;
                }
            }
        }
        sink.end_batch()?;
        // A single file ends later: with what was logged while its base was written.
        if self.chained && self.layout == AofLayout::Multi {
            sink.batch.extend_from_slice(END_LINE);
            sink.end_batch()?;
        }
        Ok(())
    }

    /// Creates the incr file `seq` and its entry. Its name is not yet durable.
    pub(super) fn new_incr(
        &self,
        seq: u64,
        predecessor: Option<(u64, u64)>,
    ) -> Result<(Log, FileEntry), FileError> {
        let name = incr_name(&self.prefix, seq);
        let log = Log::create(self.dir.join(&name), seq, self.chained, predecessor)?;
        Ok((log, FileEntry { name, seq, kind: FileKind::Incr, chained: self.chained, tie: None }))
    }

    /// Gives the temporary base its name, which is not yet durable, and ties it to the manifest that is to list it.
    pub(super) fn name_base(&self, entry: FileEntry) -> Result<FileEntry, FileError> {
        let (temp, path) = (self.base_temp(entry.seq), self.dir.join(&entry.name));
        fs::rename(&temp, &path).at("rename", &temp)?;
        Ok(FileEntry { tie: foreign::tie(&path)?, ..entry })
    }

    /// Deletes what the (durable) manifest lists as history, and writes one without it.
    pub(super) fn purge(&self, manifest: &mut Manifest) -> Result<(), FileError> {
        let history = |f: &FileEntry| f.kind == FileKind::History;
        if !manifest.files.iter().any(history) {
            return Ok(());
        }
        // What was once cut from them stays: it is a person's to look at and to remove.
        for f in manifest.files.iter().filter(|f| history(f)) {
            disk::remove_if_there(&self.dir.join(&f.name))?;
        }
        let rest = manifest.files.iter().filter(|f| !history(f)).cloned().collect();
        let purged = Manifest { files: rest, foreign: !self.chained, ..manifest.clone() };
        self.put_manifest(&purged).map_err(ReplaceError::into_inner)?;
        *manifest = purged;
        Ok(())
    }

    /// A manifest in which `base` and the incr files from `first_incr` on are current, and all else is history.
    pub(super) fn succeed(&self, old: &Manifest, base: FileEntry, first_incr: u64) -> Manifest {
        let mut files = vec![base];
        files.extend(old.files.iter().map(|f| {
            let stays = f.kind == FileKind::Incr && f.seq >= first_incr;
            FileEntry { kind: if stays { f.kind } else { FileKind::History }, ..f.clone() }
        }));
        Manifest { files, foreign: !self.chained, ..old.clone() }
    }

    pub(super) fn base_size(&self, manifest: &Manifest) -> u64 {
        manifest.base().and_then(|f| fs::metadata(self.dir.join(&f.name)).ok()).map_or(0, |m| m.len())
    }
}

/// Writes `manifest` and puts it at `path`, in the old one's place.
pub(super) fn put_manifest_at(path: &Path, manifest: &Manifest) -> Result<(), ReplaceError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temp = path.with_file_name(format!("temp-{name}"));
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let text = manifest.encode();
    disk::write_synced(&temp, |out| out.write_all(text.as_bytes())).map_err(ReplaceError::Before)?;
    disk::replace(dir, &temp, path)
}

/// Whether a directory can be written by this process.
pub(super) fn writable(dir: &Path) -> bool {
    nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK).is_ok()
}

struct BaseSink<'w> {
    out: &'w mut dyn Write,
    chain: Option<Chain>,
    batch: Vec<u8>,
}

impl BaseSink<'_> {
    fn end_batch(&mut self) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        if let Some(chain) = &mut self.chain {
            // Nothing is known to be synced: a base is listed only when it is whole and synced.
            let crc = chain.seal(&mut self.batch, 0);
            chain.accept(self.batch.len() as u64, crc);
        }
        self.out.write_all(&self.batch)?;
        self.batch.clear();
        Ok(())
    }
}
