//! Large files in memory of their own.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Deref;
use std::path::Path;
use std::ptr::NonNull;

/// Smaller files than this are read into an ordinary buffer.
const LARGE: usize = 8 << 20;

/// What a file holds.
pub(super) enum Content {
    /// In a buffer.
    Small(Vec<u8>),
    /// In pages of its own.
    Large(Pages),
}

impl Deref for Content {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Content::Small(bytes) => bytes,
            Content::Large(pages) => pages.as_slice(),
        }
    }
}

/// Reads a file whole. The file itself is not mapped: an error of the disk is to be an error, and no signal.
pub(super) fn read(path: &Path) -> io::Result<Content> {
    let mut file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    if len >= LARGE
        && let Some(mut pages) = Pages::new(len)
    {
        let filled = fill(&mut file, pages.as_mut_slice())?;
        pages.len = filled;
        // One that has grown meanwhile is read the other way.
        if filled < len || file.read(&mut [0])? == 0 {
            return Ok(Content::Large(pages));
        }
    }
    fs::read(path).map(Content::Small)
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Anonymous memory, in huge pages where the system has them: to touch a page for the first time costs as much as to
/// read what comes into it. Not from the allocator, whose memory would keep the huge pages when it holds data, and a
/// forked child's snapshot would cost whole ones.
pub(super) struct Pages {
    begin: NonNull<u8>,
    mapped: usize,
    len: usize,
}

impl Pages {
    /// So many bytes, all of them 0; `None` where there are none to be had.
    fn new(len: usize) -> Option<Pages> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping where the kernel likes takes nobody's memory.
        let begin = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if begin == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the mapping is this one's own; the advice changes nothing of what is in it, and may fail.
        unsafe { libc::madvise(begin, len, libc::MADV_HUGEPAGE) };
        NonNull::new(begin.cast()).map(|begin| Pages { begin, mapped: len, len })
    }

    fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` bytes at most are mapped, initialised by the kernel, and borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.begin.as_ptr(), self.len) }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.begin.as_ptr(), self.len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: mapped with this length, and not used after this.
        unsafe { libc::munmap(self.begin.as_ptr().cast(), self.mapped) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_and_small_files_are_read_alike() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for len in [0, 1, LARGE - 1, LARGE, LARGE + 4097] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
            fs::write(&path, &bytes).unwrap();
            let content = read(&path).unwrap();
            assert!(*content == *bytes, "{len}");
            assert_eq!(matches!(content, Content::Large(_)), len >= LARGE);
        }
        assert_eq!(read(&dir.path().join("none")).err().unwrap().kind(), io::ErrorKind::NotFound);
        assert!(read(dir.path()).is_err(), "a directory");
    }
}
