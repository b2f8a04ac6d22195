//! The records as the shim wrote them, found again in the shared memory.

use crate::abi;

/// One record, still in terms of the recorded process.
#[derive(Clone, Debug)]
pub(crate) struct Raw<'a> {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) at: u64,
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) kind: u16,
    pub(crate) nr: u16,
    pub(crate) flags: u16,
    pub(crate) ret: i64,
    pub(crate) ino: u64,
    pub(crate) a: u64,
    pub(crate) b: u64,
    pub(crate) c: u64,
    pub(crate) frames: Vec<u64>,
    pub(crate) name1: &'a [u8],
    pub(crate) name2: &'a [u8],
    pub(crate) data: &'a [u8],
}

impl Raw<'_> {
    /// The target was killed inside this call.
    pub(crate) fn is_killed(&self) -> bool {
        self.end == abi::NEVER
    }
}

/// Reads all records and sorts them by begin. Holes (a task was killed between taking its room and filling
/// it) are skipped: their calls had not begun.
pub(crate) fn parse(bytes: &[u8]) -> Vec<Raw<'_>> {
    let mut records = Vec::new();
    let mut at = 0;
    while at + size_of::<abi::Record>() <= bytes.len() {
        let state = u32_at(bytes, at);
        let len = u32_at(bytes, at + 4) as usize;
        let known = (abi::STATE_RESERVED..=abi::STATE_VOID).contains(&state);
        if !known || len < size_of::<abi::Record>() || at + len > bytes.len() {
            at += abi::RECORD_ALIGN;
            continue;
        }
        if (state == abi::STATE_BEGUN || state == abi::STATE_DONE)
            && let Some(record) = one(&bytes[at..at + len], state)
        {
            records.push(record);
        }
        at += len;
    }
    records.sort_by_key(|r| r.begin);
    records
}

fn one(bytes: &[u8], state: u32) -> Option<Raw<'_>> {
    macro_rules! at {
        ($field:ident) => {
            std::mem::offset_of!(abi::Record, $field)
        };
    }
    let frames = *bytes.get(at!(frames))? as usize;
    let mut from = size_of::<abi::Record>();
    let mut take = |len: usize| {
        let part = bytes.get(from..from.checked_add(len)?);
        from += len;
        part
    };
    let frames = take(frames * 8)?.chunks_exact(8).map(|c| u64_at(c, 0)).collect();
    let name1 = take(u32_at(bytes, at!(name1_len)) as usize)?;
    let name2 = take(u32_at(bytes, at!(name2_len)) as usize)?;
    let data = take(u64_at(bytes, at!(data_len)) as usize)?;
    let end = if state == abi::STATE_DONE { u64_at(bytes, at!(end)) } else { abi::NEVER };
    Some(Raw {
        begin: u64_at(bytes, at!(begin)),
        end,
        at: u64_at(bytes, at!(at)),
        pid: u32_at(bytes, at!(pid)),
        tid: u32_at(bytes, at!(tid)),
        kind: u16_at(bytes, at!(kind)),
        nr: u16_at(bytes, at!(nr)),
        flags: u16_at(bytes, at!(flags)),
        ret: u64_at(bytes, at!(ret)) as i64,
        ino: u64_at(bytes, at!(ino)),
        a: u64_at(bytes, at!(a)),
        b: u64_at(bytes, at!(b)),
        c: u64_at(bytes, at!(c)),
        frames,
        name1,
        name2,
        data,
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u64_prefix(bytes, at, 4) as u32
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64_prefix(bytes, at, 8)
}

fn u64_prefix(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes.get(at..at + len).map_or(0, |b| b.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
}
