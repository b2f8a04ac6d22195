//! Fault plans: what is done to a target's calls while it runs, and to its files while it rests.
//!
//! A plan is a list of rules, one a line:
//!
//! ```text
//! # CALL[,CALL]  GLOB        OUTCOME  [nth=N | nth=N..M | nth=all]  [in=main | in=child]
//! fdatasync      *incr*      EIO      nth=3
//! write          *incr*      short=5
//! write          *           full=65536 until=3
//! rename         *manifest   kill     in=main
//! fork           *           EAGAIN
//! ```
//!
//! The shim applies it, deterministically: a rule counts the calls that match its call, its path and its process, and
//! fires at the occurrences that it names. What fired stands in the trace, as [`Op::Fault`](crate::event::Op::Fault).
//! What follows from it by the kernel's rules does not: a sync that fails is told to others who have the file open, as
//! [`Op::ToldAgain`](crate::event::Op::ToldAgain), of which no rule knows.

mod call;
mod damage;
mod layout;
mod outcome;
mod parse;
mod rule;

pub use call::{Call, UnknownCall};
pub use damage::{Damage, image_of};
pub(crate) use layout::told;
pub use outcome::Outcome;
pub use parse::PlanError;
pub use rule::{Fired, Nth, Plan, Role, Rule};
