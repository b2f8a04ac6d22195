//! A disk in memory that writes down what it is told, and the crash images that follow from it.

mod crash;
mod fuse;
mod log;

pub use crash::{CrashImage, crash_images};
pub use fuse::{Served, serve};
pub use log::{BLOCK, Disk, Entry, Log};

pub(crate) use fuse::device_is_there;
