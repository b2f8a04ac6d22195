//! Crash states: which outcomes the disk may hold, at which crash points, in a canonical order.
//!
//! **Crash points** are moments between two ticks of the trace's clock: *crash point t* is the moment just after
//! tick t. A call whose begin is at most t may have had its effects; a sync whose end is at most t has forced
//! what it covers. Nothing changes at other ticks, so the distinct crash points are the begins and ends of
//! events, and the moment before them all.
//!
//! **Distinct sets** (what is counted as *legal states*): functions from effects to outcomes that some crash
//! point allows. A set is legal from the issue of its latest effect until just before the first sync ends that
//! forces something which is not whole in it; it must be closed under its model's edges. **Pairs**: a set and
//! one of the crash points at which it is legal.
//!
//! **Deviations.** Every set is a prefix of the effects with some of them lost (or odd) before the prefix's end
//! and some early behind it, and what follows from these by the model's edges. Its number of deviations is the
//! least number of such choices. A prefix whose very last effect is torn with its first sectors written
//! counts as none: that is a write cut short in order. An effect counts as early only where nothing between the
//! prefix and it had been forced when it was issued; other sets are longer prefixes with something lost.
//!
//! **What is old.** Where a state shows what stood in a new block before ([`Outcome::Stale`](crate::effect::Outcome)), that
//! is about half the time a page that the trace itself had set free, durably, before the block was written to; else rubbish.
//! Which it is belongs to the effect and not to the state, so there are no more states for it. [`Assumption::NoOldPages`]
//! has rubbish always.
//!
//! **Order.** Where the budget does not allow every state, a quarter of it goes to whole calls first, lost or early,
//! wholly or in part, as far as the levels that fit do not give them in any case. The states with no deviation come next,
//! then those with one, and so on up to the plan's bound, each by prefix. What is left is walked by its latest effect,
//! each state once and none in vain: all of it where the budget allows, else a share of each place of the trace. So a
//! budget is always spent whole or every legal state is given; a level too large for the budget is sampled with half of
//! it first.

#[cfg(test)]
mod brute;
mod calls;
mod choice;
mod cursor;
mod hasher;
mod leftover;
mod level;
mod order;
mod rest;
mod sample;
mod space;
mod states;
mod strata;
mod stratum;
mod types;
mod vary;
mod work;

pub use hasher::Hasher;
pub use space::Space;
pub use states::States;
pub use types::{Assumption, CrashState, Plan};
