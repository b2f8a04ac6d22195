//! The records as the shim wrote them, found again in the shared memory.

use crate::abi;

/// One record, still in terms of the recorded process.
#[derive(Clone, Debug, Default)]
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

/// Puts times right that were read too late. A call draws its clock and reads the time after that, and a thread that was
/// kept from going on in between (on a busy machine, while others ran and the time was moved) notes that of much later.
/// What a later clock goes with is never earlier: so no record's time is later than any that stands behind it, here or
/// among what the harness has noted, which is in the order of the clock.
pub(crate) fn settle_times(records: &mut [Raw<'_>], noted: impl DoubleEndedIterator<Item = (u64, u64)>) {
    let mut noted = noted.rev().peekable();
    let mut least = u64::MAX;
    for record in records.iter_mut().rev() {
        while let Some((_, at)) = noted.next_if(|(clock, _)| *clock > record.begin) {
            least = least.min(at);
        }
        least = least.min(record.at);
        record.at = least;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(records: &[(u64, u64)], noted: &[(u64, u64)]) -> Vec<u64> {
        let one = |(begin, at): &(u64, u64)| Raw { begin: *begin, at: *at, ..Raw::default() };
        let mut records: Vec<Raw<'_>> = records.iter().map(one).collect();
        settle_times(&mut records, noted.iter().copied());
        records.iter().map(|record| record.at).collect()
    }

    #[test]
    fn times_that_do_not_go_back_stay() {
        assert_eq!(settled(&[(1, 10), (2, 10), (5, 30)], &[(3, 20), (4, 30), (9, 40)]), [10, 10, 30]);
    }

    /// A redis-server's sync in the background, on a machine with a load of eight: between its clock and its time the time
    /// was moved by a second, and what was acknowledged just then seemed to be promised at once (window-exceeded by 0 s).
    #[test]
    fn a_time_that_was_read_late_is_that_of_what_came_next() {
        assert_eq!(settled(&[(1, 10), (2, 90), (3, 10), (5, 90)], &[]), [10, 10, 10, 90]);
        assert_eq!(settled(&[(1, 10), (2, 90), (7, 90)], &[(4, 20)]), [10, 20, 90]);
        assert_eq!(settled(&[(3, 90)], &[(2, 10)]), [90]);
    }
}
