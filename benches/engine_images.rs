//! Images of the embedded engine recovered and checked a second, by two workers: three lives each (start, kill,
//! start, probes, orderly stop, start), through the same processes as an exploration.

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::{Result, cpu_for_each, images, pool, recover, tell, unplug};
use unplug::target::policy::Policy;
use unplug::target::resp::RespTarget;

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

criterion_group!(benches, engine);
criterion_main!(benches);
