//! A plan in the shared memory, and what the shim tells of it.

use super::call::Call;
use super::outcome::Outcome;
use super::rule::{Plan, Role};
use crate::abi;
use crate::abi_fault::{self as area, FaultArea, GLOB, RULES};
use crate::event::Op;

impl Plan {
    /// `FLAG_*` of a run under this plan.
    pub(crate) fn flags(&self) -> u32 {
        let reads = self.rules.iter().any(|r| r.calls.iter().any(|c| c.reads()));
        let faults = if self.rules.is_empty() { 0 } else { abi::FLAG_FAULTS };
        faults | if reads { abi::FLAG_FAULT_READS } else { 0 }
    }

    /// Writes the rules for the shim. What does not fit is cut off; [`Plan::from_str`] refuses such plans.
    ///
    /// [`Plan::from_str`]: std::str::FromStr::from_str
    pub(crate) fn lay_out(&self, to: &mut FaultArea, harness: u32) {
        to.harness = harness;
        to.count = self.rules.len().min(RULES) as u32;
        for (rule, to_rule) in self.rules.iter().zip(&mut to.rules) {
            to_rule.calls = rule.calls.iter().fold(0, |bits, c| bits | c.bit());
            to.wanted |= to_rule.calls;
            to_rule.role = match rule.role {
                Role::Any => area::ROLE_ANY,
                Role::Main => area::ROLE_MAIN,
                Role::Child => area::ROLE_CHILD,
            };
            (to_rule.action, to_rule.number, to_rule.limit) = match rule.outcome {
                Outcome::Errno(errno) => (area::ACT_ERRNO, u64::from(errno.unsigned_abs()), 0),
                Outcome::Short(bytes) => (area::ACT_SHORT, bytes, 0),
                Outcome::Delay(nanos) => (area::ACT_DELAY, nanos, 0),
                Outcome::Kill => (area::ACT_KILL, 0, 0),
                Outcome::KillAfter => (area::ACT_KILL_AFTER, 0, 0),
                Outcome::Full { bytes, refusals } => (area::ACT_FULL, bytes, refusals),
                Outcome::Note => (area::ACT_NOTE, 0, 0),
            };
            (to_rule.first, to_rule.last) = (rule.nth.first, rule.nth.last);
            let glob = &rule.path.as_bytes()[..rule.path.len().min(GLOB)];
            to_rule.glob_len = glob.len() as u32;
            to_rule.glob[..glob.len()].copy_from_slice(glob);
        }
    }
}

/// The event that a record of [`abi::KIND_FAULT`] tells of.
pub(crate) fn told(action: u16, [rule, number, class]: [u64; 3], path: &[u8]) -> Option<Op> {
    let outcome = match u32::from(action) {
        area::ACT_ERRNO => Outcome::Errno(number as i32),
        area::ACT_SHORT => Outcome::Short(number),
        area::ACT_DELAY => Outcome::Delay(number),
        area::ACT_KILL => Outcome::Kill,
        area::ACT_KILL_AFTER => Outcome::KillAfter,
        area::ACT_FULL => Outcome::Full { bytes: number, refusals: 0 },
        area::ACT_NOTE => Outcome::Note,
        _ => return None,
    };
    let role = match (class >> 8) as u32 {
        area::ROLE_MAIN => Role::Main,
        area::ROLE_CHILD => Role::Child,
        _ => Role::Any,
    };
    Some(Op::Fault {
        rule: rule as u32,
        call: Call::of_class(class & 0xff)?,
        path: path.to_vec(),
        role,
        outcome,
    })
}
