//! The shared memory, seen from the recorder. Holds the `unsafe` of mapping it.

use crate::abi::{self, Header};
use crate::abi_fault::{FAULTS_AT, FaultArea};
use crate::abi_reads::{READS_AT, ReadsArea};
use crate::plan::Plan;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// A mapped memory file with the layout of [`crate::abi`].
#[derive(Debug)]
pub(crate) struct Memory {
    fd: OwnedFd,
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: the mapping is shared with other processes anyway: it is only touched through atomics, or after
// every process of the target has ended.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// What the recorder tells the shim.
pub(crate) struct Setup<'a> {
    pub(crate) root: &'a [u8],
    pub(crate) ignore: &'a [String],
    pub(crate) root_dev: u64,
    pub(crate) start_mono: u64,
    pub(crate) flags: u32,
}

impl Memory {
    /// Makes a memory file of `size` bytes; pages that are never touched cost nothing.
    pub(crate) fn new(size: usize, setup: &Setup) -> io::Result<Memory> {
        use nix::sys::memfd::{MFdFlags, memfd_create};
        let size = size.max(abi::RECORDS_AT + (1 << 20)).next_multiple_of(4096);
        // Told that it is not to be executed, it is allowed everywhere (`vm.memfd_noexec`); Linux before 6.3 does
        // not know the flag.
        let flags = MFdFlags::MFD_CLOEXEC;
        let fd = match memfd_create(c"unplug-ring", flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL))
        {
            Err(nix::errno::Errno::EINVAL) => memfd_create(c"unplug-ring", flags)?,
            made => made?,
        };
        nix::unistd::ftruncate(&fd, size as i64)?;
        let memory = Memory::map(fd, size)?;
        memory.write_header(setup)?;
        Ok(memory)
    }

    fn map(fd: OwnedFd, size: usize) -> io::Result<Memory> {
        use nix::sys::mman::{MapFlags, ProtFlags, mmap};
        let length = NonZeroUsize::new(size).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: a fresh mapping at a place of the kernel's choice.
        let base = unsafe { mmap(None, length, protection, flags, &fd, 0)? }.cast();
        Ok(Memory { fd, base, size })
    }

    /// The memory that another process has made, and that this process's shim uses.
    ///
    /// # Errors
    /// It is not there, or not one of these.
    pub(crate) fn open(path: impl AsRef<std::path::Path>) -> io::Result<Memory> {
        let file = std::fs::File::options().read(true).write(true).open(path)?;
        let size = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        if size <= abi::RECORDS_AT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no shared memory of a shim"));
        }
        let memory = Memory::map(file.into(), size)?;
        match memory.header().magic {
            abi::MAGIC => Ok(memory),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "shared memory of another shim")),
        }
    }

    /// What was read, where that is logged.
    pub(crate) fn reads(&self) -> &ReadsArea {
        // SAFETY: the area lies within every mapping, in front of the records; zeros are a valid one, and all its
        // words are atomic.
        unsafe { self.base.add(READS_AT).cast().as_ref() }
    }

    fn write_header(&self, setup: &Setup) -> io::Result<()> {
        let mut config = setup.root.to_vec();
        config.push(0);
        for glob in setup.ignore {
            config.extend_from_slice(glob.as_bytes());
            config.push(0);
        }
        config.push(0);
        if config.len() > abi::CONFIG_LEN || setup.ignore.iter().any(|g| g.is_empty() || g.contains('\0')) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "ignore globs are empty or too long"));
        }
        // SAFETY: no other process has the mapping yet; all of it lies within `size`.
        unsafe {
            let header = self.base.as_ptr().cast::<Header>();
            (*header).magic = abi::MAGIC;
            (*header).size = self.size as u64;
            (*header).root_dev = setup.root_dev;
            (*header).start_mono = setup.start_mono;
            (*header).flags = setup.flags;
            (*header).root_len = setup.root.len() as u32;
            std::ptr::copy_nonoverlapping(
                config.as_ptr(),
                self.base.as_ptr().add(abi::CONFIG_AT),
                config.len(),
            );
        }
        Ok(())
    }

    fn faults(&self) -> NonNull<FaultArea> {
        // SAFETY: the area lies within every mapping: it stands in front of the records.
        unsafe { self.base.add(FAULTS_AT) }.cast()
    }

    /// Writes the plan's rules. No other process has the mapping yet.
    pub(crate) fn set_plan(&self, plan: &Plan) {
        if !plan.rules.is_empty() {
            // SAFETY: zeros are a valid area, and nobody else looks at it.
            plan.lay_out(unsafe { self.faults().as_mut() }, std::process::id());
        }
    }

    /// The indexes of two rules that wanted different things of one call.
    pub(crate) fn conflict(&self) -> Option<(usize, usize)> {
        // SAFETY: an atomic word of the mapping.
        let pair = unsafe { self.faults().as_ref() }.conflict.load(Ordering::Acquire);
        (pair != 0).then(|| ((pair & 0xffff) as usize - 1, (pair >> 16) as usize - 1))
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The head of the memory.
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: written by `new`; afterwards only its atomic words change.
        unsafe { &*self.base.as_ptr().cast::<Header>() }
    }

    /// Draws a tick of the clock.
    pub(crate) fn tick(&self) -> u64 {
        self.header().clock.fetch_add(1, Ordering::AcqRel)
    }

    /// Tells the shim that an inode lies under the root.
    pub(crate) fn remember(&self, ino: u64) {
        if ino == 0 || ino >= 1 << 62 {
            return;
        }
        let mut at = (ino.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as usize;
        for _ in 0..64 {
            let place = abi::INODES_AT + (at & (abi::INODES - 1)) * 8;
            // SAFETY: within the table, aligned.
            let cell = unsafe { &*self.base.as_ptr().add(place).cast::<AtomicU64>() };
            let entry = ino << 2 | abi::CLASS_IN;
            match cell.compare_exchange(0, entry, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(old) if old >> 2 == ino => return,
                Err(_) => at += 1,
            }
        }
    }

    /// Makes the kernel provide the record area's pages from `from` up to some way ahead of what is used, so
    /// that the target does not pay for it; gives how far it has come.
    pub(crate) fn populate_ahead(&self, from: usize) -> usize {
        let used = self.header().head.load(Ordering::Relaxed) as usize;
        // A short recording shall not pay for a long one's room.
        let ahead = used.clamp(2 << 20, 32 << 20);
        let end = (abi::RECORDS_AT + used.saturating_add(ahead)).next_multiple_of(4096).min(self.size);
        if end > from {
            // SAFETY: within the mapping. A kernel without this advice refuses it: then the target pays.
            unsafe {
                libc::madvise(self.base.as_ptr().add(from).cast(), end - from, libc::MADV_POPULATE_WRITE)
            };
        }
        end.max(from)
    }

    /// The records' bytes. The target must have ended.
    pub(crate) fn records(&self) -> &[u8] {
        let used = self.header().head.load(Ordering::Acquire) as usize;
        let len = used.min(self.size - abi::RECORDS_AT);
        // SAFETY: within the mapping; nobody writes any more.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(abi::RECORDS_AT), len) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: our own mapping, not used after this. A failure leaves it mapped, which is harmless.
        let _ = unsafe { nix::sys::mman::munmap(self.base.cast(), self.size) };
    }
}
