//! Going through crash states in their canonical order, recovering each distinct image once.

use super::memo::{Memo, Noted};
use super::roots::shape;
use crate::judge::{Judge, Seen};
use crate::pool::{Pool, PoolError, first_job};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use unplug_faults::image::{ImageHash, SharedImage};
use unplug_faults::state::{CrashState, Plan, Space, States};

/// How far an exploration is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// States judged so far.
    pub states: u64,
    /// Images recovered so far.
    pub images: u64,
    /// How many states will be judged at the most.
    pub budget: u64,
}

/// States are taken in lots of this size. It must not depend on the number of workers: early stops and memory
/// follow the lots.
const LOT: usize = 1024;

/// Where images are compared in what is read of them, so many are compared, and what is left of them recovered, before
/// the next are.
const COMPARED: usize = 32;
/// So many images are compared before it is asked whether that is worth while.
const TRIED: u64 = 128;
/// One of so many must be spared, where the target says nothing else.
const USUAL: u64 = 3;

/// What recovers images, and who listens.
pub(super) struct Means<'a> {
    pub(super) memo: &'a mut Memo,
    pub(super) pool: &'a mut dyn Pool,
    pub(super) progress: &'a mut dyn FnMut(Progress),
    pub(super) cancel: &'a AtomicBool,
    pub(super) told: Progress,
    /// Teeth checks are not part of what the budget speaks of.
    pub(super) counting: bool,
    next_job: u64,
    /// What came back before something that was asked for earlier: never much more than is in flight.
    early: BTreeMap<u64, Noted>,
    /// What is being recovered, where images are compared in what is read of them.
    laid: BTreeMap<u64, SharedImage>,
    worth: Worth,
}

/// Whether it is worth while to note what recoveries read, and to compare. That makes a recovery dearer, and spares one
/// only where the disk has much that no recovery looks at.
#[derive(Clone, Copy, Debug)]
struct Worth {
    /// One image of so many must be spared.
    one_in: u64,
    seen: u64,
    spared: u64,
}

impl Worth {
    /// By what a sweep has spared so far, which does not depend on when what came back.
    fn is_it(self) -> bool {
        self.seen < TRIED || self.spared.saturating_mul(self.one_in) >= self.seen
    }
}

impl<'a> Means<'a> {
    pub(super) fn new(
        memo: &'a mut Memo,
        pool: &'a mut dyn Pool,
        progress: &'a mut dyn FnMut(Progress),
        cancel: &'a AtomicBool,
    ) -> Self {
        Means {
            memo,
            pool,
            progress,
            cancel,
            told: Progress::default(),
            counting: true,
            next_job: first_job(),
            early: BTreeMap::new(),
            laid: BTreeMap::new(),
            worth: Worth { one_in: USUAL, seen: 0, spared: 0 },
        }
    }

    /// The same, where noting what recoveries read pays if one image of so many is spared by it.
    pub(super) fn sparing(mut self, one_in: Option<u64>) -> Self {
        self.worth.one_in = one_in.unwrap_or(USUAL);
        self
    }

    /// Recovers every image of these states that is not known yet. Results arrive in any order; all are
    /// waited for before anything is judged.
    pub(super) fn recover(
        &mut self,
        space: &Space<'_>,
        states: &[CrashState],
        hashes: &[ImageHash],
        judge: &Judge,
    ) -> Result<(), PoolError> {
        let mut asked: BTreeMap<u64, ImageHash> = BTreeMap::new();
        let result = self.recover_all(space, states, hashes, judge, &mut asked);
        // What is under way is not thrown away; of what fails as well, the pool is not the emptier for being asked.
        let mut left = if result.is_err() { self.pool.in_flight() } else { 0 };
        while left > 0 && self.pool.in_flight() > 0 {
            left -= 1;
            if let Ok((job, lives)) = self.pool.next() {
                self.take(job, lives, judge, &mut asked);
            }
        }
        self.laid.clear();
        self.note_before(u64::MAX);
        result
    }

    fn recover_all(
        &mut self,
        space: &Space<'_>,
        states: &[CrashState],
        hashes: &[ImageHash],
        judge: &Judge,
        asked: &mut BTreeMap<u64, ImageHash>,
    ) -> Result<(), PoolError> {
        let unknown = self.memo.unknown(hashes);
        let mut rest = unknown.as_slice();
        while !rest.is_empty() {
            let logged = self.pool.log_reads(self.worth.is_it())?;
            // A part of the lot is looked up before any of it is recovered: which images are spared does not depend on
            // which worker was quicker.
            let part;
            (part, rest) = rest.split_at(rest.len().min(if logged { COMPARED } else { LOT }));
            let mut wanted = Vec::with_capacity(part.len());
            for &index in part {
                if self.cancel.load(Ordering::Relaxed) {
                    return Err(PoolError::Interrupted);
                }
                let image = space.shared_image(&states[index]);
                self.memo.note_shape(hashes[index], shape(&image));
                self.worth.seen += u64::from(logged);
                if logged && self.memo.knows_alike(hashes[index], &image) {
                    self.worth.spared += 1;
                    continue;
                }
                if logged {
                    wanted.push((hashes[index], image));
                } else {
                    self.submit(hashes[index], image, judge, asked)?;
                }
            }
            for (hash, image) in wanted {
                self.laid.insert(self.next_job, image.clone());
                self.submit(hash, image, judge, asked)?;
            }
            while !asked.is_empty() {
                let (job, lives) = self.pool.next()?;
                self.take(job, lives, judge, asked);
            }
        }
        Ok(())
    }

    /// Hands an image in, once there is room.
    fn submit(
        &mut self,
        hash: ImageHash,
        image: SharedImage,
        judge: &Judge,
        asked: &mut BTreeMap<u64, ImageHash>,
    ) -> Result<(), PoolError> {
        while self.pool.in_flight() >= self.pool.capacity().max(1) {
            let (job, lives) = self.pool.next()?;
            self.take(job, lives, judge, asked);
        }
        let job = self.next_job;
        self.next_job += 1;
        asked.insert(job, hash);
        self.pool.submit(job, image, judge.now_ms())
    }

    fn take(
        &mut self,
        job: u64,
        lives: crate::recovery::Lives,
        judge: &Judge,
        asked: &mut BTreeMap<u64, ImageHash>,
    ) {
        // A job that is not ours is left over from an exploration that was broken off.
        let (aside, laid) = (self.pool.aside(), self.laid.remove(&job));
        if let Some(image) = asked.remove(&job) {
            self.early.insert(job, Noted::of((image, laid), (lives, aside), judge));
            self.told.images += 1;
            (self.progress)(self.told);
        }
        self.note_before(asked.keys().next().copied().unwrap_or(u64::MAX));
    }

    /// Notes in the order of the states, up to the first that has not come back.
    fn note_before(&mut self, job: u64) {
        let later = self.early.split_off(&job);
        for noted in std::mem::replace(&mut self.early, later).into_values() {
            self.memo.note(noted);
        }
    }
}

/// How a sweep ended.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// States visited.
    pub(super) states: u64,
    /// The greatest number of deviations that was enumerated, and visited, whole.
    pub(super) bound: u8,
    /// Every legal state was visited.
    pub(super) exhaustive: bool,
    /// What broke it off.
    pub(super) error: Option<PoolError>,
}

impl Swept {
    /// All that was enumerated so far was visited.
    fn note(&mut self, states: &States<'_>) {
        self.bound = states.completed_bound().unwrap_or(0);
        self.exhaustive = states.is_exhaustive();
    }
}

/// Visits the states in canonical order with what their images recovered to.
pub(super) fn sweep(
    means: &mut Means<'_>,
    space: &Space<'_>,
    plan: &Plan,
    judge: &Judge,
    visit: &mut dyn FnMut(&CrashState, ImageHash, &Seen, &Memo) -> ControlFlow<()>,
) -> Swept {
    let mut swept = Swept::default();
    means.worth = Worth { seen: 0, spared: 0, ..means.worth };
    let cancel = means.cancel;
    let mut states = space.states(plan).stopped_by(cancel);
    let mut hasher = space.hasher();
    loop {
        let room = usize::try_from(plan.budget - swept.states).unwrap_or(LOT).min(LOT);
        let lot: Vec<CrashState> = states.by_ref().take(room).collect();
        if cancel.load(Ordering::Relaxed) {
            swept.error = Some(PoolError::Interrupted);
            return swept;
        }
        if lot.is_empty() {
            // Only here is everything that was enumerated visited, too.
            swept.note(&states);
            return swept;
        }
        let hashes: Vec<ImageHash> = lot.iter().map(|s| hasher.hash(s)).collect();
        let recovered = means.recover(space, &lot, &hashes, judge);
        for (state, hash) in lot.iter().zip(&hashes) {
            // After a failure the states in front of the first unknown image still count.
            let Some(seen) = means.memo.get(*hash) else { break };
            swept.states += 1;
            if visit(state, *hash, seen, means.memo).is_break() {
                return swept;
            }
        }
        means.told.states += if means.counting { lot.len() as u64 } else { 0 };
        (means.progress)(means.told);
        if let Err(error) = recovered {
            swept.error = Some(error);
            return swept;
        }
        swept.note(&states);
    }
}
