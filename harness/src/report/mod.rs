//! Reports print what is known and decide nothing: verdicts, classes and counts come in finished.

pub mod grade;
pub mod json;
mod look;
pub mod number;
pub mod show;
pub mod story;
pub mod summary;
pub mod table;
pub mod text;

pub use look::Look;
