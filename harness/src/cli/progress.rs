//! How far the work is: a bar on a terminal, nothing elsewhere. Finished cells are kept for the report.

use super::runner::Watch;
use crate::cell::CellResult;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What follows one run.
pub(super) struct Progress {
    bar: ProgressBar,
    cells: RefCell<Vec<CellResult>>,
    notes: RefCell<Vec<String>>,
    interrupted: Arc<AtomicBool>,
}

impl Progress {
    /// Shows a bar if standard error is a terminal, and lets Ctrl-C end the work in order.
    ///
    /// # Errors
    /// If the signal cannot be watched for.
    pub(super) fn start() -> io::Result<Progress> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // The second time ends the process at once: the first may find it in a place that does not look.
            signal_hook::flag::register_conditional_shutdown(signal, 3, Arc::clone(&interrupted))?;
            signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
        }
        // Hidden by itself where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{msg:<40} {bar:30} {pos}/{len} states  {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Ok(Progress { bar, cells: RefCell::default(), notes: RefCell::default(), interrupted })
    }

    /// Takes the bar away and hands over what was finished.
    pub(super) fn finish(self) -> (Vec<CellResult>, Vec<String>, bool) {
        self.bar.finish_and_clear();
        let interrupted = self.interrupted.load(std::sync::atomic::Ordering::SeqCst);
        (self.cells.into_inner(), self.notes.into_inner(), interrupted)
    }
}

impl Watch for Progress {
    fn stage(&self, name: &str, states: u64) {
        self.bar.reset();
        self.bar.set_length(states);
        self.bar.set_message(name.to_owned());
    }

    fn advance(&self, states: u64) {
        self.bar.inc(states);
    }

    fn cell(&self, cell: CellResult) {
        self.cells.borrow_mut().push(cell);
    }

    fn note(&self, text: &str) {
        self.notes.borrow_mut().push(text.to_owned());
    }

    fn interrupted(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupted)
    }
}
