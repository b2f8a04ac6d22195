//! The log as the process has it whose reads are noted.

use super::set::{Part, ReadSet};
use crate::abi;
use crate::abi_reads::{ALL_EVER, FILES, FileReads, LOST_EVER, PAGE, ReadsArea, SEEN_WHOLE, WORDS, slot};
use crate::image::SharedImage;
use crate::record::Memory;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// This process's log.
#[derive(Debug)]
pub struct Watch {
    memory: Memory,
    /// The inodes of the image's files in the order of their first names, with their sizes.
    files: Vec<(u64, u64)>,
    /// The same files, held open: on a disk the number of an inode that is gone is given to the next file at once, and
    /// what is read of that one would count as read of the image. Which file gets the number depends on who else
    /// makes files there at the moment.
    held: Vec<File>,
}

impl Watch {
    /// The log that this process was started with, if it was.
    ///
    /// # Errors
    /// The log cannot be mapped, or is none.
    pub fn of_this_process() -> io::Result<Option<Watch>> {
        let name = std::str::from_utf8(abi::ENV_RING).unwrap_or_default();
        let Some(path) = std::env::var_os(name) else { return Ok(None) };
        let memory = Memory::open(&path)?;
        // A log into which nobody writes would say that nothing is ever read.
        if memory.header().flags & crate::abi_reads::FLAG_READS == 0
            || memory.header().attached.load(Acquire) == 0
        {
            return Ok(None);
        }
        Ok(Some(Watch { memory, files: Vec::new(), held: Vec::new() }))
    }

    fn area(&self) -> &ReadsArea {
        self.memory.reads()
    }

    /// From now on it is noted what is read of the image that was laid out in `dir`.
    ///
    /// # Errors
    /// The image does not stand there.
    pub fn begin(&mut self, dir: &Path, image: &SharedImage) -> io::Result<()> {
        self.forget();
        for (path, _) in image.files_in_order() {
            let file = File::options()
                .read(true)
                .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
                .open(dir.join(std::ffi::OsStr::from_bytes(path)))?;
            let meta = file.metadata()?;
            self.files.push((meta.ino(), meta.len()));
            self.held.push(file);
        }
        if self.files.len() <= FILES / 2 {
            self.files.iter().for_each(|(ino, _)| self.put(*ino));
        }
        let area = self.area();
        area.all.fetch_and(ALL_EVER, AcqRel);
        area.lost.fetch_and(LOST_EVER, AcqRel);
        Ok(())
    }

    fn forget(&mut self) {
        self.held.clear();
        let area = self.memory.reads();
        // All are found before one is taken out: what stands behind a gap is not found.
        let known: Vec<&FileReads> = self.files.drain(..).filter_map(|(ino, _)| area.file(ino)).collect();
        for file in known {
            file.pages.iter().for_each(|word| word.store(0, Release));
            file.seen.store(0, Release);
            file.ino.store(0, Release);
        }
    }

    fn put(&self, ino: u64) {
        let files = &self.area().files;
        let place = (0..FILES).map(|step| (slot(ino) + step) % FILES);
        for at in place {
            match files[at].ino.load(Acquire) {
                0 => return files[at].ino.store(ino, Release),
                other if other == ino => return,
                _ => {}
            }
        }
    }

    /// What was read since [`Watch::begin`]. `None` where that is not known: some call was made that may have told
    /// anything, or there are too many files.
    pub fn end(&self) -> Option<ReadSet> {
        let area = self.area();
        if area.all.load(Acquire) != 0 || area.lost.load(Acquire) != 0 || self.files.len() > FILES / 2 {
            return None;
        }
        let mut set = ReadSet::default();
        for (index, (ino, size)) in self.files.iter().enumerate() {
            let file = area.file(*ino)?;
            let seen = file.seen.load(Acquire);
            let words: Vec<u64> = file.pages.iter().map(|word| word.load(Acquire)).collect();
            if seen != 0 {
                let part = if seen & SEEN_WHOLE != 0 { Part::Whole } else { part(&words, *size) };
                set.files.push((u32::try_from(index).ok()?, part));
            }
        }
        Some(set)
    }

    /// Whether what came back may be the log's own doing: another program was started, which does not survive it.
    pub fn is_lost(&self) -> bool {
        self.area().lost.load(Acquire) != 0
    }

    /// Does something whose reads are the harness's own.
    pub fn quietly<T>(&self, work: impl FnOnce() -> T) -> T {
        let thread = nix::unistd::gettid().as_raw();
        self.area().quiet.store(thread.unsigned_abs(), Release);
        let done = work();
        self.area().quiet.store(0, Release);
        done
    }
}

/// The pages of a file of this size whose bits are set.
fn part(words: &[u64], size: u64) -> Part {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let set = |page: u64| words[page as usize / 64] >> (page % 64) & 1 != 0;
    for page in (0..(WORDS * 64) as u64).filter(|page| set(*page)) {
        match runs.last_mut() {
            Some((_, end)) if *end == page => *end += 1,
            _ => runs.push((page, page + 1)),
        }
    }
    // Files of all sizes that are read to their ends are read alike.
    if runs.first().is_some_and(|(from, to)| *from == 0 && *to >= size.div_ceil(PAGE)) {
        return Part::Whole;
    }
    Part::Pages(runs)
}
