//! Images of the embedded engine recovered and checked a second, by two workers: three lives each (start, kill,
//! start, probes, orderly stop, start), through the same processes as an exploration.

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use support::{Result, cpu, images, pool, recover, tell, unplug};
use unplug::target::policy::Policy;
use unplug::target::resp::RespTarget;
use unplug_faults::image::SharedImage;

fn engine(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine_images");
    group.sample_size(10);
    for policy in Policy::ALL {
        let target = RespTarget::engine(unplug(), policy);
        let measured = (|| -> Result<()> {
            let images = images(&target, 60, 1000)?;
            let mut pool = pool(&target)?;
            group.throughput(Throughput::Elements(images.len() as u64));
            group.bench_function(policy.name(), |b| {
                b.iter_custom(|n| (0..n).filter_map(|_| recover(&mut pool, &images).ok()).sum())
            });
            drop(pool);
            tell(&format!("engine_images/{policy}"), cpu_for_each(&target, &images, 5)?);
            Ok(())
        })();
        if let Err(error) = measured {
            println!("engine_images/{policy}: not measured: {error}");
        }
    }
    group.finish();
}

/// CPU time for an image over all processes, of workers that have begun: what other load on the machine disturbs
/// little. To start the workers, and to find out how they can start a server, costs the same for few images and for
/// many.
fn cpu_for_each(target: &RespTarget, images: &[SharedImage], times: u32) -> Result<Duration> {
    let cost = |rounds: u32| -> Result<Duration> {
        let before = cpu();
        let mut pool = pool(target)?;
        for _ in 0..rounds {
            recover(&mut pool, images)?;
        }
        drop(pool);
        Ok(cpu() - before)
    };
    cost(1)?;
    let few = cost(1)?;
    Ok(cost(1 + times)?.saturating_sub(few) / times / images.len().max(1) as u32)
}

criterion_group!(benches, engine);
criterion_main!(benches);
