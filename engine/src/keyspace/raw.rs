//! Byte strings of one allocation behind one thin pointer: the length stands in front of the bytes, and the
//! capacity follows from the length.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ptr::NonNull;

/// The length, in front of the bytes.
const HEADER: usize = size_of::<u64>();

/// A byte string on the heap.
pub(super) struct Thin(NonNull<u8>);

// SAFETY: a `Thin` owns its block, and nothing else points into it.
unsafe impl Send for Thin {}
// SAFETY: through a shared reference the block is only read.
unsafe impl Sync for Thin {}

/// The size of the block for `len` bytes: small ones fill an allocator's size class, large ones leave a
/// sixteenth free, so that appending to them byte by byte copies each byte a bounded number of times.
fn block_size(len: usize) -> usize {
    let wanted = HEADER + len;
    if wanted <= 256 {
        // 24, 40, 56 ...: multiples of 16, without the word that the allocator itself needs.
        return (wanted + 8).next_multiple_of(16) - 8;
    }
    wanted.next_multiple_of(1 << (wanted.ilog2() - 4))
}

fn layout(len: usize) -> Layout {
    // Lengths are those of slices, so this fails for nothing that could be allocated in the first place.
    Layout::from_size_align(block_size(len), align_of::<u64>()).unwrap_or(Layout::new::<u64>())
}

impl Thin {
    /// A string of `len` bytes, of which the first are `bytes` and the others 0.
    pub(super) fn new(bytes: &[u8], len: usize) -> Thin {
        let len = len.max(bytes.len());
        let layout = layout(len);
        // SAFETY: the layout's size is never 0. The header is aligned and within the block; the bytes that
        // follow it are `len` at most, which is what `block_size` makes room for, and the block is new, so
        // that nothing overlaps.
        unsafe {
            let Some(block) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            block.cast::<u64>().write(len as u64);
            let data = block.as_ptr().add(HEADER);
            data.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            data.add(bytes.len()).write_bytes(0, len - bytes.len());
            Thin(block)
        }
    }

    pub(super) fn len(&self) -> usize {
        // SAFETY: the header was written when the block was made.
        unsafe { self.0.cast::<u64>().read() as usize }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` bytes after the header are initialised, and borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(HEADER), self.len()) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr().add(HEADER), self.len()) }
    }

    /// Makes it longer: `more` first, then zeros up to `len` bytes.
    pub(super) fn grow(&mut self, more: &[u8], len: usize) {
        let old = self.len();
        let filled = old + more.len();
        let len = len.max(filled);
        let (from, to) = (layout(old), layout(len));
        // SAFETY: the block was made with the layout of its length, whose alignment never differs. After that
        // it has room for `len` bytes, of which `old` are initialised; `more` is borrowed from elsewhere.
        unsafe {
            if from.size() != to.size() {
                let Some(block) = NonNull::new(realloc(self.0.as_ptr(), from, to.size())) else {
                    handle_alloc_error(to)
                };
                self.0 = block;
            }
            self.0.cast::<u64>().write(len as u64);
            let data = self.0.as_ptr().add(HEADER);
            data.add(old).copy_from_nonoverlapping(more.as_ptr(), more.len());
            data.add(filled).write_bytes(0, len - filled);
        }
    }

    /// Puts `bytes` in the place of what it holds, if they fit its block as it is.
    pub(super) fn replace(&mut self, bytes: &[u8]) -> bool {
        if block_size(self.len()) != block_size(bytes.len()) {
            return false;
        }
        // SAFETY: equal sizes: the block has room for these bytes too; they are borrowed from elsewhere.
        unsafe {
            self.0.cast::<u64>().write(bytes.len() as u64);
            self.0.as_ptr().add(HEADER).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        true
    }
}

impl Drop for Thin {
    fn drop(&mut self) {
        // SAFETY: allocated with the layout of its length, and not used after this.
        unsafe { dealloc(self.0.as_ptr(), layout(self.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_room_for_its_string_and_not_much_more() {
        let mut before = 0;
        for len in 0..100_000 {
            let size = block_size(len);
            assert!(size >= len + HEADER && size >= before, "{len}: {size}");
            assert!(size < len + HEADER + 16 + len / 16, "{len}: {size}");
            before = size;
        }
    }
}
