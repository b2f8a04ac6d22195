//! The three lives of a target on one image, in their order.

use crate::dump::Dump;
use crate::recovery::{Lives, Outcome};
use crate::worker::serve::Unclear;

/// Which of the three lives.
#[derive(Clone, Copy)]
pub(crate) enum Part<'a> {
    /// Open, dump, be killed.
    Killed,
    /// Open, dump, write the probes, close.
    Probed,
    /// The first and the second in one, if opening has left the directory as it was: the second start would be the
    /// first again, by a process that knows nothing else. If not, only the first.
    Both(&'a dyn Fn() -> bool),
}

impl Part<'_> {
    /// Whether a life goes on with the probes when it has been dumped.
    pub(crate) fn goes_on(self) -> bool {
        match self {
            Part::Killed => false,
            Part::Probed => true,
            Part::Both(untouched) => untouched(),
        }
    }
}

/// What one life came to, and what its probes added, if it wrote them.
pub(crate) type Lived = Result<(Outcome, Option<Dump>), Unclear>;

/// The order of the lives, each only if the one before recovered. The third is killed as the first is. Crashes and
/// hangs convict only what is `alone`. Says also whether the first went on as the second.
pub(crate) fn three_lives(
    alone: bool,
    untouched: Option<&dyn Fn() -> bool>,
    mut live: impl FnMut(Part<'_>) -> Lived,
) -> Result<(Lives, bool), Unclear> {
    let mut live = |part: Part<'_>| match live(part)? {
        (Outcome::Crashed { .. } | Outcome::Hung { .. }, _) if !alone => Err(Unclear::Suspect),
        lived => Ok(lived),
    };
    let recovered = |o: &Outcome| matches!(o, Outcome::Recovered(_));
    // What is repeated alone convicts: there every life is one of its own.
    let untouched = untouched.filter(|_| !alone);
    let (first, probed) = live(untouched.map_or(Part::Killed, Part::Both))?;
    let merged = probed.is_some();
    let mut lives = Lives { first, second: None, third: None, probes: Dump::default() };
    if recovered(&lives.first) {
        let (second, probes) = match probed {
            Some(probes) => (lives.first.clone(), Some(probes)),
            None => live(Part::Probed)?,
        };
        let goes_on = recovered(&second);
        (lives.second, lives.probes) = (Some(second), probes.unwrap_or_default());
        if goes_on {
            lives.third = Some(live(Part::Killed)?.0);
        }
    }
    Ok((lives, merged))
}
