//! Files damaged after a clean stop: what comes back must be an error, or the content as it was.

use super::sweep::{REST, Sweep, SweepError};
use super::tails::{Tail, tails};
use super::tally::Tally;
use crate::cell::{CellResult, FaultCount, Finding, Story, Teeth};
use crate::dump::{Digest, Dump};
use crate::history::History;
use crate::judge::{FOREIGN, First, Judge, JudgeOptions, Seen};
use crate::pool::{Pool, PoolError, first_job};
use crate::recovery::{Lives, Outcome};
use crate::repro::{AT_REST, Allowed, Repro};
use crate::target::Target;
use crate::verdict::{Class, Violation};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Instant;
use unplug_faults::image::Image;
use unplug_faults::plan::Damage;
use unplug_faults::state::CrashState;
use unplug_faults::trace::{Blind, Trace};

/// How one damaged image is judged.
struct Bench<'a> {
    sweep: &'a Sweep<'a>,
    trace: &'a Trace,
    judge: Judge,
    /// What the undamaged files hold.
    whole: Digest,
    tails: BTreeMap<Vec<u8>, Tail>,
}

/// What became of damage that broke nothing.
#[derive(Default)]
struct Harmless {
    /// The content is as it was.
    same: u64,
    /// The start was refused.
    refused: u64,
    /// In the unsealed tail: cut back to what a power loss may leave.
    cut: u64,
}

/// Damages the files that a run has left, in every way of [`Damage::of`], and starts the target on each.
pub(super) fn at_rest(
    sweep: &Sweep<'_>,
    trace: &Trace,
    image: &Image,
    pool: &mut dyn Pool,
) -> Result<CellResult, SweepError> {
    let since = Instant::now();
    let mut tally = Tally::new(&sweep.target.title(), sweep.target.policy, REST, AT_REST, trace.meta.seed);
    let history = History::of(trace);
    tally.of_run(history.operations.len() as u64, trace.events.len() as u64);
    let options = JudgeOptions::at(history.recovery_ms(trace.meta.virtual_time));
    let blind: Vec<Blind> = trace.blind.clone();
    let judge = match Judge::new(&history, sweep.contract.clone(), sweep.target.oracle(), options) {
        Ok(judge) if blind.is_empty() => judge,
        Ok(_) => return Ok(unmeasured(tally, blind)),
        Err(why) => return Ok(unmeasured(tally, vec![why])),
    };
    let mut first = recover(pool, vec![image.clone()], judge.now_ms(), sweep)?;
    let mut summed = first.first_mut().map(|lives| (judge.sum_up(lives), lives.first.clone()));
    let Some((seen, Outcome::Recovered(dump))) = summed.take() else {
        let detail = "the target does not start on what its own clean stop has left".to_owned();
        return Ok(unmeasured(tally, vec![Blind { what: "the undamaged files".to_owned(), detail }]));
    };
    let whole = dump.digest(judge.now_ms());
    // A clean stop loses nothing; if it did, damage could not be told from that.
    if let Some(violation) = judge.check_seen(history.end, history.end, &seen, Some(&dump)) {
        let detail = format!("a clean stop has lost something: {}", violation.explanation);
        return Ok(unmeasured(tally, vec![Blind { what: "the undamaged files".to_owned(), detail }]));
    }
    let bench = Bench { sweep, trace, judge, whole, tails: tails(trace) };
    let damages: Vec<(Damage, Image)> = Damage::of(image, trace.meta.seed, sweep.rest_each())
        .into_iter()
        .filter_map(|d| d.apply(image).map(|i| (d, i)))
        .collect();
    if damages.is_empty() {
        let detail = "a clean stop has left no file with anything in it".to_owned();
        return Ok(unmeasured(tally, vec![Blind { what: "nothing to damage".to_owned(), detail }]));
    }
    tally.count = FaultCount { planned: damages.len() as u64, fired: 0 };
    let images = damages.iter().map(|(_, image)| image.clone()).collect();
    let mut harmless = Harmless::default();
    let lives = recover(pool, images, bench.judge.now_ms(), sweep)?;
    for ((damage, image), lives) in damages.iter().zip(&lives) {
        tally.count.fired += 1;
        if let Some(violation) = bench.verdict(damage, lives, &mut harmless) {
            let finding = bench.finding(damage, image, lives, violation, &mut tally);
            tally.found(finding);
        }
    }
    tally.looked_at(lives.len() as u64, since);
    tally.teeth(bench.teeth(&dump));
    sweep.note(&format!(
        "{}: {} damaged images: {} refused, {} as before, {} cut back in the unsealed tail",
        sweep.target.policy, tally.count.fired, harmless.refused, harmless.same, harmless.cut
    ));
    Ok(tally.cell())
}

fn unmeasured(mut tally: Tally, blind: Vec<Blind>) -> CellResult {
    blind.into_iter().for_each(|b| tally.blind(b));
    tally.cell()
}

/// The file and what was done to it: findings are told apart by it.
fn damage_kind(damage: &Damage) -> String {
    let path = String::from_utf8_lossy(damage.places().first().map_or(&b""[..], |p| p.0)).into_owned();
    let kind = match damage {
        Damage::Flip { .. } => "a flipped bit",
        Damage::Zero { .. } => "zeros",
        Damage::Misdirected { .. } => "a misdirected block",
    };
    format!("{kind} in {path}")
}

/// Recovers images; results in their order.
fn recover(
    pool: &mut dyn Pool,
    images: Vec<Image>,
    now_ms: u64,
    sweep: &Sweep<'_>,
) -> Result<Vec<Lives>, PoolError> {
    let mut done: BTreeMap<u64, Lives> = BTreeMap::new();
    let (count, first) = (images.len(), first_job());
    let take = |pool: &mut dyn Pool, done: &mut BTreeMap<u64, Lives>| {
        let (job, lives) = pool.next()?;
        // What was broken off before has other numbers.
        if job >= first {
            done.insert(job, lives);
            sweep.advance(1);
        }
        Ok::<_, PoolError>(())
    };
    for (job, image) in (first..).zip(images) {
        if sweep.cancel.load(Ordering::Relaxed) {
            return Err(PoolError::Interrupted);
        }
        while pool.in_flight() >= pool.capacity().max(1) {
            take(pool, &mut done)?;
        }
        pool.submit(job, (&image).into(), now_ms)?;
    }
    while done.len() < count {
        take(pool, &mut done)?;
    }
    Ok(done.into_values().collect())
}

impl Bench<'_> {
    fn verdict(&self, damage: &Damage, lives: &Lives, harmless: &mut Harmless) -> Option<Violation> {
        let mut lives = lives.clone();
        let seen = self.judge.sum_up(&mut lives);
        let dump = match &lives.first {
            Outcome::Recovered(dump) => Some(dump),
            _ => None,
        };
        self.weigh(damage, &seen, dump, harmless)
    }

    fn weigh(
        &self,
        damage: &Damage,
        seen: &Seen,
        dump: Option<&Dump>,
        harmless: &mut Harmless,
    ) -> Option<Violation> {
        let end = self.judge.history().end;
        match &seen.first {
            First::Broke(Class::RefusesToOpen, _) => {
                harmless.refused += 1;
                None
            }
            First::Broke(class, message) => Some(self.violation(*class, format!("{damage}: {message}"))),
            First::Holds(_) if seen.readings().any(|digest| digest == self.whole) => match &seen.across {
                Some((_, text)) => Some(self.violation(
                    Class::SilentCorruption,
                    format!("{damage}: nothing shows at first, then {text}"),
                )),
                None => {
                    harmless.same += 1;
                    None
                }
            },
            First::Holds(_) if self.is_legal_crash(damage, seen, dump) => {
                harmless.cut += 1;
                None
            }
            First::Holds(_) => {
                let how = self.judge.check_seen(end, end, seen, dump);
                let how = how.map_or_else(|| "an older state came back".to_owned(), |v| v.explanation);
                Some(self.violation(Class::SilentCorruption, format!("{damage}, and no error: {how}")))
            }
        }
    }

    /// Whether all of the damage lies in unsealed tails, and what came back is what a power loss may leave.
    fn is_legal_crash(&self, damage: &Damage, seen: &Seen, dump: Option<&Dump>) -> bool {
        let tail =
            |(path, at, _): (&[u8], u64, u64)| self.tails.get(path).filter(|t| at >= t.from).map(|t| t.since);
        let Some(since) = damage.places().into_iter().map(tail).collect::<Option<Vec<_>>>() else {
            return false;
        };
        let (first, end) = (since.into_iter().max().unwrap_or(0), self.judge.history().end);
        // At some crash point, not at each: the files are those of one moment.
        let mut point = first;
        loop {
            if self.judge.check_seen(point, point, seen, dump).is_none() {
                return true;
            }
            let acked = self.judge.history().operations.iter().filter_map(|o| o.acked);
            match acked.filter(|acked| *acked > point).min() {
                Some(next) if next <= end => point = next,
                _ => return false,
            }
        }
    }

    fn violation(&self, class: Class, explanation: String) -> Violation {
        Violation::of(class, self.judge.history().end, explanation)
    }

    /// What must be seen: content that nobody wrote, from a block that nothing vouches for.
    fn teeth(&self, dump: &Dump) -> Teeth {
        let mut foreign = dump.clone();
        let entry = crate::dump::Entry { value: b"1".to_vec(), expires_at_ms: None };
        foreign.0.insert(b"unplug: nobody wrote this".to_vec(), entry);
        let first = First::Holds(foreign.digest(self.judge.now_ms()));
        let seen = Seen { first, others: Vec::new(), across: None, complete: true };
        let place = self.tails.iter().next();
        let (path, at) = place.map_or((Vec::new(), 0), |(path, tail)| (path.clone(), tail.from));
        let damage = Damage::Flip { path, at, bit: 0 };
        let sabotage = FOREIGN.to_owned();
        match self.weigh(&damage, &seen, Some(&foreign), &mut Harmless::default()) {
            Some(violation) => Teeth::Bit { sabotage, class: violation.class },
            None => Teeth::Blunt { sabotage },
        }
    }

    fn finding(
        &self,
        damage: &Damage,
        image: &Image,
        lives: &Lives,
        violation: Violation,
        tally: &mut Tally,
    ) -> Finding {
        let mechanism = violation_mechanism(damage, &violation);
        let story = Story {
            acknowledged: vec![format!(
                "{} operations, then a clean stop",
                self.judge.history().operations.len()
            )],
            disk: vec![damage.to_string()],
            recovered: vec![violation.explanation.clone()],
            allowed: vec!["an error, or the content as it was".to_owned()],
            gap: None,
        };
        let repro = self.repro(image, lives, &mechanism, &violation, &story);
        let repro = self.sweep.repro_dir.and_then(|dir| {
            let note = |e: unplug_faults::codec::CodecError| Blind {
                what: "a repro file".into(),
                detail: e.to_string(),
            };
            repro.save(dir).map_err(|e| tally.blind(note(e))).ok()
        });
        Finding { violation, states: 1, mechanism, also: BTreeSet::new(), story, repro }
    }

    fn repro(
        &self,
        image: &Image,
        lives: &Lives,
        mechanism: &str,
        violation: &Violation,
        story: &Story,
    ) -> Repro {
        let command = self.sweep.target.worker(&self.sweep.contract);
        let recovered = match &lives.first {
            Outcome::Recovered(dump) => Some(dump.digest(self.judge.now_ms())),
            _ => None,
        };
        let end = self.judge.history().end;
        let state = CrashState {
            case: 0,
            prefix: u32::MAX,
            except: Vec::new(),
            deviations: 0,
            first: end,
            last: end,
        };
        let allowed = Allowed {
            label: "as it was".to_owned(),
            digest: self.whole,
            dump: self.judge.dump_of(self.whole),
        };
        Repro {
            trace: self.trace.clone(),
            worker: command.get_args().map(|a| a.to_string_lossy().into_owned()).collect(),
            contract: self.sweep.contract.clone(),
            model: AT_REST.to_owned(),
            phase: REST.to_owned(),
            image: image.clone(),
            state,
            now_ms: self.judge.now_ms(),
            mechanism: mechanism.to_owned(),
            violation: violation.clone(),
            recovered,
            allowed: vec![allowed],
            story: story.clone(),
            between: Vec::new(),
        }
    }
}

fn violation_mechanism(damage: &Damage, violation: &Violation) -> String {
    let class = serde_json::to_value(violation.class).ok();
    let class = class.as_ref().and_then(|v| v.as_str()).unwrap_or("violation").to_owned();
    format!("{class} after {}", damage_kind(damage))
}
