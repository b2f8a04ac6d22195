//! Writes, syncs, sizes: the calls on one open file.

use crate::abi::*;
use crate::descriptors::{self, Kind, Known};
use crate::dispatch::Context;
use crate::fault::Fault;
use crate::identify::{self, Stat, is_recorded};
use crate::ring::{self, Piece};
use crate::scratch::Scratch;
use crate::{num, sockets, sys, time, told};
use core::sync::atomic::Ordering::*;

const O_APPEND: usize = 0o2000;
const O_DSYNC: usize = 0o10000;
const O_SYNC: usize = 0o4010000;
const SEEK_SET: usize = 0;
const SEEK_CUR: usize = 1;
pub const EIO: isize = 5;

/// write, pwrite, writev, pwritev, pwritev2. The bytes are copied before the call, so a write from memory that
/// is not there faults here instead of giving EFAULT, but for a null pointer and a bad vector: to ask the kernel
/// each time would cost a quarter of what recording does.
pub unsafe fn write(call: &Context) -> isize {
    // SAFETY: the target's own call; its memory is read as the kernel reads it.
    unsafe {
        let known = descriptors::known(call, call.args[0] as u32 as usize);
        match known.kind {
            Kind::Socket => return sockets::record(call, &known),
            Kind::Other => return call.pass(),
            Kind::File => {}
        }
        if matches!(call.nr, num::WRITE | num::PWRITE64) {
            if call.args[1] < 4096 {
                return call.pass(); // EFAULT, or nothing to write
            }
            let piece = Piece { at: call.args[1] as *const u8, len: call.args[2] };
            return write_pieces(call, &known, &[piece]);
        }
        let count = call.args[2];
        if count > 1024 || !identify::is_readable(call.args[1]) {
            return call.pass(); // EINVAL, EFAULT
        }
        let mut few = [Piece { at: core::ptr::null(), len: 0 }; 16];
        let vectors = call.args[1] as *const Piece;
        if count <= few.len() {
            core::ptr::copy_nonoverlapping(vectors, few.as_mut_ptr(), count);
            return write_pieces(call, &known, &few[..count]);
        }
        let mut scratch = Scratch::take();
        let many = scratch.bytes().as_mut_ptr() as *mut Piece;
        core::ptr::copy_nonoverlapping(vectors, many, count);
        write_pieces(call, &known, core::slice::from_raw_parts(many, count))
    }
}

/// Where a write goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    /// At the descriptor's offset, which afterwards is the write's end (with O_APPEND too).
    Descriptor,
    /// Where the call says.
    Given(u64),
    /// At the end, without moving the descriptor's offset (pwrite with O_APPEND, RWF_APPEND).
    End,
}

unsafe fn write_pieces(call: &Context, known: &Known, pieces: &[Piece]) -> isize {
    // SAFETY: as `write`.
    unsafe {
        let (position, sync) = position_and_sync(call, known);
        let mut record = call.record(KIND_WRITE);
        record.ino = known.ino;
        record.flags = sync;
        let offset = match position {
            Position::Given(offset) => offset,
            _ => NEVER,
        };
        let asked: usize = pieces.iter().map(|p| p.len).sum();
        record.numbers = [offset, 0, asked as u64];
        // Such a write is made, and fails in its sync.
        let loses_sync = sync != 0 && call.fault == Fault::Errno(EIO);
        let may_fail = sync != 0 && call.header.flags & FLAG_FAULTS != 0;
        let before = if may_fail { sys::call3(num::LSEEK, call.args[0], 0, SEEK_CUR) } else { 0 };
        let mut draft = ring::begin(call.header, &record, pieces);
        let ret = if loses_sync { sys::call(call.nr, call.args) } else { call.pass() };
        if ret < 0 && known.remembered && !descriptors::still(call.args[0], known) {
            draft.void();
            return ret;
        }
        let mut error = None;
        if ret > 0 && sync != 0 {
            let (gives, flag) = told::of_a_write(call, known.ino, loses_sync);
            draft.add_flags(flag);
            error = gives;
        }
        if ret > 0 {
            match position {
                Position::Given(_) => {}
                Position::Descriptor => {
                    let end = sys::call3(num::LSEEK, call.args[0], 0, SEEK_CUR);
                    draft.set_a(if end >= ret { (end - ret) as u64 } else { NEVER });
                    if error.is_some() {
                        // ksys_write moves the descriptor's offset only where the call has succeeded.
                        sys::call3(num::LSEEK, call.args[0], before as usize, SEEK_SET);
                    }
                }
                Position::End => {
                    let mut after = Stat::EMPTY;
                    let known = identify::fstat(call.args[0], &mut after) && after.size >= ret as i64;
                    draft.set_a(if known { (after.size - ret as i64) as u64 } else { NEVER });
                }
            }
        }
        if ret >= 0 && sync != 0 {
            synced(call);
        }
        if error.is_some() {
            draft.set_b(ret as u64);
        }
        let ret = error.map_or(ret, |errno| -errno);
        draft.done(call.header, ret);
        ret
    }
}

/// The sync that every write through a descriptor with these flags carries.
pub fn carried(flags: usize) -> u16 {
    match flags & O_SYNC {
        O_SYNC => SYNC_FULL,
        O_DSYNC => SYNC_DATA,
        _ => 0,
    }
}

/// Where the write goes, and what sync it carries. The descriptor's flags are asked for only where some
/// descriptor's were ever changed.
unsafe fn position_and_sync(call: &Context, known: &Known) -> (Position, u16) {
    const RWF_DSYNC: usize = 2;
    const RWF_SYNC: usize = 4;
    const RWF_APPEND: usize = 0x10;
    let mut position = match call.nr {
        num::PWRITE64 | num::PWRITEV => Position::Given(call.args[3] as u64),
        num::PWRITEV2 if call.args[3] != usize::MAX => Position::Given(call.args[3] as u64),
        _ => Position::Descriptor,
    };
    let mut sync = 0;
    let changed = call.header.flags_changed.load(Acquire) != 0;
    // SAFETY: asks only.
    let flags = if changed { unsafe { descriptors::flags(call.args[0]) } } else { known.flags };
    if flags != 0 {
        if flags & O_APPEND != 0 && position != Position::Descriptor {
            position = Position::End;
        }
        sync = carried(flags);
    }
    if call.nr == num::PWRITEV2 {
        let flags = call.args[5];
        if flags & RWF_APPEND != 0 && position != Position::Descriptor {
            position = Position::End;
        }
        if flags & RWF_SYNC != 0 {
            sync = SYNC_FULL;
        } else if flags & RWF_DSYNC != 0 && sync == 0 {
            sync = SYNC_DATA;
        }
    }
    (position, sync)
}

/// fcntl(F_SETFL): O_APPEND may come later than the open, and go. F_DUPFD makes a descriptor.
pub unsafe fn fcntl(call: &Context) -> isize {
    // SAFETY: the target's own call.
    unsafe {
        if descriptors::duplicates(call.args[1]) {
            return descriptors::make(call);
        }
        // The file may be open elsewhere too, and the write come at once: told before the call.
        let mut stat = Stat::EMPTY;
        if identify::fstat(call.args[0], &mut stat) && stat.is_file() {
            call.header.flags_changed.store(1, Release);
        }
        call.pass()
    }
}

/// fsync, fdatasync, sync_file_range.
pub unsafe fn sync(call: &Context) -> isize {
    let mut stat = Stat::EMPTY;
    // SAFETY: the target's own call.
    unsafe {
        if !identify::fstat(call.args[0], &mut stat)
            || !(stat.is_file() || stat.is_dir())
            || !is_recorded(call.header, call.args[0], &stat)
        {
            return call.pass();
        }
        let mut record = call.record(KIND_SYNC);
        record.ino = stat.ino;
        match call.nr {
            num::FSYNC => record.flags = 0,
            num::FDATASYNC => record.flags = 1,
            _ => {
                record.flags = 2;
                record.numbers = [0, call.args[1] as u64, call.args[2] as u64];
            }
        }
        let mut draft = ring::begin(call.header, &record, &[]);
        let mut ret = call.pass();
        let tells = stat.is_file() && tells(call);
        if tells
            && call.fault == Fault::Errno(-ret)
            && lasts(ret)
        {
            told::failed(call, stat.ino, -ret);
        }
        if lasts(ret) && call.nr != num::SYNC_FILE_RANGE {
            synced(call);
        }
        if tells
            && ret == 0
            && let Some(errno) = told::owed(call, stat.ino)
        {
            draft.add_flags(SYNC_TOLD);
            ret = -errno;
        }
        draft.done(call.header, ret);
        ret
    }
}

/// Whether a sync tells its description of a write-back error: one that only begins to write does not
/// (sync_file_range(2): file_fdatawait_range does).
fn tells(call: &Context) -> bool {
    // SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER
    const WAIT: usize = 1 | 4;
    call.nr != num::SYNC_FILE_RANGE || call.args[3] & WAIT != 0
}

/// Whether a sync that gave this has waited for the disk: it succeeded, or the disk or its space was found wanting.
fn lasts(ret: isize) -> bool {
    const ENOSPC: isize = 28;
    const EDQUOT: isize = 122;
    [0, -EIO, -ENOSPC, -EDQUOT].contains(&ret)
}

/// A sync was made: it may last a virtual while, before its end is recorded.
pub unsafe fn synced(call: &Context) {
    if call.header.flags & FLAG_VIRTUAL != 0 {
        // SAFETY: the virtual clock's own business.
        unsafe { time::synced(call.header) };
    }
}

/// sync, syncfs.
pub unsafe fn sync_all(call: &Context) -> isize {
    let mut stat = Stat::EMPTY;
    // SAFETY: the target's own call.
    unsafe {
        if call.nr == num::SYNCFS
            && (!identify::fstat(call.args[0], &mut stat) || stat.dev != call.header.root_dev)
        {
            return call.pass();
        }
        let draft = ring::begin(call.header, &call.record(KIND_SYNC_ALL), &[]);
        let ret = call.pass();
        if lasts(ret) {
            synced(call);
        }
        draft.done(call.header, ret);
        ret
    }
}

/// truncate, ftruncate.
pub unsafe fn truncate(call: &Context) -> isize {
    let mut stat = Stat::EMPTY;
    // SAFETY: the target's own call.
    unsafe {
        let recorded = if call.nr == num::FTRUNCATE {
            identify::fstat(call.args[0], &mut stat) && is_recorded(call.header, call.args[0], &stat)
        } else {
            identify::path_is_recorded(call.header, identify::AT_FDCWD, call.args[0], true, &mut stat)
        };
        if !recorded || !stat.is_file() {
            return call.pass();
        }
        let mut record = call.record(KIND_TRUNCATE);
        record.ino = stat.ino;
        record.numbers = [call.args[1] as u64, stat.size as u64, 0];
        let draft = ring::begin(call.header, &record, &[]);
        let ret = call.pass();
        draft.done(call.header, ret);
        ret
    }
}

/// fallocate.
pub unsafe fn allocate(call: &Context) -> isize {
    let mut stat = Stat::EMPTY;
    // SAFETY: the target's own call.
    unsafe {
        if !identify::fstat(call.args[0], &mut stat)
            || !stat.is_file()
            || !is_recorded(call.header, call.args[0], &stat)
        {
            return call.pass();
        }
        let mut record = call.record(KIND_ALLOCATE);
        record.ino = stat.ino;
        record.numbers = [call.args[1] as u64, call.args[2] as u64, call.args[3] as u64];
        let draft = ring::begin(call.header, &record, &[]);
        let ret = call.pass();
        draft.done(call.header, ret);
        ret
    }
}
