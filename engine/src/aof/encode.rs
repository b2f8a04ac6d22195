//! Commands as bytes.

/// Appends `argv` as a RESP array of bulk strings.
pub fn encode_command(out: &mut Vec<u8>, argv: &[&[u8]]) {
    const NUMBERS: usize = 32;
    out.reserve(argv.iter().map(|arg| arg.len() + NUMBERS).sum::<usize>() + NUMBERS);
    push_number(out, b'*', argv.len());
    for arg in argv {
        push_number(out, b'$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// No annotation is longer than this many bytes: 7 + 16 + 1 + 16 + 1 + 8 + 2.
pub const fn annotation_len_max() -> usize {
    51
}

fn push_number(out: &mut Vec<u8>, kind: u8, n: usize) {
    if n < 10 {
        out.extend_from_slice(&[kind, b'0' + n as u8, b'\r', b'\n']);
        return;
    }
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
