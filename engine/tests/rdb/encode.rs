//! Hand-written encoders, from the rules of the format and not from the engine's code, for what no Redis of today
//! writes any more.

use crc_fast::{CrcAlgorithm, Digest};

pub(crate) fn len(n: usize) -> Vec<u8> {
    match n {
        0..=63 => vec![n as u8],
        64..=16383 => vec![0x40 | (n >> 8) as u8, n as u8],
        _ => [&[0x80][..], &(n as u32).to_be_bytes()].concat(),
    }
}

/// A string as it is.
pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    [len(bytes.len()), bytes.to_vec()].concat()
}

/// A string as an integer of the smallest width.
pub(crate) fn integer(n: i32) -> Vec<u8> {
    if let Ok(n) = i8::try_from(n) {
        vec![0xc0, n as u8]
    } else if let Ok(n) = i16::try_from(n) {
        [&[0xc1][..], &n.to_le_bytes()].concat()
    } else {
        [&[0xc2][..], &n.to_le_bytes()].concat()
    }
}

/// A string in an LZF stream that compresses nothing but runs of one byte.
pub(crate) fn lzf(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let run = rest.iter().take(200).take_while(|b| *b == first).count();
        packed.extend([0, *first]);
        match run - 1 {
            more @ 9.. => packed.extend([0xe0, more as u8 - 9, 0]),
            more @ 3..9 => packed.extend([((more - 2) << 5) as u8, 0]),
            more => (0..more).for_each(|_| packed.extend([0, *first])),
        }
        rest = &rest[run..];
    }
    [vec![0xc3], len(packed.len()), len(bytes.len()), packed].concat()
}

fn canonical(item: &[u8]) -> Option<i64> {
    let n = std::str::from_utf8(item).ok()?.parse::<i64>().ok()?;
    (n.to_string().as_bytes() == item).then_some(n)
}

pub(crate) fn ziplist(items: &[Vec<u8>]) -> Vec<u8> {
    let (mut body, mut before) = (Vec::new(), 0usize);
    let mut last = 10;
    for item in items {
        last = 10 + body.len();
        let begin = body.len();
        if before < 254 {
            body.push(before as u8);
        } else {
            body.push(254);
            body.extend((before as u32).to_le_bytes());
        }
        match canonical(item) {
            Some(n @ 0..=12) => body.push(0xf1 + n as u8),
            Some(n @ -128..=127) => body.extend([0xfe, n as u8]),
            Some(n @ -32768..=32767) => body.extend([&[0xc0][..], &(n as i16).to_le_bytes()].concat()),
            Some(n @ -8388608..=8388607) => {
                body.extend([&[0xf0][..], &(n as i32).to_le_bytes()[..3]].concat())
            }
            Some(n) if i32::try_from(n).is_ok() => {
                body.extend([&[0xd0][..], &(n as i32).to_le_bytes()].concat())
            }
            Some(n) => body.extend([&[0xe0][..], &n.to_le_bytes()].concat()),
            None => {
                match item.len() {
                    short @ 0..=63 => body.push(short as u8),
                    long @ 64..=16383 => body.extend([0x40 | (long >> 8) as u8, long as u8]),
                    huge => body.extend([&[0x80][..], &(huge as u32).to_be_bytes()].concat()),
                }
                body.extend(item);
            }
        }
        before = body.len() - begin;
    }
    let mut bytes = (body.len() as u32 + 11).to_le_bytes().to_vec();
    bytes.extend((last as u32).to_le_bytes());
    bytes.extend((items.len().min(65535) as u16).to_le_bytes());
    bytes.extend(body);
    bytes.push(0xff);
    bytes
}

pub(crate) fn listpack(items: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for item in items {
        let begin = body.len();
        match canonical(item) {
            Some(n @ 0..=127) => body.push(n as u8),
            Some(n @ -4096..=4095) => body.extend([0xc0 | (n >> 8 & 0x1f) as u8, n as u8]),
            Some(n @ -32768..=32767) => body.extend([&[0xf1][..], &(n as i16).to_le_bytes()].concat()),
            Some(n @ -8388608..=8388607) => {
                body.extend([&[0xf2][..], &(n as i32).to_le_bytes()[..3]].concat())
            }
            Some(n) if i32::try_from(n).is_ok() => {
                body.extend([&[0xf3][..], &(n as i32).to_le_bytes()].concat())
            }
            Some(n) => body.extend([&[0xf4][..], &n.to_le_bytes()].concat()),
            None => {
                match item.len() {
                    short @ 0..=63 => body.push(0x80 | short as u8),
                    long @ 64..=4095 => body.extend([0xe0 | (long >> 8) as u8, long as u8]),
                    huge => body.extend([&[0xf0][..], &(huge as u32).to_le_bytes()].concat()),
                }
                body.extend(item);
            }
        }
        // Its length once more, to be read backwards: the last byte has no mark at its top.
        let mut left = body.len() - begin;
        let mut back = vec![];
        loop {
            back.push(left as u8 & 127 | 128);
            left >>= 7;
            if left == 0 {
                break;
            }
        }
        // The lowest seven bits stand last; the first byte read forwards, last read backwards, ends it.
        if let Some(first) = back.last_mut() {
            *first &= 127;
        }
        body.extend(back.iter().rev());
    }
    let mut bytes = (body.len() as u32 + 7).to_le_bytes().to_vec();
    bytes.extend((items.len().min(65535) as u16).to_le_bytes());
    bytes.extend(body);
    bytes.push(0xff);
    bytes
}

pub(crate) fn intset(numbers: &[i64]) -> Vec<u8> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let fits = |bits: u32| sorted.iter().all(|n| *n >= -(1i64 << (bits - 1)) && *n < 1i64 << (bits - 1));
    let width = if fits(16) {
        2
    } else if fits(32) {
        4
    } else {
        8
    };
    let mut bytes = (width as u32).to_le_bytes().to_vec();
    bytes.extend((sorted.len() as u32).to_le_bytes());
    sorted.iter().for_each(|n| bytes.extend(&n.to_le_bytes()[..width]));
    bytes
}

pub(crate) fn zipmap(items: &[Vec<u8>]) -> Vec<u8> {
    let pairs = items.len() / 2;
    let mut bytes = vec![pairs.min(254) as u8];
    for (n, item) in items.iter().enumerate() {
        if item.len() < 254 {
            bytes.push(item.len() as u8);
        } else {
            bytes.push(254);
            bytes.extend((item.len() as u32).to_le_bytes());
        }
        let free = if n % 2 == 1 { n % 5 } else { 0 };
        if n % 2 == 1 {
            bytes.push(free as u8);
        }
        bytes.extend(item);
        bytes.extend(vec![b'?'; free]);
    }
    bytes.push(0xff);
    bytes
}

/// A score as sorted sets had it before version 8.
pub(crate) fn text_score(score: f64) -> Vec<u8> {
    match score {
        f64::INFINITY => vec![254],
        f64::NEG_INFINITY => vec![255],
        _ => {
            let text = format!("{score:?}");
            [&[text.len() as u8][..], text.as_bytes()].concat()
        }
    }
}

/// A snapshot, put together part by part.
#[derive(Clone)]
pub(crate) struct Rdb(pub(crate) Vec<u8>);

impl Rdb {
    pub(crate) fn new(version: u32) -> Rdb {
        Rdb(format!("REDIS{version:04}").into_bytes())
    }

    pub(crate) fn part(mut self, bytes: impl AsRef<[u8]>) -> Rdb {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    pub(crate) fn select(self, db: usize) -> Rdb {
        self.part([254]).part(len(db))
    }

    pub(crate) fn key(self, kind: u8, name: &str, value: impl AsRef<[u8]>) -> Rdb {
        self.part([kind]).part(string(name.as_bytes())).part(value)
    }

    /// With a checksum where the version has one.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.push(255);
        let version: u32 = std::str::from_utf8(&self.0[5..9]).unwrap().parse().unwrap();
        if version >= 5 {
            let mut digest = Digest::new(CrcAlgorithm::Crc64Redis);
            digest.update(&self.0);
            self.0.extend(digest.finalize().to_le_bytes());
        }
        self.0
    }

    /// With zeros where the checksum stands: readers take that for none.
    pub(crate) fn end_unsummed(mut self) -> Vec<u8> {
        self.0.extend([255, 0, 0, 0, 0, 0, 0, 0, 0]);
        self.0
    }
}
