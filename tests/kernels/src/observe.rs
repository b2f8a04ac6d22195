//! Running scripts on a real file system, and reading back what each crash image holds.

use crate::disk::crash_images;
use crate::kernel::{Bench, Kind};
use crate::script::{Step, lower};
use crate::variant::Variant;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;
use unplug_faults::event::Clock;

/// A set of crash points. Scripts are short: 512 are enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments([u128; 4]);

impl Moments {
    /// The greatest clock that fits.
    pub const MAX: Clock = 511;

    /// Adds all from `first` to `last`.
    pub fn add(&mut self, first: Clock, last: Clock) {
        for clock in first..=last.min(Self::MAX) {
            self.0[clock as usize / 128] |= 1 << (clock % 128);
        }
    }

    /// Adds all of another set.
    pub fn join(&mut self, other: Moments) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, more)| *mine |= more);
    }

    /// Those that the other set lacks.
    #[must_use]
    pub fn without(self, other: Moments) -> Moments {
        let mut left = self;
        left.0.iter_mut().zip(other.0).for_each(|(mine, gone)| *mine &= !gone);
        left
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == [0; 4]
    }

    fn has(self, clock: Clock) -> bool {
        self.0[clock as usize / 128] >> (clock % 128) & 1 == 1
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Moments> {
        let mut moments = Moments::default();
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            if first > last || last > Self::MAX {
                return None;
            }
            moments.add(first, last);
        }
        Some(moments)
    }
}

impl fmt::Display for Moments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut clock = 0;
        let mut parts = Vec::new();
        while clock <= Self::MAX {
            if self.has(clock) {
                let first = clock;
                while clock < Self::MAX && self.has(clock + 1) {
                    clock += 1;
                }
                parts.push(if first == clock { first.to_string() } else { format!("{first}-{clock}") });
            }
            clock += 1;
        }
        f.write_str(&parts.join(","))
    }
}

/// Trees, and the crash points at which a power loss may leave each.
pub type Trees = BTreeMap<String, Moments>;

/// What a kernel showed for one variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The variant's name.
    pub variant: String,
    /// The fingerprint of its script.
    pub fingerprint: u32,
    /// The trees.
    pub trees: Trees,
    /// From how many crash images.
    pub images: usize,
}

/// What a step was answered that this file system does not have.
const UNSUPPORTED: &str = "os error 95";

/// Runs all variants of one workload (they have one setup) on one file system. `None` for a variant with a step
/// that the file system does not have.
///
/// # Errors
/// Anything that is not an observation: the bench failed, or the kernel refused a step.
pub fn observe(
    variants: &[Variant],
    kind: &Kind,
    program: &Path,
    limit: usize,
) -> Result<Vec<Option<Observed>>> {
    let run = || -> Result<Vec<Option<Observed>>> {
        let Some(first) = variants.first() else { return Ok(Vec::new()) };
        let mut bench = Bench::start(kind, program, 1)?;
        bench.ask(&format!("mount {} {}", kind.fs, kind.options))?;
        for step in &first.script.setup {
            bench.ask(&format!("run {step}"))?;
        }
        bench.ask("unmount")?;
        let base = bench.disk().snapshot();
        let mut all = Vec::new();
        for variant in variants {
            if variant.script.setup != first.script.setup {
                return Err(Error::Other(format!("{}: another setup", variant.script.name)));
            }
            all.push(one(&mut bench, &base, variant, kind, limit)?);
        }
        bench.end()?;
        Ok(all)
    };
    // The bench's thread leaves its mount namespace, so it has one of its own.
    std::thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|_| Err(Error::Other("the thread of a bench gave up".into())))
}

fn one(
    bench: &mut Bench,
    base: &[u8],
    variant: &Variant,
    kind: &Kind,
    limit: usize,
) -> Result<Option<Observed>> {
    let script = &variant.script;
    let lowered = lower(script)?;
    if lowered.end() > Moments::MAX {
        return Err(Error::Other(format!("{} is too long", script.name)));
    }
    bench.disk().lay(base, std::iter::empty());
    bench.disk().record();
    bench.ask(&format!("mount {} {}", kind.fs, kind.options_with(&variant.options)))?;
    let mut unsupported = false;
    for (step, (begin, end)) in script.steps.iter().zip(&lowered.clocks) {
        match step {
            Step::Hold(letter, ms) => bench.disk().hold(Some((*letter, Duration::from_millis(*ms)))),
            Step::Release => bench.disk().hold(None),
            Step::Jitter(us) => bench.disk().set_jitter(*us),
            step => {
                bench.disk().tick(*begin);
                match bench.ask(&format!("run {step}")) {
                    Err(Error::Helper { answer, .. }) if answer.contains(UNSUPPORTED) => unsupported = true,
                    other => drop(other?),
                }
                bench.disk().tick(*end);
            }
        }
        if unsupported {
            break;
        }
    }
    let log = bench.disk().stop();
    bench.disk().hold(None);
    bench.disk().set_jitter(0);
    bench.ask("unmount")?;
    if unsupported {
        return Ok(None);
    }
    let seed = u64::from(script.fingerprint());
    let images = crash_images(base, &log, limit, seed);
    let mut trees = Trees::new();
    for image in &images {
        let blocks = image.blocks.iter().map(|(block, data)| (*block, &data[..]));
        bench.disk().lay(base, blocks);
        let tree = bench.ask(&format!("look {} {}", kind.fs, kind.reading))?;
        let moments = trees.entry(tree).or_default();
        image.during.iter().for_each(|(first, last)| moments.add(*first, *last));
    }
    let (variant, fingerprint) = (variant.name.clone(), script.fingerprint());
    Ok(Some(Observed { variant, fingerprint, trees, images: images.len() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_as_they_are_written() {
        let mut moments = Moments::default();
        moments.add(0, 3);
        moments.add(5, 5);
        moments.add(120, 130);
        moments.add(511, 511);
        assert_eq!(moments.to_string(), "0-3,5,120-130,511");
        assert_eq!(Moments::parse("0-3,5,120-130,511"), Some(moments));
        for bad in ["", "a", "3-1", "512", "1-"] {
            assert_eq!(Moments::parse(bad), None, "{bad}");
        }
        let mut less = Moments::default();
        less.add(1, 511);
        assert_eq!(moments.without(less).to_string(), "0");
    }
}
