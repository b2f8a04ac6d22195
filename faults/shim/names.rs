//! Calls that change names: rename, link, symlink, unlink, mkdir, rmdir, mknod.

use crate::abi::*;
use crate::dispatch::Context;
use crate::identify::{self, AT_FDCWD, Place, Stat};
use crate::ring::{self, Piece};
use crate::num;

const AT_SYMLINK_NOFOLLOW: usize = 0x100;
const AT_SYMLINK_FOLLOW: usize = 0x400;
const AT_EMPTY_PATH: usize = 0x1000;
const S_IFMT: usize = 0o170000;
const S_IFREG: usize = 0o100000;

/// What a name stands for now, if it exists.
unsafe fn object(dirfd: usize, path: usize) -> Option<Stat> {
    let mut stat = Stat::EMPTY;
    // SAFETY: the target's own path.
    unsafe { identify::stat_at(dirfd, path, AT_SYMLINK_NOFOLLOW, &mut stat).then_some(stat) }
}

/// The directories and paths of a call on two names, and its flags.
fn two_names(call: &Context) -> (usize, usize, usize, usize, usize) {
    let a = call.args;
    match call.nr {
        num::RENAME | num::LINK => (AT_FDCWD, a[0], AT_FDCWD, a[1], 0),
        num::RENAMEAT => (a[0], a[1], a[2], a[3], 0),
        _ => (a[0], a[1], a[2], a[3], a[4] & u32::MAX as usize),
    }
}

/// Records a call whose outcome is known before it is made, but for its result.
unsafe fn made(call: &Context, record: &ring::Call) -> isize {
    // SAFETY: the target's own call.
    unsafe {
        let draft = ring::begin(call.header, record, &[]);
        let ret = call.pass();
        draft.done(call.header, ret);
        ret
    }
}

/// rename, renameat, renameat2.
pub unsafe fn rename(call: &Context) -> isize {
    const NOREPLACE: usize = 1;
    const EXCHANGE: usize = 2;
    let (from_dir, from, to_dir, to, flags) = two_names(call);
    // SAFETY: the target's own call.
    unsafe {
        let places = (identify::place(call.header, from_dir, from), identify::place(call.header, to_dir, to));
        let (Some(from_place), Some(to_place)) = places else {
            return call.pass();
        };
        let Some(stat) = object(from_dir, from).filter(|s| s.is_node()) else {
            return call.pass();
        };
        match (from_place.inside, to_place.inside) {
            (false, false) => return call.pass(),
            (true, true) => {}
            _ => {
                let ret = call.pass();
                if ret == 0 {
                    let what = b"rename across the recorded directory's border";
                    call.blind(what, if from_place.inside { from_place.name } else { to_place.name });
                }
                return ret;
            }
        }
        if flags & !(NOREPLACE | EXCHANGE) != 0 {
            call.blind(b"renameat2 with unknown flags", b"RENAME_WHITEOUT or newer");
        }
        let mut record = call.record(KIND_RENAME);
        record.ino = stat.ino;
        record.numbers = [from_place.parent, to_place.parent, flags as u64];
        record.name1 = from_place.name;
        record.name2 = to_place.name;
        made(call, &record)
    }
}

/// link, linkat.
pub unsafe fn link(call: &Context) -> isize {
    let (from_dir, from, to_dir, to, flags) = two_names(call);
    // SAFETY: the target's own call.
    unsafe {
        let Some(place) = identify::place(call.header, to_dir, to).filter(|p| p.inside) else {
            return call.pass();
        };
        let mut stat = Stat::EMPTY;
        let recorded = if flags & AT_EMPTY_PATH != 0 && identify::text(from).is_empty() {
            identify::fstat(from_dir, &mut stat) && identify::is_recorded(call.header, from_dir, &stat)
        } else {
            let follow = flags & AT_SYMLINK_FOLLOW != 0;
            identify::path_is_recorded(call.header, from_dir, from, follow, &mut stat)
        };
        if !recorded {
            let ret = call.pass();
            if ret == 0 {
                call.blind(b"link into the recorded directory from outside", place.name);
            }
            return ret;
        }
        let mut record = call.record(KIND_LINK);
        record.ino = stat.ino;
        record.numbers = [0, place.parent, 0];
        record.name2 = place.name;
        made(call, &record)
    }
}

/// A call that makes a new object at a place, of which the record's numbers tell.
unsafe fn make(
    call: &Context,
    (kind, numbers): (u16, [u64; 3]),
    (dirfd, path): (usize, usize),
    place: &Place,
    data: &[Piece],
) -> isize {
    // SAFETY: the target's own call.
    unsafe {
        let mut record = call.record(kind);
        record.numbers = numbers;
        record.name1 = place.name;
        let mut draft = ring::begin(call.header, &record, data);
        let ret = call.pass();
        if ret < 0 {
            draft.void();
            return ret;
        }
        // Where another thread has already taken it away again, the number stays 0 and the recorder says so.
        let ino = object(dirfd, path).map_or(0, |s| s.ino);
        identify::remember(ino, CLASS_IN);
        draft.set(ino, record.numbers);
        draft.done(call.header, ret);
        ret
    }
}

/// symlink, symlinkat.
pub unsafe fn symlink(call: &Context) -> isize {
    let a = call.args;
    let (target, dirfd, path) =
        if call.nr == num::SYMLINK { (a[0], AT_FDCWD, a[1]) } else { (a[0], a[1], a[2]) };
    // SAFETY: the target's own call.
    unsafe {
        let Some(place) = identify::place(call.header, dirfd, path).filter(|p| p.inside) else {
            return call.pass();
        };
        let target = identify::text(target);
        let piece = Piece { at: target.as_ptr(), len: target.len() };
        make(call, (KIND_SYMLINK, [place.parent, 0, 0]), (dirfd, path), &place, &[piece])
    }
}

/// mkdir, mkdirat.
pub unsafe fn mkdir(call: &Context) -> isize {
    let a = call.args;
    let (dirfd, path) = if call.nr == num::MKDIR { (AT_FDCWD, a[0]) } else { (a[0], a[1]) };
    // SAFETY: the target's own call.
    unsafe {
        match identify::place(call.header, dirfd, path).filter(|p| p.inside) {
            Some(place) => make(call, (KIND_MKDIR, [place.parent, 0, 0]), (dirfd, path), &place, &[]),
            None => call.pass(),
        }
    }
}

/// mknod, mknodat: only regular files matter; sockets, pipes and devices hold nothing that a crash can lose.
pub unsafe fn mknod(call: &Context) -> isize {
    let a = call.args;
    let (dirfd, path, mode) = if call.nr == num::MKNOD { (AT_FDCWD, a[0], a[1]) } else { (a[0], a[1], a[2]) };
    // SAFETY: the target's own call.
    unsafe {
        let regular = matches!(mode & S_IFMT, 0 | S_IFREG);
        let place = identify::place(call.header, dirfd, path).filter(|p| p.inside && regular);
        let Some(place) = place else { return call.pass() };
        make(call, (KIND_OPEN, [0, OPEN_CREATED, place.parent]), (dirfd, path), &place, &[])
    }
}

/// unlink, unlinkat, rmdir.
pub unsafe fn unlink(call: &Context) -> isize {
    let a = call.args;
    let (dirfd, path) = if call.nr == num::UNLINKAT { (a[0], a[1]) } else { (AT_FDCWD, a[0]) };
    // SAFETY: the target's own call.
    unsafe {
        let Some(place) = identify::place(call.header, dirfd, path).filter(|p| p.inside) else {
            return call.pass();
        };
        let Some(stat) = object(dirfd, path).filter(|s| s.is_node()) else {
            return call.pass();
        };
        let mut record = call.record(KIND_UNLINK);
        record.ino = stat.ino;
        record.numbers = [place.parent, 0, 0];
        record.name1 = place.name;
        made(call, &record)
    }
}
