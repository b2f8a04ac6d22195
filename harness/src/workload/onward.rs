//! What a RESP server is told after a recovery that is recorded: each policy's promise is given, waited for, and given
//! again.

use crate::target::policy::Policy;
use crate::target::resp_op::RespOp;
use crate::workload::Step;

/// Longer than any window, in nanoseconds.
const WINDOW: u64 = 3_000_000_000;

/// Operations on keys of their own.
pub fn onward(policy: Policy) -> Vec<Step> {
    let run = |args: &[&str]| Step::Invoke { client: 0, op: RespOp::command(args).encode() };
    let kept = match policy {
        Policy::Always | Policy::No => None,
        Policy::EverySec => Some(Step::Advance { nanos: WINDOW }),
        Policy::Snapshot => Some(run(&["SAVE"])),
    };
    let mut steps = vec![
        Step::Phase("onward".into()),
        run(&["SET", "unplug:onward:s", "written after a recovery"]),
        run(&["INCR", "unplug:onward:n"]),
    ];
    steps.extend(kept.clone());
    steps.push(run(&["INCR", "unplug:onward:n"]));
    steps.push(run(&["RPUSH", "unplug:onward:l", "a", "b"]));
    steps.extend(kept);
    steps
}
