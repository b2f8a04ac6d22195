//! Crash states against rules written down by hand, and against a slow checker.

mod cases;
mod counts;
mod images;
mod laid_out;
mod script;
mod slow;
mod syncs;
