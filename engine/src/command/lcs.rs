//! LCS: the longest common subsequence of two strings.

use super::args::{self, is};
use super::context::Ctx;
use super::error::{CommandError, SYNTAX, WRONG_TYPE};
use crate::keyspace::Str;
use crate::resp::Out;

type Done = Result<(), CommandError>;

/// The table of lengths may take as much memory as a string, which is what proto-max-bulk-len allows.
const MOST_MEMORY: usize = 512 * 1024 * 1024;

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_len: bool,
    shortest: usize,
}

impl Options {
    fn read(mut rest: &[&[u8]]) -> Result<Options, CommandError> {
        let mut options = Options::default();
        while let Some((word, more)) = rest.split_first() {
            rest = more;
            if is(word, "len") {
                options.len = true;
            } else if is(word, "idx") {
                options.idx = true;
            } else if is(word, "withmatchlen") {
                options.with_len = true;
            } else if let (true, Some((number, more))) = (is(word, "minmatchlen"), more.split_first()) {
                options.shortest = usize::try_from(args::integer(number)?).unwrap_or(0);
                rest = more;
            } else {
                return Err(SYNTAX);
            }
        }
        if options.len && options.idx {
            return Err(CommandError::fixed(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(options)
    }
}

/// For all pairs of beginnings of two strings, how long their longest common subsequence is.
struct Lengths {
    width: usize,
    cells: Vec<u32>,
}

impl Lengths {
    fn of(a: &[u8], b: &[u8]) -> Result<Lengths, CommandError> {
        let width = b.len() + 1;
        let size = (a.len() + 1).checked_mul(width).filter(|n| *n <= MOST_MEMORY / size_of::<u32>());
        let size = size.ok_or(CommandError::fixed(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ))?;
        let mut lengths = Lengths { width, cells: vec![0; size] };
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                let longest = if x == y {
                    lengths.at(i, j) + 1
                } else {
                    lengths.at(i, j + 1).max(lengths.at(i + 1, j))
                };
                lengths.cells[(i + 1) * width + j + 1] = longest;
            }
        }
        Ok(lengths)
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }

    /// The runs of bytes that one longest common subsequence consists of, the last first: where each begins in `a` and
    /// in `b`, and its length. Of several such subsequences it is the one that Redis finds.
    fn runs(&self, a: &[u8], b: &[u8]) -> Vec<(usize, usize, usize)> {
        let (mut runs, mut run) = (Vec::new(), 0);
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j, run) = (i - 1, j - 1, run + 1);
                continue;
            }
            if run > 0 {
                runs.push((i, j, run));
                run = 0;
            }
            if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        if run > 0 {
            runs.push((i, j, run));
        }
        runs
    }
}

/// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN]
pub(super) fn lcs(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let mut texts = Vec::with_capacity(2);
    for key in &argv[1..3] {
        let text = cx.read::<Str>(key).map_err(|error| {
            if error == WRONG_TYPE {
                CommandError::fixed("ERR The specified keys must contain string values")
            } else {
                error
            }
        })?;
        texts.push(text.map_or(Vec::new(), |text| text.to_vec()));
    }
    let (a, b) = (&texts[0], &texts[1]);
    let options = Options::read(&argv[3..])?;
    let lengths = Lengths::of(a, b)?;
    let total = i64::from(lengths.at(a.len(), b.len()));
    if options.len {
        out.int(total);
        return Ok(());
    }
    let mut runs = lengths.runs(a, b);
    if !options.idx {
        let bytes: Vec<u8> = runs.iter().rev().flat_map(|(at, _, len)| &a[*at..at + len]).copied().collect();
        out.bulk(&bytes);
        return Ok(());
    }
    runs.retain(|(_, _, len)| *len >= options.shortest);
    out.map(2);
    out.bulk(b"matches");
    out.array(runs.len());
    for (in_a, in_b, len) in runs {
        out.array(2 + usize::from(options.with_len));
        for start in [in_a, in_b] {
            out.array(2);
            out.count(start);
            out.count(start + len - 1);
        }
        if options.with_len {
            out.count(len);
        }
    }
    out.bulk(b"len");
    out.int(total);
    Ok(())
}
