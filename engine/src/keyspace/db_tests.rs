//! The table against a plain map.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn entry(n: u64) -> Entry {
    Entry::new(Value::from(n.to_string().into_bytes()), (n.is_multiple_of(3)).then_some(n))
}

fn key(n: u64) -> Vec<u8> {
    // Short and long ones.
    if n.is_multiple_of(5) { format!("a-key-that-does-not-fit-in-place:{n}") } else { format!("k{n}") }
        .into_bytes()
}

fn filled(keys: std::ops::Range<u64>) -> Db {
    let mut db = Db::default();
    for n in keys {
        assert_eq!(db.insert(&key(n), entry(n)), None);
    }
    db
}

/// Everything that the parts say of each other.
fn check(db: &Db) {
    assert!(db.directory.len() == 1 << db.depth);
    assert_eq!(db.segments.iter().map(Segment::len).sum::<usize>(), db.len());
    assert_eq!(db.iter().filter(|(_, e)| e.expires()).count(), db.expiring());
    for (slot, number) in db.directory.iter().enumerate() {
        let segment = &db.segments[*number as usize];
        for record in segment.records() {
            let of_key = db.slot(hash(&record.key));
            let width = 1 << (db.depth - segment.depth);
            assert_eq!(of_key / width, slot / width, "a record stands where its hash leads");
        }
    }
    assert_eq!(db.segments_from(0).count(), db.segments.len(), "a walk comes to each segment once");
}

#[test]
fn many_keys_split_segments_and_stay_where_they_are_found() {
    let mut db = filled(0..40_000);
    check(&db);
    assert!(db.segments.len() > 64 && db.directory.len() < 1024, "{}", db.directory.len());
    let longest = db.segments.iter().map(Segment::len).max();
    assert!(longest <= Some(MOST), "{longest:?}");
    for n in 0..40_000 {
        assert_eq!(db.get(&key(n)), Some(&entry(n)));
    }
    assert!(!db.contains_key(b"none") && db.get_mut(b"none").is_none() && db.remove(b"none").is_none());
    for n in (0..40_000u64).filter(|n| !n.is_multiple_of(7)) {
        assert_eq!(db.remove(&key(n)), Some(entry(n)));
    }
    check(&db);
    assert_eq!(
        db,
        (0..40_000u64).filter(|n| n.is_multiple_of(7)).fold(Db::default(), |mut db, n| {
            db.insert(&key(n), entry(n));
            db
        })
    );
}

#[test]
fn room_that_is_made_before_changes_nothing() {
    for count in [0, 100, 384, 385, 5_000, 100_000] {
        let mut db = Db::default();
        db.reserve(count as usize);
        check(&db);
        let segments = db.segments.len();
        for n in 0..count {
            db.insert(&key(n), entry(n));
        }
        check(&db);
        assert_eq!(db.segments.len(), segments, "{count} keys fit");
        assert_eq!(db, filled(0..count));
    }
}

#[test]
fn keys_that_were_chosen_to_collide_do_not_blow_up_the_directory() {
    let mut db = Db::default();
    let chosen = (0u64..).filter(|n| hash(&key(*n)) >> 54 == 5).take(1_500);
    for n in chosen {
        db.insert(&key(n), entry(n));
    }
    check(&db);
    assert!(db.len() == 1_500 && db.directory.len() <= 512, "{}", db.directory.len());
}

#[test]
fn a_walk_gives_all_that_is_there_throughout() {
    for count in [1, 7, 100, 5_000] {
        let mut db = filled(0..20_000);
        let (mut cursor, mut seen, mut calls) = (0, BTreeSet::new(), 0u64);
        loop {
            let (next, part) = db.scan(cursor, count);
            assert!(part.len() <= count + 1 && (next == 0 || part.len() >= count));
            seen.extend(part.iter().map(|(key, _)| key.to_vec()));
            calls += 1;
            if next == 0 {
                break;
            }
            assert!(next > cursor);
            cursor = next;
            // The odd ones go, and others come, so that segments split on the way.
            for n in (calls * 20..calls * 20 + 20).take_while(|_| calls < 500) {
                db.remove(&key(n * 2 + 1));
                db.insert(&key(100_000 + n), entry(n));
            }
        }
        assert!((0..10_000).all(|n| seen.contains(&key(n * 2))), "{count}");
    }
}

#[test]
fn a_pick_reaches_every_key() {
    let db = filled(0..50);
    let picked: BTreeSet<_> = (0..2_000).filter_map(|seed| db.pick(seed)).map(|(key, _)| key).collect();
    assert_eq!(picked.len(), 50);
    assert_eq!(Db::default().pick(1), None);
    let mut sparse = filled(0..30_000);
    (1..30_000).for_each(|n| drop(sparse.remove(&key(n))));
    assert!((0..100).all(|seed| sparse.pick(seed).is_some_and(|(k, _)| k == key(0))));
}

#[test]
fn large_and_small_ones_are_discarded() {
    filled(0..10).discard();
    filled(0..FREED_ASIDE as u64).discard();
}

proptest! {
    #[test]
    fn it_does_what_a_map_does(steps in prop::collection::vec((0..5u8, 0..900u64, 0..9u64), 1..3_000)) {
        let (mut db, mut map) = (Db::default(), BTreeMap::new());
        for (step, n, value) in steps {
            match step {
                0 | 1 => prop_assert_eq!(db.insert(&key(n), entry(value)), map.insert(key(n), entry(value))),
                2 => prop_assert_eq!(db.remove(&key(n)), map.remove(&key(n))),
                3 => {
                    db.put(&key(n), &key(value));
                    map.insert(key(n), Entry::new(Value::from(key(value)), None));
                }
                _ => {
                    let at = (value > 4).then_some(value);
                    db.set_expiry(&key(n), at);
                    if let Some(e) = map.get_mut(&key(n)) {
                        *e = Entry::new(e.value.clone(), at);
                    }
                }
            }
        }
        check(&db);
        prop_assert_eq!(db.len(), map.len());
        let mut all: Vec<_> = db.iter().collect();
        all.sort_by_key(|(key, _)| *key);
        prop_assert!(all.into_iter().eq(map.iter().map(|(k, e)| (k.as_slice(), e))));
    }
}
