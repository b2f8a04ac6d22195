//! What a descriptor or a path stands for. What is remembered of descriptors stands in `descriptors`.

use crate::abi::{self, CLASS_IN, CLASS_OUT, Header};
use crate::scratch::Scratch;
use crate::{num, ring, sys};
use core::sync::atomic::{AtomicU64, Ordering::*};

/// openat(2)'s own directory.
pub const AT_FDCWD: usize = -100isize as usize;
/// O_PATH | O_CLOEXEC
const O_PATH: usize = 0o1000_0000 | 0o200_0000;
const O_DIRECTORY: usize = 0o20_0000;

/// struct stat of x86-64.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Stat {
    /// Device.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Number of names.
    pub nlink: u64,
    /// Type and permissions.
    pub mode: u32,
    _ids: [u32; 3],
    _rdev: u64,
    /// Size in bytes.
    pub size: i64,
    _rest: [u64; 11],
}

impl Stat {
    /// Nothing yet.
    pub const EMPTY: Stat =
        Stat { dev: 0, ino: 0, nlink: 0, mode: 0, _ids: [0; 3], _rdev: 0, size: 0, _rest: [0; 11] };

    /// A regular file.
    pub fn is_file(&self) -> bool {
        self.mode & 0o170000 == 0o100000
    }

    /// A directory.
    pub fn is_dir(&self) -> bool {
        self.mode & 0o170000 == 0o040000
    }

    /// A symbolic link.
    pub fn is_link(&self) -> bool {
        self.mode & 0o170000 == 0o120000
    }

    /// A socket.
    pub fn is_socket(&self) -> bool {
        self.mode & 0o170000 == 0o140000
    }

    /// What the recorded tree can hold.
    pub fn is_node(&self) -> bool {
        self.is_file() || self.is_dir() || self.is_link()
    }
}

/// fstat; false if it fails.
#[inline(always)]
pub unsafe fn fstat(fd: usize, stat: &mut Stat) -> bool {
    // SAFETY: our own buffer.
    unsafe { sys::call2(num::FSTAT, fd, stat as *mut Stat as usize) == 0 }
}

/// fstatat; false if it fails.
pub unsafe fn stat_at(dirfd: usize, path: usize, flags: usize, stat: &mut Stat) -> bool {
    // SAFETY: our own buffer, the target's path.
    unsafe { sys::call4(num::NEWFSTATAT, dirfd, path, stat as *mut Stat as usize, flags) == 0 }
}

fn cell(ino: u64) -> Option<(&'static AtomicU64, u64)> {
    if ino == 0 || ino >= 1 << 62 {
        return None;
    }
    let mut at = ino.wrapping_mul(0x9E37_79B9_7F4A_7C15) as usize >> 48;
    for _ in 0..64 {
        // SAFETY: within the table.
        let cell = unsafe { &*(ring::at(abi::INODES_AT + (at & (abi::INODES - 1)) * 8) as *const AtomicU64) };
        let value = cell.load(Acquire);
        if value == 0 || value >> 2 == ino {
            return Some((cell, value));
        }
        at += 1;
    }
    None
}

/// Remembers what an inode is. A full table forgets: then each call asks the kernel for the path.
pub fn remember(ino: u64, class: u64) {
    for _ in 0..8 {
        let Some((cell, value)) = cell(ino) else { return };
        if value & 3 == class && value != 0
            || cell.compare_exchange(value, ino << 2 | class, AcqRel, Relaxed).is_ok()
        {
            return;
        }
    }
}

/// Whether an open file or directory is recorded.
#[inline(always)]
pub unsafe fn is_recorded(header: &'static Header, fd: usize, stat: &Stat) -> bool {
    if stat.dev != header.root_dev {
        return false;
    }
    match cell(stat.ino) {
        Some((_, value)) if value & 3 == CLASS_IN => true,
        Some((_, value)) if value & 3 == CLASS_OUT => false,
        // SAFETY: the descriptor is open.
        _ => unsafe { look_up(header, fd, stat) },
    }
}

/// First sight of an inode: asks for the path of a descriptor of it.
unsafe fn look_up(header: &'static Header, fd: usize, stat: &Stat) -> bool {
    // SAFETY: the descriptor is open.
    unsafe {
        let inside = fd_is_inside(header, fd, stat.nlink == 0);
        remember(stat.ino, if inside { CLASS_IN } else { CLASS_OUT });
        inside
    }
}

/// `/proc/self/fd/N`.
pub fn fd_name(fd: usize, into: &mut [u8; 32]) {
    const PREFIX: &[u8; 14] = b"/proc/self/fd/";
    into[..14].copy_from_slice(PREFIX);
    let len = crate::refuse::decimal(fd as u32, &mut into[14..]);
    into[14 + len.min(12)] = 0;
}

/// Path of an open descriptor, as the kernel knows it; its length, 0 if that fails.
pub unsafe fn fd_path(fd: usize, into: &mut [u8]) -> usize {
    let mut name = [0u8; 32];
    fd_name(fd, &mut name);
    // SAFETY: our own buffers.
    let len =
        unsafe { sys::call3(num::READLINK, name.as_ptr() as usize, into.as_mut_ptr() as usize, into.len()) };
    if len <= 0 || len as usize >= into.len() { 0 } else { len as usize }
}

/// Whether an open descriptor's path lies under the root and is not ignored.
pub unsafe fn fd_is_inside(header: &'static Header, fd: usize, deleted: bool) -> bool {
    let mut scratch = Scratch::take();
    let buffer = scratch.bytes();
    // SAFETY: the descriptor is open.
    let len = unsafe { fd_path(fd, &mut buffer[..8192]) };
    let mut path = &buffer[..len];
    if deleted && let Some(before) = path.strip_suffix(b" (deleted)") {
        path = before;
    }
    path_is_inside(header, path)
}

/// Whether an absolute, canonical path is the root or lies under it, and is not ignored.
pub fn path_is_inside(header: &Header, path: &[u8]) -> bool {
    match relative(header, path) {
        Some(rest) => !is_ignored(header, rest),
        None => false,
    }
}

fn config() -> &'static [u8] {
    // SAFETY: the recorder wrote it before the target began.
    unsafe { core::slice::from_raw_parts(ring::at(abi::CONFIG_AT), abi::CONFIG_LEN) }
}

/// The part of a path below the root; empty for the root itself.
pub fn relative<'p>(header: &Header, path: &'p [u8]) -> Option<&'p [u8]> {
    let root = config().get(..header.root_len as usize)?;
    let rest = path.strip_prefix(root)?;
    match rest {
        [] => Some(rest),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

fn is_ignored(header: &Header, relative: &[u8]) -> bool {
    let mut globs = config().get(header.root_len as usize + 1..).unwrap_or(&[]);
    while let Some(end) = globs.iter().position(|&b| b == 0)
        && end > 0
    {
        if abi::glob_matches(&globs[..end], relative) {
            return true;
        }
        globs = &globs[end + 1..];
    }
    false
}

/// A name in a directory, as a call of the target gave it.
pub struct Place {
    /// The parent's inode.
    pub parent: u64,
    /// The place lies under the root and is not ignored.
    pub inside: bool,
    /// The last component.
    pub name: &'static [u8],
}

/// Whether memory of the target can be read: a bad pointer is the kernel's to refuse, not ours to fault on.
/// Asks by a call that copies eight bytes in before it finds that it is to do nothing with them.
pub unsafe fn is_readable(at: usize) -> bool {
    const NEITHER_BLOCK_NOR_SET: usize = 3;
    const EFAULT: isize = 14;
    // Eight bytes from here never cross into another page.
    let word = at & !7;
    // SAFETY: no signal mask is changed by an unknown request.
    at >= 4096
        && unsafe { sys::call4(num::RT_SIGPROCMASK, NEITHER_BLOCK_NOR_SET, word, 0, 8) } != -EFAULT
}

/// The target's string; empty where it cannot be read.
pub unsafe fn text(at: usize) -> &'static [u8] {
    // SAFETY: asks only.
    if unsafe { !is_readable(at) } {
        return &[];
    }
    // SAFETY: the target hands it to the kernel as a string. The lifetime ends with the call in truth.
    unsafe { core::ffi::CStr::from_ptr(at as *const core::ffi::c_char).to_bytes() }
}

/// Resolves the parent directory of a path. `None`: no such directory, or a path without a last name; the
/// kernel then refuses the call.
pub unsafe fn place(header: &'static Header, dirfd: usize, path: usize) -> Option<Place> {
    // SAFETY: the target's own path.
    unsafe {
        let mut whole = text(path);
        while let [before @ .., b'/'] = whole {
            whole = before;
        }
        let slash = whole.iter().rposition(|&b| b == b'/');
        let name = &whole[slash.map_or(0, |s| s + 1)..];
        if name.is_empty() || name == b"." || name == b".." {
            return None;
        }
        let parent: &[u8] = match slash {
            None => b".",
            Some(0) => b"/",
            Some(at) => &whole[..at],
        };
        let mut scratch = Scratch::take();
        let (copy, canonical) = scratch.bytes().split_at_mut(4200);
        if parent.len() >= 4100 || name.len() > 255 {
            return None;
        }
        copy[..parent.len()].copy_from_slice(parent);
        copy[parent.len()] = 0;
        let fd = sys::call3(num::OPENAT, dirfd, copy.as_ptr() as usize, O_PATH | O_DIRECTORY);
        if fd < 0 {
            return None;
        }
        let mut stat = Stat::EMPTY;
        let known = fstat(fd as usize, &mut stat);
        let mut len = fd_path(fd as usize, &mut canonical[..8192]);
        sys::call1(num::CLOSE, fd as usize);
        if !known || len == 0 {
            return None;
        }
        let mut inside = stat.dev == header.root_dev && relative(header, &canonical[..len]).is_some();
        if inside {
            canonical[len] = b'/';
            canonical[len + 1..len + 1 + name.len()].copy_from_slice(name);
            len += 1 + name.len();
            inside = path_is_inside(header, &canonical[..len]);
        }
        Some(Place { parent: stat.ino, inside, name })
    }
}

/// Whether the object that a path leads to is recorded; fills `stat`.
pub unsafe fn path_is_recorded(
    header: &'static Header,
    dirfd: usize,
    path: usize,
    follow: bool,
    stat: &mut Stat,
) -> bool {
    const O_NOFOLLOW: usize = 0o40_0000;
    // SAFETY: the target's own path.
    unsafe {
        let flags = if follow { O_PATH } else { O_PATH | O_NOFOLLOW };
        let fd = sys::call3(num::OPENAT, dirfd, path, flags);
        if fd < 0 {
            return false;
        }
        let recorded = fstat(fd as usize, stat) && is_recorded(header, fd as usize, stat);
        sys::call1(num::CLOSE, fd as usize);
        recorded
    }
}
