//! One function a command: check what was asked for, have it done, report.

use super::args::{
    CheckArgs, ExploreArgs, Format, ImageArgs, RecordArgs, ReplayArgs, SearchArgs, ShowArgs, WithArgs,
};
use super::failure::Failure;
use super::plan::{CheckPlan, ExplorePlan, RecordPlan, default_budget, gating};
use super::progress::Progress;
use super::runner::{Runner, Watch};
use crate::cell::CellResult;
use crate::report::summary::Gate;
use crate::report::{Look, grade, json, show as shown, story, text};
use crate::shell;
use crate::verdict::ExitCode;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use unplug_faults::codec::{self, CodecError, Kind};

/// `unplug check`.
pub(super) fn check(args: &CheckArgs, runner: &dyn Runner) -> Result<ExitCode, Failure> {
    let plan = CheckPlan::of(args, &runner.models())?;
    let with = WithArgs { server: args.subject.server.clone(), check: args.subject.command.check.clone() };
    watched(&args.search, &with, |watch| runner.check(&plan, watch))
}

/// `unplug explore`.
pub(super) fn explore(args: &ExploreArgs, runner: &dyn Runner) -> Result<ExitCode, Failure> {
    let trace = codec::read_trace(&args.trace).map_err(unreadable)?;
    let plan = ExplorePlan::of(&args.search, default_budget(&trace.meta.target), &runner.models())?;
    watched(&args.search, &args.with, |watch| runner.explore(trace, &args.with, &plan, watch))
}

/// `unplug record`.
pub(super) fn record(args: &RecordArgs, runner: &dyn Runner) -> Result<ExitCode, Failure> {
    let plan = RecordPlan::of(args)?;
    let trace = interruptible(|watch| runner.record(&plan, watch))?;
    codec::write_trace(&args.output, &trace)
        .map_err(|e| Failure::usage(e.to_string(), "name a file that can be written with -o FILE".into()))?;
    println!("{}: {} events of {}", args.output.display(), trace.events.len(), trace.meta.target);
    for blind in &trace.blind {
        eprintln!("not measured: {}: {}", blind.what, blind.detail);
    }
    Ok(if trace.blind.is_empty() { ExitCode::Holds } else { ExitCode::NotMeasured })
}

/// `unplug replay`.
pub(super) fn replay(args: &ReplayArgs, runner: &dyn Runner) -> Result<ExitCode, Failure> {
    let replayed = interruptible(|watch| runner.replay(&args.repro, &args.with, watch))?;
    let look = Look { colour: console::colors_enabled() };
    print!("{}", story::story(&replayed.story, look));
    let was = story::class_name(replayed.expected.class);
    match replayed.now {
        Some(now) if now.class == replayed.expected.class => {
            println!("VIOLATED as in the repro: {was}: {}", now.explanation);
            Ok(ExitCode::Violated)
        }
        Some(now) => {
            println!(
                "VIOLATED, as {} (the repro says {was}): {}",
                story::class_name(now.class),
                now.explanation
            );
            Ok(ExitCode::Violated)
        }
        None => {
            println!("HOLDS: the contract is kept on this disk now; the repro says {was}");
            Ok(ExitCode::Holds)
        }
    }
}

/// `unplug image`.
pub(super) fn image(args: &ImageArgs, runner: &dyn Runner) -> Result<ExitCode, Failure> {
    let fail = |e: io::Error| {
        Failure::usage(
            format!("{}: {e}", args.dir.display()),
            "name a directory that can be written to".into(),
        )
    };
    std::fs::create_dir_all(&args.dir).map_err(fail)?;
    // Laying out removes what stands there: a mistyped directory must not cost anybody's files.
    if std::fs::read_dir(&args.dir).map_err(fail)?.next().is_some() {
        return Err(Failure::usage(
            format!("{}: the directory is not empty", args.dir.display()),
            "name a new or empty one".into(),
        ));
    }
    println!("{}", runner.image(&args.repro, &args.dir)?);
    Ok(ExitCode::Holds)
}

/// `unplug show`.
pub(super) fn show(args: &ShowArgs, runner: &dyn Runner) -> Result<ExitCode, Failure> {
    let look = Look { colour: console::colors_enabled() };
    let (trace, story) = match kind_of(&args.file)? {
        Kind::Trace => (codec::read_trace(&args.file).map_err(unreadable)?, None),
        Kind::Repro => runner.open_repro(&args.file).map(|(trace, story)| (trace, Some(story)))?,
    };
    let describe = runner.describe(&trace);
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = match args.format {
        Format::Json => shown::json(&trace, describe.as_ref(), &mut out),
        Format::Text => {
            let story = story.map(|s| story::story(&s, look)).unwrap_or_default();
            write!(out, "{story}").and_then(|()| shown::text(&trace, describe.as_ref(), look, &mut out))
        }
    };
    written(printed.and_then(|()| out.flush()))?;
    Ok(ExitCode::Holds)
}

/// Runs what gives one result; Ctrl-C ends it in order.
fn interruptible<T>(work: impl FnOnce(&dyn Watch) -> Result<T, Failure>) -> Result<T, Failure> {
    let progress = Progress::start().map_err(|e| Failure::Broken(format!("cannot watch for Ctrl-C: {e}")))?;
    let done = work(&progress);
    progress.finish();
    done
}

/// Runs what gives cells, and reports them, also when it was ended early.
fn watched(
    args: &SearchArgs,
    with: &WithArgs,
    work: impl FnOnce(&dyn Watch) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    let progress = Progress::start().map_err(|e| Failure::Broken(format!("cannot watch for Ctrl-C: {e}")))?;
    let done = work(&progress);
    let (cells, notes, interrupted) = progress.finish();
    // A run that ended early, for whatever reason, has not shown that all holds.
    let gate = Gate { fail_on: gating(args), incomplete: interrupted || done.is_err() };
    // What was found before a failure is worth more than the failure: it is reported first.
    if !cells.is_empty() || done.is_ok() {
        written(print_cells(&cells, gate, args.format))?;
    }
    for note in &notes {
        eprintln!("note: {note}");
    }
    let code = gate.exit_code(&cells);
    match done {
        Err(failure) if cells.is_empty() => return Err(failure),
        Err(failure) => eprintln!("unplug: {failure}"),
        Ok(()) => {}
    }
    if let Some(command) = replay_command(&cells, with) {
        eprintln!("{command}");
    }
    Ok(code)
}

fn print_cells(cells: &[CellResult], gate: Gate<'_>, format: Format) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match format {
        Format::Text => {
            let look = Look { colour: console::colors_enabled() };
            write!(out, "{}", text::report(cells, gate, look))?;
        }
        Format::Json => {
            for cell in cells {
                writeln!(out, "{}", json::line(cell)?)?;
            }
        }
    }
    out.flush()
}

/// The one command that shows the first finding again: the last line on standard error.
fn replay_command(cells: &[CellResult], with: &WithArgs) -> Option<String> {
    let findings = grade::graded(cells);
    let path = findings.iter().find_map(|g| g.finding.repro.as_ref())?;
    let mut line = format!("replay: {} replay {}", this_program(), shell::word(&path.to_string_lossy()));
    if let Some(server) = &with.server {
        line += &format!(" --server {}", shell::word(&server.to_string_lossy()));
    }
    if let Some(check) = &with.check {
        line += &format!(" --check {}", shell::word(check));
    }
    Some(line)
}

/// This program as it was called, for a line that a person copies into a shell.
pub(super) fn this_program() -> String {
    shell::word(&std::env::args().next().unwrap_or_else(|| "unplug".into()))
}

fn kind_of(path: &Path) -> Result<Kind, Failure> {
    let read = || -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(std::fs::File::open(path)?, 16), &mut head)?;
        Ok(head)
    };
    let hint = || "name a file that `unplug record` or `unplug check` wrote".to_owned();
    let head = read().map_err(|e| Failure::usage(format!("{}: {e}", path.display()), hint()))?;
    codec::identify(&head).map_err(|e| Failure::usage(format!("{}: {e}", path.display()), hint()))
}

fn unreadable(error: CodecError) -> Failure {
    let hint = match error.cause() {
        CodecError::Newer { .. } => "use the version of Unplug that wrote it, or a later one",
        CodecError::Older { .. } => "use the version of Unplug that wrote it, or record it again",
        CodecError::WrongKind { found: Kind::Repro, .. } => "`unplug replay` takes a repro",
        CodecError::Foreign { .. } | CodecError::Io { .. } => "name a file that `unplug record` wrote",
        _ => "the file is not whole: record it again, or copy it again",
    };
    Failure::usage(error.to_string(), hint.into())
}

/// A reader that has seen enough (`unplug show x | head`) is no failure.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Broken(format!("cannot print: {e}"))),
        _ => Ok(()),
    }
}
