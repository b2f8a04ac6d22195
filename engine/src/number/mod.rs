//! Numbers as text, in the forms that C's library reads and Redis prints.

mod double;
mod extended;

pub use double::{format_double, parse_bound, parse_double};
pub use extended::Extended;
