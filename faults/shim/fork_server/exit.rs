//! What exit(3) does that a child need not do.

use crate::libc;
use core::ffi::{CStr, c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

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

type Finish = unsafe extern "C" fn();
type StartMain = unsafe extern "C" fn(
    *const c_void,
    c_int,
    *mut c_void,
    *const c_void,
    *const c_void,
    Option<Finish>,
    *mut c_void,
) -> c_int;

/// The loader's last act: it calls the destructors of all libraries.
static FINISH: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// From here on this process is a child.
pub fn in_child() {
    IS_CHILD.store(true, Ordering::Relaxed);
}

/// Where a program begins. The loader's last act goes by way of [`finish`]; all else is as it was.
#[unsafe(no_mangle)]
unsafe extern "C" fn __libc_start_main(
    main: *const c_void,
    argc: c_int,
    argv: *mut c_void,
    init: *const c_void,
    fini: *const c_void,
    loader: Option<Finish>,
    stack: *mut c_void,
) -> c_int {
    static NEXT: crate::Next = crate::Next::new(c"__libc_start_main");
    FINISH.store(loader.map_or(core::ptr::null_mut(), |loader| loader as *mut c_void), Ordering::Relaxed);
    // SAFETY: the program's own call, passed on; where there was nothing to call at the end, there is nothing now.
    unsafe { NEXT.get::<StartMain>()(main, argc, argv, init, fini, loader.and(Some(finish)), stack) }
}

/// What the loader does at exit, but not in a child: the destructors of some twenty libraries, which give memory back
/// to a process that is about to end, lie on pages that a child would have to map and copy first, half of all that it
/// touches. What a program has asked for itself, by atexit(3) or as a C++ object, is called before this; and buffered
/// output is written after it, as ever.
unsafe extern "C" fn finish() {
    let loader = FINISH.load(Ordering::Relaxed);
    if loader.is_null() || IS_CHILD.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: it was stored as a function of this type.
    unsafe { core::mem::transmute::<*mut c_void, Finish>(loader)() }
}
