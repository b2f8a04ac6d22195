//! Unions, intersections and differences of sorted sets, and of sets, whose members count as scored 1.

use super::basic::one_of;
use super::range::show_members;
use crate::command::args::{self, is};
use crate::command::context::Ctx;
use crate::command::error::{CommandError, NOT_INTEGER, SYNTAX, WRONG_TYPE};
use crate::keyspace::Value;
use crate::resp::Out;
use crate::value::{Score, Set, SortedSet};

type Done = Result<(), CommandError>;

/// What is done with the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// What becomes of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    Show,
    Store,
    Count,
}

#[derive(Clone, Copy, Debug)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Aggregate::Sum => not_nan(a + b),
            Aggregate::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Aggregate::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

/// As in Redis, infinities that cancel out, and an infinity times 0, are 0.
fn not_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// One of the inputs.
#[derive(Clone, Copy)]
enum Source<'a> {
    Absent,
    Set(&'a Set),
    Sorted(&'a SortedSet),
}

impl<'a> Source<'a> {
    fn len(self) -> usize {
        match self {
            Source::Absent => 0,
            Source::Set(set) => set.len(),
            Source::Sorted(set) => set.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Source::Absent => None,
            Source::Set(set) => set.contains(member).then_some(1.0),
            Source::Sorted(set) => set.score(member).map(Score::get),
        }
    }

    /// Gives `sink` members and scores, until it wants no more.
    fn walk(self, sink: &mut dyn FnMut(&'a [u8], f64) -> bool) {
        match self {
            Source::Absent => {}
            Source::Set(set) => {
                let _ = set.iter().all(|member| sink(member, 1.0));
            }
            Source::Sorted(set) => {
                let _ = set.iter().all(|(member, score)| sink(member, score.get()));
            }
        }
    }
}

/// What follows the keys.
struct Options {
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    limit: i64,
}

impl Options {
    fn read(
        operation: Operation,
        aim: Aim,
        keys: usize,
        mut rest: &[&[u8]],
    ) -> Result<Options, CommandError> {
        let mut options =
            Options { weights: vec![1.0; keys], aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        let weighs = operation != Operation::Diff && aim != Aim::Count;
        while let Some((word, more)) = rest.split_first() {
            if weighs && more.len() >= keys && is(word, "weights") {
                for (weight, arg) in options.weights.iter_mut().zip(more) {
                    *weight = args::double(arg)
                        .map_err(|_| CommandError::fixed("ERR weight value is not a float"))?;
                }
                rest = &more[keys..];
            } else if weighs && !more.is_empty() && is(word, "aggregate") {
                options.aggregate = if is(more[0], "sum") {
                    Aggregate::Sum
                } else if one_of(more.first(), ["min", "max"])? {
                    Aggregate::Max
                } else {
                    Aggregate::Min
                };
                rest = &more[1..];
            } else if aim == Aim::Show && is(word, "withscores") {
                options.with_scores = true;
                rest = more;
            } else if aim == Aim::Count && !more.is_empty() && is(word, "limit") {
                options.limit = args::at_least(0, more[0], "ERR LIMIT can't be negative")?;
                rest = &more[1..];
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }
}

/// `argv` is `numkeys key... options`, of the command `name`.
fn combine(
    cx: &mut Ctx<'_>,
    argv: &[&[u8]],
    (operation, aim, name): (Operation, Aim, &str),
) -> Result<(SortedSet, i64, Options), CommandError> {
    let count = args::integer(argv[0]).map_err(|_| NOT_INTEGER)?;
    if count < 1 {
        return Err(CommandError::text(format!("ERR at least 1 input key is needed for '{name}' command")));
    }
    let (keys, rest) =
        usize::try_from(count).ok().and_then(|count| argv[1..].split_at_checked(count)).ok_or(SYNTAX)?;
    for key in keys {
        let found = cx.entry(key).map(|e| matches!(e.value, Value::Set(_) | Value::SortedSet(_)));
        *(if found.is_some() { &mut cx.hooks.hits } else { &mut cx.hooks.misses }) += 1;
        if found == Some(false) {
            return Err(WRONG_TYPE);
        }
    }
    let options = Options::read(operation, aim, keys.len(), rest)?;
    let db = &cx.keyspace.dbs[cx.db];
    let source = |key: &&[u8]| match db.get(key).map(|e| &e.value) {
        Some(Value::Set(set)) => Source::Set(set),
        Some(Value::SortedSet(set)) => Source::Sorted(set),
        _ => Source::Absent,
    };
    let mut sources: Vec<(Source<'_>, f64)> =
        keys.iter().map(source).zip(options.weights.iter().copied()).collect();
    if operation != Operation::Diff {
        // The order in which scores are added shows in their last bits.
        sources.sort_by_key(|(source, _)| source.len());
    }
    let mut result = SortedSet::unpacked();
    let mut counted = 0;
    match operation {
        Operation::Union => union(&sources, options.aggregate, &mut result),
        Operation::Diff => {
            let others = &sources[1..];
            sources[0].0.walk(&mut |member, score| {
                if others.iter().all(|(other, _)| other.score(member).is_none()) {
                    put(&mut result, member, score);
                }
                true
            });
        }
        Operation::Inter => intersect(&sources, options.aggregate, &mut |member, score| {
            counted += 1;
            if aim != Aim::Count {
                put(&mut result, member, score);
            }
            counted != options.limit
        }),
    }
    Ok((result, counted, options))
}

fn put(result: &mut SortedSet, member: &[u8], score: f64) {
    if let Some(score) = Score::new(score) {
        result.insert(member, score);
    }
}

fn union(sources: &[(Source<'_>, f64)], aggregate: Aggregate, result: &mut SortedSet) {
    for (source, weight) in sources {
        source.walk(&mut |member, score| {
            let score = not_nan(weight * score);
            let old = result.score(member).map(Score::get);
            put(result, member, old.map_or(score, |old| aggregate.apply(old, score)));
            true
        });
    }
}

fn intersect(sources: &[(Source<'_>, f64)], aggregate: Aggregate, sink: &mut dyn FnMut(&[u8], f64) -> bool) {
    let Some(((smallest, weight), others)) = sources.split_first() else { return };
    smallest.walk(&mut |member, score| {
        let mut total = not_nan(weight * score);
        for (other, weight) in others {
            let Some(score) = other.score(member) else { return true };
            total = aggregate.apply(total, weight * score);
        }
        sink(member, total)
    });
}

fn show(cx: &mut Ctx<'_>, argv: &[&[u8]], operation: Operation, name: &str, out: &mut Out) -> Done {
    let (result, _, options) = combine(cx, &argv[1..], (operation, Aim::Show, name))?;
    show_members(result.iter(), options.with_scores, out);
    Ok(())
}

fn store(cx: &mut Ctx<'_>, argv: &[&[u8]], operation: Operation, name: &str, out: &mut Out) -> Done {
    let (result, _, _) = combine(cx, &argv[2..], (operation, Aim::Store, name))?;
    out.count(result.len());
    cx.store(argv[1], (!result.is_empty()).then(|| Value::from(result.packed())));
    Ok(())
}

/// ZUNION numkeys key... [WEIGHTS weight...] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]
pub(in crate::command) fn zunion(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    show(cx, argv, Operation::Union, "zunion", out)
}

/// ZINTER numkeys key... [WEIGHTS weight...] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]
pub(in crate::command) fn zinter(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    show(cx, argv, Operation::Inter, "zinter", out)
}

/// ZDIFF numkeys key... [WITHSCORES]
pub(in crate::command) fn zdiff(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    show(cx, argv, Operation::Diff, "zdiff", out)
}

/// ZUNIONSTORE destination numkeys key... [WEIGHTS weight...] [AGGREGATE SUM|MIN|MAX]
pub(in crate::command) fn zunionstore(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    store(cx, argv, Operation::Union, "zunionstore", out)
}

/// ZINTERSTORE destination numkeys key... [WEIGHTS weight...] [AGGREGATE SUM|MIN|MAX]
pub(in crate::command) fn zinterstore(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    store(cx, argv, Operation::Inter, "zinterstore", out)
}

/// ZDIFFSTORE destination numkeys key...
pub(in crate::command) fn zdiffstore(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    store(cx, argv, Operation::Diff, "zdiffstore", out)
}

/// ZINTERCARD numkeys key... [LIMIT n]
pub(in crate::command) fn zintercard(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (_, counted, _) = combine(cx, &argv[1..], (Operation::Inter, Aim::Count, "zintercard"))?;
    out.int(counted);
    Ok(())
}
