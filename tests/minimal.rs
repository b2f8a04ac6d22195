//! Whether a case that was made small is as small as it can be.
#![allow(dead_code, unreachable_pub)]

use std::path::Path;
use unplug::history::History;
use unplug::judge::{Judge, JudgeOptions};
use unplug::minimise::odd_effects;
use unplug::oracle::RespOracle;
use unplug::pool::Pool;
use unplug::repro::Repro;
use unplug::target::Target;
use unplug::target::policy::Policy;
use unplug::target::resp::RespTarget;
use unplug::worker::{Limits, Workers};
use unplug_faults::effect::{Effects, Outcome};
use unplug_faults::state::Space;

/// A state next to a repro's, at the same crash point, in which one effect more is whole, or one is simply missing
/// that was torn, and which breaks the contract in the same way. Worked out from the model's rules and the repro alone.
pub fn simpler(repro: &Repro, program: &Path, sabotage: Option<&str>) -> Option<String> {
    let effects = Effects::of(&repro.trace);
    let point = repro.violation.crash_point;
    let model = unplug_faults::model::by_name(&repro.model).expect("a model");
    let space = Space::new(&repro.trace, &effects, model, &[]).within(point..=point);
    let odd = odd_effects(&space, &repro.state, point);
    let mut near = Vec::new();
    for (id, outcome) in &odd {
        for weaker in [Outcome::Whole, Outcome::Absent].into_iter().filter(|w| w != outcome) {
            near.extend(space.varied(&repro.state, &[(*id, weaker)]).map(|state| (*id, weaker, state)));
        }
    }
    near.retain(|(_, weaker, state)| {
        let left = odd_effects(&space, state, point).len();
        left < odd.len() || *weaker == Outcome::Absent && left == odd.len()
    });
    let history = History::of(&repro.trace);
    let options = JudgeOptions::at(repro.now_ms);
    let judge = Judge::new(&history, repro.contract.clone(), Box::new(RespOracle::new()), options);
    let judge = judge.expect("a history that was judged before");
    let worker = || {
        // As the run's own workers are started; only the bug is this one's.
        let target = RespTarget::engine(program, Policy::of(&repro.contract));
        let mut command = target.worker(&repro.contract);
        command.env_remove("UNPLUG_SABOTAGE");
        command.envs(sabotage.map(|name| ("UNPLUG_SABOTAGE", name)));
        command
    };
    let mut pool = Workers::start(1, Limits::default(), worker).expect("a worker");
    for (id, weaker, state) in near {
        pool.submit(0, space.shared_image(&state), repro.now_ms).expect("a worker");
        let (_, lives) = pool.next().expect("a result");
        let same = judge.check(point, point, &lives).is_some_and(|v| v.class == repro.violation.class);
        if same {
            return Some(format!("with effect {} {weaker:?} it is the same: {:?}", id.0, repro.state));
        }
    }
    None
}
