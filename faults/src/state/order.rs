//! A linear order of a graph's effects in which everything stands behind what it needs.

use crate::effect::EffectId;
use crate::event::Clock;
use crate::model::{Grain, Graph};

/// Units in the order in which they can come to the disk: mostly single effects by their ids. Effects that need
/// each other whole come and go as one unit.
pub(crate) struct Order {
    start: Vec<u32>,
    members: Vec<u32>,
    unit_of: Vec<u32>,
    /// When all of a unit and all that it needs has been issued; never falls from unit to unit.
    issued: Vec<Clock>,
    /// Effects that stand behind one with a greater id, and for each the least id among those from it on.
    late: Vec<(u32, u32)>,
}

impl Order {
    /// `None`: effects need each other by sector in a circle, and no such order shows their states.
    pub(crate) fn of(graph: &Graph) -> Option<Order> {
        let n = graph.len() as u32;
        let upwards = (0..n).any(|id| graph.needs(EffectId(id)).iter().any(|need| need.on.0 >= id));
        let units = if upwards {
            let units = circles(graph, false);
            if circles(graph, true).len() != units.len() {
                return None;
            }
            units
        } else {
            (0..n).map(|id| vec![id]).collect()
        };
        let mut unit_of = vec![0u32; n as usize];
        for (at, unit) in units.iter().enumerate() {
            unit.iter().for_each(|id| unit_of[*id as usize] = at as u32);
        }
        let mut issued: Vec<Clock> = Vec::with_capacity(units.len());
        for unit in &units {
            let own = unit.iter().map(|id| graph.facts[*id as usize].issued);
            let needs = unit.iter().flat_map(|id| graph.needs(EffectId(*id)));
            let theirs = needs.filter_map(|need| issued.get(unit_of[need.on.0 as usize] as usize).copied());
            issued.push(own.chain(theirs).max().unwrap_or(0));
        }
        let mut places: Vec<usize> = (0..units.len()).collect();
        places.sort_by_key(|at| issued[*at]);
        let mut order = Order {
            start: vec![0],
            members: Vec::with_capacity(n as usize),
            unit_of,
            issued: places.iter().map(|at| issued[*at]).collect(),
            late: Vec::new(),
        };
        for (place, at) in places.iter().enumerate() {
            for id in &units[*at] {
                order.unit_of[*id as usize] = place as u32;
                order.members.push(*id);
            }
            order.start.push(order.members.len() as u32);
        }
        order.find_late();
        Some(order)
    }

    fn find_late(&mut self) {
        let mut most = 0;
        for &id in &self.members {
            if id < most {
                self.late.push((id, id));
            }
            most = most.max(id);
        }
        for at in (1..self.late.len()).rev() {
            self.late[at - 1].1 = self.late[at - 1].1.min(self.late[at].1);
        }
    }

    /// How many units.
    pub(crate) fn len(&self) -> usize {
        self.issued.len()
    }

    /// The effects of a unit, in the order of their ids.
    pub(crate) fn members(&self, unit: u32) -> &[u32] {
        &self.members[self.start[unit as usize] as usize..self.start[unit as usize + 1] as usize]
    }

    pub(crate) fn unit_of(&self, id: EffectId) -> u32 {
        self.unit_of[id.0 as usize]
    }

    pub(crate) fn issued(&self, unit: u32) -> Clock {
        self.issued[unit as usize]
    }

    /// Whether the order is that of the ids.
    pub(crate) fn is_plain(&self) -> bool {
        self.late.is_empty()
    }

    /// Effects with ids below `end` in units behind this one (`None`: in all) that stand behind greater ids.
    pub(crate) fn behind(&self, unit: Option<u32>, end: u32) -> impl Iterator<Item = u32> + '_ {
        let before = |id: u32| unit.is_some_and(|unit| self.unit_of[id as usize] <= unit);
        let from = self.late.partition_point(|(id, _)| before(*id));
        let near = self.late[from..].iter().take_while(move |(_, least)| *least < end);
        near.map(|(id, _)| *id).filter(move |id| *id < end)
    }
}

/// The strongly connected parts (Tarjan), each behind what it needs; by all edges or by those of whole effects.
fn circles(graph: &Graph, whole: bool) -> Vec<Vec<u32>> {
    const NEW: u32 = u32::MAX;
    let n = graph.len();
    let (mut number, mut low) = (vec![NEW; n], vec![0u32; n]);
    let (mut stack, mut on_stack) = (Vec::new(), vec![false; n]);
    let mut parts = Vec::new();
    let mut count = 0u32;
    let mut path: Vec<(u32, usize)> = Vec::new();
    for start in 0..n as u32 {
        if number[start as usize] != NEW {
            continue;
        }
        path.push((start, 0));
        while let Some((id, edge)) = path.pop() {
            let at = id as usize;
            if number[at] == NEW {
                (number[at], low[at], on_stack[at]) = (count, count, true);
                stack.push(id);
                count += 1;
            }
            let needs = graph.needs(EffectId(id));
            let mut next = None;
            for (place, need) in needs.iter().enumerate().skip(edge) {
                let on = need.on.0 as usize;
                if whole && need.grain != Grain::Whole {
                    continue;
                }
                if number[on] == NEW {
                    next = Some((place, need.on.0));
                    break;
                }
                if on_stack[on] {
                    low[at] = low[at].min(low[on]);
                }
            }
            if let Some((place, on)) = next {
                // The edge is looked at again when the other end is done.
                path.push((id, place));
                path.push((on, 0));
                continue;
            }
            if low[at] == number[at] {
                let mut part = Vec::new();
                while let Some(member) = stack.pop() {
                    on_stack[member as usize] = false;
                    part.push(member);
                    if member == id {
                        break;
                    }
                }
                part.sort_unstable();
                parts.push(part);
            }
        }
    }
    parts
}
