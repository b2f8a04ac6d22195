//! The call of the shim's function. Holds the `unsafe` of it.

use std::sync::OnceLock;

type Mark = unsafe extern "C" fn(u32, u32, u32, *const u8, usize) -> i32;

/// The shim's function, where a shim is loaded.
pub(super) fn shim() -> Option<Mark> {
    static FOUND: OnceLock<Option<Mark>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: plain look-up; the symbol, where it exists, is the shim's function of this type.
        unsafe {
            let at = libc::dlsym(libc::RTLD_DEFAULT, c"unplug_mark".as_ptr());
            (!at.is_null()).then(|| std::mem::transmute::<*mut libc::c_void, Mark>(at))
        }
    })
}

/// Hands one mark to the shim; `false` without one.
pub(super) fn mark(kind: u16, client: u32, id: u32, data: &[u8]) -> bool {
    match shim() {
        // SAFETY: the data are read during the call only.
        Some(mark) => unsafe { mark(kind.into(), client, id, data.as_ptr(), data.len()) != 0 },
        None => false,
    }
}
