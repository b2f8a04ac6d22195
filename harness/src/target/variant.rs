//! Named configurations of the embedded engine: what differs from the default one, and what is done in the run.

use crate::target::options::ServerOption;
use crate::target::origin::{Origin, REDIS};
use crate::target::policy::Policy;
use crate::workload::Ending;
use crate::workload::phases::Course;

/// Options by name and value.
type Options = &'static [(&'static str, &'static str)];

/// A configuration with a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// The policies that it makes a difference to.
    pub policies: &'static [Policy],
    /// What is done in the run.
    pub course: Course,
    /// Commands of every type, and a large collection of each; else strings and lists alone.
    pub all_types: bool,
    /// What the run begins on, if not on an empty directory.
    pub origin: Option<&'static Origin>,
    set: Options,
    recover: Options,
    /// A part of what is written has no checksums: less is promised of it.
    unchecked: bool,
}

/// The policies with a log.
const LOGS: &[Policy] = &[Policy::Always, Policy::EverySec, Policy::No];

/// What everything but the default one begins with.
const PLAIN: Variant = Variant {
    name: DEFAULT,
    summary: "files and a manifest, bases as snapshots, checksums",
    policies: &Policy::ALL,
    course: Course::Usual,
    all_types: false,
    origin: None,
    set: &[],
    recover: &[],
    unchecked: false,
};

/// The name of the configuration that is run where none is named.
pub const DEFAULT: &str = "default";

const SINGLE: (&str, &str) = ("aof-layout", "single");
const MULTI: (&str, &str) = ("aof-layout", "multi");
const COMMANDS: (&str, &str) = ("aof-use-rdb-preamble", "no");

/// All of them, the default one first.
pub static VARIANTS: &[Variant] = &[
    PLAIN,
    Variant {
        name: "types",
        summary: "strings, lists, sets, hashes and sorted sets, one of each so large that its encoding changes",
        all_types: true,
        ..PLAIN
    },
    Variant {
        name: "types-plain",
        summary: "the same, with bases of commands",
        policies: LOGS,
        all_types: true,
        set: &[COMMANDS],
        ..PLAIN
    },
    Variant {
        name: "types-single",
        summary: "the same, in one file",
        policies: LOGS,
        all_types: true,
        set: &[SINGLE],
        ..PLAIN
    },
    Variant {
        name: "plain",
        summary: "bases are commands, as with aof-use-rdb-preamble no",
        policies: LOGS,
        set: &[COMMANDS],
        ..PLAIN
    },
    Variant {
        name: "single",
        summary: "one file, as Redis 6: its rewrite protocol, a snapshot in front",
        policies: LOGS,
        set: &[SINGLE],
        ..PLAIN
    },
    Variant {
        name: "single-plain",
        summary: "one file of commands alone",
        policies: LOGS,
        set: &[SINGLE, COMMANDS],
        ..PLAIN
    },
    Variant {
        name: "unchecked",
        summary: "no checksums: Redis's own bytes, which promise less after a power loss",
        policies: LOGS,
        set: &[("aof-checksum", "no")],
        unchecked: true,
        ..PLAIN
    },
    Variant {
        name: "idle-sync",
        summary: "no-appendfsync-on-rewrite: while a child runs, the promise of no",
        policies: &[Policy::Always, Policy::EverySec],
        set: &[("no-appendfsync-on-rewrite", "yes")],
        ..PLAIN
    },
    Variant {
        name: "auto-rewrite",
        summary: "the log is rewritten by itself as it grows",
        policies: LOGS,
        course: Course::Growing,
        set: &[("auto-aof-rewrite-percentage", "60"), ("auto-aof-rewrite-min-size", "600")],
        ..PLAIN
    },
    Variant {
        name: "save-points",
        summary: "snapshots are made by themselves, after a second with three changes",
        policies: &Policy::ALL,
        course: Course::SavePoints,
        set: &[("save", "1 3")],
        ..PLAIN
    },
    Variant {
        name: "timestamps",
        summary: "the log tells the time of its commands",
        policies: LOGS,
        set: &[("aof-timestamp-enabled", "yes")],
        ..PLAIN
    },
    Variant {
        name: "upgrade",
        summary: "written as one file, stopped, and started as a directory of files",
        policies: LOGS,
        course: Course::Restarted { how: Ending::Stop, set: &[MULTI] },
        set: &[SINGLE],
        recover: &[MULTI],
        ..PLAIN
    },
    Variant {
        name: "upgrade-undone",
        summary: "the same, but what is left is started as one file again",
        policies: LOGS,
        course: Course::Restarted { how: Ending::Stop, set: &[MULTI] },
        set: &[SINGLE],
        recover: &[SINGLE],
        ..PLAIN
    },
    Variant {
        name: "downgrade",
        summary: "written as a directory of files, killed, and started as one file",
        policies: LOGS,
        course: Course::Restarted { how: Ending::Kill, set: &[SINGLE] },
        set: &[MULTI],
        recover: &[SINGLE],
        ..PLAIN
    },
    Variant {
        name: "downgrade-undone",
        summary: "the same, but what is left is started as a directory of files again",
        policies: LOGS,
        course: Course::Restarted { how: Ending::Kill, set: &[SINGLE] },
        set: &[MULTI],
        recover: &[MULTI],
        ..PLAIN
    },
    Variant {
        name: "checksums-off",
        summary: "written with checksums, and from a start on without them",
        policies: LOGS,
        course: Course::Restarted { how: Ending::Stop, set: &[("aof-checksum", "no")] },
        set: &[("aof-checksum", "yes")],
        recover: &[("aof-checksum", "no")],
        unchecked: true,
        ..PLAIN
    },
    Variant {
        name: "checksums-on",
        summary: "written without checksums, and from a start on with them",
        policies: LOGS,
        course: Course::Restarted { how: Ending::Stop, set: &[("aof-checksum", "yes")] },
        set: &[("aof-checksum", "no")],
        recover: &[("aof-checksum", "yes")],
        unchecked: true,
        ..PLAIN
    },
    Variant {
        name: "log-from-snapshot",
        summary: "snapshots alone are written, and what is left is started with a log",
        policies: &[Policy::Snapshot],
        recover: &[("appendonly", "yes")],
        ..PLAIN
    },
    Variant {
        name: "switched",
        summary: "begins without a log, which CONFIG SET switches on, off, and on again",
        policies: LOGS,
        course: Course::Switched,
        set: &[("appendonly", "no")],
        recover: &[("appendonly", "yes")],
        ..PLAIN
    },
    Variant {
        name: "switched-single",
        summary: "the same, with one file",
        policies: LOGS,
        course: Course::Switched,
        set: &[("appendonly", "no"), SINGLE],
        recover: &[("appendonly", "yes")],
        ..PLAIN
    },
    Variant {
        name: "from-redis",
        summary: "begins on what a redis-server 7 has written",
        policies: &Policy::ALL,
        origin: Some(&REDIS),
        ..PLAIN
    },
    Variant {
        name: "from-redis-single",
        summary: "the same, and goes on as one file",
        policies: LOGS,
        origin: Some(&REDIS),
        set: &[SINGLE],
        ..PLAIN
    },
];

/// The models under which a log without checksums is what was written: in order.
const ORDERED: &[&str] = &["prefix", "ext4-journal"];

impl Variant {
    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Variant> {
        VARIANTS.iter().find(|v| v.name == name)
    }

    /// The one that is run where none is named.
    pub fn usual() -> &'static Variant {
        &VARIANTS[0]
    }

    /// Whether it is the one that is run where none is named.
    pub fn is_usual(&self) -> bool {
        self.name == DEFAULT
    }

    /// The options of the server that is recorded, besides the policy's.
    pub fn options(&self) -> Vec<ServerOption> {
        owned(self.set)
    }

    /// Options in which the server that recovers differs from it.
    pub fn recovery(&self) -> Vec<ServerOption> {
        owned(self.recover)
    }

    /// The only models under which anything is promised here; `None`: under all.
    ///
    /// The engine's documentation: without checksums "a power loss may bring back a value with zeros in it, or a log
    /// that is refused", as there is nothing that tells a page that was not written.
    pub fn documented(&self) -> Option<&'static [&'static str]> {
        self.unchecked.then_some(ORDERED)
    }

    /// Whether damage to files at rest is promised to be found. The engine's documentation: "where a checksum covers them".
    pub fn finds_damage(&self) -> bool {
        !self.unchecked
    }
}

fn owned(options: Options) -> Vec<ServerOption> {
    options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::options::{engine_config, join};

    #[test]
    fn each_is_a_configuration_that_the_engine_takes_under_its_own_name() {
        for (index, variant) in VARIANTS.iter().enumerate() {
            assert!(VARIANTS[..index].iter().all(|v| v.name != variant.name), "{}", variant.name);
            assert_eq!(Variant::named(variant.name), Some(variant));
            for policy in variant.policies {
                let usual = engine_config(*policy, &[]).unwrap();
                let recorded = engine_config(*policy, &variant.options()).unwrap();
                let recovering =
                    engine_config(*policy, &join(&variant.options(), &variant.recovery())).unwrap();
                let differs = recorded != usual || recovering != usual;
                let differs = differs
                    || variant.is_usual()
                    || variant.course != Course::Usual
                    || variant.all_types
                    || variant.origin.is_some();
                assert!(differs, "{}", variant.name);
                for name in variant.documented().unwrap_or_default() {
                    assert!(unplug_faults::model::by_name(name).is_some(), "{name}");
                }
            }
        }
        assert!(Variant::usual().is_usual());
    }
}
