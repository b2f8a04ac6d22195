//! The process at the mounted file system: it attaches, mounts, runs steps, reads trees, on command. It may wait
//! for the disk without end, so it holds nothing that the disk's server needs.

use crate::script::{Runner, Step};
use crate::{Error, Result, draw, raw};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

struct Helper {
    dir: PathBuf,
    device: Option<(PathBuf, File)>,
    runner: Option<Runner>,
}

/// Serves commands from standard input until it ends; then unmounts what is mounted.
///
/// # Errors
/// Standard output is gone.
pub fn serve_commands(dir: &Path) -> Result<()> {
    let mut helper = Helper { dir: dir.to_owned(), device: None, runner: None };
    let stdin = std::io::stdin();
    for line in stdin.lock().lines() {
        let line = line.map_err(Error::io("standard input"))?;
        let answer = match helper.command(&line) {
            Ok(text) => format!("ok {text}"),
            Err(e) => format!("error {}", e.to_string().replace('\n', " ")),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}").and_then(|()| out.flush()).map_err(Error::io("standard output"))?;
    }
    if helper.runner.is_some() {
        drop(helper.unmount());
    }
    Ok(())
}

impl Helper {
    fn command(&mut self, line: &str) -> Result<String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "attach" => self.attach(),
            "mount" => {
                let (fs, options) = rest.split_once(' ').unwrap_or((rest, ""));
                self.mount(fs, options, MsFlags::empty())?;
                self.runner = Some(Runner::new(&self.mnt()));
                Ok(String::new())
            }
            "run" => {
                let step = Step::parse(rest).map_err(Error::Other)?;
                let runner = self.runner.as_mut().ok_or_else(|| Error::Other("nothing is mounted".into()))?;
                runner.run(&step).map_err(Error::io(rest))?;
                Ok(String::new())
            }
            "unmount" => self.unmount().map(|()| String::new()),
            "look" => {
                let (fs, options) = rest.split_once(' ').unwrap_or((rest, ""));
                self.look(fs, options)
            }
            _ => Err(Error::Other(format!("no such command: {line}"))),
        }
    }

    fn mnt(&self) -> PathBuf {
        self.dir.join("mnt")
    }

    fn attach(&mut self) -> Result<String> {
        let open =
            |path: &Path| OpenOptions::new().read(true).write(true).open(path).map_err(Error::at(path));
        let backing = open(&self.dir.join("disk"))?;
        // Kernels before 6.17 take the size from the cached inode.
        let size = backing.metadata().map_err(Error::at(&self.dir))?.len();
        let control = open(Path::new("/dev/loop-control"))?;
        for _ in 0..100 {
            let number = raw::free_loop(&control).map_err(Error::io("a free loop device"))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = open(&path)?;
            match raw::configure_loop(&device, &backing, "unplug-kernels") {
                Ok(()) => {
                    let name = path.display().to_string();
                    self.device = Some((path, device));
                    return Ok(format!("{name} {size}"));
                }
                // Somebody else was quicker.
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {}
                Err(e) => {
                    return Err(Error::Io { what: format!("loop device {}", path.display()), source: e });
                }
            }
        }
        Err(Error::Other("no loop device would be had".into()))
    }

    fn mount(&self, fs: &str, options: &str, flags: MsFlags) -> Result<()> {
        let Some((path, device)) = &self.device else {
            return Err(Error::Other("no device".into()));
        };
        raw::forget_cache(device).map_err(Error::at(path))?;
        let options = (!options.is_empty()).then_some(options);
        mount(Some(path), &self.mnt(), Some(fs), flags, options).map_err(Error::os("mount"))
    }

    fn unmount(&mut self) -> Result<()> {
        let finished = self.runner.take().map_or(Ok(()), |mut runner| runner.finish());
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match umount2(&self.mnt(), MntFlags::empty()) {
                Ok(()) => break,
                // A descriptor of a thread that has just ended.
                Err(Errno::EBUSY) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
                Err(e) => return Err(Error::os("umount")(e)),
            }
        }
        finished.map_err(Error::io("a sync in the background"))
    }

    /// Mounts (read-only: the journal is replayed all the same), reads the tree, unmounts. A mount that the kernel
    /// refuses is an observation, not an error.
    fn look(&mut self, fs: &str, options: &str) -> Result<String> {
        if let Err(e) = self.mount(fs, options, MsFlags::MS_RDONLY) {
            return Ok(format!("!unmountable: {e}"));
        }
        let tree = draw::directory(&self.mnt());
        self.unmount()?;
        Ok(tree)
    }
}
