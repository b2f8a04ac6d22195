//! Walking a whole file's bytes: batches of a chained file, commands of a plain one.

use super::chain::{ANNOTATION, Annotation, Chain, END_LINE, Header, OUR_LINES};
use super::resp::{Item, RespError, next_item};

/// First bytes of a line that says when what follows it was executed.
pub(super) const TIME: &[u8] = b"#TS:";

/// What is done with each command's arguments.
pub type Apply<'a, E> = &'a mut dyn FnMut(&[&[u8]]) -> Result<(), E>;

/// What `#TS:` lines said, and whether one of them ended the loading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Nothing behind a later second than this is applied.
    pub until: Option<u64>,
    /// The first second that was named.
    pub first: Option<u64>,
    /// Offset of the line that named a later second than `until`. What follows was walked, and not applied.
    pub stopped_at: Option<u64>,
}

impl Times {
    /// Everything up to the second `until`, or everything.
    pub fn until(until: Option<u64>) -> Times {
        Times { until, ..Times::default() }
    }

    fn note(&mut self, line: &[u8], at: usize) {
        if let Some(second) = time_of(line) {
            self.first.get_or_insert(second);
            if self.stopped_at.is_none() && self.until.is_some_and(|until| second > until) {
                self.stopped_at = Some(at as u64);
            }
        }
    }
}

/// The second that a `#TS:` line names.
pub fn time_of(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(TIME)?.trim_ascii_end();
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// How a chained file's walk ended.
#[derive(Clone, Debug)]
pub struct ChainScan {
    /// The file's header.
    pub header: Header,
    /// The chain after the last good batch; its `len` is the length of what is good.
    pub chain: Chain,
    /// Offset behind the good batch that is [`END_LINE`], if there was one.
    pub end_line: Option<u64>,
    /// An annotation behind the first bad batch says that the bad bytes had been synced: its offset and mark.
    pub proof: Option<(u64, u64)>,
    /// Commands in the good batches.
    pub commands: u64,
    /// What `#TS:` lines said.
    pub times: Times,
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

/// Walks a chained file whose chain begins at offset `from`; `apply` is given the arguments of each command of each
/// good batch, and not MULTI or EXEC.
pub fn scan_chained<E>(
    bytes: &[u8],
    from: usize,
    times: Times,
    apply: Apply<'_, E>,
) -> Result<ChainScan, ScanFault<E>> {
    let chained = bytes.get(from..).ok_or(ScanFault::NoHeader)?;
    let (header, header_len) = Header::parse(chained).ok_or(ScanFault::NoHeader)?;
    let mut chain = Chain::behind(&header, from as u64);
    let first = Annotation::parse(&chained[header_len..]).ok_or(ScanFault::NoHeader)?;
    if !chain.verify(&chained[..header_len], &first) {
        return Err(ScanFault::NoHeader);
    }
    chain.accept((header_len + first.len) as u64, first.crc);
    let mut end_line = None;
    let mut batch = Batch { times, ..Batch::default() };
    let mut skipped = false;
    let mut commands = 0;
    loop {
        let start = chain.len as usize;
        let times_before = batch.times;
        let read = batch.read(bytes, start);
        let sound = |(at, annotation): &(usize, Annotation)| chain.verify(&bytes[start..*at], annotation);
        if sabotaged!("unsealed-batch-applied") && !read.as_ref().is_some_and(sound) {
            batch.apply(apply).map_err(|e| ScanFault::Apply(start as u64, e))?;
        }
        if sabotaged!("bad-batch-skipped") && !skipped && !read.as_ref().is_some_and(sound) {
            let mut rest = start..bytes.len();
            if let Some((at, a)) = rest.find_map(|at| Some((at, Annotation::parse(&bytes[at..])?))) {
                chain.accept((at - start + a.len) as u64, a.crc);
                skipped = true;
                continue;
            }
        }
        let Some((at, annotation)) = read.filter(sound) else {
            batch.times = times_before;
            break;
        };
        if !batch.balanced() {
            return Err(ScanFault::Brackets(start as u64));
        }
        batch.apply(apply).map_err(|e| ScanFault::Apply(start as u64, e))?;
        commands += batch.commands.len() as u64;
        let is_end = &bytes[start..at] == END_LINE;
        chain.accept((at - start + annotation.len) as u64, annotation.crc);
        if is_end && end_line.is_none() {
            end_line = Some(chain.len);
        }
    }
    let proof = find_proof(bytes, &chain);
    Ok(ChainScan { header, chain, end_line, proof, commands, times: batch.times })
}

#[derive(Default)]
struct Batch<'b> {
    args: Vec<&'b [u8]>,
    /// Ends of the commands, as lengths of `args`.
    commands: Vec<usize>,
    /// How many of the commands are wanted.
    wanted: usize,
    /// There is a MULTI or EXEC among them.
    bracketed: bool,
    times: Times,
}

impl<'b> Batch<'b> {
    /// Reads up to the next annotation: where it stands, and what it says.
    fn read(&mut self, bytes: &'b [u8], start: usize) -> Option<(usize, Annotation)> {
        self.args.clear();
        self.commands.clear();
        (self.wanted, self.bracketed) = (0, false);
        let mut at = start;
        loop {
            let parsed = next_item(bytes, at, &mut self.args).ok()?;
            match parsed.item {
                Item::Command => {
                    let argv = &self.args[self.commands.last().copied().unwrap_or(0)..];
                    self.bracketed |= bracket(argv).is_some();
                    self.commands.push(self.args.len());
                    if self.times.stopped_at.is_none() {
                        self.wanted = self.commands.len();
                    }
                }
                Item::Line => {
                    if let Some(annotation) = Annotation::parse(&bytes[at..]) {
                        return Some((at, annotation));
                    }
                    self.times.note(&bytes[at..parsed.end], at);
                }
            }
            at = parsed.end;
        }
    }

    fn each(&self) -> impl Iterator<Item = &[&'b [u8]]> {
        let mut from = 0;
        self.commands.iter().map(move |to| {
            let argv = &self.args[from..*to];
            from = *to;
            argv
        })
    }

    fn balanced(&self) -> bool {
        let mut open = false;
        if !self.bracketed {
            return true;
        }
        for argv in self.each() {
            match bracket(argv) {
                Some(true) if !open => open = true,
                Some(false) if open => open = false,
                None => {}
                _ => return false,
            }
        }
        !open
    }

    fn apply<E>(&self, apply: Apply<'_, E>) -> Result<(), E> {
        let mut wanted = self.each().take(self.wanted);
        if !self.bracketed {
            return wanted.try_for_each(apply);
        }
        wanted.filter(|argv| bracket(argv).is_none()).try_for_each(apply)
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

/// Offset of an annotation behind the last good batch that this file's owner has written there.
pub fn vouched_behind(bytes: &[u8], chain: &Chain) -> Option<u64> {
    find_vouched(bytes, chain, 0).map(|(at, _)| at)
}

/// Looks behind the last good batch for an annotation whose mark covers the first bad byte.
fn find_proof(bytes: &[u8], chain: &Chain) -> Option<(u64, u64)> {
    find_vouched(bytes, chain, chain.len + 1)
}

fn find_vouched(bytes: &[u8], chain: &Chain, least_mark: u64) -> Option<(u64, u64)> {
    let mut at = usize::try_from(chain.len).ok()?;
    while let Some(n) = bytes.get(at..)?.iter().position(|b| *b == b'#') {
        at += n;
        if bytes[at..].starts_with(ANNOTATION)
            && let Some(annotation) = Annotation::parse(&bytes[at..])
            && annotation.mark >= least_mark
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
    /// Offset of the first line of a checksum chain.
    pub chained_at: Option<u64>,
    /// Commands, MULTI and EXEC among them.
    pub commands: u64,
    /// What `#TS:` lines said.
    pub times: Times,
}

/// Walks a file from offset `from` as Redis does: lines that begin with `#` are skipped.
pub fn scan_plain<E>(
    bytes: &[u8],
    from: usize,
    times: Times,
    apply: Apply<'_, E>,
) -> Result<PlainScan, ScanFault<E>> {
    let mut at = from;
    let mut scan = PlainScan { good: 0, stop: None, chained_at: None, commands: 0, times };
    // Commands of an open MULTI wait here for the EXEC.
    let mut open_at: Option<usize> = None;
    let (mut args, mut ends) = (Vec::new(), Vec::new());
    while at < bytes.len() {
        if open_at.is_none() {
            args.clear();
        }
        let first_arg = args.len();
        let parsed = match next_item(bytes, at, &mut args) {
            Ok(parsed) => parsed,
            Err(e) => {
                scan.stop = Some(e);
                break;
            }
        };
        if parsed.item == Item::Line {
            let line = &bytes[at..parsed.end];
            scan.times.note(line, at);
            if OUR_LINES.iter().any(|ours| line.starts_with(ours)) {
                scan.chained_at.get_or_insert(at as u64);
            }
        } else {
            scan.commands += 1;
            let wanted = scan.times.stopped_at.is_none();
            // What a MULTI brackets is good as a whole or not at all.
            let begin = open_at.unwrap_or(at) as u64;
            let fault = |e| ScanFault::Apply(begin, e);
            match (bracket(&args[first_arg..]), open_at) {
                (Some(true), None) => {
                    open_at = Some(at);
                    ends.clear();
                    args.clear();
                }
                (Some(false), Some(_)) => {
                    let mut first = 0;
                    for end in &ends {
                        if wanted {
                            apply(&args[first..*end]).map_err(fault)?;
                        }
                        first = *end;
                    }
                    open_at = None;
                }
                (Some(_), _) => return Err(ScanFault::Brackets(begin)),
                (None, Some(_)) => ends.push(args.len()),
                (None, None) if wanted => apply(&args).map_err(fault)?,
                (None, None) => {}
            }
        }
        at = parsed.end;
    }
    if scan.stop.is_none() && open_at.is_some() {
        scan.stop = Some(RespError::Truncated);
    }
    scan.good = open_at.unwrap_or(at) as u64;
    Ok(scan)
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
