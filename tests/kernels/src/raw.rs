//! The few system calls that no safe interface offers.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn text(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// syncfs(2).
pub(crate) fn syncfs(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` lives.
    check(unsafe { libc::syncfs(file.as_raw_fd()) }).map(drop)
}

/// sync_file_range(2): starts write-back, and waits for it where wanted.
pub(crate) fn write_back(file: &File, offset: u64, len: u64, wait: bool) -> io::Result<()> {
    let start = libc::SYNC_FILE_RANGE_WRITE;
    let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE | start | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    let flags = if wait { all } else { start };
    // SAFETY: plain numbers and an open descriptor.
    check(unsafe { libc::sync_file_range(file.as_raw_fd(), offset as i64, len as i64, flags) }).map(drop)
}

/// pwritev2(2) with RWF_DSYNC or RWF_SYNC. A short write is an error: a workload is what its script says.
pub(crate) fn write_synced(file: &File, data: &[u8], offset: u64, full: bool) -> io::Result<()> {
    let part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    let flags = if full { libc::RWF_SYNC } else { libc::RWF_DSYNC };
    // SAFETY: the one buffer outlives the call, which only reads it.
    let done = unsafe { libc::pwritev2(file.as_raw_fd(), &part, 1, offset as i64, flags) };
    match done {
        n if n < 0 => Err(io::Error::last_os_error()),
        n if n as usize == data.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// linkat(2) of a descriptor without a name.
pub(crate) fn link_descriptor(file: &File, to: &Path) -> io::Result<()> {
    let from = text(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))?;
    let to = text(to)?;
    let cwd = libc::AT_FDCWD;
    // SAFETY: both strings end with NUL and outlive the call.
    check(unsafe { libc::linkat(cwd, from.as_ptr(), cwd, to.as_ptr(), libc::AT_SYMLINK_FOLLOW) }).map(drop)
}

const BTRFS_IOC_START_SYNC: libc::c_ulong = 0x8008_9418;
const BTRFS_IOC_WAIT_SYNC: libc::c_ulong = 0x4008_9416;

/// Commits btrfs's running transaction and waits for it, as its own timer would: delayed data stay where they are.
pub(crate) fn commit_btrfs(file: &File) -> io::Result<()> {
    let mut transaction: u64 = 0;
    // SAFETY: both calls take the address of a number that outlives them.
    unsafe {
        check(libc::ioctl(file.as_raw_fd(), BTRFS_IOC_START_SYNC as _, &mut transaction))?;
        check(libc::ioctl(file.as_raw_fd(), BTRFS_IOC_WAIT_SYNC as _, &transaction)).map(drop)
    }
}

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const BLKFLSBUF: libc::c_ulong = 0x1261;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_config` with its `loop_info64`, linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// The number of a loop device that nobody uses at this moment.
pub(crate) fn free_loop(control: &File) -> io::Result<u32> {
    // SAFETY: the call takes no argument.
    check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) }).map(|n| n as u32)
}

/// Puts a file behind a loop device, with direct I/O. It is detached by itself when its last user closes it, so
/// that a killed process leaves none.
pub(crate) fn configure_loop(device: &File, backing: &File, name: &str) -> io::Result<()> {
    let mut config = LoopConfig {
        fd: backing.as_raw_fd() as u32,
        block_size: 512,
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
        reserved: [0; 8],
    };
    for (to, from) in config.file_name.iter_mut().take(63).zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: the structure has the kernel's layout and outlives the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &config) }).map(drop)
}

/// Forgets what the kernel has cached of a block device.
pub(crate) fn forget_cache(device: &File) -> io::Result<()> {
    // SAFETY: the call takes no argument.
    check(unsafe { libc::ioctl(device.as_raw_fd(), BLKFLSBUF as _, 0) }).map(drop)
}
