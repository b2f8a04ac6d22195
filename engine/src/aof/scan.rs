//! Walking a whole file's bytes: batches of a chained file, commands of a plain one.

use super::chain::{ANNOTATION, Annotation, Chain, END_LINE, Header};
use super::resp::{Item, RespError, next_item};
use std::ops::Range;

/// A command's arguments, as a range of the walker's argument list.
type CommandRanges = Vec<Range<usize>>;

/// What is done with each command's arguments.
pub type Apply<'a, E> = &'a mut dyn FnMut(&[&[u8]]) -> Result<(), E>;

/// How a chained file's walk ended.
#[derive(Clone, Debug)]
pub struct ChainScan {
    /// The file's header.
    pub header: Header,
    /// The chain after the last good batch; its `len` is the length of what is good.
    pub chain: Chain,
    /// The last good batch was [`END_LINE`].
    pub ended: bool,
    /// An annotation behind the first bad batch says that the bad bytes had been synced: its offset and mark.
    pub proof: Option<(u64, u64)>,
}

/// Why a walk stopped for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanFault<E> {
    /// The first batch, which is synced before the file is listed, is not there.
    NoHeader,
    /// A good command could not be applied.
    Apply(u64, E),
    /// A batch's checksum is right, but a MULTI in it has no EXEC, or the reverse.
    Brackets(u64),
}

/// Walks a chained file; `apply` is given the arguments of each command of each good batch, and not MULTI or
/// EXEC.
pub fn scan_chained<E>(bytes: &[u8], apply: Apply<'_, E>) -> Result<ChainScan, ScanFault<E>> {
    let (header, header_len) = Header::parse(bytes).ok_or(ScanFault::NoHeader)?;
    let mut chain = Chain::new(&header);
    let first = Annotation::parse(&bytes[header_len..]).ok_or(ScanFault::NoHeader)?;
    if !chain.verify(&bytes[..header_len], &first) {
        return Err(ScanFault::NoHeader);
    }
    chain.accept((header_len + first.len) as u64, first.crc);
    let mut ended = false;
    let mut batch = Batch::default();
    let mut skipped = false;
    loop {
        let start = chain.len as usize;
        let read = batch.read(bytes, start);
        let sound = |(at, annotation): &(usize, Annotation)| chain.verify(&bytes[start..*at], annotation);
        if sabotaged!("unsealed-batch-applied") && !read.as_ref().is_some_and(sound) {
            batch.apply(bytes, apply).map_err(|e| ScanFault::Apply(start as u64, e))?;
        }
        if sabotaged!("bad-batch-skipped") && !skipped && !read.as_ref().is_some_and(sound) {
            let mut rest = start..bytes.len();
            if let Some((at, a)) = rest.find_map(|at| Some((at, Annotation::parse(&bytes[at..])?))) {
                chain.accept((at - start + a.len) as u64, a.crc);
                skipped = true;
                continue;
            }
        }
        let Some((at, annotation)) = read.filter(sound) else { break };
        if !batch.balanced(bytes) {
            return Err(ScanFault::Brackets(start as u64));
        }
        batch.apply(bytes, apply).map_err(|e| ScanFault::Apply(start as u64, e))?;
        ended = &bytes[start..at] == END_LINE;
        chain.accept((at - start + annotation.len) as u64, annotation.crc);
    }
    let proof = find_proof(bytes, &chain);
    Ok(ChainScan { header, chain, ended, proof })
}

#[derive(Default)]
struct Batch {
    args: Vec<Range<usize>>,
    /// Ends of the commands, as lengths of `args`.
    commands: Vec<usize>,
}

impl Batch {
    /// Reads up to the next annotation: where it stands, and what it says.
    fn read(&mut self, bytes: &[u8], start: usize) -> Option<(usize, Annotation)> {
        self.args.clear();
        self.commands.clear();
        let mut at = start;
        loop {
            let parsed = next_item(bytes, at, &mut self.args).ok()?;
            match parsed.item {
                Item::Command => self.commands.push(self.args.len()),
                Item::Line => {
                    if let Some(annotation) = Annotation::parse(&bytes[at..]) {
                        return Some((at, annotation));
                    }
                }
            }
            at = parsed.end;
        }
    }

    fn each<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Vec<&'a [u8]>> + 'a {
        let mut from = 0;
        self.commands.iter().map(move |to| {
            let argv = self.args[from..*to].iter().map(|r| &bytes[r.clone()]).collect();
            from = *to;
            argv
        })
    }

    fn balanced(&self, bytes: &[u8]) -> bool {
        let mut open = false;
        for argv in self.each(bytes) {
            match bracket(&argv) {
                Some(true) if !open => open = true,
                Some(false) if open => open = false,
                None => {}
                _ => return false,
            }
        }
        !open
    }

    fn apply<E>(&self, bytes: &[u8], apply: Apply<'_, E>) -> Result<(), E> {
        self.each(bytes).filter(|argv| bracket(argv).is_none()).try_for_each(|argv| apply(&argv))
    }
}

/// `Some(true)` for MULTI, `Some(false)` for EXEC.
fn bracket(argv: &[&[u8]]) -> Option<bool> {
    match argv {
        [name] if name.eq_ignore_ascii_case(b"MULTI") => Some(true),
        [name] if name.eq_ignore_ascii_case(b"EXEC") => Some(false),
        _ => None,
    }
}

/// Looks behind the last good batch for an annotation whose mark covers the first bad byte.
fn find_proof(bytes: &[u8], chain: &Chain) -> Option<(u64, u64)> {
    let mut at = usize::try_from(chain.len).ok()?;
    while let Some(n) = bytes.get(at..)?.iter().position(|b| *b == b'#') {
        at += n;
        if bytes[at..].starts_with(ANNOTATION)
            && let Some(annotation) = Annotation::parse(&bytes[at..])
            && annotation.mark > chain.len
            && chain.vouches(at as u64, &annotation)
        {
            return Some((at as u64, annotation.mark));
        }
        at += 1;
    }
    None
}

/// How a plain file's walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainScan {
    /// Length of what is good: whole commands, and no MULTI without its EXEC.
    pub good: u64,
    /// Why the walk ended before the file did.
    pub stop: Option<RespError>,
}

/// Walks a file as Redis does: lines that begin with `#` are skipped.
pub fn scan_plain<E>(bytes: &[u8], apply: Apply<'_, E>) -> Result<PlainScan, ScanFault<E>> {
    let mut at = 0;
    // Commands of an open MULTI wait here for the EXEC; `Some` even while it holds none.
    let mut queued: Option<(usize, Vec<CommandRanges>)> = None;
    let stop = loop {
        if at == bytes.len() {
            break queued.as_ref().map(|_| RespError::Truncated);
        }
        let mut args = Vec::new();
        let parsed = match next_item(bytes, at, &mut args) {
            Ok(parsed) => parsed,
            Err(e) => break Some(e),
        };
        if parsed.item == Item::Command {
            let argv: Vec<&[u8]> = args.iter().map(|r| &bytes[r.clone()]).collect();
            let fault = |e| ScanFault::Apply(at as u64, e);
            match (bracket(&argv), &mut queued) {
                (Some(true), None) => queued = Some((at, Vec::new())),
                (Some(false), Some((_, commands))) => {
                    for ranges in commands.drain(..) {
                        let argv: Vec<&[u8]> = ranges.iter().map(|r| &bytes[r.clone()]).collect();
                        apply(&argv).map_err(fault)?;
                    }
                    queued = None;
                }
                (Some(_), _) => return Err(ScanFault::Brackets(at as u64)),
                (None, Some((_, commands))) => commands.push(args),
                (None, None) => apply(&argv).map_err(fault)?,
            }
        }
        at = parsed.end;
    };
    let good = queued.map_or(at, |(start, _)| start) as u64;
    Ok(PlainScan { good, stop })
}
