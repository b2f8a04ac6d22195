//! Commands as bytes.

/// Appends `argv` as a RESP array of bulk strings.
///
/// Room for all of it is made first: a large value is copied once, from the caller's bytes to `out`.
pub fn encode_command(out: &mut Vec<u8>, argv: &[&[u8]]) {
    // A `$`, at most 20 digits and two line ends for each.
    out.reserve(argv.iter().map(|arg| arg.len() + 25).sum::<usize>() + 23);
    push_number(out, b'*', argv.len());
    for arg in argv {
        push_number(out, b'$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends the line that says in which second (since 1970) what follows was executed.
pub fn encode_time(out: &mut Vec<u8>, second: u64) {
    out.extend_from_slice(super::scan::TIME);
    out.extend_from_slice(second.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// No annotation is longer than this many bytes: 7 + 16 + 1 + 16 + 1 + 8 + 2.
pub const fn annotation_len_max() -> usize {
    51
}

fn push_number(out: &mut Vec<u8>, kind: u8, n: usize) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut left = n;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.push(kind);
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}
