//! The constructor: finds the shared memory through the environment, and arms this process.

use crate::abi::{self, ENV_RING, Header};
use crate::abi_reads::FLAG_READS;
use crate::{descriptors, fault, filter, gate, num, process, reads, ring, sigsys, sys, time};
use core::sync::atomic::{AtomicUsize, Ordering::*};

// `-z initfirst` runs this before every other constructor, libc's own not excepted.
#[used]
#[unsafe(link_section = ".init_array")]
static INIT: unsafe extern "C" fn(i32, *const *const u8, *const *const u8) = init;

/// `LD_PRELOAD=...` and `UNPLUG_RING=...` as this program got them, to hand on where an exec drops them.
static PASSED_ON: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// The two environment strings, if there were any.
pub fn passed_on() -> [usize; 2] {
    [PASSED_ON[0].load(Relaxed), PASSED_ON[1].load(Relaxed)]
}

/// Finds `name=` in an environment; gives the address of the whole string.
pub unsafe fn find(envp: *const *const u8, name: &[u8]) -> usize {
    // SAFETY: an environment as the kernel lays it out.
    unsafe {
        let mut at = envp;
        while !(*at).is_null() {
            let mut i = 0;
            while i < name.len() && *(*at).add(i) == name[i] {
                i += 1;
            }
            if i == name.len() && *(*at).add(i) == b'=' {
                return *at as usize;
            }
            at = at.add(1);
        }
    }
    0
}

unsafe extern "C" fn init(_argc: i32, _argv: *const *const u8, envp: *const *const u8) {
    // SAFETY: the dynamic linker's own arguments.
    unsafe {
        let ring = find(envp, ENV_RING);
        let preload = find(envp, b"LD_PRELOAD");
        if ring == 0 {
            return;
        }
        PASSED_ON[0].store(preload, Relaxed);
        PASSED_ON[1].store(ring, Relaxed);
        if !sys::map_gadget() {
            die(None, abi::BROKEN_GADGET);
        }
        if !sys::map_wiped() {
            die(None, abi::BROKEN_FILTER);
        }
        sys::find_libc();
        let base = map_ring(ring + ENV_RING.len() + 1);
        let header = base as *const Header;
        if base == 0 || (*header).magic != abi::MAGIC {
            die(None, abi::BROKEN_FILTER);
        }
        let inherited = sigsys::install().then(|| sigsys::is_filtered());
        let filtered = match inherited {
            Some(inherited) => inherited || filter::install(&*header),
            None => false,
        };
        if !filtered {
            die(Some(&*header), abi::BROKEN_FILTER);
        }
        (*header).attached.fetch_add(1, AcqRel);
        ring::attach(base);
        descriptors::started();
        if (*header).flags & FLAG_READS != 0 {
            // A filter of another kind does not trap what is read.
            if inherited == Some(true) {
                reads::unknown();
            }
            return;
        }
        if (*header).flags & abi::FLAG_FAULTS != 0 {
            fault::started();
        }
        process::started(&*header);
        if (*header).flags & abi::FLAG_VIRTUAL != 0 {
            time::started(&*header);
        }
        if (*header).flags & abi::FLAG_GATED != 0 {
            gate::started(&*header);
        }
    }
}

/// Maps the shared memory; 0 if that fails.
unsafe fn map_ring(path: usize) -> usize {
    // O_RDWR | O_CLOEXEC
    const FLAGS: usize = 2 | 0x8_0000;
    // PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE
    const MAP: (usize, usize) = (3, 1 | 0x4000);
    // SAFETY: plain calls.
    unsafe {
        let fd = sys::call2(num::OPEN, path, FLAGS);
        if fd < 0 {
            return 0;
        }
        let size = sys::call3(num::LSEEK, fd as usize, 0, 2);
        let base = sys::call6(num::MMAP, 0, size.max(0) as usize, MAP.0, MAP.1, fd as usize, 0);
        sys::call1(num::CLOSE, fd as usize);
        if size <= 0 || base <= 0 { 0 } else { base as usize }
    }
}

/// A target that cannot be recorded must not run: its exit status tells why.
unsafe fn die(header: Option<&Header>, why: u32) -> ! {
    if let Some(header) = header {
        header.broken.fetch_or(why, AcqRel);
    }
    loop {
        // SAFETY: the process ends.
        unsafe { sys::call1(num::EXIT_GROUP, 90 + why as usize) };
    }
}
