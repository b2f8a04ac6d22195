//! Persistence policies of a Redis-compatible server: the options that make one, the promise that it gives.

use crate::contract::Contract;
use serde::{Deserialize, Serialize};

/// How a server keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Append-only file, synced before a reply leaves.
    Always,
    /// Append-only file, synced once a second.
    EverySec,
    /// Append-only file, synced when the kernel likes.
    No,
    /// Snapshots only.
    Snapshot,
}

/// One second, the window that appendfsync everysec documents.
const SECOND: u64 = 1_000_000_000;

impl Policy {
    /// All of them, in the order of reports.
    pub const ALL: [Policy; 4] = [Policy::Always, Policy::EverySec, Policy::No, Policy::Snapshot];

    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Always => "always",
            Policy::EverySec => "everysec",
            Policy::No => "no",
            Policy::Snapshot => "snapshot",
        }
    }

    /// What the policy promises, as documented.
    pub fn contract(self) -> Contract {
        match self {
            Policy::Always => Contract::Always,
            Policy::EverySec => Contract::EverySec { window: SECOND },
            Policy::No => Contract::No,
            Policy::Snapshot => Contract::Snapshot,
        }
    }

    /// The policy whose promise this is.
    pub fn of(contract: &Contract) -> Policy {
        match contract {
            Contract::Always => Policy::Always,
            Contract::EverySec { .. } | Contract::Written { .. } => Policy::EverySec,
            Contract::No => Policy::No,
            Contract::Snapshot => Policy::Snapshot,
        }
    }

    /// Whether there is an append-only file.
    pub fn appends(self) -> bool {
        self != Policy::Snapshot
    }

    /// The server's options. Rewrites and saves happen when the workload asks for them, never by themselves:
    /// a save point would put snapshots where no client knows of them.
    pub fn options(self) -> Vec<(&'static str, &'static str)> {
        let appendonly = if self.appends() { "yes" } else { "no" };
        let mut options =
            vec![("appendonly", appendonly), ("save", ""), ("auto-aof-rewrite-percentage", "0")];
        if self.appends() {
            options.push(("appendfsync", self.name()));
        }
        options
    }
}

impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no policy's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no policy: there are always, everysec, no, snapshot")]
pub struct UnknownPolicy(String);

impl std::str::FromStr for Policy {
    type Err = UnknownPolicy;
    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        Policy::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_contracts_lead_back() {
        for policy in Policy::ALL {
            assert_eq!(policy.name().parse(), Ok(policy));
            assert_eq!(Policy::of(&policy.contract()), policy);
            assert_eq!(policy.options().iter().any(|(name, _)| *name == "appendfsync"), policy.appends());
        }
        assert!("sometimes".parse::<Policy>().unwrap_err().to_string().contains("everysec"));
    }
}
