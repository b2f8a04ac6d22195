//! All states whose latest effect is a given one, each once: a walk without candidates.
//!
//! What can vary is a window: the effects before the latest that nothing forces yet when it is issued. The
//! *root* has the least of them that must be there. From a state, another follows by giving a further element of
//! the window, behind all that were given before, another outcome than the root's. Taking the last such element
//! back leaves a legal state, because whatever needs it stands behind it; so every legal state is reached, by
//! one way, over legal states only.

use crate::effect::{EffectId, Outcome};
use crate::event::Clock;
use crate::model::Grain;
use crate::state::order::Order;
use crate::state::space::{SpaceCase, key};
use crate::state::strata::Place;

/// Sectors that no mask has: something needed whole is not.
const NOTHING: u16 = 0x100;

/// What must be there of a rename that is needed only in part: something.
const SOME: u8 = 0x7F;

struct Frame {
    /// This element's candidates and those of what stands above: a range of the list.
    start: u32,
    end: u32,
    at: u32,
    /// The next outcome to try.
    option: u32,
    /// The sectors that may be there, or more bits.
    limit: u16,
    placed: bool,
}

/// The walk over the states of one place.
pub(crate) struct Stratum<'s> {
    pub(crate) case: &'s SpaceCase,
    pub(crate) order: &'s Order,
    pub(crate) place: Place,
    /// Units before the latest that may vary, ascending, and where each stands in it.
    pub(crate) window: Vec<u32>,
    local: Vec<u32>,
    stamp: Vec<u32>,
    now: u32,
    pub(crate) out: Vec<Outcome>,
    base: Vec<Outcome>,
    must_hold: Vec<u8>,
    /// What the latest effect may be, and which it is.
    tops: Vec<Outcome>,
    top: usize,
    list: Vec<u32>,
    merge: Vec<u32>,
    frames: Vec<Frame>,
    begun: bool,
    /// The identity of the present state, as far as the window and the latest effect go.
    pub(crate) sum: u64,
}

impl<'s> Stratum<'s> {
    pub(crate) fn new(case: &'s SpaceCase, order: &'s Order) -> Self {
        Stratum {
            case,
            order,
            place: Place::default(),
            window: Vec::new(),
            local: vec![0; order.len()],
            stamp: vec![0; order.len()],
            now: 0,
            out: Vec::new(),
            base: Vec::new(),
            must_hold: Vec::new(),
            tops: Vec::new(),
            top: 0,
            list: Vec::new(),
            merge: Vec::new(),
            frames: Vec::new(),
            begun: false,
            sum: 0,
        }
    }

    /// Begins with a place; `window` are the units before it that nothing forces.
    pub(crate) fn enter(&mut self, place: Place, window: &[u32]) {
        self.place = place;
        self.window.clear();
        self.window.extend_from_slice(window);
        self.now = self.now.wrapping_add(1);
        if self.now == 0 {
            self.stamp.fill(0);
            self.now = 1;
        }
        for (at, unit) in window.iter().enumerate() {
            self.local[*unit as usize] = at as u32;
            self.stamp[*unit as usize] = self.now;
        }
        self.tops.clear();
        self.top = 0;
        if let Some(unit) = place.unit {
            self.tops.push(Outcome::Whole);
            if let [id] = self.order.members(unit) {
                let legal = |o: &&Outcome| self.case.graph.legal_until(EffectId(*id), **o) > place.at;
                let odd = self.case.odd.list(EffectId(*id));
                self.tops.extend(odd.iter().filter(legal));
            }
        }
        self.root();
    }

    /// Goes to the root of the present outcome of the latest effect.
    fn root(&mut self) {
        self.begun = false;
        self.frames.clear();
        self.list.clear();
        let n = self.window.len();
        for all in [&mut self.out, &mut self.base] {
            all.clear();
            all.resize(n, Outcome::Absent);
        }
        self.must_hold.clear();
        self.must_hold.resize(n, 0);
        for at in 0..n {
            // What may not be absent any more, though it need not be whole: its needs are whole already.
            if let [id] = self.order.members(self.window[at])
                && self.case.graph.facts[*id as usize].absent_until <= self.place.at
            {
                self.out[at] = Outcome::Whole;
            }
        }
        self.require();
        self.base.copy_from_slice(&self.out);
        for at in 0..n {
            if !self.is_fixed(at) && self.first_option(at as u32).is_some() {
                self.list.push(at as u32);
            }
        }
        if !self.list.is_empty() {
            let end = self.list.len() as u32;
            self.frames.push(Frame { start: 0, end, at: 0, option: 0, limit: 0, placed: false });
            self.look_at();
        }
        self.sum = 0;
        for at in 0..n {
            for id in self.order.members(self.window[at]) {
                self.sum = self.sum.wrapping_add(mixed(*id, self.base[at]));
            }
        }
        for id in self.place.unit.into_iter().flat_map(|unit| self.order.members(unit)) {
            self.sum = self.sum.wrapping_add(mixed(*id, self.tops[self.top]));
        }
    }

    /// Whether the element must be as it is at the root: whole, because the latest effect needs it so.
    fn is_fixed(&self, at: usize) -> bool {
        match self.order.members(self.window[at]) {
            [id] => self.must_hold[at] != 0 && self.must_hold[at] == self.case.sectors(*id),
            _ => self.must_hold[at] != 0,
        }
    }

    /// Puts in the window what the latest effect cannot be without.
    fn require(&mut self) {
        let Some(unit) = self.place.unit else { return };
        let order = self.order;
        let mut todo: Vec<(u32, u8)> =
            order.members(unit).iter().map(|id| (*id, self.case.mask(*id, self.tops[self.top]))).collect();
        while let Some((id, have)) = todo.pop() {
            for need in self.case.graph.needs(EffectId(id)) {
                let Some(at) = self.place_of(need.on) else { continue };
                let fact = self.case.graph.facts[need.on.0 as usize];
                let wanted = match need.grain {
                    Grain::Whole => fact.sectors,
                    Grain::Sectors => have & fact.sectors,
                };
                let wanted = match wanted {
                    0 => 0,
                    _ if fact.parts != 0 && need.grain == Grain::Sectors => SOME,
                    _ if !fact.tears => fact.sectors,
                    some => some,
                };
                let several = self.order.members(self.window[at]);
                if several.len() > 1 {
                    if wanted != 0 && self.must_hold[at] == 0 {
                        self.must_hold[at] = 0xFF;
                        self.out[at] = Outcome::Whole;
                        todo.extend(several.iter().map(|id| (*id, self.case.sectors(*id))));
                    }
                    continue;
                }
                let all = self.must_hold[at] | wanted;
                if all != self.must_hold[at] {
                    self.must_hold[at] = all;
                    let whole = all == fact.sectors || !fact.tears;
                    self.out[at] = if whole { Outcome::Whole } else { Outcome::Sectors(all) };
                    todo.push((need.on.0, all));
                }
            }
        }
    }

    /// Where in the window the effect stands, if it does.
    pub(crate) fn place_of(&self, id: EffectId) -> Option<usize> {
        let unit = self.order.unit_of(id) as usize;
        (self.stamp[unit] == self.now).then(|| self.local[unit] as usize)
    }

    /// Whether what the effect needs leaves anything of it.
    pub(crate) fn is_possible(&self, id: EffectId) -> bool {
        let (limit, fact) = (self.limit(id.0), self.case.graph.facts[id.0 as usize]);
        limit != NOTHING && limit != 0 && (fact.tears || limit == u16::from(fact.sectors))
    }

    /// The outcome of the latest effect.
    pub(crate) fn top_outcome(&self) -> Outcome {
        self.tops.get(self.top).copied().unwrap_or(Outcome::Absent)
    }

    /// The sectors that may be there of an effect, going by what it needs.
    fn limit(&self, id: u32) -> u16 {
        let mut left = u16::from(self.case.sectors(id));
        let own = self.order.unit_of(EffectId(id));
        for need in self.case.graph.needs(EffectId(id)) {
            let Some(at) = self.place_of(need.on) else { continue };
            let have = self.out[at];
            if have == Outcome::Whole || self.order.unit_of(need.on) == own {
                continue;
            }
            match need.grain {
                Grain::Whole => return NOTHING,
                Grain::Sectors => {
                    let on = need.on.0;
                    left &= !u16::from(self.case.sectors(on) & !self.case.mask(on, have));
                }
            }
        }
        left
    }

    fn limit_of(&self, at: u32) -> u16 {
        match self.order.members(self.window[at as usize]) {
            [id] => self.limit(*id),
            several => {
                let whole = |id: &u32| self.limit(*id) == u16::from(self.case.sectors(*id));
                if several.iter().all(whole) { 0 } else { NOTHING }
            }
        }
    }

    /// The first outcome from `from` on that the element may have instead of the root's.
    fn option(&self, at: u32, limit: u16, from: u32) -> Option<(u32, Outcome)> {
        if limit == NOTHING {
            return None;
        }
        let base = self.base[at as usize];
        let [id] = self.order.members(self.window[at as usize]) else {
            return (from == 0 && base == Outcome::Absent).then_some((0, Outcome::Whole));
        };
        let sectors = self.case.sectors(*id);
        if from == 0 && base != Outcome::Whole && limit == u16::from(sectors) {
            return Some((0, Outcome::Whole));
        }
        let must = self.must_hold[at as usize];
        let odd = self.case.odd.list(EffectId(*id));
        let fact = &self.case.graph.facts[*id as usize];
        for n in from.max(1)..=odd.len() as u32 {
            let outcome = odd[n as usize - 1];
            let mask = self.case.mask(*id, outcome);
            let fits = u16::from(mask) & !limit == 0 && must & !mask == 0 && outcome != base;
            let until = |o| self.case.graph.legal_until(EffectId(*id), o);
            if fits && (fact.parts == 0 || until(outcome) > self.place.at) {
                return Some((n, outcome));
            }
        }
        None
    }

    fn first_option(&self, at: u32) -> Option<(u32, Outcome)> {
        self.option(at, self.limit_of(at), 0)
    }

    /// Readies the top frame for its present element.
    fn look_at(&mut self) {
        let Some(frame) = self.frames.last() else { return };
        let limit = if frame.at < frame.end { self.limit_of(self.list[frame.at as usize]) } else { 0 };
        if let Some(frame) = self.frames.last_mut() {
            (frame.limit, frame.option) = (limit, 0);
        }
    }

    fn put(&mut self, at: u32, outcome: Outcome) {
        let old = std::mem::replace(&mut self.out[at as usize], outcome);
        for id in self.order.members(self.window[at as usize]) {
            self.sum = self.sum.wrapping_sub(mixed(*id, old)).wrapping_add(mixed(*id, outcome));
        }
    }

    /// The next state; `false`: there is none.
    pub(crate) fn advance(&mut self) -> bool {
        if !self.begun {
            self.begun = true;
            return true;
        }
        loop {
            let Some(frame) = self.frames.last_mut() else {
                self.top += 1;
                if self.top >= self.tops.len() {
                    return false;
                }
                self.root();
                self.begun = true;
                return true;
            };
            let at = *self.list.get(frame.at as usize).unwrap_or(&0);
            if frame.at >= frame.end {
                self.list.truncate(frame.start as usize);
                self.frames.pop();
                continue;
            }
            let (limit, from) = (frame.limit, frame.option);
            if frame.placed {
                frame.placed = false;
                self.put(at, self.base[at as usize]);
            }
            let Some((option, outcome)) = self.option(at, limit, from) else {
                if let Some(frame) = self.frames.last_mut() {
                    frame.at += 1;
                }
                self.look_at();
                continue;
            };
            self.put(at, outcome);
            self.descend(at, option);
            return true;
        }
    }

    /// After an element got its outcome: what may still change behind it.
    fn descend(&mut self, at: u32, option: u32) {
        let Some(frame) = self.frames.last_mut() else { return };
        (frame.placed, frame.option) = (true, option + 1);
        let (rest, end) = (frame.at as usize + 1, frame.end as usize);
        let start = self.list.len();
        self.merge.clear();
        for id in self.order.members(self.window[at as usize]) {
            for user in self.case.graph.users(EffectId(*id)) {
                let Some(on) = self.place_of(user.on) else { continue };
                if on as u32 > at && !self.is_fixed(on) && self.first_option(on as u32).is_some() {
                    self.merge.push(on as u32);
                }
            }
        }
        if self.merge.is_empty() {
            self.list.extend_from_within(rest..end);
        } else {
            self.merge.sort_unstable();
            self.merge.dedup();
            let mut next = rest;
            for &on in &self.merge {
                while next < end && self.list[next] < on {
                    let earlier = self.list[next];
                    self.list.push(earlier);
                    next += 1;
                }
                if next < end && self.list[next] == on {
                    next += 1;
                }
                self.list.push(on);
            }
            self.list.extend_from_within(next..end);
        }
        let end = self.list.len();
        if end > start {
            let (start, end) = (start as u32, end as u32);
            self.frames.push(Frame { start, end, at: start, option: 0, limit: 0, placed: false });
            self.look_at();
        }
    }

    /// When the first of what is not whole in the window has to be.
    pub(crate) fn until(&self, at: usize) -> Clock {
        let outcome = self.out[at];
        let graph = &self.case.graph;
        let members = self.order.members(self.window[at]).iter();
        members.map(|id| graph.legal_until(EffectId(*id), outcome)).min().unwrap_or(Clock::MAX)
    }
}

fn mixed(id: u32, outcome: Outcome) -> u64 {
    if outcome == Outcome::Absent { 0 } else { key(id, outcome) }
}
