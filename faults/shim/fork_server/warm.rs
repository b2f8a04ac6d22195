//! The memory that children are known to touch: a child makes it its own in one go.
//!
//! A page that is touched for the first time after a fork costs an exception, most of all in a virtual machine; a
//! child of redis-server has 200 of them, a third of what it costs altogether. They are the same ones in
//! nearly every child. What is touched here without need costs time, what is not only an exception later: the
//! content is the same in any case.

use crate::libc;
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};

/// Pages that lie side by side: 24 bytes on the socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Span {
    begin: usize,
    len: usize,
    /// MADV_POPULATE_READ or MADV_POPULATE_WRITE of madvise(2).
    advice: usize,
}

/// The most spans that are kept.
pub const ROOM: usize = 512;

struct Spans {
    all: [Span; ROOM],
    len: usize,
}

struct Cell(UnsafeCell<Spans>);

// SAFETY: read and written only while the process has one thread: in the template, and in a child before it goes on.
unsafe impl Sync for Cell {}

const NONE: Span = Span { begin: 0, len: 0, advice: 0 };
static SPANS: Cell = Cell(UnsafeCell::new(Spans { all: [NONE; ROOM], len: 0 }));

/// Receives spans that take the place of those before; of none, those stay.
///
/// # Safety
/// The process has one thread; `count` is at the most [`ROOM`].
pub unsafe fn receive_more(control: c_int, count: usize) {
    if count == 0 {
        return;
    }
    // SAFETY: one thread (see `Cell`); a span is three numbers, of which every bit pattern is one.
    unsafe {
        let spans = &mut *SPANS.0.get();
        let bytes =
            core::slice::from_raw_parts_mut(spans.all.as_mut_ptr().cast::<u8>(), count * size_of::<Span>());
        crate::receive(control, bytes);
        spans.len = count;
    }
}

/// Touches them. That one cannot be (an older kernel, memory that is not there) is no harm.
///
/// # Safety
/// The process has one thread.
pub unsafe fn up() {
    // SAFETY: one thread; neither advice changes what memory holds.
    unsafe {
        let spans = &*SPANS.0.get();
        for span in &spans.all[..spans.len] {
            libc::madvise(span.begin as *mut c_void, span.len, span.advice as c_int);
        }
    }
}
