//! Unions, intersections and differences of sorted sets.

use super::RespOracle;
use super::commands::{Call, Run};
use super::number::{double, integer};
use super::reply::{Reply, whole};
use super::sorted_sets::without_sign;
use super::typed::{Scores, Value, WrongType, store};

/// Runs ZUNIONSTORE and its kin; `None` if it is another command.
///
/// In which order more than two scores are added up is not documented: sums of several that are not exact may differ in
/// the last digit.
pub(super) fn run(o: &mut RespOracle, Call { name, args, at }: Call<'_>) -> Run {
    let ("ZUNIONSTORE" | "ZINTERSTORE" | "ZDIFFSTORE", [to, rest @ ..]) = (name, args) else { return None };
    let Some(plan) = Plan::of(rest, name == "ZDIFFSTORE") else { return Some(Ok(Reply::Error)) };
    Some(plan.result(o, name, at).map(|result| {
        let len = whole(result.len());
        store(o, to, result, at);
        len
    }))
}

/// The keys that the arguments name.
pub(super) fn keys<'a>(args: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let [to, count, rest @ ..] = args else { return Vec::new() };
    let count = integer(count).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    std::iter::once(*to).chain(rest.iter().take(count).copied()).collect()
}

#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

struct Plan<'a> {
    keys: &'a [&'a [u8]],
    weights: Vec<f64>,
    aggregate: Aggregate,
}

impl<'a> Plan<'a> {
    fn of(args: &'a [&'a [u8]], bare: bool) -> Option<Plan<'a>> {
        let [count, rest @ ..] = args else { return None };
        let count =
            integer(count).and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=rest.len()).contains(n))?;
        let (keys, mut rest) = rest.split_at(count);
        let (mut weights, mut aggregate) = (vec![1.0; count], Aggregate::Sum);
        while let [option, tail @ ..] = rest {
            rest = match option.to_ascii_uppercase().as_slice() {
                b"WEIGHTS" if !bare && tail.len() >= count => {
                    weights = tail[..count].iter().map(|w| double(w)).collect::<Option<_>>()?;
                    &tail[count..]
                }
                b"AGGREGATE" if !bare => {
                    let [how, tail @ ..] = tail else { return None };
                    aggregate = match how.to_ascii_uppercase().as_slice() {
                        b"SUM" => Aggregate::Sum,
                        b"MIN" => Aggregate::Min,
                        b"MAX" => Aggregate::Max,
                        _ => return None,
                    };
                    tail
                }
                _ => return None,
            };
        }
        Some(Plan { keys, weights, aggregate })
    }

    fn result(&self, o: &RespOracle, name: &str, at: u64) -> Result<Scores, WrongType> {
        let inputs = self.keys.iter().zip(&self.weights).map(|(key, weight)| weighted(o, key, *weight, at));
        let mut inputs = inputs.collect::<Result<Vec<Scores>, WrongType>>()?.into_iter();
        let first = inputs.next().unwrap_or_default();
        Ok(inputs.fold(first, |mut all, next| {
            match name {
                "ZDIFFSTORE" => all.retain(|member, _| !next.contains_key(member)),
                "ZINTERSTORE" => {
                    all.retain(|member, _| next.contains_key(member));
                    all.iter_mut().for_each(|(member, score)| *score = self.joined(*score, next[member]));
                }
                _ => {
                    for (member, score) in next {
                        let joined = all.get(&member).map_or(score, |old| self.joined(*old, score));
                        all.insert(member, joined);
                    }
                }
            }
            all
        }))
    }

    fn joined(&self, a: f64, b: f64) -> f64 {
        let joined = match self.aggregate {
            Aggregate::Sum => a + b,
            Aggregate::Min => a.min(b),
            Aggregate::Max => a.max(b),
        };
        // Infinities of both signs are taken to cancel out.
        without_sign(if joined.is_nan() { 0.0 } else { joined })
    }
}

/// A key's members with their scores, multiplied; a set's scores are 1.
fn weighted(o: &RespOracle, key: &[u8], weight: f64, at: u64) -> Result<Scores, WrongType> {
    let times = |score: f64| without_sign(if (score * weight).is_nan() { 0.0 } else { score * weight });
    match o.get(key, at).map(|slot| &slot.value) {
        None => Ok(Scores::new()),
        Some(Value::Set(set)) => Ok(set.iter().map(|member| (member.clone(), times(1.0))).collect()),
        Some(Value::Sorted(set)) => Ok(set.iter().map(|(m, score)| (m.clone(), times(*score))).collect()),
        Some(_) => Err(WrongType),
    }
}
