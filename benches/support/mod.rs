//! What the benchmarks of recovered images share.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};
use unplug::pool::Pool;
use unplug::target::Target;
use unplug::target::resp::RespTarget;
use unplug::worker::{Limits, Workers};
use unplug::workload::resp::Shape;
use unplug_faults::effect::Effects;
use unplug_faults::image::SharedImage;
use unplug_faults::model;
use unplug_faults::state::{Plan, Space};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Two workers, as many as the targets speak of.
pub(crate) const WORKERS: usize = 2;

/// The `unplug` of this build.
pub(crate) fn unplug() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_unplug"))
}

/// Distinct images of a recorded run of `operations` operations, evenly chosen, at the most so many.
pub(crate) fn images(target: &RespTarget, operations: u64, most: usize) -> Result<Vec<SharedImage>> {
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let trace = target.record(dir.path(), &Shape::new(target.policy, operations).generate(1))?;
    let effects = Effects::of(&trace);
    let model = model::by_name("ext4-ordered").ok_or("no such model")?;
    let space = Space::new(&trace, &effects, model, &[]);
    let mut hasher = space.hasher();
    let mut seen = std::collections::HashSet::new();
    let plan = Plan { bound: 1, budget: 20_000, seed: 1 };
    let mut states: Vec<_> = space.states(&plan).collect();
    states.retain(|state| seen.insert(hasher.hash(state)));
    let step = states.len().div_ceil(most).max(1);
    Ok(states.iter().step_by(step).map(|state| space.shared_image(state)).collect())
}

/// A pool for this target.
pub(crate) fn pool(target: &RespTarget) -> Result<Workers<'_>> {
    let contract = target.policy.contract();
    Ok(Workers::start(WORKERS, Limits::default(), move || target.worker(&contract))?)
}

/// Recovers and compares every image once; real time.
pub(crate) fn recover(pool: &mut Workers<'_>, images: &[SharedImage]) -> Result<Duration> {
    let started = Instant::now();
    let mut waiting = images.iter().enumerate();
    loop {
        while pool.in_flight() < pool.capacity()
            && let Some((job, image)) = waiting.next()
        {
            pool.submit(job as u64, image.clone(), NOW_MS)?;
        }
        if pool.in_flight() == 0 {
            return Ok(started.elapsed());
        }
        let (_, lives) = pool.next()?;
        std::hint::black_box(unplug::judge::Seen::of(&lives, NOW_MS));
    }
}

/// An instant after every recorded one.
const NOW_MS: u64 = unplug::target::rig::EPOCH_MS + 3_600_000;

/// CPU time, user and system, of this process and of its children that have ended.
pub(crate) fn cpu() -> Duration {
    use nix::sys::resource::{Usage, UsageWho, getrusage};
    let sum = |usage: Usage| {
        let parts = [usage.user_time(), usage.system_time()];
        parts.iter().map(|t| Duration::new(t.tv_sec() as u64, t.tv_usec() as u32 * 1000)).sum::<Duration>()
    };
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
        .into_iter()
        .filter_map(|w| getrusage(w).ok())
        .map(sum)
        .sum()
}

/// Prints CPU time for an image, and what it allows on two cores.
pub(crate) fn tell(name: &str, each: Duration) {
    let rate = WORKERS as f64 / each.as_secs_f64().max(1e-9);
    println!("{name}: {:.0} us CPU an image, {rate:.0}/s on {WORKERS} whole cores", each.as_secs_f64() * 1e6);
}
