//! Mutations from a seed, and the loop that runs them.

use crate::memory::peak_of;
use nix::time::{ClockId, clock_gettime};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Mutations of a run under `cargo test`.
const FEW: u64 = 30_000;
/// No input may cost more processor time than this, however slow the machine: it is a hang.
const LONGEST: Duration = Duration::from_secs(20);
/// So long without an end of one input, and there is none.
const HANG: Duration = Duration::from_secs(300);

/// PCG's output function on a linear congruence.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xda3e_39cb_94b9_5bdb)
    }

    pub(crate) fn next(&mut self) -> u64 {
        let old = self.0;
        self.0 = old.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let mixed = ((old >> 18) ^ old) >> 27;
        u64::from((mixed as u32).rotate_right((old >> 59) as u32)) | (self.0 >> 33 << 32)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Bytes at which readers turn.
const TURNING: [u8; 24] = [
    0, 1, 2, 3, 5, 0x0d, 0x24, 0x2a, 0x3f, 0x40, 0x7f, 0x80, 0x81, 0xbf, 0xc0, 0xc3, 0xe0, 0xf0, 0xf4, 0xfa,
    0xfb, 0xfd, 0xfe, 0xff,
];

/// Changes `bytes` here and there; `other` is what a piece may come from.
pub(crate) fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len());
        match random.below(9) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = TURNING[random.below(TURNING.len())],
            2 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            3 => bytes.truncate(at),
            4 => {
                let end = bytes.len().min(at + 1 + random.below(16));
                drop(bytes.drain(at..end));
            }
            5 => {
                let byte = TURNING[random.below(TURNING.len())];
                bytes.insert(at, byte);
            }
            6 => {
                let end = bytes.len().min(at + 1 + random.below(64));
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                drop(bytes.splice(to..to, piece));
            }
            7 => {
                let from = random.below(other.len());
                let end = other.len().min(from + 1 + random.below(64));
                let replaced = bytes.len().min(at + random.below(64));
                drop(bytes.splice(at..replaced, other[from..end].iter().copied()));
            }
            // A number of 2, 4 or 8 bytes, in either order, near a border.
            _ => {
                let number = (1u64 << random.below(64)).wrapping_add(random.below(3) as u64).wrapping_sub(1);
                let width = 1 << (1 + random.below(3));
                let end = bytes.len().min(at + width);
                let mut written = number.to_le_bytes()[..end - at].to_vec();
                if random.below(2) == 0 {
                    written.reverse();
                }
                bytes[at..end].copy_from_slice(&written);
            }
        }
    }
}

/// The files of a corpus, in the order of their names.
pub(crate) fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// How many mutations are asked for.
pub(crate) fn executions() -> u64 {
    std::env::var("UNPLUG_FUZZ_EXECUTIONS")
        .map_or(FEW, |n| n.parse().expect("UNPLUG_FUZZ_EXECUTIONS is a number"))
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// What a run has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) executions: u64,
    pub(crate) taken: u64,
    /// Highest ratio of memory to input (counted with a kilobyte more).
    pub(crate) ratio: f64,
    pub(crate) slowest: Duration,
}

/// Runs `read` on the corpus and on mutations of it, each finished by `finish`. `limit` is the most memory that an input
/// may cost. What `read` takes is given to `hold`.
pub(crate) fn run<T>(
    name: &str,
    finish: impl Fn(&mut Vec<u8>, &mut Random),
    read: impl Fn(&[u8]) -> Option<T>,
    limit: impl Fn(&[u8]) -> usize,
    hold: impl Fn(&[u8], Option<T>),
) -> Seen {
    let seeds = corpus(name);
    assert!(!seeds.is_empty());
    let mut seen = Seen::default();
    let (done, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| watch(&done, &count, name));
        // Whatever happens, the watcher ends.
        let _ended = Ended(&done);
        let mut one = |bytes: &[u8]| {
            let begun = cpu_time();
            let mut taken = None;
            let peak = peak_of(|| taken = read(bytes));
            let took = cpu_time() - begun;
            assert!(peak <= limit(bytes), "{peak} bytes for {}: {}", bytes.len(), bytes.escape_ascii());
            assert!(took < LONGEST, "{took:?} for {}", bytes.escape_ascii());
            seen.executions += 1;
            seen.taken += u64::from(taken.is_some());
            seen.ratio = seen.ratio.max(peak as f64 / (bytes.len() + 1024) as f64);
            seen.slowest = seen.slowest.max(took);
            hold(bytes, taken);
            count.fetch_add(1, Ordering::Relaxed);
        };
        seeds.iter().for_each(|(_, bytes)| one(bytes));
        let mut bytes = Vec::new();
        for n in 0..executions() {
            let mut random = Random::new(n);
            bytes.clear();
            bytes.extend_from_slice(&seeds[random.below(seeds.len())].1);
            let other = &seeds[random.below(seeds.len())].1;
            mutate(&mut bytes, other, &mut random);
            finish(&mut bytes, &mut random);
            one(&bytes);
        }
    });
    seen
}

struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Ends the process if an input never ends.
fn watch(done: &AtomicBool, count: &AtomicU64, name: &str) {
    const STEP: Duration = Duration::from_millis(50);
    let (mut last, mut stuck) = (0, Duration::ZERO);
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(STEP);
        let now = count.load(Ordering::Relaxed);
        stuck = if now == last { stuck + STEP } else { Duration::ZERO };
        last = now;
        if stuck > HANG {
            eprintln!("{name}: the input after {now} others has no end");
            std::process::abort();
        }
    }
}
