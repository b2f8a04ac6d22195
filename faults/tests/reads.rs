//! What a process is seen to read of the files that it is given: every way to a file's bytes and to its size.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs::{self, File};
use std::io::{IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::Command;
use unplug_faults::event::NodeKind;
use unplug_faults::image::{Image, ImageNode, SharedImage};
use unplug_faults::reads::{Log, Watch};

const ROLE: &str = "READS_ROLE";
const DIR: &str = "READS_DIR";

/// `deep/d` is 0, `large` 1, `other` 2, `small` 3; `zlink` is `small`'s second name.
fn image() -> SharedImage {
    let node = |kind: NodeKind, data: Vec<u8>| ImageNode { kind, data, link_to: None };
    let mut image = Image::default();
    let mut put = |path: &str, node| drop(image.nodes.insert(path.as_bytes().to_vec(), node));
    put("deep", node(NodeKind::Dir, vec![]));
    put("deep/d", node(NodeKind::File, vec![4; 10]));
    put("large", node(NodeKind::File, vec![1; 5 * 4096]));
    put("other", node(NodeKind::File, vec![2; 3 * 4096 + 1]));
    put("small", node(NodeKind::File, vec![3; 100]));
    let link = ImageNode { link_to: Some(b"small".to_vec()), ..node(NodeKind::File, vec![]) };
    put("zlink", link);
    (&image).into()
}

type Work = fn(&Path) -> std::io::Result<()>;

fn mapped(path: &Path) -> std::io::Result<()> {
    let file = File::open(path)?;
    // SAFETY: a fresh private mapping, not touched.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, 1, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
    if at == libc::MAP_FAILED { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// read(2) by an instruction of this program's own.
fn inline(file: &File) -> isize {
    let (mut byte, ret) = ([0u8; 1], &mut 0isize);
    // SAFETY: read(2) into a buffer of one byte.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") 0isize => *ret, in("rdi") file.as_raw_fd(),
            in("rsi") byte.as_mut_ptr(), in("rdx") 1usize, lateout("rcx") _, lateout("r11") _);
    }
    *ret
}

fn fork(child: impl FnOnce()) {
    // SAFETY: the child does little and ends.
    match unsafe { libc::fork() } {
        0 => {
            child();
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) }
        }
        pid => {
            // SAFETY: waits for the child.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        }
    }
}

/// Each way, and what it is seen to read: by file, `-` for its size alone.
const WAYS: &[(&str, &str, Work)] = &[
    ("nothing", "", |_| Ok(())),
    ("list", "", |d| fs::read_dir(d)?.try_for_each(|e| e?.file_type().map(drop))),
    ("exists by access", "", |d| {
        nix::unistd::access(&d.join("small"), nix::unistd::AccessFlags::F_OK).map_err(Into::into)
    }),
    ("stat", "3-", |d| fs::metadata(d.join("small")).map(drop)),
    ("stat of a link's name", "3-", |d| fs::symlink_metadata(d.join("zlink")).map(drop)),
    ("stat by libc", "1-", |d| nix::sys::stat::stat(&d.join("large")).map(drop).map_err(Into::into)),
    ("open", "1-", |d| File::open(d.join("large")).map(drop)),
    ("open by a directory", "0-", |d| {
        let dir = File::open(d.join("deep"))?;
        nix::fcntl::openat(&dir, "d", nix::fcntl::OFlag::O_RDONLY, nix::sys::stat::Mode::empty())?;
        Ok(())
    }),
    ("cut", "", |d| File::create(d.join("large"))?.write_all(b"new")),
    ("remove", "", |d| fs::remove_file(d.join("large"))),
    // On a disk the new file gets the old one's inode number, unless somebody holds that.
    ("read what comes after something removed", "", |d| {
        fs::remove_file(d.join("other"))?;
        fs::write(d.join("fresh"), vec![9; 9000])?;
        fs::read(d.join("fresh")).and_then(|_| fs::remove_file(d.join("fresh")))
    }),
    ("move over", "", |d| fs::rename(d.join("large"), d.join("other"))),
    ("read", "3*", |d| fs::read(d.join("small")).map(drop)),
    ("read all pages", "2*", |d| fs::read(d.join("other")).map(drop)),
    ("read at", "1[2..3]", |d| File::open(d.join("large"))?.read_exact_at(&mut [0; 9], 2 * 4096 + 7)),
    ("read over a border", "1[1..3]", |d| {
        File::open(d.join("large"))?.read_exact_at(&mut [0; 9], 2 * 4096 - 1)
    }),
    ("two places", "1[0..1][3..5]", |d| {
        let file = File::open(d.join("large"))?;
        file.read_exact_at(&mut [0; 1], 5)?;
        file.read_exact_at(&mut [0; 4097], 3 * 4096 + 1)?;
        file.read_at(&mut [0; 10], 1 << 30).map(drop)
    }),
    ("seek and read", "1[4..5]", |d| {
        let mut file = File::open(d.join("large"))?;
        file.seek(SeekFrom::End(-1))?;
        file.read_to_end(&mut Vec::new()).map(drop)
    }),
    ("readv", "1[0..2]", |d| {
        let (mut a, mut b) = ([0; 4000], [0; 200]);
        let slices = &mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
        File::open(d.join("large"))?.read_vectored(slices).map(drop)
    }),
    ("preadv", "1[1..2]", |d| {
        let file = File::open(d.join("large"))?;
        let mut byte = [0; 1];
        nix::sys::uio::preadv(&file, &mut [IoSliceMut::new(&mut byte)], 4096)?;
        Ok(())
    }),
    ("map", "1*", |d| mapped(&d.join("large"))),
    ("copy", "2*", |d| fs::copy(d.join("other"), d.join("new")).map(drop)),
    ("sendfile", "2*", |d| {
        let (from, to) = (File::open(d.join("other"))?, File::create(d.join("new"))?);
        // SAFETY: both are open.
        let n = unsafe { libc::sendfile(to.as_raw_fd(), from.as_raw_fd(), std::ptr::null_mut(), 3) };
        assert_eq!(n, 3);
        Ok(())
    }),
    ("splice", "2*", |d| {
        let (from, (_reader, to)) = (File::open(d.join("other"))?, nix::unistd::pipe()?);
        let null = std::ptr::null_mut();
        // SAFETY: both are open.
        let n = unsafe { libc::splice(from.as_raw_fd(), null, to.as_raw_fd(), null, 3, 0) };
        assert_eq!(n, 3);
        Ok(())
    }),
    ("where its holes are", "1*", |d| {
        // SAFETY: asks only.
        let at = unsafe { libc::lseek(File::open(d.join("large"))?.as_raw_fd(), 0, libc::SEEK_HOLE) };
        assert_eq!(at, 5 * 4096);
        Ok(())
    }),
    ("inline", "1[0..1]", |d| {
        assert_eq!(inline(&File::open(d.join("large"))?), 1);
        Ok(())
    }),
    ("stdio", "3*", |d| {
        let path = std::ffi::CString::new(d.join("small").to_string_lossy().as_bytes())?;
        let mut bytes = [0u8; 4];
        // SAFETY: a fresh stream.
        unsafe {
            let stream = libc::fopen(path.as_ptr(), c"r".as_ptr());
            assert_eq!(libc::fread(bytes.as_mut_ptr().cast(), 1, 4, stream), 4);
        }
        Ok(())
    }),
    ("under another name", "1[0..1]", |d| {
        fs::rename(d.join("large"), d.join("moved"))?;
        File::open(d.join("moved"))?.read_exact(&mut [0; 4])
    }),
    ("what it has written itself", "1[0..1]", |d| {
        let file = File::options().write(true).read(true).open(d.join("large"))?;
        file.write_all_at(b"own", 0)?;
        file.read_exact_at(&mut [0; 3], 0)
    }),
    ("append, and read it", "3*", |d| {
        File::options().append(true).open(d.join("small"))?.write_all(b"more")?;
        fs::read(d.join("small")).map(drop)
    }),
    ("a new file", "", |d| {
        fs::write(d.join("new"), b"x")?;
        fs::read(d.join("new")).map(drop)
    }),
    ("a thread", "1[3..4]", |d| {
        let file = File::open(d.join("large"))?;
        std::thread::spawn(move || file.read_exact_at(&mut [0; 1], 3 * 4096)).join().expect("no panic")
    }),
    ("a child", "1[3..4]", |d| {
        let file = File::open(d.join("large"))?;
        fork(|| drop(file.read_exact_at(&mut [0; 1], 3 * 4096)));
        Ok(())
    }),
    ("with a flag of its own", "1[0..1]", |d| {
        File::options()
            .read(true)
            .custom_flags(libc::O_NOATIME)
            .open(d.join("large"))?
            .read_exact(&mut [0; 1])
    }),
    ("how full the disk is", "?", |d| nix::sys::statvfs::statvfs(d).map(drop).map_err(Into::into)),
    ("a ring", "?", |_| {
        // SAFETY: an invalid call, which makes nothing.
        unsafe { libc::syscall(libc::SYS_io_uring_setup, 0, 0) };
        Ok(())
    }),
    ("a call that nobody knows", "?", |_| {
        // SAFETY: no kernel knows it.
        unsafe { libc::syscall(500) };
        Ok(())
    }),
    ("another program", "lost", |_| Command::new("/bin/true").status().map(drop)),
];

/// What was seen, as [`WAYS`] tells it.
fn told(watch: &Watch) -> String {
    use unplug_faults::reads::Part;
    let Some(set) = watch.end() else { return if watch.is_lost() { "lost" } else { "?" }.into() };
    let part = |(file, part): &(u32, Part)| match part {
        Part::Whole => format!("{file}*"),
        Part::Pages(runs) if runs.is_empty() => format!("{file}-"),
        Part::Pages(runs) => {
            let runs: String = runs.iter().map(|(from, to)| format!("[{from}..{to}]")).collect();
            format!("{file}{runs}")
        }
    };
    set.files.iter().map(part).collect::<Vec<_>>().join(" ")
}

/// Started again under the log: does one thing, and says what it was seen to do.
#[test]
fn role() {
    let (Ok(role), Some(dir)) = (std::env::var(ROLE), std::env::var_os(DIR)) else { return };
    let mut watch = Watch::of_this_process().expect("a log").expect("one");
    let (dir, image) = (Path::new(&dir), image());
    // Twice: nothing may be left of the first.
    for round in 0..2 {
        fs::create_dir_all(dir).expect("a directory");
        unplug_faults::image::LayOut::new(dir).lay(&image).expect("laid out");
        watch.begin(dir, &image).expect("begun");
        for (name, _, work) in WAYS.iter().filter(|(name, ..)| *name == role) {
            let done = work(dir);
            println!("\nSEEN {round} {}", told(&watch));
            assert!(done.is_ok() || *name == "another program", "{name}: {done:?}");
        }
        if role == "quietly" {
            watch.quietly(|| fs::read(dir.join("small"))).expect("read");
            println!("\nSEEN {round} {}", told(&watch));
        }
    }
}

fn seen(role: &str) -> Vec<String> {
    let (log, dir) =
        (Log::new().expect("memory").expect("a shim"), tempfile::tempdir().expect("a directory"));
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "role", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(DIR, dir.path().join("image"));
    log.arm(&mut command);
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{role}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    text.lines().filter_map(|line| line.strip_prefix("SEEN ").map(str::to_owned)).collect()
}

#[test]
fn every_way_is_seen() {
    for (name, expected, _) in WAYS {
        let seen = seen(name);
        // What may go on for ever is not known in the next round either.
        assert_eq!(seen, [format!("0 {expected}"), format!("1 {expected}")], "{name}");
    }
}

#[test]
fn what_the_harness_reads_is_not_the_targets() {
    assert_eq!(seen("quietly"), ["0 ", "1 "]);
}

#[test]
fn without_a_log_nothing_is_said() {
    if std::env::var_os(ROLE).is_none() {
        assert!(Watch::of_this_process().expect("no error").is_none());
    }
}
