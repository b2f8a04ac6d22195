//! Images of a redis-server recovered and checked a second, by two workers: one to three starts of the server each.
//!
//! Every image of a run is recovered once, in the order of its states, as an exploration does: what one comes to may
//! spare another a start. Workers are started anew each time, and have found out how they can start a server before
//! they are measured.

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

/// Recovers all images; real time and CPU time of those after the first.
fn measure(target: &RespTarget, images: &[SharedImage]) -> Result<(Duration, Duration)> {
    let (first, rest) = images.split_at(FIRST.min(images.len() / 2));
    // CPU time of workers counts when they have ended.
    let cost = |rest: &[SharedImage]| -> Result<(Duration, Duration)> {
        let before = cpu();
        let mut pool = pool(target)?;
        recover(&mut pool, first)?;
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
    for policy in [Policy::Always, Policy::EverySec, Policy::Snapshot] {
        let measured = (|| -> Result<()> {
            let target = RespTarget::server(unplug(), None, policy)?;
            let images = images(&target, 60, usize::MAX)?;
            let rest = images.len() - FIRST.min(images.len() / 2);
            group.throughput(Throughput::Elements(rest as u64));
            group.bench_function(policy.name(), |b| {
                b.iter_custom(|n| (0..n).filter_map(|_| Some(measure(&target, &images).ok()?.0)).sum())
            });
            let least = (0..TIMES).map(|_| Ok(measure(&target, &images)?.1)).collect::<Result<Vec<_>>>()?;
            let least = least.into_iter().min().unwrap_or_default();
            tell(&format!("redis_images/{policy}, {rest} images"), least / rest.max(1) as u32);
            Ok(())
        })();
        if let Err(error) = measured {
            println!("redis_images/{policy}: not measured: {error}");
        }
    }
    group.finish();
}

criterion_group!(benches, redis);
criterion_main!(benches);
