//! Making a violation small before it is shown: the fewest deviations, the fewest operations.

use crate::cluster::Case;
use crate::workload::{Step, Workload};
use std::collections::HashSet;
use unplug_faults::state::CrashState;

/// How many rounds of simpler states are tried.
const ROUNDS: usize = 16;
/// How many simpler states of one round are tried.
const TRIES: usize = 64;

/// Replaces a case by simpler ones of the same class for as long as there are any.
///
/// `simpler` gives legal states with fewer deviations; `judge` recovers some of them and says, in their order,
/// which violate. An error of `judge` ends the search with what was found until then.
pub fn fewest_deviations<E>(
    mut case: Case,
    mut simpler: impl FnMut(&CrashState) -> Vec<CrashState>,
    mut judge: impl FnMut(&[CrashState]) -> Result<Vec<Option<Case>>, E>,
) -> Case {
    for _ in 0..ROUNDS {
        let mut candidates = simpler(&case.state);
        candidates.truncate(TRIES);
        if candidates.is_empty() {
            break;
        }
        let Ok(judged) = judge(&candidates) else { break };
        let same = |c: &Case| c.violation.class == case.violation.class;
        match judged.into_iter().flatten().find(same) {
            Some(found) if found.state != case.state => case = found,
            _ => break,
        }
    }
    case
}

/// Zeller's ddmin over the steps of a workload: the steps that are left all matter, within `tests` trials.
/// `fails` records and explores a workload again and says whether the same mechanism shows.
pub fn fewest_steps(workload: &Workload, tests: usize, mut fails: impl FnMut(&Workload) -> bool) -> Workload {
    let mut steps = workload.steps.clone();
    let mut tried: HashSet<Vec<u8>> = HashSet::new();
    let mut left = tests;
    let mut parts = 2;
    while steps.len() > 1 && left > 0 {
        let size = steps.len().div_ceil(parts);
        let mut shrunk = None;
        for start in (0..steps.len()).step_by(size) {
            let end = (start + size).min(steps.len());
            let rest: Vec<Step> = [&steps[..start], &steps[end..]].concat();
            let candidate = Workload { steps: rest, seed: workload.seed };
            // The same remainder comes up again at other grains.
            if !has_operation(&candidate)
                || !tried.insert(postcard::to_stdvec(&candidate).unwrap_or_default())
            {
                continue;
            }
            if left == 0 {
                break;
            }
            left -= 1;
            if fails(&candidate) {
                shrunk = Some(candidate.steps);
                break;
            }
        }
        match shrunk {
            Some(rest) => {
                steps = rest;
                parts = parts.saturating_sub(1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(steps.len()),
        }
    }
    Workload { steps, seed: workload.seed }
}

fn has_operation(workload: &Workload) -> bool {
    workload.steps.iter().any(|s| matches!(s, Step::Invoke { .. } | Step::Together(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Class, Violation};
    use unplug_faults::image::ImageHash;

    fn invoke(n: u8) -> Step {
        Step::Invoke { client: 0, op: vec![n] }
    }

    fn ids(w: &Workload) -> Vec<u8> {
        let id = |s: &Step| if let Step::Invoke { op, .. } = s { op[0] } else { 255 };
        w.steps.iter().map(id).collect()
    }

    #[test]
    fn steps_that_do_not_matter_go() {
        let workload = Workload { steps: (0..40).map(invoke).collect(), seed: 7 };
        let mut calls = 0;
        let small = fewest_steps(&workload, 500, |w| {
            calls += 1;
            [3, 17, 31].iter().all(|n| ids(w).contains(n))
        });
        assert_eq!(ids(&small), [3, 17, 31]);
        assert_eq!(small.seed, 7);
        assert!(calls < 200, "{calls}");
    }

    #[test]
    fn the_number_of_trials_is_kept() {
        let workload = Workload { steps: (0..40).map(invoke).collect(), seed: 7 };
        let mut calls = 0;
        let small = fewest_steps(&workload, 5, |w| {
            calls += 1;
            ids(w).contains(&3)
        });
        assert_eq!(calls, 5);
        assert!(ids(&small).contains(&3) && small.steps.len() < 40);
    }

    fn case(deviations: u8, class: Class) -> Case {
        let state = CrashState { case: 0, prefix: 9, except: vec![], deviations, first: 0, last: 9 };
        let violation = Violation {
            class,
            crash_point: 1,
            stricter_than_documented: false,
            operation: None,
            loss: None,
            explanation: String::new(),
        };
        Case { state, image: ImageHash(0), violation, order: 0 }
    }

    #[test]
    fn deviations_that_do_not_matter_go_and_the_class_stays() {
        let simpler = |s: &CrashState| {
            (0..s.deviations).map(|d| CrashState { deviations: d, ..s.clone() }).collect::<Vec<_>>()
        };
        // One deviation is needed; without any it is another class.
        let judge = |states: &[CrashState]| {
            let class = |d| if d == 0 { Class::AcknowledgedLoss } else { Class::Gap };
            Ok::<_, ()>(states.iter().map(|s| Some(case(s.deviations, class(s.deviations)))).collect())
        };
        assert_eq!(fewest_deviations(case(4, Class::Gap), simpler, judge).state.deviations, 1);
        let broken = |_: &[CrashState]| Err(());
        assert_eq!(fewest_deviations(case(4, Class::Gap), simpler, broken).state.deviations, 4);
    }
}
