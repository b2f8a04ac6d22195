//! What is spared where images are compared in what recoveries have read: nothing that would show.

use super::*;
use crate::recovery::Aside;
use std::collections::BTreeMap;
use unplug_faults::reads::{Heed, Part, ReadSet};

const JUNK: FileId = FileId(7);
const GAUGE: FileId = FileId(8);

/// What a toy reads of an image, and what it makes of it.
#[derive(Clone, Copy)]
struct Reader {
    recover: fn(&Image) -> Outcome,
    read: fn(&Image) -> Option<ReadSet>,
}

/// A pool that says what was read. `logging` is what it was asked for last.
struct Reading {
    inner: FakePool,
    reader: Reader,
    images: BTreeMap<u64, Image>,
    aside: Aside,
    may: bool,
    logging: bool,
}

impl Reading {
    fn new(reader: Reader, may: bool) -> Reading {
        let inner = FakePool::new(reader.recover);
        let (images, aside) = (BTreeMap::new(), Aside::default());
        Reading { inner, reader, images, aside, may, logging: false }
    }
}

impl Pool for Reading {
    fn submit(&mut self, job: u64, image: SharedImage, now_ms: u64) -> Result<(), PoolError> {
        self.images.insert(job, image.image());
        self.inner.submit(job, image, now_ms)
    }
    fn next(&mut self) -> Result<(u64, Lives), PoolError> {
        let (job, lives) = self.inner.next()?;
        let image = self.images.remove(&job).unwrap();
        let read = if self.logging { (self.reader.read)(&image) } else { None };
        self.aside = Aside { read, merged: false };
        Ok((job, lives))
    }
    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }
    fn capacity(&self) -> usize {
        self.inner.capacity()
    }
    fn aside(&mut self) -> Aside {
        std::mem::take(&mut self.aside)
    }
    fn log_reads(&mut self, on: bool) -> Result<bool, PoolError> {
        self.logging = on && self.may;
        Ok(self.logging)
    }
}

/// The place of a file among an image's.
fn place(image: &Image, name: &str) -> Option<u32> {
    let at = image.nodes.keys().position(|path| path == name.as_bytes())?;
    Some(at as u32)
}

fn read_of(image: &Image, parts: &[(&str, Part)]) -> Option<ReadSet> {
    let mut files: Vec<(u32, Part)> =
        parts.iter().filter_map(|(name, part)| Some((place(image, name)?, part.clone()))).collect();
    files.sort();
    Some(ReadSet { files })
}

/// The log, whole.
const CHECKED: Reader = Reader { recover: checked, read: |image| read_of(image, &[("log", Part::Whole)]) };

fn size(image: &Image, name: &str) -> usize {
    image.nodes.get(name.as_bytes()).map_or(0, |node| node.data.len())
}

/// The log, whole, and of the gauge its size: a gauge of a page makes it forget everything.
const GAUGED: Reader = Reader {
    recover: |image| if size(image, "gauge") == 4096 { empty(image) } else { checked(image) },
    read: |image| match size(image, "gauge") {
        4096 => read_of(image, &[("gauge", Part::Pages(vec![]))]),
        _ => read_of(image, &[("gauge", Part::Pages(vec![])), ("log", Part::Whole)]),
    },
};

/// The log, whole, and of the junk the second page, whose first byte counts.
const PAGED: Reader = Reader {
    recover: |image| match image.nodes.get(b"junk".as_slice()).and_then(|node| node.data.get(4096)) {
        Some(b'!') => empty(image),
        _ => checked(image),
    },
    read: |image| read_of(image, &[("junk", Part::Pages(vec![(1, 2)])), ("log", Part::Whole)]),
};

/// A log whose puts are synced, beside files that nobody promised anything of: junk in four pages, a gauge that
/// grows by a page with each put.
fn trace() -> Trace {
    let mut trace = log_trace(3, 1, &["append"]);
    let mut clock = trace.events.iter().map(|e| e.end.max(e.begin)).filter(|c| *c < u64::MAX).max().unwrap();
    let like = trace.events[0].clone();
    let mut add = |op: Op| {
        clock += 2;
        trace.events.push(unplug_faults::event::Event { begin: clock - 1, end: clock, op, ..like.clone() });
    };
    for (name, file) in [("junk", JUNK), ("gauge", GAUGE)] {
        let (dir, name) = (FileId::ROOT, name.as_bytes().to_vec());
        add(Op::Create { dir, name, file, kind: NodeKind::File });
    }
    add(Op::Sync { file: FileId::ROOT, kind: SyncKind::Fsync });
    for n in 0..4u64 {
        let data = vec![b"?!#+"[n as usize]; 4096];
        add(Op::Write { file: JUNK, offset: n * 4096, data: data.clone(), sync: WriteSync::None });
        add(Op::Write { file: GAUGE, offset: n * 4096, data, sync: WriteSync::None });
    }
    trace
}

/// Findings with the states that show them, how many images were recovered, and how many spared.
fn found(reader: Reader, may: bool, mut memo: Memo) -> (Vec<(Class, String, u64)>, u64, u64, Memo) {
    let (trace, mut pool) = (trace(), Reading::new(reader, may));
    let search = Search {
        trace: &trace,
        target: &Toy,
        contract: Contract::Always,
        model: by_name("posix").unwrap(),
        plan: Plan { bound: 2, budget: 3_000, seed: 1 },
        assume: &[],
        repro_dir: None,
    };
    let cell = explore_sharing(&search, &mut memo, &mut pool, &mut |_| {}, &AtomicBool::new(false)).remove(0);
    assert_ne!(cell.verdict, Verdict::NotMeasured, "{:?}", cell.not_measured);
    let mut found: Vec<_> =
        cell.findings.iter().map(|f| (f.violation.class, f.mechanism.clone(), f.states)).collect();
    found.sort();
    (found, cell.images_recovered, cell.saved.unread, memo)
}

/// Every image comes to the same, and so every state is judged the same.
#[test]
fn what_is_spared_would_have_come_to_the_same() {
    for (reader, violated, sparing) in [(CHECKED, false, 20), (GAUGED, true, 3), (PAGED, true, 2)] {
        let (all, recovered, none, whole) = found(reader, false, Memo::new());
        assert_eq!((none, all.is_empty()), (0, !violated), "{all:?}");
        let (same, fewer, spared, memo) = found(reader, true, Memo::new());
        assert_eq!((&same, fewer + spared), (&all, recovered));
        let (agree, differ) = memo.agreement(&whole);
        assert!(differ == 0 && agree as u64 >= recovered, "{agree} {differ} of {recovered}");
        assert!(fewer * sparing <= recovered, "{fewer} of {recovered}");
    }
}

/// The test above would see it if sizes or pages that were read were not compared.
#[test]
fn to_compare_less_than_was_read_is_found_out() {
    let wrong = [(GAUGED, Heed { sizes: false, ..Heed::ALL }), (PAGED, Heed { pages: false, ..Heed::ALL })];
    for (reader, heed) in wrong {
        let (all, .., whole) = found(reader, false, Memo::new());
        let (other, .., memo) = found(reader, true, Memo::heeding(heed));
        assert!(memo.agreement(&whole).1 > 0 && other != all, "{heed:?}");
    }
}

/// Where nothing is spared, it is no longer tried.
#[test]
fn where_all_is_read_nothing_is_noted_for_long() {
    let all = Reader {
        recover: checked,
        read: |image| {
            let files = (0..image.nodes.len() as u32).map(|at| (at, Part::Whole)).collect();
            Some(ReadSet { files })
        },
    };
    let (trace, mut pool) = (trace(), Reading::new(all, true));
    let search = Search {
        trace: &trace,
        target: &Toy,
        contract: Contract::No,
        model: by_name("posix").unwrap(),
        plan: Plan { bound: 2, budget: 3_000, seed: 1 },
        assume: &[],
        repro_dir: None,
    };
    let cell = explore_last(
        &search,
        &Hearing::of(&search),
        &mut Memo::new(),
        &mut pool,
        &mut |_| {},
        &AtomicBool::new(false),
        TeethCheck::Skipped,
    );
    let cell = cell.unwrap();
    assert!(cell.saved.unread == 0 && cell.images_recovered > 1_000 && !pool.logging, "{:?}", cell.saved);
}
