//! What keeps a run from being recorded.
/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RecordError(pub String);
