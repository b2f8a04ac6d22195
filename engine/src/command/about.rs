//! COMMAND: what the server says of its commands.

use super::args::is;
use super::error::{CommandError, SYNTAX};
use super::help;
use super::table::{self, FLAG_NAMES, Spec, TABLE};
use crate::engine::Engine;
use crate::glob;
use crate::resp::Out;
use crate::session::{Outcome, Session};

/// The subcommands that there are.
pub(super) const SUBCOMMANDS: &[(&str, i32)] =
    &[("count", 2), ("docs", -2), ("getkeys", -3), ("help", 2), ("info", -2), ("list", -2)];

/// The ten elements of Redis 7; of the last four (ACL categories, tips, key specifications, subcommands)
/// nothing is said.
fn describe(spec: &Spec, out: &mut Out) {
    out.array(10);
    out.bulk(spec.name.as_bytes());
    out.int(i64::from(spec.arity));
    let flags: Vec<&str> = FLAG_NAMES.iter().filter(|(f, _)| spec.is(*f)).map(|(_, n)| *n).collect();
    out.set(flags.len());
    flags.iter().for_each(|flag| out.simple(flag));
    for position in [spec.keys.0, spec.keys.1, spec.keys.2] {
        out.int(i64::from(position));
    }
    out.set(0);
    out.array(0);
    out.array(0);
    out.array(0);
}

/// The keys among a command's arguments.
fn keys_of<'a>(spec: &Spec, argv: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let (first, last, step) = spec.keys;
    let Ok(first) = usize::try_from(first) else { return Vec::new() };
    if first == 0 {
        return Vec::new();
    }
    let last = match usize::try_from(last) {
        Ok(last) => last,
        Err(_) => argv.len().saturating_sub(last.unsigned_abs().into()),
    };
    let step = usize::try_from(step).unwrap_or(1).max(1);
    (first..=last).step_by(step).filter_map(|at| argv.get(at).copied()).collect()
}

/// COMMAND [COUNT | DOCS name... | GETKEYS command... | HELP | INFO name... | LIST [FILTERBY PATTERN pattern]]
pub(super) fn command(
    _: &mut Engine,
    _: &mut Session,
    argv: &[&[u8]],
    out: &mut Out,
) -> Result<Outcome, CommandError> {
    match argv {
        [_] => {
            out.array(TABLE.len());
            TABLE.iter().for_each(|spec| describe(spec, out));
        }
        [_, sub] if is(sub, "help") => help::tell(help::COMMAND, out),
        [_, sub] if is(sub, "count") => out.count(TABLE.len()),
        [_, sub, names @ ..] if is(sub, "docs") => docs(names, out),
        [_, sub, command @ ..] if is(sub, "getkeys") && !command.is_empty() => {
            let spec = table::find(command[0]).ok_or(CommandError::fixed("ERR Invalid command specified"))?;
            if !spec.takes(command.len()) {
                return Err(CommandError::fixed("ERR Invalid number of arguments specified for command"));
            }
            let keys = keys_of(spec, command);
            if keys.is_empty() {
                return Err(CommandError::fixed("ERR The command has no key arguments"));
            }
            out.array(keys.len());
            keys.iter().for_each(|key| out.bulk(key));
        }
        [_, sub] if is(sub, "info") => {
            out.array(TABLE.len());
            TABLE.iter().for_each(|spec| describe(spec, out));
        }
        [_, sub, names @ ..] if is(sub, "info") => {
            out.array(names.len());
            for name in names {
                match table::find(name) {
                    Some(spec) => describe(spec, out),
                    None => out.null_array(),
                }
            }
        }
        [_, sub] if is(sub, "list") => list(b"*", out),
        [_, sub, by, what, pattern] if is(sub, "list") && is(by, "filterby") && is(what, "pattern") => {
            list(pattern, out);
        }
        [_, sub, ..] if is(sub, "list") => return Err(SYNTAX),
        [_, sub, ..] => {
            let name = sub.to_ascii_lowercase();
            return Err(CommandError::quoting(
                "ERR wrong number of arguments for 'command|",
                &name,
                "' command",
            ));
        }
        [] => {}
    }
    Ok(Outcome::Done)
}

fn list(pattern: &[u8], out: &mut Out) {
    let names: Vec<&str> =
        TABLE.iter().map(|spec| spec.name).filter(|name| glob::matches(pattern, name.as_bytes())).collect();
    out.array(names.len());
    names.iter().for_each(|name| out.bulk(name.as_bytes()));
}

/// That a command is there, and nothing of what it does: Redis's texts promise options that not all of them have here.
fn docs(names: &[&[u8]], out: &mut Out) {
    let specs: Vec<&Spec> = if names.is_empty() {
        TABLE.iter().collect()
    } else {
        names.iter().filter_map(|name| table::find(name)).collect()
    };
    out.map(specs.len());
    for spec in specs {
        out.bulk(spec.name.as_bytes());
        out.map(0);
    }
}
