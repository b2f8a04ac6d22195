//! What can go wrong between the gate and the system.

/// The gate itself failed; the run is of no use.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The shared area could not be made or mapped.
    #[error("cannot map the gate's shared area: {0}")]
    Map(#[source] std::io::Error),
    /// A system call that watches the target failed.
    #[error("cannot watch process {pid} of the target: {source}")]
    Watch {
        /// The process.
        pid: u32,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A rule names a call that is not known.
    #[error("a rule names the call {0:?}, which is not one that the recorder sees")]
    UnknownCall(String),
    /// A run took more steps than its limit.
    #[error("the target did not come to rest within {0} steps")]
    Restless(u64),
}
