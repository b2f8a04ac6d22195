//! Recording of faulted runs: some are recorded while one before them is crashed.

use super::runs::Subject;
use super::single::Single;
use super::sweep::SweepError;
use crate::record::RecordError;
use crate::target::Target;
use crate::target::policy::Policy;
use crate::target::resp::RespTarget;
use crate::target::resp_stop::{Stop, Survived};
use crate::worker::scratch::Scratch;
use crate::workload::Workload;
use std::ops::ControlFlow;
use std::sync::mpsc;
use unplug_faults::event::Op;
use unplug_faults::image::Image;
use unplug_faults::plan::{Plan, image_of};
use unplug_faults::trace::Trace;

/// How often a run that got stuck is made again.
const ATTEMPTS: u32 = 2;

/// How many runs are recorded at the same time. A recording mostly waits, for the target's turn and its end.
const RECORDERS: usize = 2;

/// How many recorded runs of each recorder wait to be crashed at the most: a trace is some hundred kilobytes.
const AHEAD: usize = 2;

/// Records each plan's run, and gives the results to `each` in the order of the plans.
///
/// # Errors
/// What `each` says.
pub(super) fn ahead<'p, 'w>(
    subject: &dyn Subject,
    planned: &'p [(Single, &'w Workload)],
    mut each: impl FnMut(
        &'p (Single, &'w Workload),
        Result<Survived, SweepError>,
    ) -> Result<ControlFlow<()>, SweepError>,
) -> Result<(), SweepError> {
    std::thread::scope(|scope| {
        // They take turns, so that the order of the plans needs no sorting.
        let start = |recorder| {
            let (send, recorded) = mpsc::sync_channel(AHEAD);
            scope.spawn(move || {
                for (single, workload) in planned.iter().skip(recorder).step_by(RECORDERS) {
                    let run = subject.run(&single.plan, workload);
                    // Nobody listens any more: the sweep was ended.
                    if send.send(run).is_err() {
                        return;
                    }
                }
            });
            recorded
        };
        let recorders: Vec<_> = (0..RECORDERS).map(start).collect();
        for (plan, recorded) in planned.iter().zip(recorders.iter().cycle()) {
            // A recorder that is gone has panicked; the scope says so when it ends.
            let Ok(run) = recorded.recv() else { break };
            if each(plan, run)?.is_break() {
                break;
            }
        }
        Ok(())
    })
}

impl Subject for RespTarget {
    fn target(&self) -> &dyn Target {
        self
    }

    fn title(&self) -> String {
        RespTarget::title(self)
    }

    fn policy(&self) -> Policy {
        self.policy
    }

    fn repeats(&self) -> bool {
        self.is_repeatable()
    }

    fn run(&self, plan: &Plan, workload: &Workload) -> Result<Survived, SweepError> {
        record(self, plan, workload, Stop::Kill).map(|(survived, _)| survived)
    }

    /// The text of an error says which one it was; of what it means only the first word counts.
    fn make_plain(&self, trace: &mut Trace) {
        for event in &mut trace.events {
            if let Op::Reply { reply, .. } = &mut event.op
                && reply.starts_with(b"-")
            {
                let word = reply.iter().position(|b| *b == b' ').unwrap_or(reply.len());
                reply.truncate(word);
            }
        }
    }
}

/// Records one run under a plan, and what it left in its directory where it was stopped in order.
///
/// # Errors
/// What says nothing of the target.
pub(super) fn record(
    target: &RespTarget,
    plan: &Plan,
    workload: &Workload,
    stop: Stop,
) -> Result<(Survived, Image), SweepError> {
    let mut target = target.clone();
    target.conditions.faults.clone_from(plan);
    let mut again = ATTEMPTS;
    loop {
        let (survived, image) = record_once(&target, workload, stop)?;
        // What repeats is run again where it got stuck: on a busy machine the gate loses its patience, and a hang that
        // is the target's own comes again.
        let stuck = matches!(survived.ended, Some(RecordError::Stuck { .. } | RecordError::NotReady { .. }));
        if !stuck || again == 0 || !target.is_repeatable() {
            return Ok((survived, image));
        }
        again -= 1;
    }
}

fn record_once(
    target: &RespTarget,
    workload: &Workload,
    stop: Stop,
) -> Result<(Survived, Image), SweepError> {
    let io = |what| move |error| SweepError::Io { what, error };
    let dir = Scratch::new().map_err(io("no directory to record in"))?;
    let data = dir.path().join("data");
    std::fs::create_dir(&data).map_err(io("no directory to record in"))?;
    let mut survived = target.record_what_it_can(&data, workload, stop)?;
    target.conditions.note(&mut survived.trace);
    let image = match stop {
        Stop::Clean => image_of(&data, &target.conditions.ignore).map_err(io("the recorded directory"))?,
        Stop::Kill => Image::default(),
    };
    Ok((survived, image))
}
