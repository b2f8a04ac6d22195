//! The three lives of a target on one image, in their order.

use crate::dump::Dump;
use crate::recovery::{Lives, Outcome};
use crate::worker::serve::Unclear;
use crate::worker::sound::Spare;
use std::cell::Cell;

/// Which of the three lives.
#[derive(Clone, Copy)]
pub(crate) enum Part<'a> {
    /// Open, dump, be killed.
    Killed,
    /// Open, dump, write the probes, close.
    Probed,
    /// The first and the second in one, if opening has left the directory as it was: the second start would be the
    /// first again, by a process that knows nothing else. If not, only the first. It is asked with what is held.
    Both(&'a dyn Fn(&Dump) -> bool),
}

impl Part<'_> {
    /// Whether a life goes on with the probes when this was dumped.
    pub(crate) fn goes_on(self, held: &Dump) -> bool {
        match self {
            Part::Killed => false,
            Part::Probed => true,
            Part::Both(untouched) => untouched(held),
        }
    }
}

/// What one life came to, and what its probes added, if it wrote them.
pub(crate) type Lived = Result<(Outcome, Option<Dump>), Unclear>;

/// What is asked between an image's lives, so that none is lived that would be another again.
#[derive(Clone, Copy, Default)]
pub(crate) struct Between<'a> {
    /// Whether the directory stands as it was laid out.
    pub(crate) untouched: Option<&'a dyn Fn() -> bool>,
    /// Whether it is known how a target lives on.
    pub(crate) spare: Option<&'a Spare<'a>>,
}

/// The order of the lives, each only if the one before recovered. The third is killed as the first is. Crashes and
/// hangs convict only what is `alone`: there every life is one of its own. Says also whether the first went on as the
/// second, or would have, if that were not known.
pub(crate) fn three_lives(
    alone: bool,
    between: Between<'_>,
    mut live: impl FnMut(Part<'_>) -> Lived,
) -> Result<(Lives, bool), Unclear> {
    let mut live = |part: Part<'_>| match live(part)? {
        (Outcome::Crashed { .. } | Outcome::Hung { .. }, _) if !alone => Err(Unclear::Suspect),
        lived => Ok(lived),
    };
    let between = if alone { Between::default() } else { between };
    let (stood, known) = (Cell::new(false), Cell::new(false));
    let is_known = |held: &Dump| between.spare.is_some_and(|spare| spare.is_known(held));
    let goes_on = |held: &Dump| {
        stood.set(between.untouched.is_some_and(|untouched| untouched()));
        known.set(stood.get() && is_known(held));
        stood.get() && !known.get()
    };
    let part = if between.untouched.is_some() { Part::Both(&goes_on) } else { Part::Killed };
    let (first, probed) = live(part)?;
    let Outcome::Recovered(held) = &first else {
        return Ok((Lives { first, second: None, third: None, probes: Dump::default() }, false));
    };
    // A process that was not to go on may have written until it was killed: only then it is looked at what it has left.
    if known.get() || (!stood.get() && is_known(held)) {
        let lives = between.spare.map(|spare| spare.lives(held));
        return lives.map(|lives| (lives, known.get())).ok_or(Unclear::Suspect);
    }
    let merged = probed.is_some();
    let (second, probes) = match probed {
        Some(probes) => (first.clone(), Some(probes)),
        None => live(Part::Probed)?,
    };
    let third = match &second {
        Outcome::Recovered(_) => Some(live(Part::Killed)?.0),
        _ => None,
    };
    let lives = Lives { first, second: Some(second), third, probes: probes.unwrap_or_default() };
    if let Some(spare) = between.spare {
        spare.note(&lives);
    }
    Ok((lives, merged))
}
