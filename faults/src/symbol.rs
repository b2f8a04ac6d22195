//! Names and source lines of addresses in programs and libraries.

use object::{Object, ObjectSegment};
use std::collections::BTreeMap;

/// What is known of one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The address within the module, as its own symbols count.
    pub(crate) offset: u64,
    /// The function, demangled.
    pub(crate) symbol: Option<String>,
    /// `file:line`.
    pub(crate) line: Option<String>,
}

struct Module {
    loader: Option<addr2line::Loader>,
    /// File offset, length and address of each loaded segment.
    segments: Vec<(u64, u64, u64)>,
}

/// The modules that were asked for so far.
#[derive(Default)]
pub(crate) struct Symbols {
    modules: BTreeMap<String, Module>,
}

impl Symbols {
    /// What stands at an offset of a module's file; the address is a return address, so the byte before it
    /// is asked for.
    pub(crate) fn find(&mut self, path: &str, in_file: u64) -> Place {
        let module = self.modules.entry(path.to_string()).or_insert_with(|| Module::open(path));
        let segment = module.segments.iter().find(|(at, len, _)| (*at..at + len).contains(&in_file));
        let Some(&(at, _, address)) = segment else {
            return Place { offset: in_file, ..Place::default() };
        };
        let offset = in_file - at + address;
        let Some(loader) = &module.loader else { return Place { offset, ..Place::default() } };
        let call = offset.saturating_sub(1);
        // The innermost inlined function that is the program's own, where debug information tells of it; else the
        // symbol's. (That a file is written to by a function of the standard library says nothing.)
        let inner = loader.find_frames(call).ok().and_then(|mut frames| {
            let mut innermost = None;
            while let Ok(Some(frame)) = frames.next() {
                let library = frame.location.as_ref().and_then(|l| l.file).is_some_and(is_toolchain);
                if !library {
                    return Some(frame);
                }
                innermost.get_or_insert(frame);
            }
            innermost
        });
        let named = inner.as_ref().and_then(|f| f.function.as_ref()?.demangle().ok().map(|n| n.into_owned()));
        let symbol = named.or_else(|| {
            loader.find_symbol(call).map(|s| addr2line::demangle_auto(s.into(), None).into_owned())
        });
        let line = inner.and_then(|f| f.location).and_then(|l| {
            let file = l.file?;
            Some(match l.line {
                Some(line) => format!("{file}:{line}"),
                None => file.to_string(),
            })
        });
        Place { offset, symbol, line }
    }
}

/// Whether a source file is one of the standard library's, as it names them in its debug information.
fn is_toolchain(file: &str) -> bool {
    file.starts_with("/rustc/")
}

impl Module {
    fn open(path: &str) -> Module {
        let segments = std::fs::read(path).ok().and_then(|bytes| {
            let file = object::File::parse(&*bytes).ok()?;
            Some(file.segments().map(|s| (s.file_range().0, s.file_range().1, s.address())).collect())
        });
        Module { loader: addr2line::Loader::new(path).ok(), segments: segments.unwrap_or_default() }
    }
}
