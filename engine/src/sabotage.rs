//! Bugs that are built in on purpose, to see whether Unplug finds them.
//!
//! This module exists only in a build with `--cfg unplug_sabotage` (see `tests/sabotage.rs`); in every other
//! build `sabotaged!` is the constant `false`, and what it guards is not compiled into the program.

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

/// The environment variable that names the bugs, with commas between them; without it there is none.
pub const VARIABLE: &str = "UNPLUG_SABOTAGE";

/// Every bug, so that a misspelt name is not taken for a bug that nobody finds.
pub const NAMES: [&str; 43] = [
    // Writing.
    "reply-before-fdatasync",
    "no-directory-sync-after-rename",
    "no-directory-sync-before-rename",
    "rename-before-fsync",
    "history-deleted-first",
    "incr-left-unsynced",
    "everysec-syncs-the-old-file",
    "base-forked-late",
    "transaction-split",
    "bgsave-shown-at-once",
    "suspended-stays-unsynced",
    "postponed-without-end",
    "stop-does-not-wait",
    "switched-on-with-old-base",
    // Of one type or command, in a snapshot.
    "expiry-of-collections-not-saved",
    "score-rounded",
    "last-field-not-saved",
    // Of one type or command, in the log.
    "spop-logged-as-itself",
    "smove-logged-by-half",
    "keepttl-not-logged",
    "expire-logged-as-itself",
    "zadd-incr-logged-as-zadd",
    // Calls that fail.
    "failed-fsync-ignored",
    "fsync-tried-again",
    "short-write-taken-whole",
    "full-disk-acknowledged",
    "failed-write-answered",
    "failed-child-installed",
    "failed-rename-ignored",
    "second-name-removed-unsynced",
    "slow-client-answered-early",
    "transaction-forgotten",
    // Recovery.
    "checksum-skipped",
    "tail-not-cut",
    "bad-batch-skipped",
    "unsealed-batch-applied",
    "history-loaded",
    "incr-ignored",
    "torn-tail-refused",
    "torn-tail-panics",
    "torn-tail-loops",
    "log-rewritten-to-cut",
    "resumed-log-unsynced",
];

/// Some client did not take all that was sent to it: of `slow-client-answered-early`.
pub static SLOW: AtomicBool = AtomicBool::new(false);

/// The log was there when the engine started: of `resumed-log-unsynced`.
pub static RESUMED: AtomicBool = AtomicBool::new(false);

/// Whether the bug `name` is asked for.
pub fn on(name: &str) -> bool {
    static ASKED: OnceLock<Vec<String>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        let asked = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty());
        // Several, to see whether they are told apart.
        let asked: Vec<String> = asked.iter().flat_map(|all| all.split(',')).map(str::to_owned).collect();
        if let Some(unknown) = asked.iter().find(|asked| !NAMES.contains(&asked.as_str())) {
            eprintln!("{VARIABLE}: no sabotage is called '{unknown}'");
            std::process::exit(2);
        }
        asked
    });
    debug_assert!(NAMES.contains(&name), "{name} is not listed");
    asked.iter().any(|asked| asked == name)
}
