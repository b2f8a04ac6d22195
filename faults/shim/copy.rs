//! Calls that fill a file with bytes which never pass through the target's memory: they are read back.

use crate::abi::*;
use crate::descriptors::{Kind, Known};
use crate::dispatch::Context;
use crate::fault::Fault;
use crate::files::{self, EIO};
use crate::identify::{self, Stat, is_recorded};
use crate::ring::{self, Call, Draft, Piece};
use crate::{descriptors, num, sockets, sys, told};

const FICLONE: usize = 0x4004_9409;
const FICLONERANGE: usize = 0x4020_940d;
const FIDEDUPERANGE: usize = 0xc018_9436;

/// struct file_clone_range.
#[repr(C)]
#[derive(Clone, Copy)]
struct CloneRange {
    src: i64,
    src_offset: u64,
    src_length: u64,
    dest_offset: u64,
}

/// ioctl: a request that is not known may give a descriptor away (a terminal's other side, a machine's processor).
pub unsafe fn ioctl(call: &Context) -> isize {
    // SAFETY: the target's own call.
    unsafe {
        let ret = copy(call);
        descriptors::forget_all();
        ret
    }
}

/// copy_file_range, sendfile, splice, and the ioctls that a file system answers.
pub unsafe fn copy(call: &Context) -> isize {
    let a = call.args;
    let (dest, source, offset_at) = match call.nr {
        num::COPY_FILE_RANGE | num::SPLICE => (a[2], a[0], a[3]),
        num::SENDFILE => (a[0], a[1], 0),
        _ => (a[0], a[2], 0),
    };
    let mut stat = Stat::EMPTY;
    // SAFETY: the target's own call.
    unsafe {
        if !identify::fstat(dest, &mut stat) {
            return call.pass();
        }
        if call.nr != num::IOCTL && stat.is_socket() {
            // sockets::record looks at the first argument: the same call seen from the socket.
            let args = [dest, a[1], a[2], a[3], a[4], a[5]];
            let seen = Context { args: &args, ..*call };
            return send(&seen, call, stat.ino);
        }
        if !stat.is_file() || !is_recorded(call.header, dest, &stat) {
            return call.pass();
        }
        let request = a[1] & u32::MAX as usize;
        if call.nr == num::IOCTL && request != FICLONE && request != FICLONERANGE {
            // The letters of btrfs (and FICLONE) and of XFS (and the old reservation calls).
            if request != FIDEDUPERANGE && matches!(request >> 8 & 0xff, 0x94 | 0x58) {
                call.blind(b"ioctl of a file system", b"an unknown request on a recorded file");
            }
            return call.pass();
        }
        let range = |ret: isize| match call.nr {
            num::IOCTL => cloned(request, source, a[2]),
            _ if offset_at != 0 => Some((*(offset_at as *const u64) - ret as u64, ret as usize)),
            _ => {
                let end = sys::call3(num::LSEEK, dest, 0, 1);
                (end >= ret).then(|| ((end - ret) as u64, ret as usize))
            }
        };
        fill(call, dest, &stat, &range)
    }
}

/// A call that fills a range of a recorded file, which it can tell afterwards.
unsafe fn fill(call: &Context, dest: usize, stat: &Stat, range: &dyn Fn(isize) -> Option<(u64, usize)>) -> isize {
    // SAFETY: the target's own call, and what it asks for put back where it fails.
    unsafe {
        // The write behind a copy is one like any other (call_write_iter); a clone's sync is the file system's own affair.
        let carries = call.nr != num::IOCTL;
        let sync = if carries { files::carried(descriptors::flags(dest)) } else { 0 };
        let puts_back = call.nr != num::SPLICE;
        let loses_sync = sync != 0 && puts_back && call.fault == Fault::Errno(EIO);
        let begin = ring::tick(call.header);
        // Kept if the target is killed inside; replaced by the record with the bytes otherwise.
        let mut record = call.record(KIND_WRITE);
        record.ino = stat.ino;
        record.flags = sync;
        record.numbers = [NEVER, 0, NEVER];
        let draft = ring::begin_at(call.header, begin, &record, &[]);
        let ret = if loses_sync { sys::call(call.nr, call.args) } else { call.pass() };
        if ret < 0 {
            draft.done(call.header, ret);
            return ret;
        }
        let written = Written { begin, draft, dest, size: stat.size as u64, range: range(ret) };
        let (mut error, mut told) = (None, 0);
        if ret > 0 && sync != 0 && puts_back {
            let args = [dest, 0, 0, 0, 0, 0];
            (error, told) = told::of_a_write(&Context { args: &args, ..*call }, stat.ino, loses_sync);
        }
        if sync != 0 {
            files::synced(call);
        }
        record.flags |= told;
        complete(call, record, written, error);
        match error {
            Some(errno) => {
                put_back(call, ret);
                -errno
            }
            None => ret,
        }
    }
}

/// A copy that fails moves no offset, neither the source's nor the destination's (copy_file_range(2) and sendfile(2); the
/// kernel's splice_direct_to_actor).
unsafe fn put_back(call: &Context, moved: isize) {
    const SEEK_CUR: usize = 1;
    let a = call.args;
    let (source, dest) = match call.nr {
        num::SENDFILE => ((a[1], a[2]), (a[0], 0)),
        _ => ((a[0], a[1]), (a[2], a[3])),
    };
    for (fd, at) in [source, dest] {
        // SAFETY: the kernel has just written the new offset there.
        unsafe {
            if at == 0 {
                sys::call3(num::LSEEK, fd, -moved as usize, SEEK_CUR);
            } else {
                *(at as *mut i64) -= moved as i64;
            }
        }
    }
}

/// A send of file contents.
unsafe fn send(seen: &Context, call: &Context, ino: u64) -> isize {
    if call.nr == num::SENDFILE {
        // SAFETY: the first argument is the socket in the real call too.
        let known = Known { kind: Kind::Socket, ino, flags: 0, remembered: false };
        // SAFETY: as above.
        return unsafe {
            sockets::meet(call, call.args[0], ino);
            sockets::record(call, &known)
        };
    }
    // SAFETY: the target's own call; only its record is made here.
    unsafe {
        sockets::meet(seen, seen.args[0], ino);
        let mut record = call.record(KIND_SEND);
        record.ino = ino;
        let mut draft = ring::begin(call.header, &record, &[]);
        let ret = call.pass();
        draft.set_a(ret.max(0) as u64);
        draft.done(call.header, ret);
        ret
    }
}

/// The destination's range of a successful clone.
unsafe fn cloned(request: usize, source: usize, argument: usize) -> Option<(u64, usize)> {
    let mut stat = Stat::EMPTY;
    // SAFETY: the target's own argument, which the kernel has read as well.
    unsafe {
        if request == FICLONE {
            return identify::fstat(source, &mut stat).then_some((0, stat.size as usize));
        }
        let range = *(argument as *const CloneRange);
        if range.src_length != 0 {
            return Some((range.dest_offset, range.src_length as usize));
        }
        let known = identify::fstat(range.src as usize, &mut stat);
        let len = (stat.size as u64).saturating_sub(range.src_offset);
        known.then_some((range.dest_offset, len as usize))
    }
}

/// What a call has put into a file.
struct Written {
    begin: u64,
    /// The record that is to be replaced.
    draft: Draft,
    dest: usize,
    /// The file's size before.
    size: u64,
    range: Option<(u64, usize)>,
}

/// Replaces the first record by one with the bytes that the call has put into the file.
unsafe fn complete(call: &Context, mut record: Call<'_>, written: Written, error: Option<isize>) {
    let (offset, len) = written.range.unwrap_or((NEVER, 0));
    // Of one that failed: how much is in the page cache all the same.
    let second = if error.is_some() { len as u64 } else { written.size };
    record.numbers = [offset, second, len as u64];
    // SAFETY: the record's own room is filled by the kernel.
    unsafe {
        let room = Piece { at: core::ptr::null(), len };
        let whole = ring::begin_at(call.header, written.begin, &record, &[room]);
        let read = match whole.data() {
            Some(data) => read_back(written.dest, offset, data, len),
            None => true,
        };
        if offset == NEVER || !read {
            call.blind(
                b"copied bytes could not be read back",
                b"copy_file_range, sendfile, splice or FICLONE",
            );
            whole.void();
        } else {
            whole.done(call.header, error.map_or(len as isize, |errno| -errno));
        }
        written.draft.void();
    }
}

/// Reads a range of the file through a descriptor of our own: the target's may be for writing only.
unsafe fn read_back(fd: usize, offset: u64, data: *mut u8, len: usize) -> bool {
    const O_CLOEXEC: usize = 0o200_0000;
    let mut name = [0u8; 32];
    identify::fd_name(fd, &mut name);
    // SAFETY: the data's room is ours.
    unsafe {
        let own = sys::call2(num::OPEN, name.as_ptr() as usize, O_CLOEXEC);
        if own < 0 {
            return false;
        }
        let mut done = 0;
        while done < len {
            let at = data.add(done) as usize;
            let n = sys::call4(num::PREAD64, own as usize, at, len - done, offset as usize + done);
            if n <= 0 {
                break;
            }
            done += n as usize;
        }
        sys::call1(num::CLOSE, own as usize);
        done == len
    }
}
