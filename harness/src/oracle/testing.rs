//! Hand-made traces for unit tests.

use unplug_faults::event::{Event, FileId, Nanos, Op, ProcessEvent, SyncKind, Task};
use unplug_faults::trace::Trace;

/// Builds a trace call by call: each event takes the next two ticks of the clock.
pub(crate) struct TraceBuilder {
    trace: Trace,
    clock: u64,
    at: Nanos,
    operations: u32,
}

impl TraceBuilder {
    pub(crate) fn new() -> Self {
        let mut trace = Trace::default();
        trace.meta.virtual_time = true;
        trace.meta.gated = true;
        trace.meta.epoch_ms = 1_000_000;
        trace.meta.target = "toy".to_string();
        TraceBuilder { trace, clock: 1, at: 0, operations: 0 }
    }

    pub(crate) fn advance(&mut self, nanos: Nanos) {
        self.at += nanos;
    }

    /// Adds an event and returns its begin.
    pub(crate) fn event(&mut self, op: Op) -> u64 {
        let begin = self.clock;
        self.clock += 2;
        let (end, at) = (begin + 1, self.at);
        self.trace.events.push(Event { begin, end, at, task: Task::default(), site: None, errno: 0, op });
        begin
    }

    pub(crate) fn phase(&mut self, name: &str) -> u64 {
        self.event(Op::Phase(name.to_string()))
    }

    pub(crate) fn invoke(&mut self, client: u32, op: &[u8]) -> u32 {
        let id = self.operations;
        self.operations += 1;
        self.event(Op::Invoke { client, id, op: op.to_vec() });
        id
    }

    pub(crate) fn reply(&mut self, client: u32, id: u32, reply: &[u8]) -> u64 {
        self.event(Op::Reply { client, id, reply: reply.to_vec() })
    }

    /// Invokes and acknowledges at once.
    pub(crate) fn run(&mut self, op: &[u8], reply: &[u8]) -> u32 {
        let id = self.invoke(0, op);
        self.reply(0, id, reply);
        id
    }

    pub(crate) fn fork(&mut self) -> u64 {
        self.event(Op::Process(ProcessEvent::Forked { child: 1 }))
    }

    /// A child ends by itself, and well.
    pub(crate) fn exit(&mut self, child: u16) -> u64 {
        let begin = self.event(Op::Process(ProcessEvent::Exit { status: 0 }));
        if let Some(event) = self.trace.events.last_mut() {
            event.task.process = child;
        }
        begin
    }

    /// The call that began then ends now.
    pub(crate) fn ends_now(&mut self, begin: u64) {
        let end = self.event(Op::Advance);
        if let Some(event) = self.trace.events.iter_mut().find(|e| e.begin == begin) {
            event.end = end + 1;
        }
    }

    /// A sync of a file in a thread of its own.
    pub(crate) fn background_sync(&mut self) -> u64 {
        let begin = self.event(Op::Sync { file: FileId(0), kind: SyncKind::Fdatasync });
        if let Some(event) = self.trace.events.last_mut() {
            event.task.thread = 1;
        }
        begin
    }

    /// An option of the target.
    pub(crate) fn option(&mut self, name: &str, value: &str) {
        self.trace.meta.options.insert(name.to_string(), value.to_string());
    }

    pub(crate) fn kill(&mut self) -> u64 {
        self.event(Op::Kill)
    }

    pub(crate) fn trace(self) -> Trace {
        self.trace
    }
}
