//! Images in a directory.

use crate::script::Script;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use unplug_faults::event::NodeKind;
use unplug_faults::image::{Delta, Image, ImageNode, LayOut, LayOutError, SharedImage};

fn node(kind: NodeKind, data: &[u8]) -> ImageNode {
    ImageNode { kind, data: data.to_vec(), link_to: None }
}

fn tree() -> Image {
    let mut nodes = BTreeMap::new();
    nodes.insert(b"a".to_vec(), node(NodeKind::File, b"first"));
    nodes.insert(b"d".to_vec(), node(NodeKind::Dir, b""));
    nodes.insert(b"d/b".to_vec(), ImageNode { link_to: Some(b"a".to_vec()), ..node(NodeKind::File, b"") });
    nodes.insert(b"d/s".to_vec(), node(NodeKind::Symlink(b"../a".to_vec()), b""));
    nodes.insert(b"e".to_vec(), node(NodeKind::File, b""));
    Image { nodes }
}

/// Reads a directory back as an image.
fn read(root: &Path, dir: &Path, image: &mut Image, firsts: &mut BTreeMap<u64, Vec<u8>>) {
    let mut entries: Vec<_> = fs::read_dir(dir).expect("dir").map(|e| e.expect("entry").path()).collect();
    entries.sort();
    for path in entries {
        let name = path.strip_prefix(root).expect("inside").as_os_str().as_bytes().to_vec();
        let meta = fs::symlink_metadata(&path).expect("stat");
        if meta.is_dir() {
            image.nodes.insert(name, node(NodeKind::Dir, b""));
            read(root, &path, image, firsts);
        } else if meta.is_symlink() {
            let target = fs::read_link(&path).expect("link").as_os_str().as_bytes().to_vec();
            image.nodes.insert(name, node(NodeKind::Symlink(target), b""));
        } else if let Some(first) = firsts.get(&meta.ino()) {
            image.nodes.insert(name, ImageNode { link_to: Some(first.clone()), ..node(NodeKind::File, b"") });
        } else {
            firsts.insert(meta.ino(), name.clone());
            image.nodes.insert(name, node(NodeKind::File, &fs::read(&path).expect("read")));
        }
    }
}

fn read_back(dir: &Path) -> Image {
    let mut image = Image::default();
    read(dir, dir, &mut image, &mut BTreeMap::new());
    image
}

#[test]
fn lays_out_exactly() {
    let dir = tempfile::tempdir().expect("dir");
    fs::write(dir.path().join("stranger"), b"x").expect("write");
    tree().lay_out(dir.path()).expect("lay out");
    assert_eq!(read_back(dir.path()), tree());
    assert_eq!(read_back(dir.path()).hash(), tree().hash());
}

/// A recovery may do anything to the directory between two images.
#[test]
fn trusts_nothing_that_stands_there() {
    let dir = tempfile::tempdir().expect("dir");
    let at = |name: &str| dir.path().join(name);
    let mut lay = LayOut::new(dir.path());
    lay.lay(&(&tree()).into()).expect("lay out");
    fs::write(at("a"), b"changed, and longer than before").expect("write");
    fs::remove_file(at("e")).expect("remove");
    fs::create_dir(at("e")).expect("mkdir");
    fs::write(at("e/inside"), b"x").expect("write");
    fs::remove_dir_all(at("d")).expect("remove");
    std::os::unix::fs::symlink("/etc/passwd", at("d")).expect("symlink");
    lay.lay(&(&tree()).into()).expect("lay out");
    assert_eq!(read_back(dir.path()), tree());
    // A second name that the recovery made must not be written through.
    fs::hard_link(at("e"), at("keep")).expect("link");
    let mut other = tree();
    other.nodes.insert(b"e".to_vec(), node(NodeKind::File, b"new"));
    lay.lay(&(&other).into()).expect("lay out");
    assert_eq!(read_back(dir.path()), other);
    lay.lay(&SharedImage::default()).expect("lay out");
    assert_eq!(read_back(dir.path()), Image::default());
}

/// Whatever a recovery changes is noticed.
#[test]
fn what_still_stands_is_known() {
    let dir = tempfile::tempdir().expect("dir");
    let at = |name: &str| dir.path().join(name);
    let mut image = tree();
    let mut long: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    long[100_000..200_000].fill(0);
    image.nodes.insert(b"long".to_vec(), node(NodeKind::File, &long));
    let shared = SharedImage::from(&image);
    let mut lay = LayOut::new(dir.path());
    let stands = || shared.stands_in(dir.path()).expect("readable");
    let changes: [(&str, &dyn Fn()); 10] = [
        ("a new file", &|| fs::write(at("new"), b"").expect("write")),
        ("a new file below", &|| fs::write(at("d/new"), b"").expect("write")),
        ("a file is gone", &|| fs::remove_file(at("e")).expect("remove")),
        ("other bytes", &|| fs::write(at("a"), b"fjrst").expect("write")),
        ("a longer file", &|| fs::write(at("e"), b"x").expect("write")),
        ("a byte in a hole", &|| {
            use std::os::unix::fs::FileExt;
            let file = fs::File::options().write(true).open(at("long")).expect("open");
            file.write_at(b"x", 150_000).expect("write");
        }),
        ("another link", &|| fs::hard_link(at("e"), at("d/l")).expect("link")),
        ("a copy for a link", &|| {
            fs::remove_file(at("d/b")).expect("remove");
            fs::write(at("d/b"), b"first").expect("write");
        }),
        ("another target", &|| {
            fs::remove_file(at("d/s")).expect("remove");
            std::os::unix::fs::symlink("../e", at("d/s")).expect("symlink");
        }),
        ("a directory for a file", &|| {
            fs::remove_file(at("e")).expect("remove");
            fs::create_dir(at("e")).expect("mkdir");
        }),
    ];
    for (what, change) in changes {
        lay.lay(&shared).expect("lay out");
        assert!(stands(), "before: {what}");
        change();
        assert!(!stands(), "{what}");
    }
    lay.lay(&shared).expect("lay out");
    fs::write(at("a"), b"fjrst").expect("write");
    fs::write(at("a"), b"first").expect("write");
    assert!(stands(), "written, and the same as before");
}

/// A directory that cannot be written gives an error with the path.
#[test]
fn errors_name_the_path() {
    let dir = tempfile::tempdir().expect("dir");
    let gone = dir.path().join("gone");
    let error = LayOut::new(&gone).lay(&(&tree()).into()).expect_err("no directory");
    assert!(matches!(&error, LayOutError::Io { path, .. } if *path == gone), "{error}");
    assert!(error.to_string().contains("gone"));
}

/// Images of a trace go through the directory unharmed.
#[test]
fn images_of_a_trace() {
    let script =
        Script::new().base("f", 'A', 1).mkdir("d").create("d/n").append("d/n", 'B', 2).link("f", "k");
    let effects = unplug_faults::effect::Effects::of(&script.trace);
    let model = unplug_faults::model::by_name("ext4-ordered").expect("model");
    let space = unplug_faults::state::Space::new(&script.trace, &effects, model, &[]);
    let dir = tempfile::tempdir().expect("dir");
    let mut lay = LayOut::new(dir.path());
    for state in space.states(&unplug_faults::state::Plan { bound: 2, budget: 200, seed: 0 }) {
        let image = space.shared_image(&state);
        lay.lay(&image).expect("lay out");
        assert_eq!(read_back(dir.path()), image.image(), "{state:?}");
    }
}

/// A file written over in place keeps nothing of what stood there: neither behind its end nor in its holes.
#[test]
fn holes_and_long_files_are_written_whole() {
    let dir = tempfile::tempdir().expect("dir");
    let mut lay = LayOut::new(dir.path());
    let long: Vec<u8> = (0..5_000_000u32).map(|n| n as u8 | 1).collect();
    let mut holes = long[..3_000_001].to_vec();
    holes[8192..40_960].fill(0);
    holes[2_900_000..].fill(0);
    for data in [&long, &holes, &long, &vec![0; 70_000], &long, &Vec::new()] {
        let mut image = Image::default();
        image.nodes.insert(b"f".to_vec(), node(NodeKind::File, data));
        // Through a delta zeros become holes.
        let mut far = SharedImage::default();
        Delta::between(&far, &(&image).into()).apply(&mut far).expect("a delta");
        lay.lay(&far).expect("lay out");
        assert!(read_back(dir.path()) == image, "{} bytes", data.len());
    }
}
