//! One event in words: which call, on what, with which bytes.

use crate::target::resp_op::RespOp;
use unplug_faults::event::{AllocateMode, Event, NodeKind, Op, ProcessEvent, SyncKind, WriteSync};
use unplug_faults::paths::{Paths, printable};

/// Bytes of a payload that are shown.
const PREVIEW: usize = 32;

/// The history is opaque to a trace: whoever made it says what an operation and a reply mean.
pub trait Describe {
    /// An operation, such as `SET k v`.
    fn operation(&self, op: &[u8]) -> String;
    /// A reply, such as `OK`.
    fn reply(&self, reply: &[u8]) -> String;
}

/// Where nobody says: RESP operations as a person would type them, all else as escaped bytes.
pub struct Plain;

impl Describe for Plain {
    fn operation(&self, op: &[u8]) -> String {
        match RespOp::decode(op) {
            Ok(op) => op.to_string(),
            Err(_) => clip(op, 2 * PREVIEW),
        }
    }

    fn reply(&self, reply: &[u8]) -> String {
        clip(reply, 2 * PREVIEW)
    }
}

/// What makes a line stand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Nothing.
    None,
    /// A sync.
    Sync,
    /// A client asks.
    Invoke,
    /// The target acknowledges.
    Reply,
    /// The call failed.
    Failed,
    /// A new part of the run begins.
    Heading,
}

/// One event in words.
pub struct Line {
    /// What makes it stand out.
    pub mark: Mark,
    /// The call's name.
    pub call: &'static str,
    /// What it was called on: a path, a client.
    pub subject: String,
    /// Offsets, sizes, modes.
    pub detail: String,
    /// The beginning of the bytes, escaped.
    pub payload: Option<String>,
    /// The error's name.
    pub errno: Option<String>,
}

/// Puts an event into words. `before` has the names before the event, `after` those after it.
pub fn line(event: &Event, before: &Paths, after: &Paths, describe: &dyn Describe) -> Line {
    let mut line = of_op(&event.op, before, after, describe);
    if event.errno != 0 {
        line.errno = Some(format!("{:?}", nix::errno::Errno::from_raw(event.errno)));
        line.mark = Mark::Failed;
    }
    line
}

fn plain(call: &'static str, subject: String, detail: String) -> Line {
    Line { mark: Mark::None, call, subject, detail, payload: None, errno: None }
}

fn of_op(op: &Op, before: &Paths, after: &Paths, describe: &dyn Describe) -> Line {
    match op {
        Op::Create { dir, name, kind, .. } => match kind {
            NodeKind::File => plain("create", before.join(*dir, name), String::new()),
            NodeKind::Dir => plain("mkdir", before.join(*dir, name), String::new()),
            NodeKind::Symlink(to) => {
                plain("symlink", before.join(*dir, name), format!("-> {}", printable(to)))
            }
        },
        Op::Tmpfile { file } => plain("tmpfile", after.of(*file), String::new()),
        Op::Open { file, flags } => plain("open", before.of(*file), open_flags(*flags)),
        Op::Link { file, dir, name } => {
            plain("link", before.of(*file), format!("-> {}", before.join(*dir, name)))
        }
        Op::Unlink { dir, name, .. } => plain("unlink", before.join(*dir, name), String::new()),
        Op::Rename { from_dir, from_name, to_dir, to_name, replaced, .. } => {
            let over = if replaced.is_some() { " (replaces it)" } else { "" };
            let to = before.join(*to_dir, to_name);
            plain("rename", before.join(*from_dir, from_name), format!("-> {to}{over}"))
        }
        Op::Exchange { a_dir, a_name, b_dir, b_name, .. } => {
            let b = before.join(*b_dir, b_name);
            plain("exchange", before.join(*a_dir, a_name), format!("<-> {b}"))
        }
        Op::Write { file, offset, data, sync } => {
            let (mark, how) = match sync {
                WriteSync::None => (Mark::None, ""),
                WriteSync::Data => (Mark::Sync, " O_DSYNC"),
                WriteSync::Full => (Mark::Sync, " O_SYNC"),
            };
            let detail = format!("@{offset} +{}{how}", data.len());
            Line { mark, payload: Some(clip(data, PREVIEW)), ..plain("write", before.of(*file), detail) }
        }
        Op::Truncate { file, size } => plain("truncate", before.of(*file), format!("to {size}")),
        Op::Allocate { file, mode, offset, len } => {
            plain("fallocate", before.of(*file), format!("@{offset} +{len} {}", allocate_mode(*mode)))
        }
        Op::Sync { file, kind } => sync(before.of(*file), *kind),
        Op::SyncAll => Line { mark: Mark::Sync, ..plain("sync", "everything".into(), String::new()) },
        Op::Send { client, stream_offset, len } => {
            plain("send", format!("client {client}"), format!("@{stream_offset} +{len}"))
        }
        Op::Invoke { client, id, op } => {
            let line =
                plain("invoke", format!("client {client}"), format!("#{id} {}", describe.operation(op)));
            Line { mark: Mark::Invoke, ..line }
        }
        Op::Reply { client, id, reply } => {
            let line = plain("reply", format!("client {client}"), format!("#{id} {}", describe.reply(reply)));
            Line { mark: Mark::Reply, ..line }
        }
        Op::Phase(name) => {
            Line { mark: Mark::Heading, ..plain("phase", printable(name.as_bytes()), String::new()) }
        }
        Op::Process(what) => process(*what),
        Op::Kill => {
            let what = "every process; what it had written is in the page cache, not on the disk";
            Line { mark: Mark::Heading, ..plain("kill", what.into(), String::new()) }
        }
        Op::Advance => plain("clock", "moved".into(), String::new()),
        Op::Fault { rule, call, path, outcome, .. } => Line {
            mark: Mark::Failed,
            ..plain("fault", printable(path), format!("{call}: {outcome} (rule {})", rule + 1))
        },
        Op::ToldAgain { file, kind } => {
            let what = "(it lost nothing: an earlier sync's error, told once to each who had the file open)";
            plain(sync_name(*kind), before.of(*file), what.to_owned())
        }
    }
}

fn sync(path: String, kind: SyncKind) -> Line {
    let call = sync_name(kind);
    match kind {
        // It promises nothing over a crash, so it does not stand out.
        SyncKind::Range { offset, len } => plain(call, path, format!("@{offset} +{len}")),
        _ => Line { mark: Mark::Sync, ..plain(call, path, String::new()) },
    }
}

/// The name of a sync call, as in its manual page.
pub fn sync_name(kind: SyncKind) -> &'static str {
    match kind {
        SyncKind::Fsync => "fsync",
        SyncKind::Fdatasync => "fdatasync",
        SyncKind::Range { .. } => "sync_file_range",
        SyncKind::Msync => "msync",
    }
}

fn process(what: ProcessEvent) -> Line {
    match what {
        ProcessEvent::Forked { child } => plain("fork", format!("process {child}"), String::new()),
        ProcessEvent::Exec => plain("exec", String::new(), String::new()),
        ProcessEvent::Exit { status } => plain("exit", format!("status {status}"), String::new()),
    }
}

fn open_flags(flags: i32) -> String {
    let known = [
        (libc::O_APPEND, "O_APPEND"),
        (libc::O_TRUNC, "O_TRUNC"),
        (libc::O_DIRECT, "O_DIRECT"),
        (libc::O_SYNC, "O_SYNC"),
        (libc::O_DSYNC, "O_DSYNC"),
    ];
    let mut names = vec![match flags & libc::O_ACCMODE {
        libc::O_RDONLY => "O_RDONLY",
        libc::O_WRONLY => "O_WRONLY",
        _ => "O_RDWR",
    }];
    let mut rest = flags;
    for (bits, name) in known {
        // O_SYNC contains O_DSYNC's bit: what one name has told, another does not tell again.
        if rest & bits == bits {
            names.push(name);
            rest &= !bits;
        }
    }
    names.join("|")
}

fn allocate_mode(mode: AllocateMode) -> &'static str {
    match mode {
        AllocateMode::Extend => "extend",
        AllocateMode::KeepSize => "keep size",
        AllocateMode::Punch => "punch hole",
        AllocateMode::Zero { keep_size: true } => "zero, keep size",
        AllocateMode::Zero { keep_size: false } => "zero",
        AllocateMode::Collapse => "collapse",
        AllocateMode::Insert => "insert",
    }
}

fn clip(bytes: &[u8], most: usize) -> String {
    match bytes.len() > most {
        true => format!("{}...", printable(&bytes[..most])),
        false => printable(bytes),
    }
}
