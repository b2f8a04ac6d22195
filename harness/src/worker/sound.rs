//! Directories on which a target is known to live on as it should.
//!
//! What a start comes to follows from what stands in the directory, byte by byte; that each distinct image is
//! recovered once rests on it. So do the lives after the first: where that one has left a directory which another
//! image's first life has left, too, or which was an image itself, the second and the third life would be that one's
//! again. Many images come to one directory in that way: a tail that is torn at another byte is cut to the same log.
//!
//! Only lives in which all went well are known, and only the state in which they began is asked for: whatever went
//! wrong is lived again, by each image that comes to it.

use crate::dump::{Digest, Dump};
use crate::recovery::{Lives, Outcome};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use unplug_faults::image::ImageHash;
use xxhash_rust::xxh3::xxh3_128;

/// Names the file by which the workers of a pool tell each other what they know.
pub(crate) const ENV_SOUND: &str = "UNPLUG_WORKER_SOUND";
/// Set to `no`, it has every life lived.
pub(crate) const ENV_SPARE: &str = "UNPLUG_SPARE_LIVES";
/// A directory with the state that is held there.
const LEN: usize = 16;
/// So many are kept: 16 MiB, and twice that in memory.
const MOST: usize = 1 << 20;

/// What is known. All workers of a pool have one file, to which each appends.
#[derive(Debug, Default)]
pub(crate) struct Sound {
    known: HashSet<u128>,
    shared: Option<File>,
    /// How much of the file was read.
    read: u64,
}

impl Sound {
    /// What the workers of this process's pool know, or nothing yet; `None` where all lives are to be lived.
    pub(crate) fn of_this_process() -> Option<Sound> {
        if std::env::var_os(ENV_SPARE).is_some_and(|value| value == "no") {
            return None;
        }
        let mut sound = Sound::default();
        if let Some(path) = std::env::var_os(ENV_SOUND) {
            match Sound::open(Path::new(&path)) {
                Ok(file) => sound.shared = Some(file),
                // It knows what it has seen itself, and lives a few lives more.
                Err(e) => eprintln!("{}: {e}", Path::new(&path).display()),
            }
        }
        Some(sound)
    }

    fn open(path: &Path) -> io::Result<File> {
        File::options().read(true).append(true).create(true).open(path)
    }

    fn knows(&mut self, key: u128) -> bool {
        self.known.contains(&key) || (self.look().is_ok() && self.known.contains(&key))
    }

    /// Reads what others have written since.
    fn look(&mut self) -> io::Result<()> {
        let Some(file) = &self.shared else { return Ok(()) };
        let mut bytes = [0; 256 * LEN];
        while self.known.len() < MOST {
            let read = file.read_at(&mut bytes, self.read)?;
            // One that is being written is read when it is whole.
            let (keys, _) = bytes[..read].as_chunks::<LEN>();
            self.known.extend(keys.iter().map(|key| u128::from_ne_bytes(*key)));
            self.read += (keys.len() * LEN) as u64;
            if read < bytes.len() {
                break;
            }
        }
        Ok(())
    }

    fn note(&mut self, key: u128) {
        if self.known.len() < MOST && self.known.insert(key) {
            // What cannot be told to the others is lived by them.
            let _ = self.shared.as_mut().map(|file| file.write_all(&key.to_ne_bytes()));
        }
    }
}

/// One image's lives, as far as they are spared.
pub(crate) struct Spare<'a> {
    sound: &'a RefCell<Sound>,
    /// The directory.
    dir: &'a Path,
    /// Where the target's clock stands.
    now_ms: u64,
    /// What the second life's writes add. They are the same in all lives of one worker.
    probes: &'a dyn Fn() -> Dump,
    /// What the first life has left, with what it held.
    left: Cell<Option<u128>>,
}

impl<'a> Spare<'a> {
    pub(crate) fn new(
        sound: &'a RefCell<Sound>,
        (dir, now_ms): (&'a Path, u64),
        probes: &'a dyn Fn() -> Dump,
    ) -> Spare<'a> {
        Spare { sound, dir, now_ms, probes, left: Cell::new(None) }
    }

    /// Looks at what the first life has left, which held this. Whether it is known that a second life would hold the
    /// same, and a third that with the probes.
    pub(crate) fn is_known(&self, held: &Dump) -> bool {
        // What cannot be read is lived on.
        let left = ImageHash::of_directory(self.dir).ok().flatten();
        let key = left.map(|left| {
            let mut bytes = Vec::with_capacity(40);
            bytes.extend_from_slice(&left.0.to_le_bytes());
            // At 0 nothing has expired: dates count.
            let Digest(held) = held.digest(0);
            bytes.extend_from_slice(&held.to_le_bytes());
            bytes.extend_from_slice(&self.now_ms.to_le_bytes());
            xxh3_128(&bytes)
        });
        self.left.set(key);
        key.is_some_and(|key| self.sound.borrow_mut().knows(key))
    }

    /// The lives that are known.
    pub(crate) fn lives(&self, first: &Dump) -> Lives {
        let probes = (self.probes)();
        let first = Outcome::Recovered(first.clone());
        Lives { second: Some(first.clone()), third: Some(with(&first, &probes)), first, probes }
    }

    /// Notes lives that were lived, if all was as it should be.
    pub(crate) fn note(&self, lives: &Lives) {
        if let Some(key) = self.left.take()
            && matches!(lives.first, Outcome::Recovered(_))
            && lives.second.as_ref() == Some(&lives.first)
            && lives.third.as_ref() == Some(&with(&lives.first, &lives.probes))
            && lives.probes == (self.probes)()
        {
            self.sound.borrow_mut().note(key);
        }
    }
}

/// What is held, with the probes put over it.
fn with(held: &Outcome, probes: &Dump) -> Outcome {
    let mut held = held.clone();
    if let Outcome::Recovered(dump) = &mut held {
        dump.0.extend(probes.0.clone());
    }
    held
}

#[cfg(test)]
#[path = "sound_tests.rs"]
mod tests;
