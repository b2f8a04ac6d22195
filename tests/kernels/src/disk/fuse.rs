//! A file system of one file by the raw protocol of /dev/fuse: its root *is* the file, and the file is the disk.

use super::log::Disk;
use crate::{Error, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

// linux/fuse.h
const LOOKUP_FORGET: u32 = 2;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;
const FALLOCATE: u32 = 43;
const MAX_WRITE: u32 = 1 << 20;

/// A disk under service. Dropping it takes the file away again.
pub struct Served {
    path: PathBuf,
    disk: Arc<Mutex<Disk>>,
    threads: Vec<JoinHandle<()>>,
}

/// A write that the disk takes its time for.
struct Held {
    due: Instant,
    unique: u64,
    offset: usize,
    data: Vec<u8>,
    entries: std::ops::Range<usize>,
}

#[derive(Default)]
struct Waiting {
    list: VecDeque<Held>,
    over: bool,
}

/// Serves the disk as the file `path`, which is made if it is not there.
///
/// # Errors
/// /dev/fuse or the mount failed.
pub fn serve(disk: Disk, path: &Path) -> Result<Served> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    let device = Arc::new(device.map_err(Error::io("/dev/fuse"))?);
    File::create(path).map_err(Error::at(path))?;
    let options = format!("fd={},rootmode=100000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("unplug-kernels"), path, Some("fuse"), flags, Some(options.as_str()))
        .map_err(Error::os(format!("mount of fuse on {}", path.display())))?;
    let size = disk.len() as u64;
    let disk = Arc::new(Mutex::new(disk));
    let waiting = Arc::new((Mutex::new(Waiting::default()), Condvar::new()));
    let server = Server { device: device.clone(), disk: disk.clone(), waiting: waiting.clone(), size };
    let late = Late { device, disk: disk.clone(), waiting };
    let threads = vec![std::thread::spawn(move || server.run()), std::thread::spawn(move || late.run())];
    Ok(Served { path: path.to_owned(), disk, threads })
}

impl Served {
    /// The disk.
    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    /// Takes the file away and waits until nothing uses it any more.
    ///
    /// # Errors
    /// The file is still in use after some seconds: something of the mount is left over.
    pub fn end(&mut self) -> Result<()> {
        if self.threads.is_empty() {
            return Ok(());
        }
        // Detached: the last reference (the loop device's) may go a moment later.
        umount2(&self.path, MntFlags::MNT_DETACH)
            .map_err(Error::os(format!("umount of {}", self.path.display())))?;
        let until = Instant::now() + Duration::from_secs(20);
        for thread in self.threads.drain(..) {
            while !thread.is_finished() {
                if Instant::now() > until {
                    return Err(Error::Other(format!("{} is still in use", self.path.display())));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Whoever cares has called `end` before; the namespace's end takes away the rest.
        drop(self.end());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(from) = bytes.get(at..at + N) {
        out.copy_from_slice(from);
    }
    out
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(number(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(number(bytes, at))
}

fn reply(device: &File, unique: u64, errno: i32, body: &[u8]) {
    let mut header = [0u8; 16];
    header[0..4].copy_from_slice(&((16 + body.len()) as u32).to_ne_bytes());
    header[4..8].copy_from_slice(&(-errno).to_ne_bytes());
    header[8..16].copy_from_slice(&unique.to_ne_bytes());
    // It fails if the request was aborted meanwhile: nobody waits for the answer then.
    drop((&*device).write_vectored(&[IoSlice::new(&header), IoSlice::new(body)]));
}

fn write_reply(device: &File, unique: u64, len: usize) {
    let mut body = [0u8; 8];
    body[0..4].copy_from_slice(&(len as u32).to_ne_bytes());
    reply(device, unique, 0, &body);
}

struct Server {
    device: Arc<File>,
    disk: Arc<Mutex<Disk>>,
    waiting: Arc<(Mutex<Waiting>, Condvar)>,
    size: u64,
}

impl Server {
    fn run(&self) {
        let mut buffer = vec![0u8; MAX_WRITE as usize + 4096];
        loop {
            match (&*self.device).read(&mut buffer) {
                Ok(n) if n >= 40 => self.request(&buffer[..n]),
                Ok(_) => break,
                Err(e)
                    if [libc::EINTR, libc::ENOENT, libc::EAGAIN].contains(&e.raw_os_error().unwrap_or(0)) => {
                }
                // ENODEV: unmounted.
                Err(_) => break,
            }
        }
        lock(&self.waiting.0).over = true;
        self.waiting.1.notify_all();
    }

    fn request(&self, request: &[u8]) {
        let (op, unique) = (u32_at(request, 4), u64_at(request, 8));
        let body = &request[40..];
        let answer = |errno: i32, bytes: &[u8]| reply(&self.device, unique, errno, bytes);
        match op {
            INIT => answer(0, &init(body)),
            GETATTR | SETATTR => answer(0, &self.attributes()),
            OPEN => {
                let mut out = [0u8; 16];
                out[0..8].copy_from_slice(&1u64.to_ne_bytes());
                answer(0, &out);
            }
            READ => {
                let (offset, len) = (u64_at(body, 8) as usize, u32_at(body, 16) as usize);
                let disk = lock(&self.disk);
                let end = (offset + len).min(disk.bytes.len());
                answer(0, &disk.bytes[offset.min(end)..end]);
            }
            WRITE => {
                let (offset, len) = (u64_at(body, 8) as usize, u32_at(body, 16) as usize);
                match body.get(40..40 + len) {
                    Some(data) => self.write(unique, offset, data),
                    None => answer(libc::EIO, &[]),
                }
            }
            FSYNC => {
                lock(&self.disk).flush();
                answer(0, &[]);
            }
            FALLOCATE => answer(self.fallocate(body), &[]),
            STATFS => {
                let mut out = [0u8; 80];
                out[40..44].copy_from_slice(&4096u32.to_ne_bytes());
                out[44..48].copy_from_slice(&255u32.to_ne_bytes());
                answer(0, &out);
            }
            RELEASE | FLUSH | DESTROY => answer(0, &[]),
            LOOKUP_FORGET | BATCH_FORGET | INTERRUPT => {}
            _ => answer(libc::ENOSYS, &[]),
        }
    }

    fn write(&self, unique: u64, offset: usize, data: &[u8]) {
        let mut disk = lock(&self.disk);
        let delay = disk.delay(data);
        let entries = disk.told(offset, data);
        if delay.is_zero() {
            disk.done(offset, data, entries);
            drop(disk);
            write_reply(&self.device, unique, data.len());
            return;
        }
        drop(disk);
        let held = Held { due: Instant::now() + delay, unique, offset, data: data.to_vec(), entries };
        lock(&self.waiting.0).list.push_back(held);
        self.waiting.1.notify_all();
    }

    /// Punching and zeroing: both write zeros.
    fn fallocate(&self, body: &[u8]) -> i32 {
        let (offset, len, mode) = (u64_at(body, 8), u64_at(body, 16), u32_at(body, 24) as i32);
        if mode & (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE) == 0 {
            return 0;
        }
        let end = offset.saturating_add(len).min(self.size);
        let zeros = vec![0u8; end.saturating_sub(offset) as usize];
        let mut disk = lock(&self.disk);
        let entries = disk.told(offset as usize, &zeros);
        disk.done(offset as usize, &zeros, entries);
        0
    }

    fn attributes(&self) -> Vec<u8> {
        let mut out = vec![0u8; 104];
        // Valid for an hour, then the attributes: inode, size, blocks, mode, links, block size.
        out[0..8].copy_from_slice(&3600u64.to_ne_bytes());
        out[16..24].copy_from_slice(&1u64.to_ne_bytes());
        out[24..32].copy_from_slice(&self.size.to_ne_bytes());
        out[32..40].copy_from_slice(&(self.size / 512).to_ne_bytes());
        out[76..80].copy_from_slice(&0o100_600u32.to_ne_bytes());
        out[80..84].copy_from_slice(&1u32.to_ne_bytes());
        out[96..100].copy_from_slice(&4096u32.to_ne_bytes());
        out
    }
}

/// Protocol 7.36; asynchronous reads and direct I/O, large writes.
fn init(body: &[u8]) -> Vec<u8> {
    const ASYNC_READ: u32 = 1;
    const BIG_WRITES: u32 = 1 << 5;
    const ASYNC_DIRECT: u32 = 1 << 15;
    const MAX_PAGES: u32 = 1 << 22;
    let wanted = ASYNC_READ | BIG_WRITES | ASYNC_DIRECT | MAX_PAGES;
    let mut out = vec![0u8; 64];
    out[0..4].copy_from_slice(&7u32.to_ne_bytes());
    out[4..8].copy_from_slice(&36u32.to_ne_bytes());
    out[8..12].copy_from_slice(&u32_at(body, 8).to_ne_bytes());
    out[12..16].copy_from_slice(&(u32_at(body, 12) & wanted).to_ne_bytes());
    out[16..18].copy_from_slice(&64u16.to_ne_bytes());
    out[18..20].copy_from_slice(&48u16.to_ne_bytes());
    out[20..24].copy_from_slice(&MAX_WRITE.to_ne_bytes());
    out[24..28].copy_from_slice(&1u32.to_ne_bytes());
    out[28..30].copy_from_slice(&((MAX_WRITE / 4096) as u16).to_ne_bytes());
    out
}

/// Ends the writes that take their time, in the order in which they are due.
struct Late {
    device: Arc<File>,
    disk: Arc<Mutex<Disk>>,
    waiting: Arc<(Mutex<Waiting>, Condvar)>,
}

impl Late {
    fn run(&self) {
        let mut waiting = lock(&self.waiting.0);
        while !waiting.over {
            let now = Instant::now();
            let next = waiting.list.iter().enumerate().min_by_key(|(_, held)| held.due);
            let wait = match next.map(|(n, held)| (n, held.due)) {
                Some((n, due)) if due <= now => {
                    if let Some(held) = waiting.list.remove(n) {
                        drop(waiting);
                        lock(&self.disk).done(held.offset, &held.data, held.entries);
                        write_reply(&self.device, held.unique, held.data.len());
                        waiting = lock(&self.waiting.0);
                    }
                    continue;
                }
                Some((_, due)) => due - now,
                None => Duration::from_secs(3600),
            };
            let next = self.waiting.1.wait_timeout(waiting, wait);
            waiting = next.map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
    }
}

/// Whether an error says that the kernel or the sandbox has no FUSE.
pub(crate) fn device_is_there() -> io::Result<()> {
    OpenOptions::new().read(true).write(true).open("/dev/fuse").map(drop)
}
