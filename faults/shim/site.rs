//! Call sites: return addresses by frame pointer, read only where the stack is known to be mapped.

use crate::{num, sys};

/// Where a call came from, as the CPU's registers were.
#[derive(Clone, Copy)]
pub struct Caller {
    /// The return address.
    pub ip: usize,
    /// The stack pointer after the return.
    pub sp: usize,
    /// The caller's frame pointer, if it keeps one.
    pub fp: usize,
}

impl Caller {
    /// A call by the shim itself.
    pub const NONE: Caller = Caller { ip: 0, sp: 0, fp: 0 };

    /// The caller of an exported function whose frame begins at `frame` (its saved frame pointer, and the
    /// return address above it).
    #[inline(always)]
    pub unsafe fn of_frame(frame: *const usize) -> Caller {
        // SAFETY: the function was compiled with frame pointers.
        unsafe { Caller { ip: *frame.add(1), sp: frame as usize + 16, fp: *frame } }
    }
}

/// How often a thread may look up its stack: coroutines change stacks, and each look-up reads a file.
const LOOKUPS: usize = 8;

/// The return addresses, nearest first; gives their number.
pub unsafe fn walk(caller: &Caller, frames: &mut [u64]) -> usize {
    if caller.ip == 0 {
        return 0;
    }
    frames[0] = caller.ip as u64;
    let mut n = 1;
    // SAFETY: every address that is read lies between the stack pointer and the end of its mapping.
    unsafe {
        let (mut low, high) = bounds(caller.sp);
        let mut fp = caller.fp;
        while n < frames.len() && fp >= low && fp % 8 == 0 && fp + 16 <= high {
            let ret = *((fp + 8) as *const usize);
            if ret < 4096 || ret >= 1 << 47 {
                break;
            }
            frames[n] = ret as u64;
            n += 1;
            low = fp + 16;
            fp = *(fp as *const usize);
        }
    }
    n
}

/// The part of this stack that is in use: `[sp, end of the mapping)`, empty if unknown.
unsafe fn bounds(sp: usize) -> (usize, usize) {
    // SAFETY: this thread's own words.
    unsafe {
        let tls = sys::tls();
        let (low, high) = (*tls).stack;
        if (low..high).contains(&sp) {
            return (sp, high);
        }
        if (*tls).lookups >= LOOKUPS {
            return (0, 0);
        }
        (*tls).lookups += 1;
        let (low, mut high) = mapping_of(sp);
        let mut thread_pointer: usize;
        core::arch::asm!("mov {}, fs:[0]", out(reg) thread_pointer, options(nostack, pure, readonly));
        // glibc puts a thread's control block at the top of its stack.
        if (sp..high).contains(&thread_pointer) {
            high = thread_pointer;
        }
        (*tls).stack = (low, high);
        if (low..high).contains(&sp) { (sp, high) } else { (0, 0) }
    }
}

/// The mapping that holds `address`, from /proc/self/maps.
unsafe fn mapping_of(address: usize) -> (usize, usize) {
    const O_CLOEXEC: usize = 0x8_0000;
    let mut scratch = crate::scratch::Scratch::take();
    let buffer = scratch.bytes();
    let mut found = (0, 0);
    // SAFETY: plain reads into our buffer.
    unsafe {
        let fd = sys::call2(num::OPEN, c"/proc/self/maps".as_ptr() as usize, O_CLOEXEC);
        if fd < 0 {
            return found;
        }
        let mut parser = Parser::default();
        'file: loop {
            let n = sys::call3(num::READ, fd as usize, buffer.as_mut_ptr() as usize, buffer.len());
            if n <= 0 {
                break;
            }
            let mut i = 0;
            while i < n as usize {
                if let Some((low, high)) = parser.byte(*buffer.as_ptr().add(i))
                    && (low..high).contains(&address)
                {
                    found = (low, high);
                    break 'file;
                }
                i += 1;
            }
        }
        sys::call1(num::CLOSE, fd as usize);
    }
    found
}

/// Reads `low-high ` at the start of each line, byte by byte.
#[derive(Default)]
struct Parser {
    numbers: [usize; 2],
    field: usize,
}

impl Parser {
    fn byte(&mut self, byte: u8) -> Option<(usize, usize)> {
        let digit = match byte {
            b'\n' => {
                *self = Parser::default();
                return None;
            }
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => {
                self.field += 1;
                return (self.field == 2).then_some((self.numbers[0], self.numbers[1]));
            }
        };
        if self.field < 2 {
            let number = &mut self.numbers[self.field & 1];
            *number = *number << 4 | digit as usize;
        }
        None
    }
}
