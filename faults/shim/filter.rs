//! The seccomp filter: lets through what is known to be harmless and what comes from the gadget; traps all else.
//!
//! The list of harmless calls is asked first, before the instruction pointer: the kernel then sees that these
//! calls are always allowed and skips the filter for them (its per-call bitmap, since 5.11).

use crate::abi::{self, FLAG_FAULT_READS, FLAG_GATED, FLAG_VIRTUAL, Header};
use crate::abi_reads::FLAG_READS;
use crate::harmless::HARMLESS;
use crate::num::*;
use crate::{gate, reads, sys, time};

const LD: u16 = 0x20;
const AND: u16 = 0x54;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGE: u16 = 0x35;
const JSET: u16 = 0x45;
const RET: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const TRAP: u32 = 0x0003_0000;
const ARCH_X86_64: u32 = 0xC000_003E;

#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

/// What the filter does with one system call.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    Trap,
    Allow,
    /// Trapped if flags (second argument) ask for writing.
    Open,
    /// As `Open`, third argument.
    Openat,
    /// Trapped if a file is mapped shared.
    Mmap,
    /// Trapped if memory becomes writable.
    Mprotect,
    /// Trapped unless the request is a terminal's or a socket's and known to give no descriptor away.
    Ioctl,
    /// Trapped if it installs another interceptor.
    Prctl,
    /// Trapped if it changes a descriptor's flags, or duplicates it.
    Fcntl,
    /// Trapped if it gives the thread descriptors of its own.
    CloseRange,
    /// In a gated run: trapped unless it is as long as the dynamic linker's, which meets an inherited filter
    /// before there is a handler.
    Read,
    /// Where reads are logged: trapped if a file is mapped, in whatever way.
    MapFile,
    /// Where reads are logged: trapped if it asks where a file has holes.
    Seek,
}

const SPECIAL: [Class; 11] = [
    Class::Open,
    Class::Openat,
    Class::Mmap,
    Class::Mprotect,
    Class::Ioctl,
    Class::Prctl,
    Class::Fcntl,
    Class::CloseRange,
    Class::Read,
    Class::MapFile,
    Class::Seek,
];
const CLASSES: usize = SPECIAL.len() + 2;
const NUMBERS: usize = 512;
const LONGEST: usize = 900;

struct Program {
    code: [Instruction; LONGEST],
    len: usize,
    /// The program fits and all its jumps are short enough.
    ok: bool,
}

impl Program {
    fn emit(&mut self, code: u16, jt: usize, jf: usize, k: u32) -> usize {
        let at = self.len;
        if at < LONGEST && jt < 256 && jf < 256 {
            self.code[at] = Instruction { code, jt: jt as u8, jf: jf as u8, k };
            self.len += 1;
        } else {
            self.ok = false;
        }
        at
    }

    /// A decision tree over the runs of equal class in `classes[low..high]`; leaves that are not plain are
    /// jumps whose `k` names the class until [`Program::link`].
    fn tree(&mut self, classes: &[Class; NUMBERS], low: usize, high: usize) {
        let class = classes[low];
        let mut middle = 0;
        let mut runs = 1;
        let mut i = low + 1;
        while i < high {
            if classes[i] != classes[i - 1] {
                runs += 1;
            }
            i += 1;
        }
        if runs == 1 {
            if class == Class::Allow {
                self.emit(RET, 0, 0, ALLOW);
            } else {
                self.emit(JA, 0, 0, class as u32);
            }
            return;
        }
        let mut seen = 0;
        i = low + 1;
        while i < high {
            if classes[i] != classes[i - 1] {
                seen += 1;
                if seen == runs / 2 {
                    middle = i;
                }
            }
            i += 1;
        }
        let at = self.emit(JGE, 0, 0, middle as u32);
        self.tree(classes, low, middle);
        let right = self.len - at - 1;
        if right < 256 && at < LONGEST {
            self.code[at].jt = right as u8;
        } else {
            self.ok = false;
        }
        self.tree(classes, middle, high);
    }

    /// Replaces the classes in jumps by distances.
    fn link(&mut self, blocks: &[usize; CLASSES]) {
        let mut i = 0;
        while i < self.len {
            if self.code[i].code == JA {
                self.code[i].k = (blocks[self.code[i].k as usize & 15] - i - 1) as u32;
            }
            i += 1;
        }
    }
}

fn classes(flags: u32) -> [Class; NUMBERS] {
    let mut classes = [Class::Trap; NUMBERS];
    for &nr in HARMLESS {
        classes[nr] = Class::Allow;
    }
    for (nr, class) in [
        (OPEN, Class::Open),
        (OPENAT, Class::Openat),
        (MMAP, Class::Mmap),
        (MPROTECT, Class::Mprotect),
        (PKEY_MPROTECT, Class::Mprotect),
        (IOCTL, Class::Ioctl),
        (PRCTL, Class::Prctl),
        (FCNTL, Class::Fcntl),
        (CLOSE_RANGE, Class::CloseRange),
    ] {
        classes[nr] = class;
    }
    if flags & FLAG_GATED != 0 {
        for &nr in gate::TRAPS {
            classes[nr] = Class::Trap;
        }
        classes[READ] = Class::Read;
    }
    if flags & FLAG_FAULT_READS != 0 {
        classes[READ] = Class::Read;
        for nr in [OPEN, OPENAT, PREAD64, READV, PREADV, PREADV2, RECVFROM] {
            classes[nr] = Class::Trap;
        }
    }
    if flags & FLAG_VIRTUAL != 0 {
        for &nr in time::TRAPS {
            classes[nr] = Class::Trap;
        }
    }
    if flags & FLAG_READS != 0 {
        for &nr in reads::SILENT {
            classes[nr] = Class::Allow;
        }
        for &nr in reads::TRAPS {
            classes[nr] = Class::Trap;
        }
        classes[MMAP] = Class::MapFile;
        classes[LSEEK] = Class::Seek;
    }
    classes
}

impl Program {
    /// Loads the lower half of an argument.
    fn load(&mut self, argument: u32) {
        self.emit(LD, 0, 0, 16 + 8 * argument);
    }

    /// Skips the one instruction that allows if any of these bits is set in the argument.
    fn trap_bits(&mut self, argument: u32, bits: u32) {
        self.load(argument);
        self.emit(JSET, 1, 0, bits);
    }

    /// Skips it if the argument has one of these values.
    fn trap_values(&mut self, argument: u32, values: &[u32]) {
        self.load(argument);
        for (at, &value) in values.iter().enumerate() {
            self.emit(JEQ, values.len() - at, 0, value);
        }
    }
}

/// The check of one class; falls through where the call is to be trapped, given the distance-free form
/// "allow, else go on to the instruction pointer".
fn block(program: &mut Program, class: Class) {
    // O_ACCMODE | O_CREAT | O_TRUNC; O_TMPFILE needs an access mode that writes.
    const WRITING: u32 = 3 | 0o100 | 0o1000;
    match class {
        Class::Open => program.trap_bits(1, WRITING),
        Class::Openat => program.trap_bits(2, WRITING),
        Class::Mmap => {
            // MAP_ANONYMOUS, MAP_SHARED
            program.load(3);
            program.emit(JSET, 1, 0, 0x20);
            program.emit(JSET, 1, 0, 1);
        }
        // PROT_WRITE
        Class::Mprotect => program.trap_bits(2, 2),
        Class::Ioctl => {
            // Of the terminals' letter all but TIOCGPTPEER; of the sockets' those that no protocol defines.
            program.load(1);
            program.emit(JEQ, 5, 0, 0x5441);
            program.emit(JGE, 0, 1, 0x8900);
            program.emit(JGE, 0, 2, 0x89e0);
            program.emit(AND, 0, 0, 0xff00);
            program.emit(JEQ, 0, 1, 0x5400);
        }
        // PR_SET_SECCOMP, PR_SET_SYSCALL_USER_DISPATCH
        Class::Prctl => program.trap_values(0, &[22, 59]),
        // F_SETFL, F_DUPFD, F_DUPFD_CLOEXEC
        Class::Fcntl => program.trap_values(1, &[4, 0, 1030]),
        // CLOSE_RANGE_UNSHARE
        Class::CloseRange => program.trap_bits(2, 2),
        Class::Read => {
            // sizeof(struct filebuf.buf) of glibc's elf/dl-load.c.
            program.load(2);
            program.emit(JEQ, 0, 1, 832);
        }
        Class::MapFile => {
            // MAP_ANONYMOUS
            program.load(3);
            program.emit(JSET, 0, 1, 0x20);
        }
        Class::Seek => {
            // SEEK_DATA and what follows it
            program.load(2);
            program.emit(JGE, 1, 0, 3);
        }
        Class::Trap | Class::Allow => {}
    }
    program.emit(RET, 0, 0, ALLOW);
    program.emit(JA, 0, 0, Class::Trap as u32);
}

/// Installs the filter for this thread and all that come from it.
pub unsafe fn install(header: &Header) -> bool {
    const PR_SET_NO_NEW_PRIVS: usize = 38;
    const SET_MODE_FILTER: usize = 1;
    let none = Instruction { code: 0, jt: 0, jf: 0, k: 0 };
    let mut program = Program { code: [none; LONGEST], len: 0, ok: true };
    program.emit(LD, 0, 0, 4);
    program.emit(JEQ, 1, 0, ARCH_X86_64);
    program.emit(RET, 0, 0, TRAP);
    program.emit(LD, 0, 0, 0);
    // Numbers beyond the table (and those of the x32 ABI) are not known.
    program.emit(JGE, 0, 1, NUMBERS as u32);
    program.emit(JA, 0, 0, Class::Trap as u32);
    program.tree(&classes(header.flags), 0, NUMBERS);
    let mut blocks = [0; CLASSES];
    for class in SPECIAL {
        blocks[class as usize] = program.len;
        block(&mut program, class);
    }
    blocks[Class::Trap as usize] = program.len;
    program.emit(LD, 0, 0, 8);
    program.emit(JEQ, 0, 3, abi::GADGET_IP as u32);
    program.emit(LD, 0, 0, 12);
    program.emit(JEQ, 0, 1, (abi::GADGET_IP >> 32) as u32);
    program.emit(RET, 0, 0, ALLOW);
    program.emit(RET, 0, 0, TRAP);
    program.link(&blocks);
    if !program.ok {
        return false;
    }
    #[repr(C)]
    struct Filter {
        len: u16,
        code: *const Instruction,
    }
    let filter = Filter { len: program.len as u16, code: program.code.as_ptr() };
    // SAFETY: plain calls with memory of our own.
    unsafe {
        sys::call5(PRCTL, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && sys::call3(SECCOMP, SET_MODE_FILTER, 0, &raw const filter as usize) == 0
    }
}
