//! Crash states against rules written down by hand, and against a slow checker.

#![allow(unreachable_pub, missing_docs)]

mod cases;
mod counts;
mod figures;
mod images;
mod laid_out;
mod mutations;
mod old_pages;
mod overlaps;
mod real_files;
// Shared with the tests of the models, which use the rest of it.
#[allow(dead_code)]
mod script;
mod slow;
mod syncs;
mod whole_calls;
