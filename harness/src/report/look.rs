//! With colour or without.

use std::fmt;

/// How a report looks: the same words with and without colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Whether escape sequences may be written.
    pub colour: bool,
}

impl Look {
    /// A thing in a style of [`console`], or plain.
    pub fn paint(self, what: impl fmt::Display, style: fn(console::Style) -> console::Style) -> String {
        let style = style(console::Style::new().force_styling(self.colour));
        style.apply_to(what).to_string()
    }
}
