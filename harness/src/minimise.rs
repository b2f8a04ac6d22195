//! Making a violation small before it is shown: the fewest deviations, the fewest operations.

mod local;

pub use local::{Scope, local_minimum, odd_effects};

use crate::workload::{Step, Workload};
use std::collections::HashSet;

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
}
