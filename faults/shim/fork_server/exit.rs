//! Handlers of exit(3) that a child need not run.

use crate::libc;
use core::ffi::{CStr, c_int, c_void};

type Handler = unsafe extern "C" fn(*mut c_void);
type AtExit = unsafe extern "C" fn(Handler, *mut c_void, *const c_void) -> c_int;

/// OpenSSL frees its tables at exit: some hundred pages that a child would have to copy first, for nothing that
/// outlives it. It has nothing else to do there.
const FREES_ONLY: &[u8] = b"libcrypto.so";

/// What atexit(3) calls, with the library that asks. Its own handler is passed over in a template.
#[unsafe(no_mangle)]
unsafe extern "C" fn __cxa_atexit(handler: Handler, argument: *mut c_void, library: *const c_void) -> c_int {
    static NEXT: crate::Next = crate::Next::new(c"__cxa_atexit");
    // SAFETY: the library's own call, passed on.
    unsafe {
        if crate::control().is_some() && is_named(library, FREES_ONLY) {
            return 0;
        }
        NEXT.get::<AtExit>()(handler, argument, library)
    }
}

/// Whether the address lies in a library whose file's name begins so.
fn is_named(address: *const c_void, name: &[u8]) -> bool {
    let null = core::ptr::null_mut::<core::ffi::c_char>();
    let mut info = libc::DlInfo { file: null, base: null.cast(), symbol: null, address: null.cast() };
    // SAFETY: it looks for the address, and fills in a local; the path is the loader's own, null-terminated.
    unsafe {
        if address.is_null() || libc::dladdr(address, &mut info) == 0 || info.file.is_null() {
            return false;
        }
        let path = CStr::from_ptr(info.file).to_bytes();
        path.rsplit(|byte| *byte == b'/').next().is_some_and(|file| file.starts_with(name))
    }
}
