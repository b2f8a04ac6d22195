//! Effects: the indivisible changes of the disk that a trace's events cause, and names for them.

mod derive;
mod kinds;
mod names;
mod orders;
mod returns;
mod shape;
mod unwritten;

pub use derive::Effects;
pub(crate) use kinds::ZEROS;
pub use kinds::{Back, Effect, EffectId, EffectKind, Meta, Outcome, PAGE, RETURNED, SECTOR};
pub use names::{Names, OldPage};
pub use orders::{MAX_ORDERS, Orders};
