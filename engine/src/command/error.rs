//! Error replies, in Redis's words.

use std::borrow::Cow;

/// An error reply, with its code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", String::from_utf8_lossy(.0))]
pub struct CommandError(pub Cow<'static, [u8]>);

impl CommandError {
    /// A fixed text.
    pub const fn fixed(text: &'static str) -> CommandError {
        CommandError(Cow::Borrowed(text.as_bytes()))
    }

    /// A text made for this reply.
    pub fn text(text: String) -> CommandError {
        CommandError::bytes(text.into_bytes())
    }

    /// The same, with bytes in it that a client has sent.
    pub fn bytes(text: Vec<u8>) -> CommandError {
        CommandError(Cow::Owned(text))
    }

    /// The wrong number of arguments.
    pub fn arity(command: &str) -> CommandError {
        CommandError::text(format!("ERR wrong number of arguments for '{command}' command"))
    }

    /// An expiry that is not positive or does not fit.
    pub fn expire_time(command: &str) -> CommandError {
        CommandError::text(format!("ERR invalid expire time in '{command}' command"))
    }

    /// A text with what a client has sent in the middle, byte for byte.
    pub fn quoting(before: &str, sent: &[u8], after: &str) -> CommandError {
        CommandError::bytes([before.as_bytes(), printed(sent), after.as_bytes()].concat())
    }

    /// A container command with a subcommand that it does not have.
    pub fn subcommand(command: &str, subcommand: &[u8]) -> CommandError {
        let sent = &subcommand[..subcommand.len().min(128)];
        CommandError::quoting("ERR unknown subcommand '", sent, &format!("'. Try {command} HELP."))
    }
}

/// As Redis prints with %s: a NUL byte ends it.
pub(super) fn printed(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
    &text[..end]
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub(super) const $name: CommandError = CommandError::fixed($text);)*
    };
}

errors! {
    /// The key holds another type.
    WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value";
    /// Not a 64-bit integer.
    NOT_INTEGER = "ERR value is not an integer or out of range";
    /// Not a float.
    NOT_FLOAT = "ERR value is not a valid float";
    /// Options that do not belong together, or are unknown.
    SYNTAX = "ERR syntax error";
    /// The key must exist.
    NO_KEY = "ERR no such key";
    /// No such element.
    INDEX_RANGE = "ERR index out of range";
    /// A count that must not be negative.
    NOT_POSITIVE = "ERR value is out of range, must be positive";
    /// No such database.
    DB_RANGE = "ERR DB index is out of range";
    /// A counter past 64 bits.
    COUNTER_OVERFLOW = "ERR increment or decrement would overflow";
    /// A string past the protocol's limit.
    TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    /// Source and destination are one key.
    SAME_OBJECT = "ERR source and destination objects are the same";
}
