//! LZF, as Redis compresses strings.

/// Decompresses `input` to exactly `len` bytes; `None` if it is not such a stream.
pub(super) fn decompress(input: &[u8], len: usize) -> Option<Vec<u8>> {
    // Three bytes make 264 at the most, so a greater claim is a lie, and no memory is given to it.
    if len > input.len().checked_mul(264)? {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    let mut at = 0;
    while let Some(&control) = input.get(at) {
        at += 1;
        let control = usize::from(control);
        if control < 32 {
            let run = input.get(at..at + control + 1)?;
            out.extend_from_slice(run);
            at += control + 1;
        } else {
            let mut run = control >> 5;
            if run == 7 {
                run += usize::from(*input.get(at)?);
                at += 1;
            }
            let back = ((control & 0x1f) << 8) + usize::from(*input.get(at)?) + 1;
            at += 1;
            let from = out.len().checked_sub(back)?;
            // Byte by byte: source and destination may overlap.
            for n in from..from + run + 2 {
                out.push(out[n]);
            }
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::decompress;

    #[test]
    fn a_back_reference_may_overlap_what_it_makes() {
        // One literal `a`, then 9 bytes from 1 back: length code 7 with 0 more, offset 0.
        assert_eq!(decompress(&[0, b'a', 0xe0, 0, 0], 10).as_deref(), Some(b"aaaaaaaaaa".as_slice()));
    }

    #[test]
    fn lies_are_refused() {
        assert_eq!(decompress(&[0, b'a', 0xe0, 0, 0], 11), None);
        assert_eq!(decompress(&[0, b'a', 0xe0, 0, 9], 10), None);
        assert_eq!(decompress(&[5, b'a'], 6), None);
        assert_eq!(decompress(&[0, b'a'], usize::MAX), None);
    }
}
