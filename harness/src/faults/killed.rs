//! Every process killed at any moment: no power fails, so what calls had done is there.

use super::sweep::{KILL, Sweep};
use super::tally::Tally;
use super::trim::whole;
use crate::cell::{CellResult, FaultCount, Teeth};
use crate::contract::Contract;
use crate::explore::{Memo, Search, explore_last};
use crate::history::{SUSPENDED, WHILE_A_SYNC_RUNS};
use crate::pool::Pool;
use crate::teeth;
use unplug_faults::model::Killed;
use unplug_faults::state::Plan;
use unplug_faults::trace::Trace;

/// What a policy promises for the end of the server alone: the page cache outlives it, so what was written before a
/// reply is kept without any sync. Under everysec a write waits while a thread syncs. Snapshots are as old as ever.
fn promise(trace: &mut Trace, contract: &Contract) -> Contract {
    // What was written is there, synced or not.
    trace.meta.options.remove(SUSPENDED);
    match contract {
        Contract::Always | Contract::No => Contract::Always,
        Contract::EverySec { .. } => {
            trace.meta.options.insert(SUSPENDED.to_owned(), WHILE_A_SYNC_RUNS.to_owned());
            Contract::Always
        }
        Contract::Snapshot => Contract::Snapshot,
    }
}

/// Kills the target at every crash point of a run.
pub(super) fn killed(sweep: &Sweep<'_>, trace: &Trace, pool: &mut dyn Pool) -> CellResult {
    let mut trace = whole(trace);
    let contract = promise(&mut trace, &sweep.contract);
    let mut memo = Memo::new();
    let mut explore = |trace: &Trace, budget: u64, repro_dir| {
        let search = Search {
            trace,
            target: sweep.target,
            contract: contract.clone(),
            model: &Killed,
            plan: Plan { bound: 1, budget, seed: trace.meta.seed },
            assume: &[],
            repro_dir,
        };
        explore_last(&search, &mut memo, pool, &mut |_| {}, sweep.cancel, false)
    };
    let mut tally = Tally::new(&sweep.target.title(), sweep.target.policy, KILL, "kill", trace.meta.seed);
    let budget = sweep.budget.saturating_mul(KILL_SHARE);
    if let Some(cell) = explore(&trace, budget, sweep.repro_dir) {
        // Each state that was tried is the end of one kill.
        tally.count = FaultCount { planned: cell.states_checked, fired: cell.states_checked };
        tally.add(cell, "kill -9");
    }
    // Syncs are nothing to a kill: what must be seen here is a call that was never made.
    let sabotage = teeth::WRITE_DELETED.to_owned();
    let found = teeth::delete_middle_write(&trace, 0, u64::MAX)
        .and_then(|sabotaged| explore(&sabotaged, budget, None))
        .and_then(|cell| cell.findings.first().map(|f| f.violation.class));
    tally.teeth(match found {
        Some(class) => Teeth::Bit { sabotage, class },
        None => Teeth::Blunt { sabotage },
    });
    tally.cell()
}

/// How many times the states of one faulted run are tried: every crash point of the whole run has some.
const KILL_SHARE: u64 = 16;
