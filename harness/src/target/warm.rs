//! Which memory a fork touches, so that the next ones can have it at once (`faults/shim/fork_server/warm.rs`).
//!
//! Forks of one template do nearly the same, so they write to nearly the same pages. Of each the kernel makes a copy
//! when it is first written to, at the price of an exception; done together that costs half as much.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Pages side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    begin: u64,
    len: u64,
}

/// The most that a template keeps.
const ROOM: usize = 512;
/// A page of x86-64.
const PAGE: u64 = 4096;
/// The greatest mapping that is looked through: its pages' entries are 512 KiB.
const LARGEST: u64 = 1 << 28;

impl Span {
    /// As the template reads it: begin, length, advice.
    pub(crate) fn bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (at, number) in [self.begin, self.len, libc::MADV_POPULATE_WRITE as u64].into_iter().enumerate() {
            bytes[at * 8..][..8].copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }
}

/// What is mapped in the template and has been written to by the fork, which is alive.
pub(crate) fn touched(template: u32, fork: u32) -> io::Result<Vec<Span>> {
    let maps = std::fs::read_to_string(format!("/proc/{template}/maps"))?;
    let pages = File::open(PathBuf::from(format!("/proc/{fork}/pagemap")))?;
    let mut spans = Vec::new();
    for (begin, end) in maps.lines().filter_map(writable) {
        if end - begin > LARGEST {
            continue;
        }
        let mut entries = vec![0; ((end - begin) / PAGE * 8) as usize];
        pages.read_exact_at(&mut entries, begin / PAGE * 8)?;
        collect(begin, &entries, &mut spans);
    }
    spans.truncate(ROOM);
    Ok(spans)
}

/// A line's addresses, where the mapping is private and can be written to.
fn writable(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split(' ');
    let (begin, end) = words.next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let rights = words.next()?;
    (rights.contains('w') && rights.ends_with('p')).then_some((number(begin)?, number(end)?))
}

/// The runs of pages that are the process's own: present, its alone, and no file's. So says
/// Documentation/admin-guide/mm/pagemap.rst of the kernel.
fn collect(begin: u64, entries: &[u8], into: &mut Vec<Span>) {
    const PRESENT: u64 = 1 << 63;
    const OF_A_FILE: u64 = 1 << 61;
    const ITS_ALONE: u64 = 1 << 56;
    for (at, entry) in entries.as_chunks::<8>().0.iter().enumerate() {
        let entry = u64::from_ne_bytes(*entry);
        if entry & (PRESENT | OF_A_FILE | ITS_ALONE) != PRESENT | ITS_ALONE {
            continue;
        }
        let page = begin + at as u64 * PAGE;
        match into.last_mut() {
            Some(span) if span.begin + span.len == page => span.len += PAGE,
            _ => into.push(Span { begin: page, len: PAGE }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_own_pages_are_found() {
        let (own, shared, absent, file) =
            (1 << 63 | 1 << 56 | 7, 1 << 63, 1 << 56, 1 << 63 | 1 << 61 | 1 << 56_u64);
        let entries: Vec<u8> =
            [own, own, shared, own, absent, file, own].iter().flat_map(|e: &u64| e.to_ne_bytes()).collect();
        let mut spans = Vec::new();
        collect(0x10000, &entries, &mut spans);
        let span = |begin, pages| Span { begin, len: pages * PAGE };
        assert_eq!(spans, [span(0x10000, 2), span(0x13000, 1), span(0x16000, 1)]);
    }

    #[test]
    fn only_private_mappings_that_can_be_written_count() {
        assert_eq!(writable("7f00-8000 rw-p 00000000 00:00 0 "), Some((0x7f00, 0x8000)));
        for line in ["7f00-8000 r-xp 0 08:01 5 /bin/x", "7f00-8000 rw-s 0 00:01 5 /memfd:x", ""] {
            assert_eq!(writable(line), None, "{line}");
        }
    }

    /// This process's own pages: what it writes to is found, in the fork's view of what the template has mapped.
    #[test]
    fn what_a_process_has_written_to_is_found() {
        let mut memory = vec![0_u8; 64 * PAGE as usize];
        memory[10 * PAGE as usize] = 1;
        let at = std::hint::black_box(memory.as_ptr()) as u64 + 10 * PAGE;
        let spans = touched(std::process::id(), std::process::id()).unwrap();
        assert!(spans.iter().any(|s| s.begin <= at && at < s.begin + s.len), "{spans:?}");
    }
}
