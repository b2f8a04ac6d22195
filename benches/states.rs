//! Crash states enumerated a second, with and without the hash of their images, and images laid out a second.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use unplug_faults::effect::Effects;
use unplug_faults::event::{Event, FileId, NodeKind, Op, SyncKind, Task, WriteSync};
use unplug_faults::image::LayOut;
use unplug_faults::model;
use unplug_faults::state::{CrashState, Plan, Space};
use unplug_faults::trace::Trace;

/// A log of small appends, synced after every `every`th (0: never).
fn log(operations: u64, every: u64) -> Trace {
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
    let file = FileId(1);
    push(Op::Create { dir: FileId::ROOT, name: b"appendonly.aof".to_vec(), file, kind: NodeKind::File });
    let mut offset = 0;
    for n in 0..operations {
        let data = format!("*3\r\n$3\r\nSET\r\n$6\r\nkey{n:03}\r\n$8\r\nvalue{n:03}\r\n").into_bytes();
        let len = data.len() as u64;
        push(Op::Write { file, offset, data, sync: WriteSync::None });
        offset += len;
        if every != 0 && n % every == every - 1 {
            push(Op::Sync { file, kind: SyncKind::Fdatasync });
        }
    }
    trace
}

fn states(c: &mut Criterion) {
    let mut group = c.benchmark_group("states");
    for (shape, every) in [("always", 1), ("everysec", 100)] {
        let trace = log(2_000, every);
        let effects = Effects::of(&trace);
        for name in ["ext4-ordered", "posix"] {
            let Some(model) = model::by_name(name) else { continue };
            let space = Space::new(&trace, &effects, model, &[]);
            let plan = Plan { bound: 1, budget: 100_000, seed: 0 };
            let all: Vec<CrashState> = space.states(&plan).collect();
            group.throughput(Throughput::Elements(all.len() as u64));
            group.bench_function(format!("enumerate/{name}/{shape}"), |b| {
                b.iter(|| space.states(&plan).count())
            });
            group.bench_function(format!("hash/{name}/{shape}"), |b| {
                b.iter(|| {
                    let mut hasher = space.hasher();
                    for state in &all {
                        black_box(hasher.hash(state));
                    }
                });
            });
        }
    }
    group.finish();
}

fn layout(c: &mut Criterion) {
    let trace = log(200, 1);
    let effects = Effects::of(&trace);
    let Some(model) = model::by_name("ext4-ordered") else { return };
    let space = Space::new(&trace, &effects, model, &[]);
    let plan = Plan { bound: 1, budget: 100, seed: 0 };
    let images: Vec<_> = space.states(&plan).map(|state| space.shared_image(&state)).collect();
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    let mut lay = LayOut::new(dir.path());
    let mut group = c.benchmark_group("image");
    group.throughput(Throughput::Elements(images.len() as u64));
    group.bench_function("lay_out", |b| {
        b.iter(|| images.iter().for_each(|image| drop(black_box(lay.lay(image)))))
    });
    group.finish();
}

criterion_group!(benches, states, layout);
criterion_main!(benches);
