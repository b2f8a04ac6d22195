//! The list against a plain deque.

use super::*;
use proptest::prelude::*;

fn list(items: &VecDeque<Vec<u8>>) -> List {
    items.iter().map(Vec::as_slice).collect()
}

/// Everything that the parts say of each other.
fn check(list: &List, model: &VecDeque<Vec<u8>>) {
    assert_eq!(list.len(), model.len());
    assert!(list.iter().eq(model.iter().map(Vec::as_slice)));
    assert_eq!(list.iter().len(), model.len());
    let (front, back) = list.chunks();
    let chunks: Vec<&Chunk> = front.iter().chain(back).collect();
    assert_eq!(chunks.iter().map(|chunk| chunk.len()).sum::<usize>(), model.len());
    assert!(chunks.iter().all(|chunk| !chunk.too_large() && chunk.len() == chunk.items().count()));
    assert!(chunks.len() == 1 || chunks.iter().all(|chunk| chunk.len() > 0), "no chunk is empty");
    assert_eq!(matches!(list.0, Repr::One(_)), chunks.len() == 1);
    assert_eq!(*list, self::list(model), "however it came about");
}

fn item(n: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + n) as u8).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Push { front: bool, count: usize, len: usize },
    Pop { front: bool, count: usize },
    Set(usize, usize),
    Insert { place: usize, count: usize, len: usize },
    Keep(usize, usize),
    Retain(usize),
}

fn step() -> impl Strategy<Value = Step> {
    // Short ones, those around the border of the two kinds of lengths, and ones that need a chunk to themselves.
    let len = prop_oneof![4 => 0..12usize, 1 => 250..260usize, 1 => 2_000..2_100usize, 1 => Just(70_000)];
    let count = prop_oneof![1..5usize, 50..200usize];
    prop_oneof![
        4 => (any::<bool>(), count.clone(), len.clone())
            .prop_map(|(front, count, len)| Step::Push { front, count, len }),
        2 => (any::<bool>(), count.clone()).prop_map(|(front, count)| Step::Pop { front, count }),
        2 => (0..500usize, len.clone()).prop_map(|(place, len)| Step::Set(place, len)),
        2 => (0..500usize, count, len).prop_map(|(place, count, len)| Step::Insert { place, count, len }),
        1 => (0..90usize, 0..90usize).prop_map(|(front, back)| Step::Keep(front, back)),
        1 => (2..5usize).prop_map(Step::Retain),
    ]
}

fn apply(step: Step, n: usize, list: &mut List, model: &mut VecDeque<Vec<u8>>) {
    match step {
        Step::Push { front, count, len } => {
            for i in 0..count {
                let item = item(n + i, len);
                if front {
                    list.push_front(&item);
                    model.push_front(item);
                } else {
                    list.push_back(&item);
                    model.push_back(item);
                }
            }
        }
        Step::Pop { front, count } => {
            for _ in 0..count {
                if front {
                    assert_eq!(list.pop_front(), model.pop_front());
                } else {
                    assert_eq!(list.pop_back(), model.pop_back());
                }
            }
        }
        Step::Set(place, len) => {
            let item = item(n, len);
            assert_eq!(list.set(place, &item), place < model.len());
            if let Some(old) = model.get_mut(place) {
                *old = item;
            }
        }
        Step::Insert { place, count, len } => {
            for i in 0..count {
                let (place, item) = (place.min(model.len()), item(n + i, len));
                list.insert(place, &item);
                model.insert(place, item);
            }
        }
        Step::Keep(front, back) => {
            let range = front.min(model.len())..model.len().saturating_sub(back).max(front.min(model.len()));
            list.keep(range.clone());
            model.truncate(range.end);
            model.drain(..range.start);
        }
        Step::Retain(part) => {
            let mut place = 0;
            list.retain(|at, item| {
                assert_eq!((at, Some(item)), (place, model.get(place).map(Vec::as_slice)));
                place += 1;
                !at.is_multiple_of(part)
            });
            let mut at = 0;
            model.retain(|_| {
                at += 1;
                !(at - 1usize).is_multiple_of(part)
            });
        }
    }
}

proptest! {
    #[test]
    fn it_does_what_a_deque_does(steps in prop::collection::vec(step(), 1..40)) {
        let (mut list, mut model) = (List::default(), VecDeque::new());
        for (n, step) in steps.into_iter().enumerate() {
            apply(step, n, &mut list, &mut model);
            check(&list, &model);
            for place in (0..model.len() + 2).step_by(13) {
                assert_eq!(list.get(place), model.get(place).map(Vec::as_slice));
                let range = place.min(model.len())..model.len().min(place + 70);
                assert!(list.range(range.clone()).eq(model.range(range).map(Vec::as_slice)));
            }
        }
    }
}

#[test]
fn a_short_list_is_one_allocation_and_a_long_one_is_shared_out() {
    let mut list = List::default();
    for n in 0..64 {
        list.push_back(&item(n, 8));
    }
    assert!(matches!(list.0, Repr::One(_)));
    list.push_front(b"more");
    assert!(matches!(&list.0, Repr::Many(many) if many.chunks.len() == 2));
    assert_eq!(list.pop_front(), Some(b"more".to_vec()));
    assert!(matches!(list.0, Repr::One(_)));
}

#[test]
fn what_is_put_in_the_middle_again_and_again_leaves_chunks_half_full() {
    let mut list: List = [b"first".as_slice(), b"last"].into_iter().collect();
    for n in 0..10_000 {
        list.insert(1, &item(n, 5));
    }
    let (front, back) = list.chunks();
    assert!(list.len() == 10_002 && front.len() + back.len() < 10_002 / 30, "{}", front.len() + back.len());
    // Taking most of it away, a little here and there, leaves few chunks.
    list.retain(|place, _| place.is_multiple_of(100));
    let (front, back) = list.chunks();
    assert!(list.len() == 101 && front.len() + back.len() < 5, "{}", front.len() + back.len());
}
