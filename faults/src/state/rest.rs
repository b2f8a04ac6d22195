//! What no number of deviations has given: all of it where it is little enough, else samples, spread evenly over
//! the places of the trace.
//!
//! The states whose latest effect is the same are a stratum. A first pass counts, in each, those that have not
//! been given yet, up to a cap; the budget is then poured over the strata like water: the small ones are filled
//! whole, the others share the rest evenly. A counted stratum is walked and exactly its share is chosen on the
//! way; one beyond the cap holds so many states that draws seldom meet one that has been given, and where they
//! do, it is walked as well.

use crate::state::CrashState;
use crate::state::sample::{Drawer, below};
use crate::state::space::Space;
use crate::state::states::Seen;
use crate::state::strata::Strata;
use crate::state::stratum::Stratum;
use rand_core::SeedableRng;
use rand_pcg::Pcg64Mcg;
use std::sync::atomic::{AtomicBool, Ordering};

/// Beyond so many times its share a stratum is not counted.
const CAP: u64 = 4;
/// Nor is one with so many effects that may vary: it is far larger than anything that could be walked.
const WIDE: usize = 256;
/// So many draws in a row that give nothing new, and the stratum is walked.
const VAIN: u32 = 16;

/// One stratum, and what is to be given of it.
#[derive(Clone, Copy)]
struct Share {
    case: u32,
    ordinal: u64,
    /// How many of its states have not been given, as far as counted.
    fresh: u64,
    /// Up to how many of its states it was counted; 0: not at all.
    cap: u64,
    /// There are more.
    beyond: bool,
    want: u64,
}

/// Gives the rest.
pub(crate) struct Rest<'s> {
    space: &'s Space<'s>,
    rng: Pcg64Mcg,
    /// The number of deviations that these states have at the least.
    least: u8,
    /// `None`: everything is to be given.
    shares: Option<Vec<Share>>,
    /// Whether everything will have been given in the end.
    whole: bool,
    gave: u64,
    /// The share in hand.
    at: usize,
    case: u32,
    place: Option<Walk<'s>>,
    now: Option<Share>,
    drawing: bool,
    vain: u32,
    /// What other strata could not give.
    carry: u64,
}

struct Walk<'s> {
    strata: Strata<'s>,
    stratum: Stratum<'s>,
    drawer: Drawer<'s>,
}

impl<'s> Walk<'s> {
    fn new(space: &'s Space<'s>, case: u32) -> Option<Walk<'s>> {
        let of = space.cases.get(case as usize)?;
        let order = of.order.as_ref()?;
        Some(Walk {
            strata: Strata::new(space, case, order),
            stratum: Stratum::new(of, order),
            drawer: Drawer::new(space, case as usize),
        })
    }
}

fn is_set(stop: Option<&AtomicBool>) -> bool {
    stop.is_some_and(|flag| flag.load(Ordering::Relaxed))
}

impl<'s> Rest<'s> {
    /// `room`: how many states may be given, and whether to walk all, because that is enough or nothing else helps.
    pub(crate) fn new(
        space: &'s Space<'s>,
        seed: u64,
        least: u8,
        (left, all): (u64, bool),
        seen: &Seen,
        stop: Option<&AtomicBool>,
    ) -> Self {
        let mut rest = Rest {
            space,
            rng: Pcg64Mcg::seed_from_u64(seed ^ 0x5EED << 40 ^ seen.len() as u64),
            least,
            shares: None,
            whole: all && space.cases.iter().all(|case| case.order.is_some()),
            gave: 0,
            at: 0,
            case: 0,
            place: Walk::new(space, 0),
            now: None,
            drawing: false,
            vain: 0,
            carry: 0,
        };
        if !all {
            rest.plan(left, seen, stop);
        }
        rest
    }

    /// Whether no legal state is left when this has come to its end.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether everything is walked, whatever its size.
    pub(crate) fn is_all(&self) -> bool {
        self.shares.is_none()
    }

    /// How many states were given.
    pub(crate) fn gave(&self) -> u64 {
        self.gave
    }

    /// Some of the strata, all if they are few enough, and what each is to give.
    fn plan(&mut self, left: u64, seen: &Seen, stop: Option<&AtomicBool>) {
        let counts = self
            .space
            .cases
            .iter()
            .map(|case| case.order.as_ref().map_or(0, |order| Strata::count(self.space, order)));
        let counts: Vec<u64> = counts.collect();
        let total: u64 = counts.iter().sum();
        let step = (total / (left.saturating_mul(2)).max(1)).max(1);
        let mut shares = Vec::new();
        for (case, count) in counts.iter().enumerate() {
            for slice in 0..count.div_ceil(step) {
                let ordinal = slice * step + below(&mut self.rng, step.min(count - slice * step));
                let case = case as u32;
                shares.push(Share { case, ordinal, fresh: 0, cap: 0, beyond: true, want: 0 });
            }
        }
        let mut cap = (left.saturating_mul(CAP) / (shares.len() as u64).max(1)).max(CAP * CAP);
        loop {
            self.count(&mut shares, cap, seen, stop);
            let share = pour(&mut shares, left);
            let more = share.saturating_mul(CAP).max(cap.saturating_mul(2));
            let short = |s: &&mut Share| s.beyond && s.cap != u64::MAX && s.cap < share.saturating_mul(CAP);
            let again = shares.iter_mut().filter(short).count();
            if again == 0 || is_set(stop) {
                break;
            }
            cap = more;
        }
        let all = self.space.cases.iter().all(|case| case.order.is_some());
        self.whole =
            all && step == 1 && shares.iter().all(|s| !s.beyond && s.want == s.fresh) && !is_set(stop);
        shares.retain(|s| s.want > 0);
        self.shares = Some(shares);
    }

    /// Counts the strata that are not known up to the cap.
    fn count(&self, shares: &mut [Share], cap: u64, seen: &Seen, stop: Option<&AtomicBool>) {
        let mut walk = None;
        let mut of = None;
        for share in shares.iter_mut().filter(|s| s.beyond && s.cap < cap) {
            if is_set(stop) {
                return;
            }
            if of != Some(share.case) {
                (walk, of) = (Walk::new(self.space, share.case), Some(share.case));
            }
            let Some(walk) = &mut walk else { continue };
            (share.fresh, share.beyond) = (0, false);
            if !walk.go(share.ordinal) {
                continue;
            }
            if walk.strata.window().len() > WIDE {
                (share.beyond, share.cap) = (true, u64::MAX);
                continue;
            }
            share.cap = cap;
            walk.strata.enter(&mut walk.stratum);
            let mut visited = 0;
            while walk.stratum.advance() {
                if visited == cap {
                    share.beyond = true;
                    break;
                }
                visited += 1;
                share.fresh += u64::from(!seen.contains(&walk.strata.identity(&walk.stratum)));
            }
        }
    }

    pub(crate) fn next(&mut self, seen: &Seen, stop: Option<&AtomicBool>) -> Option<(CrashState, u64)> {
        let found = self.find(seen, stop);
        self.gave += u64::from(found.is_some());
        found
    }

    fn find(&mut self, seen: &Seen, stop: Option<&AtomicBool>) -> Option<(CrashState, u64)> {
        loop {
            if is_set(stop) {
                return None;
            }
            let Some(mut share) = self.now else {
                if !self.begin() {
                    return None;
                }
                continue;
            };
            let walk = self.place.as_mut()?;
            if share.want == 0 {
                self.now = None;
                continue;
            }
            if self.drawing {
                let drawn = walk.drawer.draw(&mut self.rng, u64::from(self.least), true);
                let new = drawn.map(|state| (self.space.identity(&state), state));
                if let Some((identity, state)) = new.filter(|(identity, _)| !seen.contains(identity)) {
                    (share.want, self.vain) = (share.want - 1, 0);
                    self.now = Some(share);
                    return Some((state, identity));
                }
                self.vain += 1;
                if self.vain >= VAIN {
                    self.drawing = false;
                    // How many there are is not known; chosen from the first of them.
                    share.fresh = share.want.saturating_mul(2);
                    self.now = Some(share);
                    walk.strata.enter(&mut walk.stratum);
                }
                continue;
            }
            if !walk.stratum.advance() {
                self.carry += if self.shares.is_some() { share.want } else { 0 };
                self.now = None;
                continue;
            }
            let identity = walk.strata.identity(&walk.stratum);
            if seen.contains(&identity) {
                continue;
            }
            let chosen = share.want >= share.fresh || below(&mut self.rng, share.fresh) < share.want;
            share.fresh = share.fresh.saturating_sub(1);
            share.want -= u64::from(chosen);
            self.now = Some(share);
            if chosen {
                return Some((walk.strata.state(&walk.stratum, self.least), identity));
            }
        }
    }

    /// Begins with the next stratum that has something to give.
    fn begin(&mut self) -> bool {
        let Some(shares) = &self.shares else { return self.begin_any() };
        let Some(mut share) = shares.get(self.at).copied() else { return false };
        self.at += 1;
        if share.case != self.case {
            self.case = share.case;
            self.place = Walk::new(self.space, share.case);
        }
        let Some(walk) = &mut self.place else { return false };
        if !walk.go(share.ordinal) {
            return true;
        }
        let room = if share.beyond { self.carry } else { self.carry.min(share.fresh - share.want) };
        share.want += room;
        self.carry -= room;
        self.vain = 0;
        self.drawing = share.beyond && walk.drawer.go(walk.strata.end());
        if !self.drawing {
            walk.strata.enter(&mut walk.stratum);
        }
        self.now = Some(share);
        true
    }

    /// Every place after the other.
    fn begin_any(&mut self) -> bool {
        loop {
            if let Some(walk) = &mut self.place
                && (self.at == 0 || walk.strata.advance())
            {
                self.at = 1;
                if !walk.strata.is_legal() {
                    continue;
                }
                walk.strata.enter(&mut walk.stratum);
                let (case, ordinal) = (self.case, walk.strata.ordinal());
                let all = u64::MAX;
                self.drawing = false;
                self.now = Some(Share { case, ordinal, fresh: all, cap: all, beyond: false, want: all });
                return true;
            }
            self.case += 1;
            self.at = 0;
            if self.case as usize >= self.space.cases.len() {
                return false;
            }
            self.place = Walk::new(self.space, self.case);
        }
    }
}

impl Walk<'_> {
    /// Goes on to a place; `false`: there is no legal state at it.
    fn go(&mut self, ordinal: u64) -> bool {
        while self.strata.ordinal() < ordinal {
            if !self.strata.advance() {
                return false;
            }
        }
        self.strata.ordinal() == ordinal && self.strata.is_legal()
    }
}

/// Pours so much over the strata that the small ones are filled and the others get equal shares. Gives the
/// greatest share.
fn pour(shares: &mut [Share], left: u64) -> u64 {
    let size = |share: &Share| if share.beyond { u64::MAX } else { share.fresh };
    let mut sizes: Vec<u64> = shares.iter().map(size).collect();
    sizes.sort_unstable();
    let (mut rest, mut level) = (left, u64::MAX);
    let mut extra = (0u64, 1u64);
    for (at, size) in sizes.iter().enumerate() {
        let over = (sizes.len() - at) as u64;
        if *size > rest / over {
            (level, extra) = (rest / over, (rest % over, over));
            break;
        }
        rest -= size;
    }
    // One more for some of those that could give more, evenly over all of them.
    let mut nth = 0u64;
    for share in shares.iter_mut() {
        share.want = size(share).min(level);
        if size(share) > level {
            share.want += (nth + 1) * extra.0 / extra.1 - nth * extra.0 / extra.1;
            nth += 1;
        }
    }
    level.saturating_add(1)
}
