//! Repro files: one violation whole. They need neither the trace nor the commit that they came from.

use crate::cell::Story;
use crate::contract::Contract;
use crate::dump::{Digest, Dump};
use crate::history::History;
use crate::judge::{First, Judge, JudgeOptions, Seen};
use crate::pool::{Pool, PoolError};
use crate::recovery::Lives;
use crate::target::Oracle;
use crate::verdict::{Class, Violation};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use unplug_faults::codec::{self, CodecError, Kind};
use unplug_faults::image::Image;
use unplug_faults::state::CrashState;
use unplug_faults::trace::Trace;

/// The model of repros whose image was damaged while nothing ran: see [`crate::faults`].
pub const AT_REST: &str = "at rest";

/// A state that was allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// What it is, for a person.
    pub label: String,
    /// Its identity at [`Repro::now_ms`].
    pub digest: Digest,
    /// Its content, for the first few.
    pub dump: Option<Dump>,
}

/// One violation, self-contained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repro {
    /// The run, cut after the crash: base image, effects, history, options.
    pub trace: Trace,
    /// The arguments of the worker that recovered it (its program is the reader's own).
    pub worker: Vec<String>,
    /// The contract.
    pub contract: Contract,
    /// The model under which the state is legal.
    pub model: String,
    /// The phase.
    pub phase: String,
    /// The crash state.
    pub state: CrashState,
    /// The state laid out.
    pub image: Image,
    /// The instant of recovery, in milliseconds since 1970.
    pub now_ms: u64,
    /// The mechanism.
    pub mechanism: String,
    /// The violation that was found.
    pub violation: Violation,
    /// The identity of what came back, where something did.
    pub recovered: Option<Digest>,
    /// Every state that was allowed at the crash.
    pub allowed: Vec<Allowed>,
    /// The story.
    pub story: Story,
    /// Where power was lost during recovery: each recovery in between, in their order. [`Repro::state`] is then the
    /// state in which the first of them began, and [`Repro::image`] what the last of them left. In files of format 1
    /// this is missing.
    #[serde(skip)]
    pub between: Vec<Between>,
}

/// A recovery during which power was lost again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Between {
    /// What it did, from the image it began with, cut after the crash.
    pub trace: Trace,
    /// What of this was on the disk then.
    pub state: CrashState,
}

/// What recovering a repro's image gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The same violation.
    Same,
    /// Another violation.
    Other {
        /// What it is now.
        class: Class,
        /// How it shows.
        explanation: String,
    },
    /// The contract is kept now.
    Kept,
}

impl Repro {
    /// The file's name: it depends on the content alone.
    pub fn file_name(&self) -> Result<String, CodecError> {
        let hash = xxhash_rust::xxh3::xxh3_128(&codec::encode(Kind::Repro, &(self, &self.between))?);
        let class = serde_json::to_value(self.violation.class).ok();
        let class = class.as_ref().and_then(|v| v.as_str()).unwrap_or("violation").to_string();
        Ok(format!("{class}-{:012x}.repro", hash >> 80))
    }

    /// Writes the repro into a directory, whole or not at all, and says under which path.
    ///
    /// # Errors
    /// [`CodecError`], with the path.
    pub fn save(&self, dir: &Path) -> Result<PathBuf, CodecError> {
        let path = dir.join(self.file_name()?);
        codec::write_file(Kind::Repro, &path, &(self, &self.between))?;
        Ok(path)
    }

    /// Reads a repro.
    ///
    /// # Errors
    /// [`CodecError`]: a torn, damaged, foreign or newer file, each told apart.
    pub fn load(path: &Path) -> Result<Repro, CodecError> {
        codec::read_file_with(Kind::Repro, path, |format, body| match format {
            1 => postcard::from_bytes(body),
            _ => postcard::from_bytes(body).map(|(repro, between)| Repro { between, ..repro }),
        })
    }

    /// What `lives` are, held against this repro.
    pub fn compare(&self, lives: &Lives) -> Replayed {
        self.compare_seen(Seen::of(lives, self.now_ms))
    }

    fn compare_seen(&self, seen: Seen) -> Replayed {
        let is_allowed = |digest| self.allowed.iter().any(|a| a.digest == digest);
        let other = |class, explanation: &str| {
            if class == self.violation.class {
                Replayed::Same
            } else {
                Replayed::Other { class, explanation: explanation.to_string() }
            }
        };
        match &seen.first {
            // Damage that is noticed is no corruption.
            First::Broke(Class::RefusesToOpen, _) if self.model == AT_REST => Replayed::Kept,
            First::Broke(class, message) => other(*class, message),
            First::Holds(_) if seen.readings().any(is_allowed) => {
                seen.across.map_or(Replayed::Kept, |(class, text)| other(class, &text))
            }
            First::Holds(digest) if self.recovered == Some(*digest) => Replayed::Same,
            First::Holds(_) => Replayed::Other {
                class: Class::SilentCorruption,
                explanation: "a state came back that is neither allowed nor the one that was found"
                    .to_string(),
            },
        }
    }
}

/// Recovers a repro's image once more and compares.
///
/// # Errors
/// [`PoolError`]: the image could not be recovered.
pub fn replay(repro: &Repro, pool: &mut dyn Pool) -> Result<Replayed, PoolError> {
    pool.submit(0, (&repro.image).into(), repro.now_ms)?;
    let (_, lives) = pool.next()?;
    Ok(repro.compare(&lives))
}

/// As [`replay`], of a target that works out deadlines while the run's virtual time goes on: see [`Judge::sum_up`].
///
/// # Errors
/// [`PoolError`]: the image could not be recovered.
pub fn replay_settled(
    repro: &Repro,
    oracle: Box<dyn Oracle>,
    pool: &mut dyn Pool,
) -> Result<Replayed, PoolError> {
    pool.submit(0, (&repro.image).into(), repro.now_ms)?;
    let (_, mut lives) = pool.next()?;
    let (history, options) = (History::of(&repro.trace), JudgeOptions::at(repro.now_ms));
    // A history that can be judged no more is compared as it is.
    let judge = Judge::new(&history, repro.contract.clone(), oracle, options);
    Ok(repro.compare_seen(match judge {
        Ok(judge) => judge.sum_up(&mut lives),
        Err(_) => Seen::of(&lives, repro.now_ms),
    }))
}

/// The run up to a crash point: what the crash could not have known is left out.
pub fn cut(trace: &Trace, point: unplug_faults::event::Clock) -> Trace {
    let mut cut = trace.clone();
    cut.events.retain(|e| e.begin <= point);
    cut
}
