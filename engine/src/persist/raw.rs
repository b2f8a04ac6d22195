//! A raw call: write-out that is begun and not waited for.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Has the kernel begin to write `len` bytes from `from` on to the disk. Nothing is durable by it, and no error of an
/// earlier write-out is consumed: only the flags that wait do that, and the sync at the end must see it.
pub(super) fn begin_write_out(file: &File, from: u64, len: u64) -> io::Result<()> {
    let (Ok(from), Ok(len)) = (i64::try_from(from), i64::try_from(len)) else { return Ok(()) };
    // SAFETY: plain numbers; the descriptor is open as long as `file` is borrowed.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), from, len, libc::SYNC_FILE_RANGE_WRITE) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // A file system or a kernel without it: the sync at the end does all of the work.
            e if matches!(
                e.raw_os_error(),
                Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::ESPIPE | libc::EPERM)
            ) =>
            {
                Ok(())
            }
            e => Err(e),
        },
    }
}
