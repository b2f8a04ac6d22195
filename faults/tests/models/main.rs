//! The models of file systems against what their sources say and what real kernels showed, drawn by hand; and the
//! table of them in the documentation.

#![allow(unreachable_pub, missing_docs)]

mod aftermath;
mod docs;
mod features;
mod litmus;
mod nest;
#[path = "../states/script.rs"]
#[allow(dead_code)]
mod script;
mod syncs;
mod workloads;
