//! Lines on a terminal, in a pipe, as JSON.

use super::line::{Describe, Line, Mark, line};
use crate::report::Look;
use serde::Serialize;
use std::io::{self, Write};
use unplug_faults::event::{Event, NodeKind};
use unplug_faults::paths::Paths;
use unplug_faults::trace::{Site, Trace};

/// Prints a trace for a person.
///
/// # Errors
/// Those of `out`.
pub fn text(trace: &Trace, describe: &dyn Describe, look: Look, out: &mut dyn Write) -> io::Result<()> {
    head(trace, look, out)?;
    walk(trace, describe, |event, line| {
        if line.mark == Mark::Heading {
            let title = format!("-- {} {} ", line.call, line.subject);
            return writeln!(out, "\n{}", look.paint(format!("{title:-<100}"), |s| s.bold()));
        }
        let whole = row(trace, event, &line);
        let whole = match line.mark {
            Mark::Sync => look.paint(whole, |s| s.yellow().bold()),
            Mark::Reply => look.paint(whole, |s| s.green()),
            Mark::Invoke => look.paint(whole, |s| s.cyan()),
            Mark::Failed => look.paint(whole, |s| s.red()),
            Mark::None | Mark::Heading => whole,
        };
        writeln!(out, "{whole}")
    })
}

/// Prints a trace as one JSON object a line: first the head, then the events.
///
/// # Errors
/// Those of `out`.
pub fn json(trace: &Trace, describe: &dyn Describe, out: &mut dyn Write) -> io::Result<()> {
    let head = serde_json::json!({
        "schema": crate::report::json::SCHEMA,
        "kind": "trace",
        "target": trace.meta.target,
        "options": trace.meta.options,
        "seed": trace.meta.seed,
        "gated": trace.meta.gated,
        "virtual_time": trace.meta.virtual_time,
        "epoch_ms": trace.meta.epoch_ms,
        "events": trace.events.len(),
        "not_followed": trace.blind.iter().map(|b| format!("{}: {}", b.what, b.detail)).collect::<Vec<_>>(),
    });
    writeln!(out, "{head}")?;
    walk(trace, describe, |event, line| {
        let object = Object {
            clock: event.begin,
            end: (event.end != Event::NEVER).then_some(event.end),
            at_ns: event.at,
            process: event.task.process,
            thread: event.task.thread,
            call: line.call,
            subject: &line.subject,
            detail: &line.detail,
            payload: line.payload.as_deref(),
            errno: line.errno.as_deref(),
            site: site(trace, event),
        };
        writeln!(out, "{}", serde_json::to_string(&object)?)
    })
}

#[derive(Serialize)]
struct Object<'a> {
    clock: u64,
    end: Option<u64>,
    at_ns: u64,
    process: u16,
    thread: u16,
    call: &'a str,
    subject: &'a str,
    detail: &'a str,
    payload: Option<&'a str>,
    errno: Option<&'a str>,
    site: Option<String>,
}

/// Every event with its names at that moment.
fn walk(
    trace: &Trace,
    describe: &dyn Describe,
    mut each: impl FnMut(&Event, Line) -> io::Result<()>,
) -> io::Result<()> {
    let mut before = Paths::at_start(trace);
    let mut after = before.clone();
    for event in &trace.events {
        after.apply(event);
        each(event, line(event, &before, &after, describe))?;
        before.apply(event);
    }
    Ok(())
}

fn head(trace: &Trace, look: Look, out: &mut dyn Write) -> io::Result<()> {
    for blind in &trace.blind {
        let text = format!("NOT FOLLOWED: {}: {}; this run is not measured", blind.what, blind.detail);
        writeln!(out, "{}", look.paint(text, |s| s.red().bold()))?;
    }
    let meta = &trace.meta;
    let gated = if meta.gated { ", gated" } else { "" };
    let time = if meta.virtual_time { ", virtual time" } else { "" };
    writeln!(out, "trace of {}, seed {}{gated}{time}", meta.target, meta.seed)?;
    for (name, value) in &meta.options {
        writeln!(out, "  {name} {value}")?;
    }
    let files: Vec<_> = trace.base.iter().filter(|n| n.kind == NodeKind::File).collect();
    let bytes: usize = files.iter().map(|n| n.data.len()).sum();
    writeln!(out, "began with {} files of {bytes} bytes; {} events", files.len(), trace.events.len())?;
    writeln!(out, "      clock         time  task    call       (= sync, > asked, < acknowledged, ! failed)")
}

fn row(trace: &Trace, event: &Event, line: &Line) -> String {
    let clock = match event.end {
        Event::NEVER => format!("{}-never", event.begin),
        end if end == event.begin => event.begin.to_string(),
        end => format!("{}-{end}", event.begin),
    };
    let time = format!("{}.{:06}", event.at / 1_000_000_000, event.at / 1000 % 1_000_000);
    let task = format!("{}.{}", event.task.process, event.task.thread);
    let mark = match line.mark {
        Mark::Sync => '=',
        Mark::Invoke => '>',
        Mark::Reply => '<',
        Mark::Failed => '!',
        Mark::None | Mark::Heading => ' ',
    };
    let mut out = format!("{clock:>11} {time:>12}s {task:>4}  {mark} {:<10} {}", line.call, line.subject);
    let mut add = |text: &str| {
        if !text.is_empty() {
            out.push(' ');
            out.push_str(text);
        }
    };
    add(&line.detail);
    add(&line.payload.as_ref().map(|p| format!("\"{p}\"")).unwrap_or_default());
    add(&line.errno.as_ref().map(|e| format!("= {e}")).unwrap_or_default());
    add(&site(trace, event).map(|s| format!("[{s}]")).unwrap_or_default());
    out.trim_end().to_owned()
}

/// The nearest frame that has a name; bare addresses help nobody here.
fn site(trace: &Trace, event: &Event) -> Option<String> {
    let site: &Site = trace.sites.get(event.site?.0 as usize)?;
    let frame = site.frames.iter().find(|f| f.symbol.is_some() || f.line.is_some())?;
    match (&frame.symbol, &frame.line) {
        (Some(symbol), Some(line)) => Some(format!("{symbol} {line}")),
        (Some(one), None) | (None, Some(one)) => Some(one.clone()),
        (None, None) => None,
    }
}
