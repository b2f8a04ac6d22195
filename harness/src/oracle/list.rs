//! List arithmetic of the RESP model.

/// The elements from `start` to `stop`, both inclusive, negative from the end, as LRANGE has it.
pub(super) fn range(list: &[Vec<u8>], start: i64, stop: i64) -> &[Vec<u8>] {
    let len = list.len() as i64;
    let from = |i: i64| if i < 0 { len.saturating_add(i) } else { i };
    let (start, stop) = (from(start).max(0), from(stop).min(len - 1));
    if start > stop { &[] } else { &list[start as usize..=stop as usize] }
}

/// Takes up to `count` elements off one end, in the order in which they come off.
pub(super) fn pop(list: &mut Vec<Vec<u8>>, count: usize, front: bool) -> Vec<Vec<u8>> {
    let count = count.min(list.len());
    if front {
        list.drain(..count).collect()
    } else {
        let mut off = list.split_off(list.len() - count);
        off.reverse();
        off
    }
}

/// Puts elements on one end, one after the other.
pub(super) fn push(list: &mut Vec<Vec<u8>>, elements: &[Vec<u8>], front: bool) {
    if front {
        list.splice(0..0, elements.iter().rev().cloned());
    } else {
        list.extend_from_slice(elements);
    }
}
