//! What can be wrong with a file, each with one clear sentence.

use super::frame::Kind;
use std::path::PathBuf;

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The file does not begin as Unplug's files do.
    #[error("not an Unplug file: it begins with {found:?}, not with Unplug's magic")]
    Foreign {
        /// Its first bytes, escaped.
        found: String,
    },
    /// It is another kind of Unplug file.
    #[error("this is an Unplug {found}, not a {wanted}")]
    WrongKind {
        /// What it is.
        found: Kind,
        /// What was wanted.
        wanted: Kind,
    },
    /// A later version of Unplug wrote it.
    #[error("format {found} is newer than format {known}, the newest that this version of Unplug reads{by}")]
    Newer {
        /// The file's format.
        found: u16,
        /// The newest format that is known.
        known: u16,
        /// ` (written by ...)`, or nothing where the header does not tell.
        by: String,
    },
    /// An earlier version of Unplug wrote it, in a format that is no longer read.
    #[error("format {found} is no longer read (this version of Unplug reads format {known}){by}")]
    Older {
        /// The file's format.
        found: u16,
        /// The format that is read.
        known: u16,
        /// ` (written by ...)`, or nothing where the header does not tell.
        by: String,
    },
    /// The end is missing.
    #[error("truncated: {have} bytes of {at_least}{want}")]
    Truncated {
        /// The file's length.
        have: u64,
        /// The length that it should have.
        want: u64,
        /// `at least `, where the header that tells the length is itself cut.
        at_least: &'static str,
    },
    /// Something stands behind the end.
    #[error("{extra} bytes stand behind the end (at byte {want})")]
    TooLong {
        /// How many bytes too many.
        extra: u64,
        /// Where the file should end.
        want: u64,
    },
    /// The bytes are not those that were written.
    #[error("damaged: the checksum of the {part} is wrong (computed {computed:016x}, stored {stored:016x})")]
    Checksum {
        /// `header` or `file`.
        part: &'static str,
        /// The checksum of the bytes that are there.
        computed: u64,
        /// The checksum that stands in the file.
        stored: u64,
    },
    /// Checksums are right and the content still makes no sense: a bug of the writer.
    #[error("the content cannot be decoded although its checksum is right: {0}")]
    Body(postcard::Error),
    /// The value cannot be encoded.
    #[error("the content cannot be encoded: {0}")]
    Encode(postcard::Error),
    /// The operating system's word.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Its error.
        source: std::io::Error,
    },
    /// Any of the above, with the file's name.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<CodecError>,
    },
}

impl CodecError {
    /// The error with the file's name in front.
    pub(super) fn of(self, path: &std::path::Path) -> CodecError {
        CodecError::File { path: path.to_owned(), source: Box::new(self) }
    }

    /// The error without the file's name.
    pub fn cause(&self) -> &CodecError {
        match self {
            CodecError::File { source, .. } => source.cause(),
            other => other,
        }
    }
}
