//! Single faults swept over the calls of a store's run.

use crate::cell::CellResult;
use crate::contract::Contract;
use crate::explore::Memo;
use crate::faults::{
    AskedError, Census, Group, Kills, Kind, Runs, Single, Subject, SweepError, Told, Wanted, full_disks,
    killed, singles,
};
use crate::pool::Pool;
use crate::record::RecordError;
use crate::target::Target;
use crate::target::policy::Policy;
use crate::target::resp_stop::Survived;
use crate::testing::error::CheckError;
use crate::testing::store::{Recorded, Store};
use crate::testing::target::{ENDED, StoreTarget, is_repeatable};
use crate::worker::scratch::Scratch;
use crate::workload::{Step, Workload};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;
use unplug_faults::event::{AllocateMode, Op};
use unplug_faults::model::Model;
use unplug_faults::plan::{Call, Plan};
use unplug_faults::state::Assumption;
use unplug_faults::trace::Trace;

/// A faulted run gets this part of the budget under each model: there are hundreds of them, and only what comes after
/// the fault is new.
const SHARE: u64 = 40;
/// Crash states that it gets at the least.
const LEAST: u64 = 16;

/// What can be swept over a store's calls, besides all of it.
const KINDS: &str = "EIO, ENOSPC, EDQUOT, EINTR, EAGAIN, EMFILE, ENOMEM, short, delay=TIME, full, kill";
/// Why a kill is swept only where everything acknowledged is promised.
const KILL_OF_OTHERS: &str =
    "what a store keeps that is killed without a power loss follows from Contract::Always alone";

/// Which faults a check asks for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    all: Wanted,
    /// Each word of the list, and what it means by itself; none where all was asked for.
    words: Vec<(String, Wanted)>,
}

impl FromStr for Asked {
    type Err = CheckError;

    fn from_str(text: &str) -> Result<Asked, CheckError> {
        if text == "all" {
            return Ok(Asked { all: wanted(text)?, words: Vec::new() });
        }
        let word = |word: &str| Ok((word.to_owned(), wanted(word)?));
        let words = text.split(',').map(word).collect::<Result<_, CheckError>>()?;
        Ok(Asked { all: wanted(text)?, words })
    }
}

/// What a word means, if it is something that is done to a store.
fn wanted(word: &str) -> Result<Wanted, CheckError> {
    let wanted: Wanted = word.parse().map_err(|e| match e {
        AskedError::Call { why, .. } => not_swept(word, &why),
        _ => not_swept(word, "there is no such fault"),
    })?;
    if word == "rest" {
        return Err(not_swept(word, "files at rest are damaged for servers alone"));
    }
    if wanted.calls().any(is_of_sockets) {
        return Err(not_swept(word, "a store's clients are no sockets"));
    }
    Ok(wanted)
}

fn not_swept(word: &str, why: &str) -> CheckError {
    CheckError::NotSwept { word: word.to_owned(), why: why.to_owned(), known: KINDS.to_owned() }
}

fn is_of_sockets(call: Call) -> bool {
    call.receives() || call.name() == "send"
}

/// A sweep over runs of a store.
pub(super) struct Sweep<'a, S> {
    pub(super) target: &'a StoreTarget<S>,
    pub(super) contract: &'a Contract,
    pub(super) models: &'a [&'static dyn Model],
    pub(super) assume: &'a [Assumption],
    /// Crash states of the run without faults, of each phase and model.
    pub(super) budget: u64,
    pub(super) repro_dir: Option<&'a Path>,
}

/// Runs without faults, from which a sweep is planned.
struct Bases<'w> {
    /// Of the check's own workload.
    base: Trace,
    census: Census,
    /// Reads happen where there is something to read: in a second life.
    reading: &'w Workload,
    reads: Census,
    /// Every call is tried, or one of each kind.
    every: bool,
}

impl<S: Store> Sweep<'_, S> {
    /// Sweeps over the runs of a workload that holds without faults, whose images the memo knows: a cell for each group of
    /// faults and each model, and what else is to be known.
    pub(super) fn over(
        &self,
        workload: &Workload,
        asked: &Asked,
        memo: &mut Memo,
        pool: &mut dyn Pool,
    ) -> Result<(Vec<CellResult>, Vec<String>), CheckError> {
        let kills = asked.all.has(None, Kind::Kill);
        let named = asked.words.iter().find(|(_, wanted)| wanted.has(None, Kind::Kill));
        let always = *self.contract == Contract::Always;
        if let Some((word, _)) = named.filter(|_| !always) {
            return Err(not_swept(word, KILL_OF_OTHERS));
        }
        let reading = second_life(workload, self.contract);
        let bases = self.bases(workload, &reading, asked)?;
        let empty =
            |wanted: &Wanted| !wanted.has(None, Kind::Kill) && bases.plan(wanted, workload).is_empty();
        let nothing: Vec<&str> =
            asked.words.iter().filter(|(_, wanted)| empty(wanted)).map(|(word, _)| word.as_str()).collect();
        if !nothing.is_empty() {
            return Err(CheckError::NothingToSweep { words: nothing.join("`, `") });
        }
        let notes = RefCell::new(Vec::new());
        let told = |what: Told<'_>| {
            if let Told::Note(text) = what {
                notes.borrow_mut().push(text.to_owned());
            }
        };
        let subject = Faulted { target: self.target, contract: self.contract, repeats: bases.every };
        let runs = Runs {
            subject: &subject,
            contract: self.contract.clone(),
            shown: &BTreeSet::new(),
            models: self.models,
            budget: (self.budget / SHARE).max(LEAST),
            assume: self.assume,
            repro_dir: self.repro_dir,
            keeps_traces: false,
            cancel: &AtomicBool::new(false),
            told: &told,
        };
        let planned = bases.plan(&asked.all, workload);
        let fills = planned.iter().any(|(single, _)| single.group == Group::Full);
        if asked.all.has(None, Kind::Full) && !fills {
            told(Told::Note("no disk was filled: no file grows by what is written to it"));
        }
        let mut cells = match planned.is_empty() {
            true => Vec::new(),
            false => runs.each(&planned, None, memo, pool).map_err(CheckError::Sweep)?,
        };
        if cells.is_empty() && !kills {
            // Each of them moves a single byte, or it would have been tried.
            return Err(CheckError::NothingToSweep { words: "short".to_owned() });
        }
        match kills {
            true if always => {
                let kills = Kills { contract: self.contract.clone(), runs: Vec::new() };
                cells.push(killed(&runs, &kills, &bases.base, pool));
            }
            true => told(Told::Note(&format!("no kills were swept: {KILL_OF_OTHERS}"))),
            false => {}
        }
        Ok((cells, notes.into_inner()))
    }

    fn bases<'w>(
        &self,
        workload: &Workload,
        reading: &'w Workload,
        asked: &Asked,
    ) -> Result<Bases<'w>, CheckError> {
        let base = self.census(workload, |call| !call.reads())?;
        let every = is_repeatable(&base);
        let census = Census::of(&base, every);
        let reads = match asked.all.names(Call::reads) {
            true => Census::of(&self.census(reading, Call::reads)?, every),
            false => Census::default(),
        };
        Ok(Bases { base, census, reading, reads, every })
    }

    /// A run in which the calls are told of that are meant.
    fn census(&self, workload: &Workload, means: impl Fn(Call) -> bool) -> Result<Trace, CheckError> {
        let plan = Plan::census_of(Call::all().filter(|call| means(*call) && !is_of_sockets(*call)));
        let subject = Faulted { target: self.target, contract: self.contract, repeats: false };
        let run = subject.run(&plan, workload).map_err(CheckError::Sweep)?;
        run.ended.map_or(Ok(run.trace), |error| Err(error.into()))
    }
}

impl<'w> Bases<'w> {
    /// Each fault, and what is run with it.
    fn plan(&self, wanted: &Wanted, workload: &'w Workload) -> Vec<(Single, &'w Workload)> {
        let own = singles(&self.census, wanted, self.every);
        let own = own.into_iter().chain(full_disks(grown(&self.base), wanted));
        let reads = match wanted.names(Call::reads) {
            true => singles(&self.reads, wanted, self.every),
            false => Vec::new(),
        };
        let reads = reads.into_iter().map(|single| (single, self.reading));
        own.map(|single| (single, workload)).chain(reads).collect()
    }
}

/// By how many bytes the files of a run grew, as a disk that fills counts it: what is overwritten has its blocks.
fn grown(trace: &Trace) -> u64 {
    let base = trace.base.iter().map(|node| (node.file, node.data.len() as u64));
    let (mut sizes, mut grown) = (base.collect::<BTreeMap<_, _>>(), 0);
    for event in trace.events.iter().filter(|event| event.errno == 0) {
        let (file, offset, len, extends) = match &event.op {
            Op::Write { file, offset, data, .. } => (file, *offset, data.len() as u64, true),
            Op::Allocate { file, mode, offset, len } => (file, *offset, *len, *mode == AllocateMode::Extend),
            Op::Truncate { file, size } => {
                sizes.insert(*file, *size);
                continue;
            }
            _ => continue,
        };
        let size = sizes.entry(*file).or_default();
        let end = offset.saturating_add(len);
        grown += end.saturating_sub(*size).min(len);
        *size = if extends { end.max(*size) } else { *size };
    }
    grown
}

/// The workload with a kill in its middle. A store that promises less than everything acknowledged may lose something by
/// that, and is not killed.
fn second_life(workload: &Workload, contract: &Contract) -> Workload {
    let mut out = workload.clone();
    if *contract == Contract::Always && !out.steps.contains(&Step::KillAndRestart) {
        out.steps.insert(out.steps.len() / 2, Step::KillAndRestart);
    }
    out
}

/// A store whose runs are faulted.
struct Faulted<'a, S> {
    target: &'a StoreTarget<S>,
    contract: &'a Contract,
    repeats: bool,
}

impl<S: Store> Subject for Faulted<'_, S> {
    fn target(&self) -> &dyn Target {
        self.target
    }

    fn title(&self) -> String {
        self.target.name()
    }

    fn policy(&self) -> Policy {
        Policy::of(self.contract)
    }

    fn repeats(&self) -> bool {
        self.repeats
    }

    fn run(&self, plan: &Plan, workload: &Workload) -> Result<Survived, SweepError> {
        let io = |error| SweepError::Io { what: "no directory to record in", error };
        let scratch = Scratch::new().map_err(io)?;
        let dir = scratch.path().join("store");
        std::fs::create_dir(&dir).map_err(io)?;
        let trace = self.target.under(plan.clone()).record(&dir, workload)?;
        let ended = trace.meta.options.get(ENDED);
        let ended = ended.map(|message| RecordError::Store { message: message.clone() });
        Ok(Survived { trace, ended })
    }

    fn make_plain(&self, trace: &mut Trace) {
        trace.meta.options.remove(ENDED);
        // Real time is another one in each run; only a window of loss is measured by it.
        let windowed = matches!(self.contract, Contract::EverySec { .. } | Contract::Written { .. });
        let timeless = !trace.meta.virtual_time && !windowed;
        if timeless {
            trace.meta.epoch_ms = 0;
        }
        for event in &mut trace.events {
            if timeless {
                event.at = 0;
            }
            if let Op::Reply { reply, .. } = &mut event.op
                && let Ok(Recorded::Error(_)) = postcard::from_bytes(reply)
            {
                // The text of an error says which one it was.
                reply.clear();
            }
        }
    }
}
