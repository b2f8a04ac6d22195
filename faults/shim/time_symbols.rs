//! The clocks' exported symbols: programs read the time through them, without a system call.

use crate::{sys, time};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static CLOCK_GETTIME: AtomicUsize = AtomicUsize::new(0);

/// Reads a clock: a virtual one from the shared memory, a real one by libc's own function.
unsafe fn read(id: i32, spec: usize) -> isize {
    // SAFETY: the caller's own timespec.
    unsafe {
        if let Some(ret) = time::symbol(id, spec) {
            return sys::libc_result(ret);
        }
        let mut real = CLOCK_GETTIME.load(Relaxed);
        if real == 0 {
            real = sys::next_symbol(c"clock_gettime");
            CLOCK_GETTIME.store(real, Relaxed);
        }
        let real: unsafe extern "C" fn(i32, usize) -> i32 = core::mem::transmute(real);
        real(id, spec) as isize
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(id: i32, spec: usize) -> i32 {
    // SAFETY: the caller's own timespec.
    unsafe { read(id, spec) as i32 }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(value: *mut [u64; 2], _zone: usize) -> i32 {
    let mut spec = [0u64; 2];
    // SAFETY: the caller's own timeval.
    unsafe {
        let ret = read(time::REALTIME, &raw mut spec as usize) as i32;
        if ret == 0 && !value.is_null() {
            *value = [spec[0], spec[1] / 1000];
        }
        ret
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn time(out: *mut u64) -> i64 {
    let mut spec = [0u64; 2];
    // SAFETY: the caller's own word.
    unsafe {
        read(time::REALTIME, &raw mut spec as usize);
        if !out.is_null() {
            *out = spec[0];
        }
    }
    spec[0].cast_signed()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn timespec_get(spec: usize, base: i32) -> i32 {
    const TIME_UTC: i32 = 1;
    // SAFETY: the caller's own timespec.
    if base == TIME_UTC && unsafe { read(time::REALTIME, spec) } == 0 { base } else { 0 }
}
