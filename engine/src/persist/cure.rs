//! What can be done about a file that is refused: said in the same words by the start and by `check-aof`.

use super::log::parse_name;
use crate::aof::{ScanFault, Times, scan_chained};
use crate::command::ReplayError;
use std::path::Path;

/// What repairs a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cure {
    /// `--fix` cuts off what a crash has left.
    Torn,
    /// `--fix` cuts, and more than a crash takes goes with that.
    Damaged,
    /// The same; the bytes are whole, and what they say cannot be done.
    Unfit,
    /// Nothing can be cut there; signing accepts it.
    Restore,
    /// Nothing can be cut there, and signing does not make it fit.
    ByHand,
    /// It holds what this server does not have.
    Program,
    /// It is not there.
    Missing,
    /// The snapshot in it is damaged.
    Snapshot,
    /// There is nothing in it.
    Empty,
    /// It is a manifest.
    Manifest,
}

impl Cure {
    /// Whether cutting the file there makes a good file of it.
    pub(super) fn cuts(self) -> bool {
        matches!(self, Cure::Torn | Cure::Damaged | Cure::Unfit)
    }

    /// Whether signing makes a good file of it, as far as can be told.
    pub(super) fn signs(self) -> bool {
        matches!(self, Cure::Torn | Cure::Damaged | Cure::Restore | Cure::Empty)
    }

    /// The same of a file behind which others come, or of which nothing may be missing.
    pub(super) fn uncut(self) -> Cure {
        match self {
            Cure::Torn | Cure::Damaged => Cure::Restore,
            Cure::Unfit => Cure::ByHand,
            other => other,
        }
    }

    /// What a person can do.
    pub(super) fn text(self) -> &'static str {
        match self {
            Cure::Torn => {
                "`unplug-engine check-aof --fix` on this file cuts it there; what follows is kept aside"
            }
            Cure::Damaged => {
                "No crash does that: restore the file from a copy. Else `unplug-engine check-aof --fix` cuts off what \
                 follows, whole commands among it, and keeps it aside; --resign accepts it as it is"
            }
            Cure::Unfit => {
                "`unplug-engine check-aof --fix` on this file cuts it there; what follows, whole commands among it, is \
                 kept aside"
            }
            Cure::Restore => {
                "Restore the file from a copy, or have `unplug-engine check-aof --resign` accept its bytes as they are"
            }
            Cure::ByHand => {
                "Restore the file from a copy; or take that command out by hand, and have `unplug-engine check-aof \
                 --resign` sign what is left"
            }
            Cure::Program => {
                "No command here repairs that: load it with the program that wrote it, take out there what this server \
                 does not have, and SAVE"
            }
            Cure::Manifest => {
                "`unplug-engine check-aof --fix` on the manifest writes it anew from its files, where they leave no doubt; \
                 else restore it from a copy"
            }
            Cure::Missing => "Restore it from a copy: no command can bring it back",
            Cure::Snapshot => {
                "Restore the file from a copy; or, if the file is whole and holds what this server does not have, load \
                 it with the program that wrote it, take that out, and SAVE"
            }
            Cure::Empty => {
                "Restore it from a copy, or remove it to begin without data; the server takes an empty file only with \
                 aof-checksum no"
            }
        }
    }
}

/// What a missing file is said to be.
pub(super) const NOT_THERE: &str = "the manifest lists it and it is not there";

/// What an empty single file is said to be, or one that a crash has left of nothing.
pub(super) const CUT_SHORT: &str = "it is empty, or ends inside its first line";
/// What is said of a single file that was cut behind its snapshot.
pub(super) const NO_CHAIN: &str = "the checksum chain that belongs behind this snapshot is not there";

/// What became of a replay: where it ended, why, and what can be done. `cuttable`: the file is the last one.
pub(super) fn of_fault(
    path: &Path,
    bytes: &[u8],
    from: usize,
    cuttable: bool,
    fault: &ScanFault<ReplayError>,
) -> (u64, String, Cure) {
    let cut = |at: u64| if cuttable && may_end(path, bytes, from, at) { Cure::Unfit } else { Cure::ByHand };
    match fault {
        ScanFault::NoHeader => {
            (0, "its first line, synced before the file was listed, is damaged".into(), Cure::Restore)
        }
        ScanFault::Apply(at, e) => {
            let cure = if foreign(e) { Cure::Program } else { cut(*at) };
            (*at, format!("a command there cannot be applied: {e}"), cure)
        }
        ScanFault::Brackets(at) => (*at, "MULTI and EXEC do not pair".into(), cut(*at)),
    }
}

/// Whether it is the server that lacks something, and not the file that is wrong.
fn foreign(error: &ReplayError) -> bool {
    match error {
        ReplayError::Unknown(_) | ReplayError::NotLogged(_) | ReplayError::Arity(_) => true,
        ReplayError::Refused { command, .. } => command.eq_ignore_ascii_case("select"),
    }
}

/// Whether the file may end at `at`: a single file with a chain must keep what it had when it got its name.
fn may_end(path: &Path, bytes: &[u8], from: usize, at: u64) -> bool {
    if of_several(path) {
        return true;
    }
    let head = bytes.get(..at as usize).unwrap_or_default();
    match scan_chained(head, from, Times::default(), &mut |_| Ok::<(), ()>(())) {
        Ok(scan) => scan.end_line.is_some(),
        // No chain: nothing is promised.
        Err(_) => true,
    }
}

/// Whether a file is named as one of a directory of files.
pub(super) fn of_several(path: &Path) -> bool {
    parse_name_any(path).is_some()
}

/// Prefix and number of a file of a directory of files, and whether it is an incr file.
pub(super) fn parse_name_any(path: &Path) -> Option<(String, u64, bool)> {
    let name = path.file_name()?.to_str()?;
    let stem = name.rsplit_once('.')?.0.rsplit_once('.')?.0;
    let prefix = stem.rsplit_once('.')?.0;
    let (seq, incr) = parse_name(prefix, name)?;
    Some((prefix.to_owned(), seq, incr))
}
