//! Opens for writing: did the call make the file, cut it, or find it there.

use crate::abi::*;
use crate::dispatch::Context;
use crate::fault::{self, Fault};
use crate::identify::{self, AT_FDCWD, Place, Stat};
use crate::ring::{self, Draft};
use crate::{descriptors, num, sys, told};

const O_CREAT: usize = 0o100;
const O_EXCL: usize = 0o200;
const O_TRUNC: usize = 0o1000;
const O_TMPFILE: usize = 0o2020_0000;
const O_DIRECTORY: usize = 0o20_0000;
const O_ACCMODE: usize = 3;
const O_PATH: usize = 0o1000_0000;
const ENOENT: isize = 2;
const EEXIST: isize = 17;

/// struct open_how, with room for what later kernels may add.
#[repr(C)]
#[derive(Clone, Copy)]
struct How {
    flags: u64,
    mode: u64,
    rest: [u64; 6],
}

struct Request<'a> {
    call: &'a Context<'a>,
    dirfd: usize,
    path: usize,
    flags: usize,
    how: Option<How>,
}

/// Whether the file was there before the open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    There,
    Made,
    Unknown,
}

/// open, openat, openat2, creat, open_by_handle_at.
pub unsafe fn open(call: &Context) -> isize {
    let a = call.args;
    // SAFETY: the target's own call.
    unsafe {
        let mut request = match call.nr {
            num::OPEN => Request { call, dirfd: AT_FDCWD, path: a[0], flags: a[1], how: None },
            num::CREAT => {
                let flags = O_CREAT | O_TRUNC | 1;
                Request { call, dirfd: AT_FDCWD, path: a[0], flags, how: None }
            }
            num::OPENAT => Request { call, dirfd: a[0], path: a[1], flags: a[2], how: None },
            num::OPENAT2 => {
                if a[2] == 0 || a[3] < 24 || a[3] > size_of::<How>() {
                    return call.pass(); // refused by the kernel
                }
                let mut how = How { flags: 0, mode: 0, rest: [0; 6] };
                core::ptr::copy_nonoverlapping(a[2] as *const u8, &raw mut how as *mut u8, a[3]);
                Request { call, dirfd: a[0], path: a[1], flags: how.flags as usize, how: Some(how) }
            }
            _ => {
                let ret = call.pass();
                if ret >= 0 {
                    descriptors::forget(ret as usize);
                    told::opened(call, ret as usize);
                    let request = Request { call, dirfd: 0, path: 0, flags: a[2], how: None };
                    let begin = ring::tick(call.header);
                    opened(&request, ret as usize, Found::There, None, None, begin);
                }
                return ret;
            }
        };
        request.flags &= u32::MAX as usize;
        let writes = request.flags & (O_ACCMODE | O_CREAT | O_TRUNC) != 0 && request.flags & O_PATH == 0;
        let ret = if !writes { call.pass() } else { request.run() };
        if ret >= 0 {
            descriptors::forget(ret as usize);
            told::opened(call, ret as usize);
        }
        ret
    }
}

impl Request<'_> {
    unsafe fn run(&self) -> isize {
        // SAFETY: the target's own call.
        unsafe {
            let call = self.call;
            let tmpfile = self.flags & O_TMPFILE == O_TMPFILE;
            let place = identify::place(call.header, self.dirfd, self.path);
            let inside = place.as_ref().is_some_and(|p| p.inside);
            let begin = ring::tick(call.header);
            // What changes nothing but a descriptor needs no record before the call.
            let mut draft = None;
            if inside && self.flags & (O_CREAT | O_TRUNC) != 0 {
                let mut record = call.record(KIND_OPEN);
                record.numbers = [self.flags as u64, 0, place.as_ref().map_or(0, |p| p.parent)];
                record.name1 = place.as_ref().map_or(&[], |p| p.name);
                draft = Some(ring::begin_at(call.header, begin, &record, &[]));
            }
            // A fault is the whole call's, not that of one attempt.
            let refused = (call.fault != Fault::None).then(|| fault::pass_open(call));
            let (ret, found) = match refused.flatten() {
                Some(ret) => (ret, Found::There),
                None => self.attempt(tmpfile),
            };
            if ret < 0 {
                if let Some(draft) = draft {
                    draft.void();
                }
                return ret;
            }
            let place = if tmpfile { None } else { place };
            opened(self, ret as usize, found, place, draft, begin);
            ret
        }
    }

    /// Opens so that it is known whether the call made the file: without O_CREAT first, then with O_EXCL.
    unsafe fn attempt(&self, tmpfile: bool) -> (isize, Found) {
        // SAFETY: the target's own call with other flags.
        unsafe {
            if self.flags & O_CREAT == 0 || self.flags & O_DIRECTORY != 0 {
                return (self.with(self.flags), if tmpfile { Found::Made } else { Found::There });
            }
            if self.flags & O_EXCL != 0 {
                return (self.with(self.flags), Found::Made);
            }
            for _ in 0..8 {
                let ret = self.with(self.flags & !O_CREAT);
                if ret != -ENOENT {
                    return (ret, Found::There);
                }
                let ret = self.with(self.flags | O_EXCL);
                if ret != -EEXIST {
                    return (ret, Found::Made);
                }
            }
            (self.with(self.flags), Found::Unknown)
        }
    }

    unsafe fn with(&self, flags: usize) -> isize {
        let a = self.call.args;
        // SAFETY: the target's own call with other flags.
        unsafe {
            match (self.call.nr, self.how) {
                (num::OPENAT2, Some(mut how)) => {
                    how.flags = flags as u64;
                    if flags & O_CREAT == 0 && flags & O_TMPFILE != O_TMPFILE {
                        how.mode = 0; // a mode without a creation is refused
                    }
                    sys::call4(num::OPENAT2, a[0], a[1], &raw const how as usize, a[3])
                }
                (num::OPENAT, _) => sys::call4(num::OPENAT, a[0], a[1], flags, a[3]),
                (num::CREAT, _) => sys::call3(num::OPEN, a[0], flags, a[1]),
                _ => sys::call3(num::OPEN, a[0], flags, a[2]),
            }
        }
    }
}

/// Completes the record of a successful open, and remembers the inode.
unsafe fn opened(
    request: &Request,
    fd: usize,
    found: Found,
    place: Option<Place>,
    draft: Option<Draft>,
    begin: u64,
) {
    let call = request.call;
    let mut stat = Stat::EMPTY;
    // SAFETY: the descriptor was just opened.
    unsafe {
        let regular = identify::fstat(fd, &mut stat) && stat.is_file();
        let inside = regular && identify::fd_is_inside(call.header, fd, stat.nlink == 0);
        if regular && stat.dev == call.header.root_dev {
            identify::remember(stat.ino, if inside { CLASS_IN } else { CLASS_OUT });
        }
        if !inside {
            if let Some(draft) = draft {
                draft.void();
            }
            return;
        }
        if stat.dev != call.header.root_dev {
            call.blind(b"mount below the recorded directory", b"a file on another file system was opened");
        }
        let tmpfile = request.flags & O_TMPFILE == O_TMPFILE;
        let what = match found {
            Found::Made if tmpfile => OPEN_TMPFILE,
            Found::Made => OPEN_CREATED,
            Found::There if request.flags & O_TRUNC != 0 => OPEN_TRUNCATED,
            _ => 0,
        };
        let at_place = place.as_ref().is_some_and(|p| p.inside);
        if found == Found::Unknown || (what == OPEN_CREATED && !at_place) {
            call.blind(b"open(O_CREAT) through a symbolic link", b"whether it made the file is not known");
        }
        let parent = place.as_ref().map_or(0, |p| p.parent);
        let numbers = [request.flags as u64, what, parent];
        let mut draft = draft.unwrap_or_else(|| {
            let mut record = call.record(KIND_OPEN);
            record.name1 = place.as_ref().map_or(&[], |p| p.name);
            ring::begin_at(call.header, begin, &record, &[])
        });
        draft.set(stat.ino, numbers);
        draft.done(call.header, fd as isize);
    }
}
