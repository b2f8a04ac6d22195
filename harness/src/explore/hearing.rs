//! What is worked out of a run before any model of the disk comes into it.

use super::search::Search;
use crate::contract::Contract;
use crate::history::History;
use crate::judge::{Judge, JudgeOptions};
use unplug_faults::effect::Orders;
use unplug_faults::trace::Blind;

/// A run as it is judged, whatever the disk does: what clients saw, in which orders the target's calls may have taken
/// effect, and what is allowed when. Models that explore one run share it: to follow all that was promised takes longer
/// than a small exploration.
pub struct Hearing {
    pub(super) history: History,
    pub(super) orders: Orders,
    pub(super) judge: Result<Judge, Blind>,
    /// Of which run this is: how many events it has, and by what it is judged.
    of: (usize, Contract),
}

impl Hearing {
    /// Of the run of a search, for that run, target and contract under any model.
    pub fn of(search: &Search<'_>) -> Hearing {
        let trace = search.trace;
        let history = History::of(trace);
        let options = JudgeOptions::at(history.recovery_ms(trace.meta.virtual_time));
        let judge = Judge::new(&history, search.contract.clone(), search.target.oracle(), options);
        let of = (trace.events.len(), search.contract.clone());
        Hearing { history, orders: Orders::of(trace), judge, of }
    }

    /// The judge, where everything could be followed; else each reason why not.
    ///
    /// # Errors
    /// What the recorder or the judge could not follow: nothing of the run can be measured then.
    ///
    /// # Panics
    /// If this is of another run than the search, by its length and contract.
    pub(super) fn sound(&self, search: &Search<'_>) -> Result<&Judge, Vec<Blind>> {
        let asked = (search.trace.events.len(), &search.contract);
        assert_eq!((self.of.0, &self.of.1), asked, "judged as another run than the one that is explored");
        let reasons = search.trace.blind.iter().chain(&self.orders.blind).chain(self.judge.as_ref().err());
        let reasons: Vec<Blind> = reasons.cloned().collect();
        match &self.judge {
            Ok(judge) if reasons.is_empty() => Ok(judge),
            _ => Err(reasons),
        }
    }
}
