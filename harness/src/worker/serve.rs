//! A worker's side: reads jobs, lays out images, answers with what came back.

use crate::recovery::{Aside, Lives, Outcome};
use crate::worker::protocol::{Answer, Chain, Job, receive, send};
use crate::worker::{fork, scratch};
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use unplug_faults::image::{LayOut, LayOutError, SharedImage};
use unplug_faults::reads::Watch;

/// Tells a worker its own directory.
pub const ENV_DIR: &str = "UNPLUG_WORKER_DIR";

/// Starts a target on a directory, three times as [`Lives`] says.
pub trait Recover {
    /// Recovers what stands in `dir`; `scratch` is for logs and sockets. With `alone` this is the repetition, in
    /// a fresh process, of a recovery that crashed or hung: what it does now is the result.
    ///
    /// # Errors
    /// [`Unclear`] when there is no result.
    fn lives(&mut self, dir: &Path, scratch: &Path, now_ms: u64, alone: bool) -> Result<Lives, Unclear>;

    /// As [`Recover::lives`], where the image that stands in the directory is at hand.
    ///
    /// # Errors
    /// [`Unclear`] when there is no result.
    fn lives_on(&mut self, ground: &Ground<'_>, now_ms: u64, alone: bool) -> Result<Lives, Unclear> {
        self.lives(ground.dir, ground.scratch, now_ms, alone)
    }
}

/// Where a target is started.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The directory.
    pub dir: &'a Path,
    /// For logs and sockets.
    pub scratch: &'a Path,
    /// What was laid out in the directory.
    pub image: &'a SharedImage,
    /// Where it is noted what is read there, if it is.
    pub watch: Option<&'a Watch>,
    /// Set where the second life was not lived.
    pub merged: &'a Cell<bool>,
}

impl Ground<'_> {
    /// Whether the directory holds what was laid out there, and nothing else. What cannot be read is not known to.
    pub fn is_untouched(&self) -> bool {
        self.stands_in(self.dir)
    }

    /// The same of another directory in which it was laid out.
    pub fn stands_in(&self, dir: &Path) -> bool {
        let look = || self.image.stands_in(dir).unwrap_or(false);
        match self.watch {
            Some(watch) => watch.quietly(look),
            None => look(),
        }
    }
}

/// Why a recovery has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unclear {
    /// The target crashed or hung. To be repeated alone.
    Suspect,
    /// The harness failed.
    Failed(String),
}

/// The directory that the parent gave this worker.
///
/// # Errors
/// When the process was not started as a worker.
pub fn own_dir() -> io::Result<PathBuf> {
    std::env::var_os(ENV_DIR)
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::other(format!("{ENV_DIR} is not set: this is not a recovery worker")))
}

/// Serves jobs until the parent closes the socket.
///
/// # Errors
/// When the socket or the directory fails: the worker ends, and its parent starts another.
pub fn serve(recover: &mut impl Recover) -> io::Result<()> {
    let mut socket = fork::take_socket()?;
    let dir = own_dir()?;
    let image = dir.join("image");
    std::fs::create_dir_all(&image)?;
    let mut input = io::BufReader::with_capacity(64 << 10, socket.try_clone()?);
    let (mut chain, mut lay) = (Chain::default(), LayOut::new(&image));
    let mut watch = Watch::of_this_process()?;
    while let Some(job) = receive::<Job>(&mut input)? {
        let (id, now_ms, alone) = (job.id, job.now_ms, job.alone);
        let laid = chain.image(job.after, id, job.delta)?;
        let done = lay.lay(laid);
        if let Some(watch) = watch.as_mut().filter(|_| done.is_ok()) {
            watch.begin(&image, laid)?;
        }
        let (watch, merged) = (watch.as_ref(), &Cell::new(false));
        let ground = Ground { dir: &image, scratch: &dir, image: laid, watch, merged };
        send(&mut socket, &answer(recover, (id, now_ms, alone), done, &ground))?;
    }
    Ok(())
}

fn answer(
    recover: &mut impl Recover,
    (id, now_ms, alone): (u64, u64, bool),
    laid: Result<(), LayOutError>,
    ground: &Ground<'_>,
) -> Answer {
    let dir = ground.scratch;
    if let Err(e) = laid.map_err(io::Error::from) {
        let full = e.kind() == io::ErrorKind::StorageFull;
        let errno = if full { libc::ENOSPC } else { e.raw_os_error().unwrap_or(0) };
        return Answer::LayOut(id, errno, e.to_string());
    }
    let lives = recover.lives_on(ground, now_ms, alone);
    // At once: what follows looks at the disk, too.
    let aside = Aside { read: ground.watch.and_then(Watch::end), merged: ground.merged.get() };
    if scratch::is_full(dir) {
        // Whatever the target did, it did it on a full disk, which no power loss makes.
        return Answer::LayOut(id, libc::ENOSPC, format!("{}: no space left", dir.display()));
    }
    if ground.watch.is_some_and(Watch::is_lost) {
        // A program that it started did not live: it is repeated where nothing is noted.
        return Answer::Suspect(id, aside);
    }
    match lives {
        Ok(lives) => Answer::Lives(id, anywhere(lives, ground.dir, dir).into(), aside),
        Err(Unclear::Suspect) => Answer::Suspect(id, aside),
        Err(Unclear::Failed(why)) => Answer::Failed(id, why),
    }
}

/// What came back, with messages that do not tell in which of the workers it did: a result is the same whoever
/// recovered it.
fn anywhere(mut lives: Lives, image: &Path, dir: &Path) -> Lives {
    let below = |dir: &Path| format!("{}/", dir.display());
    let (image, dir) = (below(image), below(dir));
    for outcome in [Some(&mut lives.first), lives.second.as_mut(), lives.third.as_mut()].into_iter().flatten()
    {
        if let Outcome::Refused { message } | Outcome::Crashed { message } = outcome {
            *message = message.replace(&image, "").replace(&dir, "");
        }
    }
    lives
}

/// How much of a log is shown.
const TAIL_BYTES: u64 = 2 << 10;
const TAIL_LINES: usize = 12;

/// The last lines of a log, for a message.
pub fn log_tail(path: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = match read() {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) => return format!("(no log: {e})"),
    };
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    match lines.len() {
        0 => "(the log is empty)".into(),
        n => lines[n.saturating_sub(TAIL_LINES)..].join("\n"),
    }
}
