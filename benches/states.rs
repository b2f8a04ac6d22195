//! Crash states enumerated a second under every model, their hashes, and images built and laid out.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use unplug_faults::effect::Effects;
use unplug_faults::event::{Event, FileId, NodeKind, Op, SyncKind, Task, WriteSync};
use unplug_faults::image::LayOut;
use unplug_faults::model;
use unplug_faults::state::{CrashState, Plan, Space};
use unplug_faults::trace::Trace;

/// Logs of small appends, written in turn, each synced after every `every`th operation (0: never).
fn logs(files: u32, operations: u64, every: u64) -> Trace {
    let mut trace = Trace::default();
    let mut push = |op: Op| {
        let begin = 1 + trace.events.len() as u64 * 2;
        trace.events.push(Event {
            begin,
            end: begin + 1,
            at: 0,
            task: Task::default(),
            site: None,
            errno: 0,
            op,
        });
    };
    for n in 1..=files {
        let name = format!("{n}.aof").into_bytes();
        push(Op::Create { dir: FileId::ROOT, name, file: FileId(n), kind: NodeKind::File });
    }
    let mut ends = vec![0; files as usize];
    for n in 0..operations {
        let turn = (n % u64::from(files)) as usize;
        let file = FileId(turn as u32 + 1);
        let data = format!("*3\r\n$3\r\nSET\r\n$6\r\nkey{n:03}\r\n$8\r\nvalue{n:03}\r\n").into_bytes();
        let offset = ends[turn];
        ends[turn] += data.len() as u64;
        push(Op::Write { file, offset, data, sync: WriteSync::None });
        if every != 0 && n % every == every - 1 {
            push(Op::Sync { file, kind: SyncKind::Fdatasync });
        }
    }
    trace
}

/// A short run, whose states the budget covers; a long one; group commits; two logs; and nothing ever synced.
fn traces() -> Vec<(&'static str, Trace)> {
    vec![
        ("always/60", logs(1, 60, 1)),
        ("always/10000", logs(1, 10_000, 1)),
        ("everysec/2000", logs(1, 2_000, 100)),
        ("two/2000", logs(2, 2_000, 20)),
        ("never/2000", logs(1, 2_000, 0)),
    ]
}

fn states(c: &mut Criterion) {
    let plan = Plan { bound: 1, budget: 100_000, seed: 0 };
    for (shape, trace) in traces() {
        let effects = Effects::of(&trace);
        for model in model::all() {
            let space = Space::new(&trace, &effects, *model, &[]);
            let all: Vec<CrashState> = space.states(&plan).collect();
            let mut group = c.benchmark_group("states");
            group.throughput(Throughput::Elements(all.len() as u64));
            group.bench_function(BenchmarkId::new(format!("enumerate/{shape}"), model.name()), |b| {
                b.iter(|| space.states(&plan).count())
            });
            group.bench_function(BenchmarkId::new(format!("hash/{shape}"), model.name()), |b| {
                b.iter(|| {
                    let mut hasher = space.hasher();
                    all.iter().for_each(|state| _ = black_box(hasher.hash(state)));
                });
            });
            group.finish();
        }
    }
}

/// Everything before any state: effects, rules, the count.
fn spaces(c: &mut Criterion) {
    let trace = logs(1, 10_000, 1);
    let effects = Effects::of(&trace);
    let mut group = c.benchmark_group("space");
    group.bench_function("effects/10000", |b| b.iter(|| Effects::of(&trace)));
    for model in model::all() {
        group.bench_function(BenchmarkId::new("count/10000", model.name()), |b| {
            b.iter(|| Space::new(&trace, &effects, *model, &[]).count())
        });
    }
    group.finish();
}

fn images(c: &mut Criterion) {
    let trace = logs(4, 200, 1);
    let effects = Effects::of(&trace);
    let Some(model) = model::by_name("ext4-ordered") else { return };
    let space = Space::new(&trace, &effects, model, &[]);
    let plan = Plan { bound: 1, budget: 100, seed: 0 };
    let states: Vec<CrashState> = space.states(&plan).collect();
    let mut group = c.benchmark_group("image");
    group.throughput(Throughput::Elements(states.len() as u64));
    group.bench_function("build", |b| {
        b.iter(|| states.iter().for_each(|state| drop(black_box(space.image(state)))))
    });
    let images: Vec<_> = states.iter().map(|state| space.shared_image(state)).collect();
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    let mut lay = LayOut::new(dir.path());
    group.bench_function("lay_out", |b| {
        b.iter(|| images.iter().for_each(|image| drop(black_box(lay.lay(image)))))
    });
    group.finish();
}

criterion_group!(benches, states, spaces, images);
criterion_main!(benches);
