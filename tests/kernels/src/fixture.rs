//! Observations as text, one file a workload.
//!
//! ```text
//! script
//!   create f
//!   ---
//!   append f B 2p
//! end
//! kind xfs kernel 6.18.44
//! tree f=
//! tree f=BB
//! run plain 1a2b3c4d 12 0:0-2 1:1-2
//! ```
//!
//! A run names its variant, the fingerprint of the variant's script, the number of images, and for each of the
//! kind's trees, by number, the moments at which the kernel could leave it.

use crate::observe::{Moments, Observed, Trees};
use crate::script::Script;
use crate::{Error, Result};
use std::fmt::Write;

/// What one kernel showed on one file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfKind {
    /// The kind's name.
    pub kind: String,
    /// The kernel's release.
    pub kernel: String,
    /// By variant.
    pub runs: Vec<Observed>,
}

/// All that is kept of one workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixture {
    /// The workload, as it was when it was recorded.
    pub script: Script,
    /// By kind.
    pub kinds: Vec<OfKind>,
}

impl Fixture {
    /// The file's text.
    pub fn text(&self) -> String {
        let mut out = String::from("script\n");
        for line in self.script.to_string().lines() {
            out.push_str("  ");
            out.push_str(line);
            out.push('\n');
        }
        out.push_str("end\n");
        for of_kind in &self.kinds {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "kind {} kernel {}", of_kind.kind, of_kind.kernel);
            let mut trees: Vec<&String> = of_kind.runs.iter().flat_map(|run| run.trees.keys()).collect();
            trees.sort();
            trees.dedup();
            for tree in &trees {
                let _ = writeln!(out, "tree {tree}");
            }
            for run in &of_kind.runs {
                let _ = write!(out, "run {} {:08x} {}", run.variant, run.fingerprint, run.images);
                for (tree, moments) in &run.trees {
                    if let Ok(number) = trees.binary_search(&tree) {
                        let _ = write!(out, " {number}:{moments}");
                    }
                }
                out.push('\n');
            }
        }
        out
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// [`Error::Text`], with the line.
    pub fn parse(name: &str, text: &str) -> Result<Fixture> {
        let bad = |n: usize, what: &str| Error::Text { place: name.into(), line: n + 1, what: what.into() };
        let mut lines = text.lines().enumerate();
        if lines.next().map(|(_, line)| line) != Some("script") {
            return Err(bad(0, "not a fixture"));
        }
        let mut script = String::new();
        for (_, line) in lines.by_ref().take_while(|(_, line)| *line != "end") {
            script.push_str(line);
            script.push('\n');
        }
        let mut fixture = Fixture { script: Script::parse(name, &script)?, kinds: Vec::new() };
        let mut trees: Vec<String> = Vec::new();
        for (n, line) in lines {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match (word, fixture.kinds.last_mut()) {
                ("kind", _) => {
                    let (kind, kernel) =
                        rest.split_once(" kernel ").ok_or_else(|| bad(n, "a kind without a kernel"))?;
                    fixture.kinds.push(OfKind { kind: kind.into(), kernel: kernel.into(), runs: Vec::new() });
                    trees.clear();
                }
                ("tree", Some(_)) => trees.push(rest.into()),
                ("run", Some(of_kind)) => {
                    of_kind.runs.push(run(rest, &trees).ok_or_else(|| bad(n, "not a run"))?);
                }
                _ => return Err(bad(n, "neither kind, tree nor run")),
            }
        }
        Ok(fixture)
    }
}

fn run(text: &str, all: &[String]) -> Option<Observed> {
    let mut words = text.split(' ');
    let variant = words.next()?.to_owned();
    let fingerprint = u32::from_str_radix(words.next()?, 16).ok()?;
    let images = words.next()?.parse().ok()?;
    let mut trees = Trees::new();
    for word in words {
        let (number, moments) = word.split_once(':')?;
        trees.insert(all.get(number.parse::<usize>().ok()?)?.clone(), Moments::parse(moments)?);
    }
    Some(Observed { variant, fingerprint, trees, images })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixtures_read_as_they_are_written() {
        let text = "script\n  create f\n  ---\n  append f B 2p\nend\nkind xfs kernel 6.1\ntree \ntree f=BB\nrun plain \
                    00ab3c4d 12 0:0-2 1:1-2\nrun end 00ab3c4e 2 1:0,4\n";
        let fixture = Fixture::parse("x", text).unwrap();
        assert_eq!(fixture.kinds[0].runs[1].trees["f=BB"].to_string(), "0,4");
        assert_eq!(fixture.text(), text);
        for (from, to) in [("1:0,4", "2:0,4"), ("run end", "rum end"), ("script", "scrip"), ("-2 1", "-x 1")]
        {
            assert!(Fixture::parse("x", &text.replacen(from, to, 1)).is_err(), "{from}");
        }
    }
}
