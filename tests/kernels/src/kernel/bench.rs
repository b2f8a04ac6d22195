//! One disk under service, with a process of its own at the mounted file system.
//!
//! Nothing that is made here outlives its processes, however they end. All mounts are in a mount namespace of the
//! thread that made the bench, and go with its last process; the loop device detaches itself when its last user is
//! gone; the file's server and the process that may wait for the disk are two processes, so that neither keeps the
//! other alive: if the server dies, /dev/fuse is closed, every request fails, and the helper comes back and ends.

use super::Kind;
use crate::disk::{Disk, Served, serve};
use crate::{Error, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::MutexGuard;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What the names of our directories in /tmp begin with.
pub const PREFIX: &str = "unplug-kernels-";
/// An answer that takes longer means that the kernel hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// See the module.
pub struct Bench {
    stdin: Option<ChildStdin>,
    answers: Receiver<String>,
    child: Child,
    served: Served,
    dir: PathBuf,
    held: Option<(File, TempDir)>,
}

/// A namespace of this thread's own, out of which no mount gets.
fn own_namespace() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
}

pub(super) fn private_mounts_work() -> nix::Result<()> {
    std::thread::spawn(own_namespace).join().unwrap_or(Err(nix::errno::Errno::EIO))
}

impl Bench {
    /// Serves a fresh file system of this kind. The calling thread leaves its mount namespace for good: call it
    /// from a thread made for it. `program` is this package's binary.
    ///
    /// # Errors
    /// Whatever failed; nothing is left behind.
    pub fn start(kind: &Kind, program: &Path, seed: u64) -> Result<Bench> {
        own_namespace().map_err(Error::os("a mount namespace"))?;
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let temp = tempfile::Builder::new().prefix(&prefix).tempdir().map_err(Error::io("a directory"))?;
        let dir = temp.path().to_owned();
        // Whoever sweeps finds the lock taken as long as this process lives. It stands below the mount.
        let lock = File::create(dir.join("lock")).map_err(Error::at(&dir))?;
        lock.try_lock().map_err(|e| Error::Other(format!("{}: {e}", dir.display())))?;
        mount(Some("unplug-kernels"), &dir, Some("tmpfs"), MsFlags::empty(), None::<&str>)
            .map_err(Error::os("a tmpfs"))?;
        let held = Some((lock, temp));
        let made = (|| {
            let disk = Disk::new(kind.make(&dir)?, seed);
            fs::create_dir(dir.join("mnt")).map_err(Error::at(&dir))?;
            serve(disk, &dir.join("disk"))
        })();
        let served = match made {
            Ok(served) => served,
            Err(e) => {
                let _ = umount2(&dir, MntFlags::MNT_DETACH);
                return Err(e);
            }
        };
        let mut child = Command::new(program)
            .arg("helper")
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::at(program))?;
        let stdin = child.stdin.take();
        let (sender, answers) = channel();
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || {
                let lines = BufReader::new(out).lines().map_while(std::result::Result::ok);
                lines.into_iter().try_for_each(|line| sender.send(line))
            });
        }
        let mut bench = Bench { stdin, answers, child, served, dir, held };
        bench.ask("attach")?;
        Ok(bench)
    }

    /// The disk.
    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.served.disk()
    }

    /// Has the helper do something; gives its answer.
    ///
    /// # Errors
    /// Its error, or that it is gone or hangs.
    pub fn ask(&mut self, what: &str) -> Result<String> {
        let failed = |answer: &str| Error::Helper { what: what.into(), answer: answer.into() };
        let Some(stdin) = &mut self.stdin else { return Err(failed("it is gone")) };
        writeln!(stdin, "{what}").and_then(|()| stdin.flush()).map_err(|e| failed(&e.to_string()))?;
        match self.answers.recv_timeout(PATIENCE) {
            Ok(answer) => match answer.split_once(' ') {
                Some(("ok", rest)) => Ok(rest.to_owned()),
                _ => Err(failed(&answer)),
            },
            Err(e) => Err(failed(&format!("no answer ({e})"))),
        }
    }

    /// Takes everything down, and says if something would not go.
    ///
    /// # Errors
    /// What is left over.
    pub fn end(mut self) -> Result<()> {
        self.take_down()
    }

    fn take_down(&mut self) -> Result<()> {
        let Some(held) = self.held.take() else { return Ok(()) };
        // It ends with its input.
        drop(self.stdin.take());
        let until = Instant::now() + Duration::from_secs(30);
        let mut gone = false;
        while !gone && Instant::now() < until {
            gone = matches!(self.child.try_wait(), Ok(Some(_)));
            if !gone {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if !gone {
            drop(self.child.kill());
        }
        let served = self.served.end();
        let unmounted = umount2(&self.dir, MntFlags::MNT_DETACH).map_err(Error::os("umount of the tmpfs"));
        let (lock, temp) = held;
        let closed = temp.close().map_err(Error::at(&self.dir));
        drop(lock);
        if !gone {
            return Err(Error::Other(format!("the helper at {} would not end", self.dir.display())));
        }
        served.and(unmounted).and(closed)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(self.take_down());
    }
}

/// Removes the directories that killed runs have left in the temporary directory: empty ones, since all that was
/// in them went with their namespaces. One whose lock is taken is in use. Gives those that were removed.
pub fn sweep() -> Vec<PathBuf> {
    let mut removed = Vec::new();
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return removed };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) {
            continue;
        }
        let free = match File::open(path.join("lock")) {
            Ok(lock) => lock.try_lock().is_ok(),
            // Without a lock it may be one that is just being made.
            Err(_) => false,
        };
        if free && fs::remove_dir_all(&path).is_ok() {
            removed.push(path);
        }
    }
    removed
}
