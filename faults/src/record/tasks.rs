//! Processes and threads of the target, numbered in the order of appearance.

use crate::event::Task;
use std::collections::BTreeMap;

/// The numbering so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    /// Process number by pid.
    processes: BTreeMap<u32, u16>,
    /// Thread number by process number and tid.
    threads: BTreeMap<(u16, u32), u16>,
    /// Number of threads by process number.
    counts: BTreeMap<u16, u16>,
    next: u16,
}

impl Tasks {
    pub(crate) fn knows(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// A process that is new, whatever had its number before.
    pub(crate) fn new_process(&mut self, pid: u32) -> u16 {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.processes.insert(pid, number);
        number
    }

    pub(crate) fn task(&mut self, pid: u32, tid: u32) -> Task {
        let process = match self.processes.get(&pid) {
            Some(&process) => process,
            None => self.new_process(pid),
        };
        let thread = *self.threads.entry((process, tid)).or_insert_with(|| {
            let count = self.counts.entry(process).or_default();
            let thread = *count;
            *count = count.saturating_add(1);
            thread
        });
        Task { process, thread }
    }
}
