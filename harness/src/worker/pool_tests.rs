//! The pool with real processes: this test binary again, in the role of a worker.

use super::*;
use crate::dump::{Dump, Entry};
use crate::recovery::Outcome;
use crate::worker::store::{BoxError, StoreRecovery, Subject};
use std::path::Path;
use unplug_faults::event::NodeKind;
use unplug_faults::image::{Image, ImageNode};
use unplug_faults::reads::Part;

const ROLE: &str = "UNPLUG_POOL_TEST";
const MARK: &str = "UNPLUG_POOL_MARK";

/// A store of one file, whose content decides what happens.
struct Toy {
    reusable: bool,
}

impl Subject for Toy {
    type Life = Dump;
    fn reusable(&self) -> bool {
        self.reusable
    }
    fn open(&self, dir: &Path, now_ms: u64) -> Result<Dump, BoxError> {
        let content = std::fs::read(dir.join("data"))?;
        match content.as_slice() {
            b"refuse" => return Err("no".into()),
            b"abort" => std::process::abort(),
            // Once only: the second process that meets it finds the mark of the first.
            b"abort once" => {
                let mark = std::path::PathBuf::from(std::env::var_os(MARK).unwrap());
                if std::fs::File::create_new(&mark).is_ok() {
                    std::process::abort();
                }
            }
            b"spin" => loop {
                std::hint::spin_loop();
            },
            _ => {}
        }
        Ok(Dump([(content, Entry { value: now_ms.to_string().into_bytes(), expires_at_ms: None })].into()))
    }
    fn dump(&self, life: &mut Dump) -> Result<Dump, BoxError> {
        Ok(life.clone())
    }
    fn probe(&self, _life: &mut Dump) -> Result<Dump, BoxError> {
        Ok(Dump::default())
    }
    fn close(&self, _life: Dump) -> Result<(), BoxError> {
        Ok(())
    }
    fn abandon(&self, _life: Dump) {}
}

/// The worker's role; without its variable, a test of nothing.
#[test]
fn as_worker() {
    let Ok(role) = std::env::var(ROLE) else { return };
    if role == "stillborn" {
        eprintln!("born dead");
        std::process::exit(7);
    }
    let served = crate::worker::serve(&mut StoreRecovery::new(Toy { reusable: role == "reusable" }, 1));
    std::process::exit(i32::from(served.is_err()));
}

fn pool(role: &str, count: usize) -> Result<Workers<'_>, PoolError> {
    logged_pool(role, count, false)
}

fn logged_pool(role: &str, count: usize, may_log: bool) -> Result<Workers<'_>, PoolError> {
    let limits = Limits { cpu: Duration::from_secs(1), wall: Duration::from_secs(60) };
    Workers::start_logged(count, limits, may_log, move || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "worker::pool::tests::as_worker", "--nocapture", "--test-threads=1"]);
        command
            .env(ROLE, role)
            .env(MARK, std::env::temp_dir().join(format!("unplug-once-{}", std::process::id())));
        command
    })
}

fn image(content: &[u8]) -> SharedImage {
    let mut image = Image::default();
    image
        .nodes
        .insert(b"data".to_vec(), ImageNode { kind: NodeKind::File, data: content.to_vec(), link_to: None });
    (&image).into()
}

/// What came back first of each image, in the order in which they were handed in.
fn firsts(pool: &mut Workers<'_>, contents: &[&[u8]]) -> Vec<Outcome> {
    for (id, content) in contents.iter().enumerate() {
        pool.submit(id as u64, image(content), 77).unwrap();
    }
    let mut all: Vec<(u64, Lives)> = contents.iter().map(|_| pool.next().unwrap()).collect();
    assert!(matches!(pool.next(), Err(PoolError::Idle)));
    all.sort_by_key(|(id, _)| *id);
    all.into_iter().map(|(_, lives)| lives.first).collect()
}

fn held(content: &[u8]) -> Outcome {
    Outcome::Recovered(Dump(
        [(content.to_vec(), Entry { value: b"77".to_vec(), expires_at_ms: None })].into(),
    ))
}

#[test]
fn jobs_come_back_whatever_the_number_of_workers() {
    let contents: Vec<Vec<u8>> = (0..40).map(|i| format!("content {i}").into_bytes()).collect();
    let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    let expected: Vec<Outcome> = contents.iter().map(|c| held(c)).collect();
    for (role, count) in [("reusable", 1), ("reusable", 3), ("forked", 2)] {
        assert_eq!(firsts(&mut pool(role, count).unwrap(), &contents), expected, "{role}, {count}");
    }
}

/// What was read of one image, and what came back first.
fn read_of(pool: &mut Workers<'_>, content: &[u8]) -> (Option<Vec<(u32, Part)>>, Outcome) {
    pool.submit(1, image(content), 77).unwrap();
    let (_, lives) = pool.next().unwrap();
    (pool.aside().read.map(|read| read.files), lives.first)
}

#[test]
fn what_is_read_is_known_while_it_is_asked_for() {
    let whole = || Some(vec![(0, Part::Whole)]);
    for role in ["reusable", "forked"] {
        let mut pool = logged_pool(role, 2, true).unwrap();
        assert_eq!(read_of(&mut pool, b"a"), (whole(), held(b"a")), "{role}");
        assert!(!pool.log_reads(false).unwrap());
        assert_eq!(read_of(&mut pool, b"b"), (None, held(b"b")), "{role}");
        // Not while something is under way.
        pool.submit(7, image(b"c"), 77).unwrap();
        assert!(!pool.log_reads(true).unwrap());
        pool.next().unwrap();
        assert!(pool.log_reads(true).unwrap());
        assert_eq!(read_of(&mut pool, b"c"), (whole(), held(b"c")), "{role}");
        assert_eq!(read_of(&mut pool, b"refuse").0, whole(), "{role}");
        // What was read before a crash is known where the process that noted it has survived.
        let (read, outcome) = read_of(&mut pool, b"abort");
        assert!(matches!(outcome, Outcome::Crashed { .. }), "{role}: {outcome:?}");
        assert_eq!(read, if role == "forked" { whole() } else { None });
        assert_eq!(read_of(&mut pool, b"d"), (whole(), held(b"d")), "{role}");
    }
    let mut never = pool("reusable", 1).unwrap();
    assert!(!never.log_reads(true).unwrap());
    assert_eq!(read_of(&mut never, b"a"), (None, held(b"a")));
}

#[test]
fn a_crash_convicts_only_when_it_repeats_and_costs_its_neighbours_nothing() {
    for role in ["reusable", "forked"] {
        let mut pool = pool(role, 1).unwrap();
        let outcomes = firsts(&mut pool, &[b"a", b"abort", b"b", b"refuse", b"c"]);
        assert_eq!([&outcomes[0], &outcomes[2], &outcomes[4]], [&held(b"a"), &held(b"b"), &held(b"c")]);
        assert!(
            matches!(&outcomes[1], Outcome::Crashed { message } if message.starts_with("killed by SIGABRT"))
        );
        assert_eq!(outcomes[3], Outcome::Refused { message: "no".into() });
    }
}

#[test]
fn a_crash_that_does_not_repeat_is_not_held_against_the_target() {
    assert_eq!(firsts(&mut pool("reusable", 1).unwrap(), &[b"abort once"]), [held(b"abort once")]);
    let mark = std::env::temp_dir().join(format!("unplug-once-{}", std::process::id()));
    std::fs::remove_file(mark).expect("the first attempt left its mark");
}

#[test]
fn a_recovery_that_spins_hangs() {
    for role in ["reusable", "forked"] {
        let outcomes = firsts(&mut pool(role, 1).unwrap(), &[b"spin", b"a"]);
        assert_eq!(outcomes, [Outcome::Hung { limit_ms: 1000 }, held(b"a")], "{role}");
    }
}

#[test]
fn workers_that_cannot_start_are_the_harness_failing() {
    let mut pool = pool("stillborn", 1).unwrap();
    pool.submit(0, image(b"a"), 0).unwrap();
    let Err(PoolError::Worker(why)) = pool.next() else { panic!("a result") };
    assert!(why.contains("born dead"), "{why}");
}

#[test]
fn an_interrupt_ends_the_wait_and_nothing_is_left() {
    let flag = Arc::new(AtomicBool::new(false));
    let mut pool = pool("forked", 1).unwrap().interrupted_by(Arc::clone(&flag));
    let dir = pool.scratch.path().to_path_buf();
    pool.submit(0, image(b"spin"), 0).unwrap();
    flag.store(true, Ordering::Relaxed);
    assert!(matches!(pool.next(), Err(PoolError::Interrupted)));
    drop(pool);
    assert!(!dir.exists());
}

#[test]
fn the_limit_of_cpu_time_is_whole_seconds() {
    let limit = |text| Limits::with_cpu(text).map(|limits| limits.cpu);
    assert_eq!(limit(None), Ok(Duration::from_secs(5)));
    assert_eq!(limit(Some("1")), Ok(Duration::from_secs(1)));
    for text in ["0", "-1", "1.5", "3601", "soon"] {
        assert!(limit(Some(text)).is_err_and(|why| why.contains(text) && why.contains(ENV_CPU)), "{text}");
    }
}
