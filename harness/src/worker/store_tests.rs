//! Stores in this process and in forks: lives and what they come to.

use super::*;
use crate::dump::Entry;
use unplug_faults::event::NodeKind;
use unplug_faults::image::{Image, ImageNode};

/// A store of one file whose content decides what happens.
struct Toy {
    reusable: bool,
}

impl Subject for Toy {
    type Life = (std::path::PathBuf, Vec<u8>);
    fn reusable(&self) -> bool {
        self.reusable
    }
    fn open(&self, dir: &Path, _now_ms: u64) -> Result<Self::Life, BoxError> {
        let path = dir.join("data");
        let mut bytes = std::fs::read(&path)?;
        // Outside of the image: how often it was opened.
        let mut opens = std::fs::File::options().create(true).append(true).open(dir.join("../opens"))?;
        std::io::Write::write_all(&mut opens, b".")?;
        match bytes.as_slice() {
            b"adds a line" => {
                bytes.extend_from_slice(b"\nmore");
                std::fs::write(&path, &bytes)?;
                Ok((path, bytes))
            }
            b"refuse" => Err("will not".into()),
            b"panic" => panic!("at the disk"),
            b"assert" => {
                assert_eq!(0, bytes.len(), "no page there");
                Ok((path, bytes))
            }
            b"abort" if !self.reusable => std::process::abort(),
            b"spin" if !self.reusable => loop {
                std::hint::spin_loop();
            },
            _ => Ok((path, bytes)),
        }
    }
    fn dump(&self, life: &mut Self::Life) -> Result<Dump, BoxError> {
        let lines = life.1.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        Ok(Dump(lines.map(|l| (l.to_vec(), Entry { value: vec![], expires_at_ms: None })).collect()))
    }
    fn probe(&self, life: &mut Self::Life) -> Result<Dump, BoxError> {
        if life.1 == b"read only" {
            return Err("no writes here".into());
        }
        if life.1 == b"panics on a write" {
            panic!("at the write");
        }
        life.1.extend_from_slice(b"\nprobe");
        self.dump(&mut (life.0.clone(), b"probe".to_vec()))
    }
    fn close(&self, life: Self::Life) -> Result<(), BoxError> {
        Ok(std::fs::write(life.0, life.1)?)
    }
    fn abandon(&self, _life: Self::Life) {}
}

/// Runs in a fork: the recovery sets the process's panic hook, and other tests run beside this one.
fn lives(content: &str, reusable: bool, alone: bool) -> Result<Lives, String> {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    std::fs::create_dir(&image).unwrap();
    std::fs::write(image.join("data"), content).unwrap();
    let end = in_child(20, None, Farewell::Exit, || {
        let result = StoreRecovery::new(Toy { reusable }, 1).lives(&image, dir.path(), 0, alone);
        postcard::to_stdvec(&result.map_err(|e| format!("{e:?}"))).unwrap()
    });
    let ChildEnd::Said(message) = end.unwrap() else { panic!("no message") };
    postcard::from_bytes(&message).unwrap()
}

/// As [`lives`], where the image is at hand; and how often the store was opened.
fn lives_on(content: &str, reusable: bool, alone: bool) -> (Result<Lives, String>, u64) {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("image");
    std::fs::create_dir(&at).unwrap();
    let mut image = Image::default();
    let node = ImageNode { kind: NodeKind::File, data: content.as_bytes().to_vec(), link_to: None };
    image.nodes.insert(b"data".to_vec(), node);
    image.lay_out(&at).unwrap();
    let end = in_child(20, None, Farewell::Exit, || {
        let (image, merged) = ((&image).into(), std::cell::Cell::new(false));
        let ground = Ground { dir: &at, scratch: dir.path(), image: &image, watch: None, merged: &merged };
        let result = StoreRecovery::new(Toy { reusable }, 1).lives_on(&ground, 0, alone);
        postcard::to_stdvec(&result.map_err(|e| format!("{e:?}"))).unwrap()
    });
    let ChildEnd::Said(message) = end.unwrap() else { panic!("no message") };
    let opens = std::fs::metadata(dir.path().join("opens")).unwrap().len();
    (postcard::from_bytes(&message).unwrap(), opens)
}

/// Where the first start changes nothing, the second is not made; what comes out is the same.
#[test]
fn an_untouched_directory_spares_a_start() {
    for reusable in [true, false] {
        for (content, alone, starts) in
            [("a\nb", false, 2), ("a\nb", true, 3), ("adds a line", false, 3), ("refuse", false, 1)]
        {
            let (result, opens) = lives_on(content, reusable, alone);
            assert_eq!(result, lives(content, reusable, alone), "{content}");
            assert_eq!(opens, starts, "{content}, reusable {reusable}, alone {alone}");
        }
    }
}

/// What goes wrong behind a first half that went well is told apart when the lives are lived one by one.
#[test]
fn a_fault_in_the_second_half_is_judged_alone() {
    for reusable in [true, false] {
        for content in ["read only", "panics on a write"] {
            assert_eq!(lives_on(content, reusable, false).0, Err("Suspect".into()), "{content}");
            let lives = lives_on(content, reusable, true).0.unwrap();
            assert_eq!(keys(&lives.first), [content]);
            match lives.second {
                Some(Outcome::Refused { message }) if content == "read only" => {
                    assert_eq!(message, "after recovery it takes no writes: no writes here");
                }
                Some(Outcome::Crashed { message }) => assert!(message.contains("at the write"), "{message}"),
                other => panic!("{content}: {other:?}"),
            }
        }
    }
}

fn keys(outcome: &Outcome) -> Vec<String> {
    let Outcome::Recovered(dump) = outcome else { panic!("{outcome:?}") };
    dump.0.keys().map(|k| String::from_utf8_lossy(k).into_owned()).collect()
}

#[test]
fn both_ways_give_the_same_three_lives() {
    let forked = lives("a\nb", false, false).unwrap();
    assert_eq!(forked, lives("a\nb", true, false).unwrap());
    assert_eq!(forked, lives("a\nb", true, true).unwrap());
    assert_eq!(keys(&forked.first), ["a", "b"]);
    assert_eq!(forked.second.as_ref(), Some(&forked.first));
    assert_eq!(keys(&forked.third.unwrap()), ["a", "b", "probe"]);
    assert_eq!(keys(&Outcome::Recovered(forked.probes)), ["probe"]);
}

#[test]
fn a_refusal_convicts_at_once_and_ends_the_lives() {
    for reusable in [false, true] {
        let lives = lives("refuse", reusable, false).unwrap();
        assert_eq!(lives.first, Outcome::Refused { message: "will not".into() });
        assert_eq!((lives.second, lives.third), (None, None));
    }
}

#[test]
fn a_crash_is_a_suspicion_until_repeated_alone() {
    for (content, reusable) in [("panic", true), ("panic", false), ("abort", false), ("spin", false)] {
        assert_eq!(lives(content, reusable, false), Err("Suspect".into()), "{content}");
    }
    let crashed = |content| match lives(content, false, true).unwrap().first {
        Outcome::Crashed { message } => message,
        other => panic!("{other:?}"),
    };
    assert_eq!(crashed("panic"), "at the disk");
    // The sides come behind what they are about.
    let both = "assertion `left == right` failed: no page there, left: 0, right: 6";
    assert_eq!(crashed("assert"), both);
    assert!(crashed("abort").starts_with("killed by SIGABRT"));
    assert_eq!(lives("spin", false, true).unwrap().first, Outcome::Hung { limit_ms: 1000 });
}
