//! Every process killed at any moment: no power fails, so what calls had done is there.

use super::recording::record;
use super::runs::Runs;
use super::sweep::{KILL, Sweep};
use super::tally::Tally;
use super::trim::whole;
use crate::cell::{CellResult, Teeth};
use crate::contract::Contract;
use crate::explore::{Hearing, Memo, Search, TeethCheck, explore_last};
use crate::history::{SUSPENDED, WHILE_A_CHILD_RUNS};
use crate::pool::Pool;
use crate::target::resp_stop::Stop;
use crate::teeth;
use crate::workload::Step;
use unplug_faults::model::Killed;
use unplug_faults::plan::Plan as FaultPlan;
use unplug_faults::state::Plan;
use unplug_faults::trace::{Blind, Trace};

/// As long as Redis and the engine let a write wait for a sync that runs under everysec.
const POSTPONED: u64 = 2_000_000_000;
/// How long syncs take in the runs that keep writes waiting, in nanoseconds: shorter and longer than a write waits.
const SLOW: [u64; 2] = [1_500_000_000, 2_500_000_000];

/// What a policy promises for the end of the server alone: the page cache outlives it, so what was written before a
/// reply is kept without any sync. Snapshots are as old as ever.
pub(super) fn after_kill(contract: &Contract) -> Contract {
    match contract {
        Contract::Always | Contract::No => Contract::Always,
        Contract::EverySec { .. } | Contract::Written { .. } => Contract::Written { postponed: POSTPONED },
        Contract::Snapshot => Contract::Snapshot,
    }
}

/// What is killed besides the run itself, and what is promised for that.
pub(crate) struct Kills {
    /// What is promised for the end of the target alone.
    pub(crate) contract: Contract,
    /// Further runs without faults, each with what is special in it.
    pub(crate) runs: Vec<(String, Result<Trace, String>)>,
}

/// Kills the target at every crash point of a run, and of the further ones.
pub(crate) fn killed(runs: &Runs<'_>, kills: &Kills, trace: &Trace, pool: &mut dyn Pool) -> CellResult {
    let mut explore = |trace: &Trace, memo: &mut Memo, budget: u64, repro_dir| {
        let mut trace = whole(trace);
        if trace.meta.options.get(SUSPENDED).is_some_and(|when| when == WHILE_A_CHILD_RUNS) {
            // What was written is there, synced or not. (Where there was no log, nothing was written.)
            trace.meta.options.remove(SUSPENDED);
        }
        let search = Search {
            trace: &trace,
            target: runs.subject.target(),
            contract: kills.contract.clone(),
            model: &Killed,
            plan: Plan { bound: 1, budget, seed: trace.meta.seed },
            assume: &[],
            repro_dir,
        };
        explore_last(
            &search,
            &Hearing::of(&search),
            memo,
            pool,
            &mut |_| {},
            runs.cancel,
            TeethCheck::Skipped,
        )
    };
    let mut tally = Tally::new(&runs.subject.title(), runs.subject.policy(), KILL, "kill", trace.meta.seed);
    let budget = runs.budget.saturating_mul(KILL_SHARE);
    let mut memo = Memo::new();
    let add = |tally: &mut Tally, cell: Option<CellResult>, how: &str| {
        let Some(cell) = cell else { return };
        // Each state that was tried is the end of one kill.
        tally.count.planned += cell.states_checked;
        tally.count.fired += cell.states_checked;
        tally.add(cell, how);
    };
    add(&mut tally, explore(trace, &mut memo, budget, runs.repro_dir), "kill -9");
    for (how, run) in &kills.runs {
        match run {
            // Its clock stands elsewhere at the end: another run's recoveries say nothing of it.
            Ok(trace) => add(&mut tally, explore(trace, &mut Memo::new(), budget, runs.repro_dir), how),
            Err(why) => tally.blind(Blind { what: "recording".to_owned(), detail: format!("{why} ({how})") }),
        }
    }
    // Syncs are nothing to a kill: what must be seen here is a call that was never made.
    let sabotage = || teeth::WRITE_DELETED.to_owned();
    for sabotaged in teeth::delete_a_write(&whole(trace), 0, u64::MAX) {
        let Some(cell) = explore(&sabotaged, &mut memo, budget, None) else { continue };
        if let Some(found) = cell.findings.first() {
            tally.teeth(Teeth::Bit { sabotage: sabotage(), class: found.violation.class });
            break;
        }
        if !cell.not_measured.is_empty() {
            // Broken off: nothing is known of the harness.
            cell.not_measured.into_iter().for_each(|blind| tally.blind(blind));
            break;
        }
        tally.teeth(Teeth::Blunt { sabotage: sabotage() });
    }
    tally.cell()
}

/// Runs in which syncs take time, where the policy has writes wait for them. A real server's would take real time, too.
pub(super) fn slow(sweep: &Sweep<'_>) -> Vec<(String, Result<Trace, String>)> {
    let waits = matches!(sweep.contract, Contract::EverySec { .. });
    let durations = if waits && sweep.target.is_repeatable() { &SLOW[..] } else { &[] };
    // Appends alone: what syncs in the thread that serves clients has everything else wait, the timer too.
    let mut phases = 0;
    let mut workload = sweep.workload.clone();
    workload.steps.retain(|step| {
        phases += u32::from(matches!(step, Step::Phase(_)));
        phases <= 1
    });
    let run = |nanos: &u64| {
        let mut target = sweep.target.clone();
        target.conditions.sync_nanos = *nanos;
        let run = record(&target, &FaultPlan::default(), &workload, Stop::Kill);
        let how = format!("kill -9, syncs of {} ms", nanos / 1_000_000);
        let trace = run.map_err(|e| e.to_string()).and_then(|(survived, _)| match survived.ended {
            Some(end) => Err(end.to_string()),
            None => Ok(survived.trace),
        });
        (how, trace)
    };
    durations.iter().map(run).collect()
}

/// How many times the states of one faulted run are tried: every crash point of the whole run has some.
const KILL_SHARE: u64 = 16;
