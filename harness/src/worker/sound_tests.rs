//! Lives that are known: which are, and that they are what would have been lived.

use super::*;
use crate::dump::Entry;
use crate::worker::three::{Between, Part, three_lives};
use std::fs;

/// A store of one file of lines. What follows a `#` is torn, and is cut when it starts.
struct Toy<'a> {
    dir: &'a Path,
    starts: u32,
}

impl Toy<'_> {
    fn live(&mut self, part: Part<'_>) -> (Outcome, Option<Dump>) {
        self.starts += 1;
        let at = self.dir.join("data");
        let mut text = fs::read_to_string(&at).unwrap();
        // A bug that shows in the third life only.
        if text.starts_with("forgetful") && text.contains("probe") {
            text.truncate(text.len() - "probe\n".len());
        }
        if let Some(torn) = text.find('#') {
            text.truncate(torn);
            fs::write(&at, &text).unwrap();
        }
        // One that shows in the second.
        if text.starts_with("waning") && fs::metadata(self.dir.join("../seen")).is_ok() {
            text.truncate("waning\n".len());
        }
        fs::write(self.dir.join("../seen"), "").unwrap();
        let held = dump(&text);
        let probes = part.goes_on(&held).then(|| {
            fs::write(&at, text + "probe\n").unwrap();
            dump("probe\n")
        });
        (Outcome::Recovered(held), probes)
    }
}

fn dump(text: &str) -> Dump {
    let entry = || Entry { value: vec![], expires_at_ms: None };
    Dump(text.lines().map(|line| (line.as_bytes().to_vec(), entry())).collect())
}

/// The lives on this content, whether the first went on as the second, and how many were lived.
fn lives(sound: Option<&RefCell<Sound>>, content: &str, now_ms: u64, alone: bool) -> (Lives, bool, u32) {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("image");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("data"), content).unwrap();
    let probes = || dump("probe\n");
    let spare = sound.map(|sound| Spare::new(sound, (&dir, now_ms), &probes));
    let untouched = || fs::read_to_string(dir.join("data")).unwrap() == content;
    let between = Between { untouched: Some(&untouched), spare: spare.as_ref() };
    let mut toy = Toy { dir: &dir, starts: 0 };
    let (lives, merged) = three_lives(alone, between, |part| Ok(toy.live(part))).unwrap();
    (lives, merged, toy.starts)
}

#[test]
fn what_a_first_life_leaves_is_lived_on_with_once() {
    let sound = RefCell::default();
    let mut counts = Vec::new();
    for content in ["a\n#x", "a\n#xy", "a\n", "a\nb\n", "a\nb\n#", "a\n#xyz", "", "#"] {
        let (spared, merged, starts) = lives(Some(&sound), content, 5, false);
        let (lived, same, _) = lives(None, content, 5, false);
        assert_eq!((spared, merged), (lived, same), "{content:?}");
        counts.push(starts);
    }
    assert_eq!(counts, [3, 1, 1, 2, 1, 1, 2, 1]);
    // At another instant, or to convict, nothing is known.
    assert_eq!(lives(Some(&sound), "a\n#x", 6, false).2, 3);
    assert_eq!(lives(Some(&sound), "a\n#x", 5, true).2, 3);
}

/// Whatever goes wrong is lived again by each image that comes to it.
#[test]
fn what_goes_wrong_is_never_known() {
    for content in ["forgetful\n", "waning\nb\n"] {
        let sound = RefCell::default();
        for torn in ["#a", "#b", "#c"] {
            let image = format!("{content}{torn}");
            let (found, _, starts) = lives(Some(&sound), &image, 5, false);
            assert_eq!((&found, starts), (&lives(None, &image, 5, true).0, 3), "{image}");
            let expected = Outcome::Recovered(dump(&format!("{content}probe\n")));
            assert_ne!(found.third, Some(expected), "{image}");
        }
        assert!(sound.borrow().known.is_empty());
    }
}

/// A directory alone says nothing of a target that holds something else there than the one that was seen.
#[test]
fn another_state_in_an_equal_directory_is_not_known() {
    let (sound, dir) = (RefCell::default(), tempfile::tempdir().unwrap());
    let probes = || dump("probe\n");
    let spare = Spare::new(&sound, (dir.path(), 5), &probes);
    assert!(!spare.is_known(&dump("a\n")));
    let (a, all) = (dump("a\n"), dump("a\nprobe\n"));
    let recovered = Outcome::Recovered;
    let (second, third) = (Some(recovered(a.clone())), Some(recovered(all)));
    spare.note(&Lives { first: recovered(a.clone()), second, third, probes: probes() });
    assert!(spare.is_known(&a) && !spare.is_known(&dump("b\n")));
    fs::write(dir.path().join("new"), "").unwrap();
    assert!(!spare.is_known(&a));
}

/// What is known is told with the probes that a life of this worker would have written.
#[test]
fn lives_with_other_probes_are_not_noted() {
    let probes = || dump("probe\n");
    for (written, third, noted) in [
        ("probe\n", "a\nprobe\n", true),
        ("other\n", "a\nother\n", false),
        ("", "a\n", false),
        ("probe\n", "a\n", false),
    ] {
        let (sound, dir) = (RefCell::default(), tempfile::tempdir().unwrap());
        let spare = Spare::new(&sound, (dir.path(), 5), &probes);
        assert!(!spare.is_known(&dump("a\n")));
        let (first, third) = (Outcome::Recovered(dump("a\n")), Some(Outcome::Recovered(dump(third))));
        spare.note(&Lives { first: first.clone(), second: Some(first), third, probes: dump(written) });
        assert_eq!(spare.is_known(&dump("a\n")), noted, "{written:?}");
    }
}

#[test]
fn workers_tell_each_other_what_they_know() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sound");
    let open = || Sound { shared: Some(Sound::open(&path).unwrap()), ..Sound::default() };
    let (mut a, mut b) = (open(), open());
    for key in 0..1000 {
        assert!(!b.knows(key));
        a.note(key);
        assert!(b.knows(key) && b.read == (key as u64 + 1) * LEN as u64, "{key}");
    }
    let mut late = open();
    assert!((0..1000).all(|key| late.knows(key)) && !late.knows(1000));
    // Half of one, that is being written: it is read when it is whole.
    let mut file = Sound::open(&path).unwrap();
    let key = 4711_u128.to_ne_bytes();
    file.write_all(&key[..9]).unwrap();
    assert!(!late.knows(4711));
    file.write_all(&key[9..]).unwrap();
    assert!(late.knows(4711));
}
