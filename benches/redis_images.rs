//! Images of a redis-server recovered and checked a second, by two workers: two or three starts of the server each.

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::{Result, cpu_for_each, images, pool, recover, tell, unplug};
use unplug::target::policy::Policy;
use unplug::target::resp::RespTarget;

fn redis(c: &mut Criterion) {
    let mut group = c.benchmark_group("redis_images");
    group.sample_size(10);
    for policy in [Policy::Always, Policy::Snapshot] {
        let measured = (|| -> Result<()> {
            let target = RespTarget::server(unplug(), None, policy)?;
            let images = images(&target, 60, 20)?;
            let mut pool = pool(&target)?;
            group.throughput(Throughput::Elements(images.len() as u64));
            group.bench_function(policy.name(), |b| {
                b.iter_custom(|n| (0..n).filter_map(|_| recover(&mut pool, &images).ok()).sum())
            });
            drop(pool);
            // The workers' children are counted with them: they are reaped.
            tell(&format!("redis_images/{policy}"), cpu_for_each(&target, &images, 20)?);
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
