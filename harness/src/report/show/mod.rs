//! `unplug show`: a trace as lines that a person can follow.

mod line;
mod print;

pub use line::{Describe, Line, Mark, Plain, line, sync_name};
pub use print::{json, text};
