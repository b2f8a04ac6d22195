//! The background thread that syncs the log once a second.

use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A sync that has ended.
pub(super) struct Done {
    /// Of which file: its log's number.
    pub(super) seq: u64,
    /// The length that it covers.
    pub(super) len: u64,
    /// How it went.
    pub(super) result: io::Result<()>,
}

#[derive(Default)]
struct State {
    /// File, its number, and the length to be covered.
    wanted: Option<(Arc<File>, u64, u64)>,
    busy: bool,
    done: Option<Done>,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread; it is started by the first sync.
#[derive(Default)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// A sync runs, or its result has not been taken.
    pub(super) fn busy(&self) -> bool {
        self.thread.is_some() && self.shared.lock().busy
    }

    /// Starts a sync of `file`, number `seq`, which now has `len` bytes. The caller has seen that none is running.
    pub(super) fn start(&mut self, file: Arc<File>, seq: u64, len: u64) -> io::Result<()> {
        if self.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            self.thread =
                Some(std::thread::Builder::new().name("aof-sync".into()).spawn(move || run(&shared))?);
        }
        let mut state = self.shared.lock();
        state.wanted = Some((file, seq, len));
        state.busy = true;
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Takes the result of a sync that has ended.
    pub(super) fn take(&mut self) -> Option<Done> {
        self.thread.as_ref()?;
        self.shared.lock().done.take()
    }

    /// Waits until no sync runs, and takes the result.
    pub(super) fn wait(&mut self) -> Option<Done> {
        self.thread.as_ref()?;
        let mut state = self.shared.lock();
        while state.busy {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.done.take()
    }
}

#[cfg(test)]
impl Syncer {
    /// A sync seems to run, or none.
    pub(super) fn pretend(&mut self, busy: bool) {
        self.thread.get_or_insert_with(|| std::thread::spawn(|| ()));
        self.shared.lock().busy = busy;
    }

    /// A sync has failed, and nobody has taken its result yet.
    pub(super) fn failed(&mut self, seq: u64, len: u64) {
        self.pretend(false);
        let result = Err(io::Error::from_raw_os_error(libc::EIO));
        self.shared.lock().done = Some(Done { seq, len, result });
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.shared.lock().stop = true;
            self.shared.changed.notify_all();
            // It cannot panic: nothing in it does.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared) {
    let mut first = None;
    loop {
        let mut state = shared.lock();
        let (file, seq, len) = loop {
            if let Some(wanted) = state.wanted.take() {
                break wanted;
            }
            if state.stop {
                return;
            }
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        let file = if sabotaged!("everysec-syncs-the-old-file") {
            Arc::clone(first.get_or_insert(file))
        } else {
            file
        };
        let result = file.sync_data();
        drop(file);
        let mut state = shared.lock();
        state.done = Some(Done { seq, len, result });
        state.busy = false;
        shared.changed.notify_all();
    }
}
