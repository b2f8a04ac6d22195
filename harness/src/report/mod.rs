//! Reports print what is known and decide nothing: verdicts, classes and counts come in finished.

pub mod grade;
#[cfg(feature = "cli")]
pub mod json;
#[cfg(feature = "cli")]
mod look;
pub mod number;
#[cfg(feature = "cli")]
pub mod show;
#[cfg(feature = "cli")]
pub mod story;
#[cfg(feature = "cli")]
pub mod summary;
#[cfg(feature = "cli")]
pub mod table;
#[cfg(feature = "cli")]
pub mod text;

#[cfg(feature = "cli")]
pub use look::Look;
