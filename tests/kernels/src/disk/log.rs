//! The disk's content and its log.

use rand_core::Rng;
use rand_pcg::Pcg64Mcg;
use std::collections::BTreeSet;
use std::time::Duration;
use unplug_faults::event::Clock;

/// What survives or is lost as one: a page of the file systems. Larger writes are split, since a file system
/// may not rely on more.
pub const BLOCK: usize = 4096;

/// One thing that the disk was told.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A part of a write within one block.
    Write {
        /// Where.
        offset: usize,
        /// What.
        data: Vec<u8>,
        /// The script's clock when the disk was told.
        clock: Clock,
        /// How many entries the log had when the disk said that it is done: flushes before that do not cover it.
        done: Option<usize>,
    },
    /// Everything that was done by now is on the medium.
    Flush {
        /// The script's clock.
        clock: Clock,
    },
    /// The script's clock moved.
    Clock(Clock),
}

/// Everything since the recording began, in the order in which the disk was told.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The entries.
    pub entries: Vec<Entry>,
}

/// The disk.
pub struct Disk {
    /// Its content as it answers reads.
    pub(crate) bytes: Vec<u8>,
    log: Option<Log>,
    clock: Clock,
    /// Blocks written since the last image was laid, so that they can be put back.
    touched: BTreeSet<usize>,
    hold: Option<(u8, Duration)>,
    jitter: u64,
    random: Pcg64Mcg,
}

impl Disk {
    /// A disk with this content.
    pub fn new(bytes: Vec<u8>, seed: u64) -> Disk {
        Disk {
            bytes,
            log: None,
            clock: 0,
            touched: BTreeSet::new(),
            hold: None,
            jitter: 0,
            random: Pcg64Mcg::new(u128::from(seed) | 1),
        }
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Begins a log.
    pub fn record(&mut self) {
        self.clock = 0;
        self.log = Some(Log::default());
    }

    /// Ends the log.
    pub fn stop(&mut self) -> Log {
        self.log.take().unwrap_or_default()
    }

    /// The script has come to this crash point.
    pub fn tick(&mut self, clock: Clock) {
        self.clock = clock;
        if let Some(log) = &mut self.log {
            log.entries.push(Entry::Clock(clock));
        }
    }

    /// Writes that hold a block of this letter are kept for a time.
    pub fn hold(&mut self, held: Option<(char, Duration)>) {
        self.hold = held.map(|(letter, time)| (letter as u8, time));
    }

    /// Half of the writes take a random time up to this.
    pub fn set_jitter(&mut self, micros: u64) {
        self.jitter = micros;
    }

    /// How long this write takes.
    pub(crate) fn delay(&mut self, data: &[u8]) -> Duration {
        if let Some((letter, time)) = self.hold {
            let uniform = |block: &[u8]| block.len() >= 64 && block[..64].iter().all(|b| *b == letter);
            if data.chunks(512).any(uniform) {
                return time;
            }
        }
        if self.jitter > 0 && self.random.next_u32() & 1 == 1 {
            return Duration::from_micros(u64::from(self.random.next_u32()) % self.jitter);
        }
        Duration::ZERO
    }

    /// The disk is told to write. The answer is given to [`Disk::done`].
    pub(crate) fn told(&mut self, offset: usize, data: &[u8]) -> std::ops::Range<usize> {
        let clock = self.clock;
        let Some(log) = &mut self.log else { return 0..0 };
        let first = log.entries.len();
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(BLOCK - at % BLOCK));
            log.entries.push(Entry::Write { offset: at, data: part.to_vec(), clock, done: None });
            at += part.len();
            rest = after;
        }
        first..log.entries.len()
    }

    /// A write is done.
    pub(crate) fn done(&mut self, offset: usize, data: &[u8], entries: std::ops::Range<usize>) {
        let end = (offset + data.len()).min(self.bytes.len());
        if offset >= end {
            return;
        }
        self.bytes[offset..end].copy_from_slice(&data[..end - offset]);
        self.touched.extend(offset / BLOCK..end.div_ceil(BLOCK));
        if let Some(log) = &mut self.log {
            let now = log.entries.len();
            for entry in log.entries.get_mut(entries).unwrap_or_default() {
                if let Entry::Write { done, .. } = entry {
                    *done = Some(now);
                }
            }
        }
    }

    /// A flush: the script's moment goes to the log.
    pub(crate) fn flush(&mut self) {
        let clock = self.clock;
        if let Some(log) = &mut self.log {
            log.entries.push(Entry::Flush { clock });
        }
    }

    /// A copy of all that is on it: what later images are laid over.
    pub fn snapshot(&mut self) -> Vec<u8> {
        self.touched.clear();
        self.bytes.clone()
    }

    /// Puts a crash image on the disk: `base` with `blocks` over it.
    pub fn lay<'b>(&mut self, base: &[u8], blocks: impl Iterator<Item = (usize, &'b [u8])>) {
        for block in std::mem::take(&mut self.touched) {
            let range = block * BLOCK..((block + 1) * BLOCK).min(base.len());
            self.bytes[range.clone()].copy_from_slice(&base[range]);
        }
        for (block, data) in blocks {
            self.bytes[block * BLOCK..block * BLOCK + data.len()].copy_from_slice(data);
            self.touched.insert(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_split_at_blocks_and_covered_by_later_flushes_only() {
        let mut disk = Disk::new(vec![0; 4 * BLOCK], 1);
        disk.record();
        disk.tick(1);
        let first = disk.told(512, &[7; BLOCK]);
        assert_eq!(first, 1..3);
        disk.flush();
        disk.done(512, &[7; BLOCK], first);
        disk.flush();
        let log = disk.stop();
        let done: Vec<_> = log
            .entries
            .iter()
            .filter_map(|e| match e {
                Entry::Write { data, done, .. } => Some((data.len(), *done)),
                _ => None,
            })
            .collect();
        assert_eq!(done, [(BLOCK - 512, Some(4)), (512, Some(4))]);
    }

    #[test]
    fn a_laid_image_is_taken_away_with_what_a_mount_wrote_over_it() {
        let base = vec![1; 4 * BLOCK];
        let mut disk = Disk::new(base.clone(), 1);
        disk.lay(&base, [(2, &[5u8; BLOCK][..])].into_iter());
        assert_eq!(disk.bytes[2 * BLOCK], 5);
        let entries = disk.told(0, &[9; 100]);
        disk.done(0, &[9; 100], entries);
        disk.lay(&base, std::iter::empty());
        assert_eq!(disk.bytes, base);
    }

    #[test]
    fn held_letters_wait() {
        let mut disk = Disk::new(vec![0; BLOCK], 1);
        disk.hold(Some(('B', Duration::from_millis(7))));
        assert_eq!(disk.delay(&[b'B'; 4096]), Duration::from_millis(7));
        assert_eq!(disk.delay(&[b'C'; 4096]), Duration::ZERO);
    }
}
