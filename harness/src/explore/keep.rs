//! What is kept of a finding: its repro.

use super::search::Search;
use crate::cell::Story;
use crate::history::Phase;
use crate::judge::First;
use crate::repro::{Allowed, Repro, cut};
use crate::story::Subject;
use unplug_faults::image::Image;

/// The repro of one violating state.
pub(super) fn repro_of(
    search: &Search<'_>,
    subject: &Subject<'_>,
    phase: &Phase,
    mechanism: &str,
    image: Image,
    story: &Story,
) -> Repro {
    let judge = subject.judge;
    let (allowed, _) = judge.allowed_at(subject.violation.crash_point, usize::MAX);
    let with_dump = |(i, a): (usize, crate::judge::AllowedState)| Allowed {
        label: a.label,
        digest: a.digest,
        // Whole contents of many states would make a repro as large as the run.
        dump: (i < 4).then(|| judge.dump_of(a.digest)).flatten(),
    };
    Repro {
        trace: cut(subject.trace, subject.violation.crash_point),
        worker: search.worker_arguments(),
        contract: search.contract.clone(),
        model: search.model.name().to_string(),
        phase: phase.name.clone(),
        image,
        state: subject.state.clone(),
        now_ms: judge.now_ms(),
        mechanism: mechanism.to_string(),
        violation: subject.violation.clone(),
        recovered: match &subject.seen.first {
            First::Holds(digest) => Some(*digest),
            First::Broke(..) => None,
        },
        allowed: allowed.into_iter().enumerate().map(with_dump).collect(),
        story: story.clone(),
        between: Vec::new(),
    }
}
