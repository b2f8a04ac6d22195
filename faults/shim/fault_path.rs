//! The paths that a call is about, for the rules of a plan: relative to the recorded directory.

use crate::abi;
use crate::dispatch::Context;
use crate::fault;
use crate::identify::{self, AT_FDCWD};
use crate::num::*;
use crate::scratch::Scratch;
use crate::sys;

/// O_PATH | O_CLOEXEC | O_DIRECTORY
const O_DIRECTORY_PATH: usize = 0o1000_0000 | 0o200_0000 | 0o20_0000;
/// Room for one path.
const ROOM: usize = 8192;

/// One or two paths in a buffer.
pub struct Paths {
    scratch: Scratch,
    /// Where each begins and ends, in the buffer; empty where there is none, or where it does not count.
    ranges: [(usize, usize); 2],
}

/// Whether a glob matches a path; the recorded directory itself is `.`.
pub fn matches(glob: &[u8], path: &[u8]) -> bool {
    abi::glob_matches(glob, path)
}

impl Paths {
    /// The paths of a call; `None` where it touches nothing that is recorded.
    pub unsafe fn of(call: &Context) -> Option<Paths> {
        let a = call.args;
        let mut paths = Paths { scratch: Scratch::take(), ranges: [(0, 0); 2] };
        // SAFETY: the call's own arguments, used as the kernel uses them.
        unsafe {
            match call.nr {
                SYNC => paths.everything(),
                OPEN | CREAT | TRUNCATE | UNLINK | RMDIR | MKDIR | MKNOD => paths.named(call, 0, AT_FDCWD, a[0]),
                OPENAT | OPENAT2 | UNLINKAT | MKDIRAT | MKNODAT => paths.named(call, 0, a[0], a[1]),
                RENAME | LINK => {
                    paths.named(call, 0, AT_FDCWD, a[0]);
                    paths.named(call, 1, AT_FDCWD, a[1]);
                }
                RENAMEAT | RENAMEAT2 | LINKAT => {
                    paths.named(call, 0, a[0], a[1]);
                    paths.named(call, 1, a[2], a[3]);
                }
                SYMLINK => paths.named(call, 0, AT_FDCWD, a[1]),
                SYMLINKAT => paths.named(call, 0, a[1], a[2]),
                COPY_FILE_RANGE | SPLICE => paths.open(call, a[2]),
                // What is mapped where is not followed: every rule's path matches.
                MSYNC => paths.everything(),
                _ => paths.open(call, a[0]),
            }
        }
        paths.ranges.iter().any(|(from, to)| from < to).then_some(paths)
    }

    /// Of a call on a socket, which has no path: what matches everything matches it. `None` where it is no socket.
    pub unsafe fn of_socket(call: &Context) -> Option<Paths> {
        // SAFETY: asks only.
        if !unsafe { fault::is_socket(call) } {
            return None;
        }
        let mut paths = Paths { scratch: Scratch::take(), ranges: [(0, 0); 2] };
        paths.everything();
        Some(paths)
    }

    /// Whether one of them matches.
    pub fn matches(&mut self, glob: &[u8]) -> bool {
        let ranges = self.ranges;
        let bytes = self.scratch.bytes();
        ranges.iter().any(|(from, to)| from < to && matches(glob, &bytes[*from..*to]))
    }

    /// The first one.
    pub fn shown(&mut self) -> &[u8] {
        let (from, to) = self.ranges.into_iter().find(|(from, to)| from < to).unwrap_or((0, 0));
        &self.scratch.bytes()[from..to]
    }

    fn everything(&mut self) {
        self.scratch.bytes()[0] = b'.';
        self.ranges[0] = (0, 1);
    }

    /// An open file's or directory's.
    unsafe fn open(&mut self, call: &Context, fd: usize) {
        // SAFETY: asks only.
        let len = unsafe { identify::fd_path(fd, &mut self.scratch.bytes()[..ROOM - 2]) };
        let deleted = b" (deleted)".len();
        let cut = self.scratch.bytes()[..len].ends_with(b" (deleted)");
        self.keep(call, 0, if cut { len - deleted } else { len });
    }

    /// A name's: its directory may be reached through links, the name itself is not followed.
    unsafe fn named(&mut self, call: &Context, which: usize, dirfd: usize, path: usize) {
        // SAFETY: the target's own path, our own buffer.
        unsafe {
            let mut whole = identify::text(path);
            while let [before @ .., b'/'] = whole {
                whole = before;
            }
            let slash = whole.iter().rposition(|&b| b == b'/');
            let name = &whole[slash.map_or(0, |s| s + 1)..];
            let parent: &[u8] = match slash {
                None => b".",
                Some(0) => b"/",
                Some(at) => &whole[..at],
            };
            if name.is_empty() || name.len() > 255 || parent.len() >= 4096 {
                return;
            }
            let mut copy = Scratch::take();
            copy.bytes()[..parent.len()].copy_from_slice(parent);
            copy.bytes()[parent.len()] = 0;
            let fd = sys::call3(OPENAT, dirfd, copy.bytes().as_ptr() as usize, O_DIRECTORY_PATH);
            if fd < 0 {
                return;
            }
            let at = which * ROOM;
            let room = &mut self.scratch.bytes()[at..at + ROOM];
            let len = identify::fd_path(fd as usize, &mut room[..ROOM - 257]);
            sys::call1(CLOSE, fd as usize);
            if len == 0 {
                return;
            }
            room[len] = b'/';
            room[len + 1..len + 1 + name.len()].copy_from_slice(name);
            self.keep(call, which, len + 1 + name.len());
        }
    }

    /// Keeps a path's part below the recorded directory, if it counts.
    fn keep(&mut self, call: &Context, which: usize, len: usize) {
        let at = which * ROOM;
        let bytes = self.scratch.bytes();
        let path = &bytes[at..at + len];
        if !identify::path_is_inside(call.header, path) {
            return;
        }
        let rest = identify::relative(call.header, path).map_or(0, <[u8]>::len);
        if rest == 0 {
            bytes[at] = b'.';
            self.ranges[which] = (at, at + 1);
        } else {
            self.ranges[which] = (at + len - rest, at + len);
        }
    }
}
