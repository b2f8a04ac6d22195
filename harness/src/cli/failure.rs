//! Why a command could not do its work: one clear sentence, and what to do.

use crate::verdict::ExitCode;

/// Why a command could not do its work. Each kind has its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Asked for something that cannot be: nothing was run.
    #[error("{message}\n  {hint}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The target could not be run or observed.
    #[error("not measured: {0}")]
    NotMeasured(String),
    /// Unplug itself failed.
    #[error("harness broken: {0}")]
    Broken(String),
}

impl Failure {
    /// A usage error.
    pub fn usage(message: String, hint: String) -> Failure {
        Failure::Usage { message, hint }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Usage { .. } => ExitCode::Usage,
            Failure::NotMeasured(_) => ExitCode::NotMeasured,
            Failure::Broken(_) => ExitCode::HarnessBroken,
        }
    }
}
