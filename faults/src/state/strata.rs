//! Going over a case's effects, each as the latest of some states, with the window of what may vary before it.

use crate::effect::{EffectId, Outcome};
use crate::event::Clock;
use crate::state::order::Order;
use crate::state::space::{SpaceCase, key};
use crate::state::stratum::Stratum;
use crate::state::{CrashState, Space};

/// The latest effect of some states, and the first crash point at which they are legal.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// `None`: nothing is there but what is forced at the first crash point.
    pub(crate) unit: Option<u32>,
    pub(crate) at: Clock,
}

/// All places of one case, ascending.
pub(crate) struct Strata<'s> {
    space: &'s Space<'s>,
    case: u32,
    order: &'s Order,
    /// Behind everything that the first crash point forces.
    base_end: u32,
    /// When the first of the units from one on is forced, but for those that the first crash point forces.
    behind: Vec<Clock>,
    /// Units that nothing forces at the present place; at the first crash point, all that were issued by then.
    open: Vec<u32>,
    next: u32,
    place: Place,
    /// How many places have been passed.
    ordinal: u64,
    /// How many open units stand before the place.
    before: usize,
    expiry: Clock,
    /// What the present place's states have in common.
    offset: u64,
    end: u32,
}

/// More exceptions than this make it worth while to look for a prefix with fewer.
const MANY: usize = 8;

impl<'s> Strata<'s> {
    pub(crate) fn new(space: &'s Space<'s>, case: u32, order: &'s Order) -> Self {
        let mut strata = Strata {
            space,
            case,
            order,
            base_end: 0,
            behind: vec![Clock::MAX; order.len() + 1],
            open: Vec::new(),
            next: 0,
            place: Place { unit: None, at: space.range.0 },
            ordinal: 0,
            before: 0,
            expiry: Clock::MAX,
            offset: 0,
            end: 0,
        };
        let facts = &strata.case().graph.facts;
        for unit in (0..order.len() as u32).rev() {
            let forced = strata.forced(unit) <= space.range.0;
            let own = order.members(unit).iter().map(|id| facts[*id as usize].absent_until);
            let own = if forced { Clock::MAX } else { own.min().unwrap_or(Clock::MAX) };
            strata.behind[unit as usize] = strata.behind[unit as usize + 1].min(own);
            if forced {
                let end = order.members(unit).iter().max().map_or(0, |id| id + 1);
                strata.base_end = strata.base_end.max(end);
            } else if order.issued(unit) <= space.range.0 {
                strata.open.push(unit);
            }
        }
        strata.open.reverse();
        strata.measure();
        strata
    }

    fn case(&self) -> &'s SpaceCase {
        &self.space.cases[self.case as usize]
    }

    fn forced(&self, unit: u32) -> Clock {
        let facts = &self.case().graph.facts;
        let all = self.order.members(unit).iter().map(|id| facts[*id as usize].whole_from);
        all.min().unwrap_or(Clock::MAX)
    }

    /// How many places a case has at the most.
    pub(crate) fn count(space: &Space<'_>, order: &Order) -> u64 {
        let range = 0..order.len() as u32;
        1 + range
            .rev()
            .find(|unit| order.issued(*unit) <= space.range.1)
            .map_or(0, |unit| u64::from(unit) + 1)
    }

    /// The number of the present place.
    pub(crate) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// The first prefix that holds all of the present place's states.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    /// The units before the present place that may vary.
    pub(crate) fn window(&self) -> &[u32] {
        &self.open[..self.before]
    }

    /// Whether any state is legal here.
    pub(crate) fn is_legal(&self) -> bool {
        self.behind[self.place.unit.map_or(0, |unit| unit as usize + 1)] > self.place.at
    }

    /// Readies the walk for the present place.
    pub(crate) fn enter(&self, stratum: &mut Stratum<'_>) {
        stratum.enter(self.place, self.window());
    }

    /// Moves on to the next place; `false`: there is none in the range.
    pub(crate) fn advance(&mut self) -> bool {
        let (first, last) = self.space.range;
        while (self.next as usize) < self.order.len() {
            let unit = self.next;
            let issued = self.order.issued(unit);
            if issued > last {
                return false;
            }
            self.next += 1;
            self.ordinal += 1;
            if issued <= first {
                // All that was issued by the first crash point and is not forced then stands in the list.
                let Ok(before) = self.open.binary_search(&unit) else { continue };
                (self.place, self.before) = (Place { unit: Some(unit), at: first }, before);
            } else {
                if let Some(previous) = self.place.unit
                    && self.place.at > first
                    && self.forced(previous) > self.place.at
                {
                    self.open.push(previous);
                    self.expiry = self.expiry.min(self.forced(previous));
                }
                if self.place.at <= first || self.expiry <= issued {
                    let mut open = std::mem::take(&mut self.open);
                    open.retain(|unit| self.forced(*unit) > issued);
                    self.expiry = open.iter().map(|unit| self.forced(*unit)).min().unwrap_or(Clock::MAX);
                    self.open = open;
                }
                (self.place, self.before) = (Place { unit: Some(unit), at: issued }, self.open.len());
            }
            self.measure();
            return true;
        }
        false
    }

    /// Everything below the end that is not whole in all states of this place.
    fn vary(&self, mut each: impl FnMut(u32)) {
        let order = self.order;
        for unit in self.window().iter().chain(&self.place.unit) {
            order.members(*unit).iter().for_each(|id| each(*id));
        }
        self.absent(&mut each);
    }

    /// Everything below the end that is absent in all states of this place.
    fn absent(&self, mut each: impl FnMut(u32)) {
        let (order, end) = (self.order, self.end);
        let later = self.before + usize::from(self.place.unit.is_some());
        if self.place.at <= self.space.range.0 {
            for unit in self.open.get(later..).unwrap_or_default() {
                order.members(*unit).iter().filter(|id| **id < end).for_each(|id| each(*id));
            }
        }
        let facts = &self.case().graph.facts;
        for id in order.behind(self.place.unit, end) {
            // At the first crash point, the list above has what had been issued by then.
            let listed = self.place.at <= self.space.range.0
                && order.issued(order.unit_of(EffectId(id))) <= self.space.range.0;
            if !listed && facts[id as usize].whole_from > self.place.at {
                each(id);
            }
        }
    }

    fn measure(&mut self) {
        let order = self.order;
        let own = |unit: &u32| order.members(*unit).iter().max().map_or(0, |id| id + 1);
        let mut end = self.place.unit.as_ref().map_or(0, own).max(self.base_end);
        if !order.is_plain() {
            end = end.max(self.window().iter().map(own).max().unwrap_or(0));
        }
        self.end = end;
        let mut offset = self.space.identity_of(self.case, end);
        self.vary(|id| offset = offset.wrapping_sub(key(id, Outcome::Whole)));
        self.offset = offset;
    }

    /// What [`Space::identity`] would say of the walk's present state.
    pub(crate) fn identity(&self, stratum: &Stratum<'_>) -> u64 {
        self.offset.wrapping_add(stratum.sum)
    }

    /// The walk's present state.
    pub(crate) fn state(&self, stratum: &Stratum<'_>, least: u8) -> CrashState {
        let order = self.order;
        let graph = &self.case().graph;
        let mut except: Vec<(EffectId, Outcome)> = Vec::new();
        let mut last = self.behind[self.place.unit.map_or(0, |unit| unit as usize + 1)];
        for (at, unit) in stratum.window.iter().enumerate() {
            let outcome = stratum.out[at];
            if outcome != Outcome::Whole {
                last = last.min(stratum.until(at));
                except.extend(order.members(*unit).iter().map(|id| (EffectId(*id), outcome)));
            }
        }
        let top = stratum.top_outcome();
        if let Some(unit) = self.place.unit
            && top != Outcome::Whole
        {
            for id in order.members(unit) {
                last = last.min(graph.legal_until(EffectId(*id), top));
                except.push((EffectId(*id), top));
            }
        }
        self.absent(|id| except.push((EffectId(id), Outcome::Absent)));
        if !order.is_plain() || self.place.at <= self.space.range.0 {
            except.sort_unstable();
            except.dedup();
        }
        let mut prefix = self.end;
        if except.len() > MANY {
            self.shorten(stratum, &mut prefix, &mut except);
        }
        let roots = except.iter().filter(|(id, outcome)| is_root(stratum, prefix, *id, *outcome)).count();
        let deviations = (roots.min(255) as u8).max(least);
        let last = last.saturating_sub(1).min(self.space.range.1);
        CrashState { case: self.case, prefix, except, deviations, first: self.place.at, last }
    }

    /// Looks for a shorter prefix with fewer exceptions.
    fn shorten(&self, stratum: &Stratum<'_>, prefix: &mut u32, except: &mut Vec<(EffectId, Outcome)>) {
        let mut all: Vec<(u32, Outcome)> = Vec::with_capacity(stratum.window.len() + 1);
        self.vary(|id| {
            let outcome = match stratum.place_of(EffectId(id)) {
                Some(at) => stratum.out[at],
                None if Some(self.order.unit_of(EffectId(id))) == self.place.unit => stratum.top_outcome(),
                None => Outcome::Absent,
            };
            all.push((id, outcome));
        });
        all.sort_unstable();
        let (mut cost, mut best) = (except.len() as i64, (except.len() as i64, self.end));
        // What is whole in all states of this place would be an exception behind the prefix.
        let mut last = self.end;
        for (id, outcome) in all.iter().rev().take_while(|(id, _)| *id >= self.base_end) {
            cost += i64::from(last - id - 1);
            last = *id;
            cost += match outcome {
                Outcome::Absent => -1,
                Outcome::Whole => 1,
                _ => 0,
            };
            if cost < best.0 {
                best = (cost, *id);
            }
        }
        if best.0 * 2 > except.len() as i64 {
            return;
        }
        *prefix = best.1;
        except.clear();
        let mut next = best.1;
        for (id, outcome) in all {
            if id < best.1 {
                if outcome != Outcome::Whole {
                    except.push((EffectId(id), outcome));
                }
                continue;
            }
            except.extend((next..id).map(|id| (EffectId(id), Outcome::Whole)));
            next = id + 1;
            if outcome != Outcome::Absent {
                except.push((EffectId(id), outcome));
            }
        }
        except.extend((next..self.end).map(|id| (EffectId(id), Outcome::Whole)));
    }
}

/// Whether an exception may not follow from the others: at least those that [`Space::roots`] names.
fn is_root(stratum: &Stratum<'_>, prefix: u32, id: EffectId, outcome: Outcome) -> bool {
    let graph = &stratum.case.graph;
    if id.0 < prefix {
        return outcome != Outcome::Absent || stratum.is_possible(id);
    }
    outcome != Outcome::Whole
        || !graph.users(id).iter().any(|user| {
            user.grain == crate::model::Grain::Whole
                && stratum.place_of(user.on).is_some_and(|at| stratum.out[at] == Outcome::Whole)
        })
}
