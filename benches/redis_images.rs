//! Images of a redis-server recovered and checked a second, by two workers: one to three starts of the server each.
//!
//! Every image of a run is recovered once, in the order of its states, as an exploration does: what one comes to may
//! spare another a start. Workers are started anew each time, and have found out how they can start a server before
//! they are measured. What one start costs, with the dump of what it holds, shows when the same images are recovered
//! once more: the workers know by then how each goes on.

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use support::{Result, cpu, images, pool, recover, tell, unplug};
use unplug::target::policy::Policy;
use unplug::target::resp::RespTarget;
use unplug_faults::image::SharedImage;

/// Images by which the workers find out how they can start a server.
const FIRST: usize = 24;
/// How often CPU time is taken; the least counts, for all that disturbs adds to it.
const TIMES: usize = 5;

/// What is measured of the images after the first.
#[derive(Clone, Copy)]
enum Measured {
    /// All their lives.
    Whole,
    /// One start each.
    Start,
}

/// Recovers all images; real time and CPU time of what is measured.
fn measure(target: &RespTarget, images: &[SharedImage], measured: Measured) -> Result<(Duration, Duration)> {
    let (first, rest) = images.split_at(FIRST.min(images.len() / 2));
    let known = match measured {
        Measured::Whole => &[][..],
        Measured::Start => rest,
    };
    // CPU time of workers counts when they have ended.
    let cost = |rest: &[SharedImage]| -> Result<(Duration, Duration)> {
        let before = cpu();
        let mut pool = pool(target)?;
        recover(&mut pool, first)?;
        recover(&mut pool, known)?;
        let real = recover(&mut pool, rest)?;
        drop(pool);
        Ok((real, cpu() - before))
    };
    let ((_, few), (real, all)) = (cost(&[])?, cost(rest)?);
    Ok((real, all.saturating_sub(few)))
}

fn redis(c: &mut Criterion) {
    let mut group = c.benchmark_group("redis_images");
    group.sample_size(10);
    let policies = [Policy::Always, Policy::EverySec, Policy::Snapshot];
    let both = [("", Measured::Whole), ("/start", Measured::Start)];
    for (policy, (what, lives)) in policies.into_iter().flat_map(|p| both.map(|b| (p, b))) {
        let measured = (|| -> Result<()> {
            let target = RespTarget::server(unplug(), None, policy)?;
            let images = images(&target, 60, usize::MAX)?;
            let rest = images.len() - FIRST.min(images.len() / 2);
            group.throughput(Throughput::Elements(rest as u64));
            group.bench_function(format!("{policy}{what}"), |b| {
                b.iter_custom(|n| (0..n).filter_map(|_| Some(measure(&target, &images, lives).ok()?.0)).sum())
            });
            let least =
                (0..TIMES).map(|_| Ok(measure(&target, &images, lives)?.1)).collect::<Result<Vec<_>>>()?;
            let least = least.into_iter().min().unwrap_or_default();
            tell(&format!("redis_images/{policy}{what}, {rest} images"), least / rest.max(1) as u32);
            Ok(())
        })();
        if let Err(error) = measured {
            println!("redis_images/{policy}{what}: not measured: {error}");
        }
    }
    group.finish();
}

criterion_group!(benches, redis);
criterion_main!(benches);
