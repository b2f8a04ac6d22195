//! What a block shows that shows what stood there before: a page that the trace has set free, or rubbish.

use crate::script::{Script, pages};
use std::collections::BTreeSet;
use unplug_faults::effect::{EffectId, EffectKind, OldPage, Outcome, PAGE};
use unplug_faults::event::{AllocateMode, Clock, FileId, Op, WriteSync};
use unplug_faults::model;
use unplug_faults::state::Assumption::{self, NoOldPages};
use unplug_faults::state::{CrashState, Plan, Space};

/// Pages enough that some of them show an old one and some do not.
const MANY: u64 = 12;

/// What is done with the space of a trace.
fn with<T>(script: &Script, model: &str, assume: &[Assumption], use_it: impl FnOnce(&Space<'_>) -> T) -> T {
    let model = model::by_name(model).expect("model");
    let effects = model.effects(&script.trace);
    use_it(&Space::new(&script.trace, &effects, model, assume))
}

/// The data effects that show an old page, by file and page, and which page that is.
fn shown(script: &Script, model: &str) -> Vec<((FileId, u64), OldPage)> {
    with(script, model, &[], |space| {
        let list = space.effects().list.iter().enumerate();
        let old = list.filter_map(|(id, effect)| {
            let EffectKind::Data { file, page, .. } = effect.kind else { return None };
            space.old_page(EffectId(id as u32)).map(|old| ((file, page), old))
        });
        old.collect()
    })
}

/// A log that was there before is removed; a new one gets as many pages.
fn rewritten(between: impl FnOnce(Script) -> Script) -> Script {
    let removed = Script::new().base("log.1", 'A', MANY).base("g", 'G', 1).unlink("log.1");
    between(removed).create("log.2").append("log.2", 'B', MANY)
}

#[test]
fn some_of_the_new_pages_show_the_same_page_of_the_old_file() {
    let script = rewritten(|script| script.fsync("."));
    for model in ["posix", "posix-split", "ext4-writeback"] {
        let shown = shown(&script, model);
        assert!((3..MANY as usize - 2).contains(&shown.len()), "{model}: {shown:?}");
        for ((file, page), old) in &shown {
            assert_eq!((*file, old.file, old.page), (script.id("log.2"), FileId(1), *page), "{model}");
        }
    }
    for model in ["prefix", "ext4-journal", "ext4-ordered", "xfs", "btrfs"] {
        assert_eq!(shown(&script, model), [], "{model}");
    }
}

/// ext4 hands a block out again when the transaction that has freed it is committed.
#[test]
fn what_is_not_durably_free_is_not_shown() {
    assert_eq!(shown(&rewritten(|script| script), "posix"), []);
    assert_eq!(shown(&rewritten(|script| script), "ext4-writeback"), []);
    // A sync of another file makes the removal durable where there is a journal, once the file has grown.
    let other = rewritten(|script| script.append("g", 'G', 1).fsync("g"));
    assert_eq!(shown(&other, "posix"), []);
    assert_ne!(shown(&other, "ext4-writeback"), []);
    // A sync that fails, and one that comes when the data are written.
    let failed = rewritten(|script| script.fsync(".").failed(libc::EIO));
    let late = rewritten(|script| script).fsync(".");
    for model in ["posix", "ext4-writeback"] {
        assert_eq!((shown(&failed, model), shown(&late, model)), (vec![], vec![]), "{model}");
    }
    // One that has not returned by then.
    let begun = Script::new().base("log.1", 'A', MANY).unlink("log.1").fsync(".").create("log.2");
    let begun = begun.append("log.2", 'B', MANY);
    assert_ne!(shown(&begun, "posix"), []);
    let mut begun = begun;
    begun.trace.events[1].end = begun.trace.events[3].begin + 1;
    assert_eq!(shown(&begun, "posix"), []);
}

#[test]
fn whatever_sets_blocks_free_counts() {
    let new = |script: Script| script.create("new").append("new", 'B', MANY);
    let old = || Script::new().base("f", 'A', MANY).base("t", 'T', 1);
    let ways = [
        old().rename("t", "f").fsync("."),
        old().truncate("f", 0).fsync("f"),
        old().allocate("f", AllocateMode::Punch, 0, MANY * PAGE).fsync("f"),
        old().allocate("f", AllocateMode::Collapse, 0, (MANY - 1) * PAGE).fsync("f"),
    ];
    for (n, way) in ways.into_iter().enumerate() {
        let shown = shown(&new(way), "ext4-writeback");
        assert!(!shown.is_empty() && shown.iter().all(|(_, old)| old.file == FileId(1)), "{n}: {shown:?}");
    }
    // These leave the blocks where they are, or with another name.
    let ways = [
        old().allocate("f", AllocateMode::Zero { keep_size: true }, 0, MANY * PAGE).fsync("f"),
        old().link("f", "k").unlink("f").fsync("."),
        old().rename("f", "k").fsync("."),
    ];
    for (n, way) in ways.into_iter().enumerate() {
        assert_eq!(shown(&new(way), "ext4-writeback"), [], "{n}");
    }
    // Of a cut only what is behind it, and never a page of zeros.
    let cut = shown(&new(old().truncate("f", (MANY - 3) * PAGE).fsync("f")), "posix");
    assert!(!cut.is_empty() && cut.iter().all(|(_, old)| old.page >= MANY - 3), "{cut:?}");
    let zeros = Script::new().base("f", '\0', MANY).unlink("f").fsync(".");
    assert_eq!(shown(&new(zeros), "posix"), []);
}

#[test]
fn a_block_has_one_new_owner() {
    let script = rewritten(|script| script.fsync(".")).create("log.3").append("log.3", 'C', MANY * 3);
    let shown = shown(&script, "posix");
    let distinct: BTreeSet<_> = shown.iter().map(|(_, old)| (old.file, old.page)).collect();
    assert_eq!((shown.len(), distinct.len()), (MANY as usize, MANY as usize), "{shown:?}");
}

#[test]
fn a_file_that_is_still_open_has_its_blocks() {
    let written = |script: Script, file: FileId| {
        script.op(Op::Write { file, offset: 0, data: pages('Z', 1), sync: WriteSync::None })
    };
    let script = rewritten(|script| written(script.fsync("."), FileId(1)));
    assert_eq!(shown(&script, "posix"), []);
}

/// Blocks that were allocated in advance were so before the data were written.
#[test]
fn blocks_allocated_in_advance_hold_what_was_free_by_then() {
    let all = (0, MANY * PAGE);
    let allocated = |script: Script| script.allocate("new", AllocateMode::Extend, all.0, all.1);
    let old = Script::new().base("old", 'A', MANY).unlink("old");
    let after = allocated(old.clone().fsync(".").create("new")).write("new", 0, 'B', MANY);
    assert_ne!(shown(&after, "ext4-writeback"), []);
    let before = allocated(old.create("new")).fsync(".").write("new", 0, 'B', MANY);
    assert_eq!(shown(&before, "ext4-writeback"), []);
    // In what the file has written itself and zeroed since, nothing foreign stands.
    let own = Script::new().base("old", 'A', MANY).unlink("old").fsync(".").create("new");
    let own = own.append("new", 'B', MANY).fsync("new");
    let own =
        own.allocate("new", AllocateMode::Zero { keep_size: true }, all.0, all.1).write("new", 0, 'C', MANY);
    let twice: BTreeSet<(FileId, u64)> =
        shown(&own, "ext4-writeback").into_iter().map(|(at, _)| at).collect();
    assert_eq!(shown(&own, "ext4-writeback").len(), twice.len(), "the first write alone");
}

/// The predecessor by name comes first, numbers apart; then the same page of anything.
#[test]
fn a_predecessor_comes_first() {
    let script =
        Script::new().base("log.9", 'A', MANY).base("data", 'D', MANY).unlink("log.9").unlink("data");
    let script =
        script.fsync(".").create("log.10").append("log.10", 'B', MANY).create("k").append("k", 'C', MANY);
    let (log, k) = (script.id("log.10"), script.id("k"));
    for ((file, page), old) in shown(&script, "posix") {
        match old.file {
            FileId(1) if file == log => assert_eq!(old.page, page),
            FileId(2) if file == k => assert_eq!(old.page, page),
            _ => assert_eq!((file, old.file), (k, FileId(1)), "what the log has left"),
        }
    }
}

/// Every state in which one effect shows something old, at the end.
fn stale_states(space: &Space<'_>) -> Vec<CrashState> {
    let plan = Plan { bound: 1, budget: 100_000, seed: 1 };
    let is_stale = |state: &CrashState| state.except.iter().any(|(_, outcome)| *outcome == Outcome::Stale);
    space.states(&plan).filter(is_stale).collect()
}

#[test]
fn images_and_hashes_show_it_and_states_are_no_more() {
    let script = rewritten(|script| script.fsync(".")).truncate("log.2", 100).append("log.2", 'C', 3);
    for model in ["posix", "ext4-writeback"] {
        let letters = |assume: &[Assumption]| {
            with(&script, model, assume, |space| {
                let mut letters = BTreeSet::new();
                for state in stale_states(space) {
                    let image = space.image(&state);
                    assert_eq!(space.hash(&state), image.hash(), "{model}: {state:?}");
                    let data = image.nodes.get(&b"log.2"[..]).map_or(&[][..], |node| &node.data);
                    letters.extend(data.chunks(PAGE as usize).map(|page| page[0]));
                }
                (letters, space.count().states)
            })
        };
        let ((old, all), (rubbish, same)) = (letters(&[]), letters(&[NoOldPages]));
        assert_eq!(all, same, "{model}");
        assert!(old.contains(&b'A') && !rubbish.contains(&b'A'), "{model}: {old:?} {rubbish:?}");
        // Rubbish is not always an old page: its first byte says so.
        assert!(old.iter().any(|byte| *byte >= 0x80), "{model}: {old:?}");
    }
}

/// A repro's trace ends at the crash.
#[test]
fn a_trace_that_is_cut_after_the_crash_shows_the_same() {
    let script = rewritten(|script| script.fsync(".")).rename("log.2", "log");
    let script = script.create("log.3").append("log.3", 'C', MANY).fsync(".").unlink("log").fsync(".");
    let script = script.create("log.4").append("log.4", 'D', MANY).fsync("log.4");
    let whole = |at: Clock, model: &str| {
        with(&script, model, &[], |space| {
            let issued = space.effects().list.partition_point(|effect| effect.issued <= at);
            (0..issued).map(|id| space.old_page(EffectId(id as u32))).collect::<Vec<_>>()
        })
    };
    let mut seen = 0;
    for model in ["posix", "ext4-writeback"] {
        for at in 0..=script.end() {
            let mut cut = script.clone();
            cut.trace.events.retain(|event| event.begin <= at);
            let of_cut = with(&cut, model, &[], |space| {
                let n = space.effects().list.len();
                (0..n).map(|id| space.old_page(EffectId(id as u32))).collect::<Vec<_>>()
            });
            seen += of_cut.iter().flatten().count();
            assert_eq!(of_cut, whole(at, model), "{model} at {at}");
        }
    }
    assert!(seen > 0);
}

/// Told by the name that the file had.
#[test]
fn a_story_names_the_file() {
    let script = rewritten(|script| script.fsync("."));
    with(&script, "posix", &[], |space| {
        let effects = space.effects();
        let names = unplug_faults::effect::Names::of(&script.trace, effects);
        let mut told = BTreeSet::new();
        for (id, effect) in effects.list.iter().enumerate() {
            let (id, EffectKind::Data { page, .. }) = (EffectId(id as u32), &effect.kind) else { continue };
            let line = names.story(effects, id, Outcome::Stale, space.old_page(id));
            told.insert(
                line.replace(&format!("page {page} of"), "page N of").replace(&bytes(*page), "BYTES"),
            );
        }
        let what = "page N of log.2 (bytes BYTES) shows what stood in the block before";
        let (old, rubbish) =
            (format!("{what}: page N of log.1, which was set free"), format!("{what}: rubbish"));
        assert_eq!(told, BTreeSet::from([old, rubbish]));
    });
}

fn bytes(page: u64) -> String {
    format!("{}..{}", page * PAGE, (page + 1) * PAGE)
}
