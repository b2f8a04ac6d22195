//! The same commands give the same replies and the same data as on redis-server, and after a restart still.

// A failure in a helper is the test's.
#![allow(clippy::unwrap_used)]

#[path = "server_differential/blocking.rs"]
mod blocking;
#[path = "server_differential/commands.rs"]
mod commands;
#[path = "server_differential/compare.rs"]
mod compare;
#[path = "server_differential/directed.rs"]
mod directed;
#[path = "server_differential/logged.rs"]
mod logged;
mod server_support;
#[path = "server_differential/templates.rs"]
mod templates;

use commands::command;
use compare::Pair;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use server_support::Running;
use std::cell::RefCell;
use unplug_engine::resp::Reply;

/// Cases on one log, before the engine is restarted on it.
const CASES_PER_LOG: u32 = 40;

const OPTIONS: [&str; 6] = ["--save", "", "--appendonly", "yes", "--appendfsync", "no"];

fn digest(server: &Running) -> Reply {
    let digest = server.connect().call("DEBUG DIGEST");
    assert!(matches!(&digest, Reply::Simple(text) if text.len() == 40), "{digest:?}");
    digest
}

/// An engine that logs, and how many cases its log holds.
struct Logged {
    dir: tempfile::TempDir,
    server: Option<Running>,
    cases: u32,
}

impl Logged {
    fn start() -> Logged {
        let dir = tempfile::tempdir().unwrap();
        let server = Some(Running::engine(dir.path(), &OPTIONS));
        Logged { dir, server, cases: 0 }
    }

    fn server(&self) -> &Running {
        self.server.as_ref().unwrap()
    }

    /// What the log rebuilds is what is there; now and then by another process.
    fn replayed(&mut self) -> Result<(), TestCaseError> {
        let before = digest(self.server());
        self.cases += 1;
        if self.cases.is_multiple_of(CASES_PER_LOG) {
            // Killed; what was written is the kernel's.
            drop(self.server.take());
            let by_redis = directed::read_by_redis(self.dir.path());
            prop_assert_eq!(by_redis.as_ref(), Some(&before), "Redis loads the engine's log");
            self.server = Some(Running::engine(self.dir.path(), &OPTIONS));
            prop_assert_eq!(&digest(self.server()), &before, "a restart changes nothing");
            *self = Logged::start();
        } else {
            prop_assert_eq!(self.server().connect().call("DEBUG LOADAOF"), Reply::Simple("OK".into()));
            prop_assert_eq!(&digest(self.server()), &before, "the log rebuilds what is there");
        }
        Ok(())
    }
}

#[test]
fn random_commands_get_the_replies_of_redis() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = Running::redis(dir.path(), &[]) else { return };
    let engine = RefCell::new(Logged::start());
    let cases = std::env::var("UNPLUG_CASES").ok().and_then(|c| c.parse().ok()).unwrap_or(300);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let run = runner.run(&prop::collection::vec(command(), 1..80), |commands| {
        let mut pair = Pair::new(engine.borrow().server(), &redis);
        for command in &commands {
            pair.step(command)?;
        }
        prop_assert_eq!(digest(engine.borrow().server()), digest(&redis), "left our data, right Redis's");
        pair.forms()?;
        engine.borrow_mut().replayed()?;
        // Where that has started another engine, nobody is connected to it.
        if engine.borrow().cases > 0 { pair.forms_reloaded() } else { Ok(()) }
    });
    if let Err(error) = run {
        panic!("{error}");
    }
}
