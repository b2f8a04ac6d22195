//! Names and source lines of addresses in programs and libraries.

use object::{Object, ObjectSegment};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

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
    files: BTreeMap<String, Option<Identity>>,
}

/// A file as it stood when it was looked at: device, inode, length, time of the last change.
type Identity = (u64, u64, u64, i64, i64);

/// What this process has found out so far, about offsets of files. A sweep records thousands of runs of one program,
/// and to read its debug information takes longer than to record it.
static KNOWN: Mutex<Known> = Mutex::new(BTreeMap::new());
type Known = BTreeMap<(Identity, u64), Arc<[Place]>>;

fn identity(path: &str) -> Option<Identity> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

impl Symbols {
    /// What stands at an offset of a module's file: the functions inlined there, the innermost first, and last the
    /// one that they are inlined into. The address is a return address, so the byte before it is asked for.
    pub(crate) fn find(&mut self, path: &str, in_file: u64) -> Arc<[Place]> {
        let file = *self.files.entry(path.to_string()).or_insert_with(|| identity(path));
        let Some(file) = file else { return self.look_up(path, in_file).into() };
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = known().get(&(file, in_file)) {
            return Arc::clone(places);
        }
        let places: Arc<[Place]> = self.look_up(path, in_file).into();
        known().insert((file, in_file), Arc::clone(&places));
        places
    }

    fn look_up(&mut self, path: &str, in_file: u64) -> Vec<Place> {
        let module = self.modules.entry(path.to_string()).or_insert_with(|| Module::open(path));
        let segment = module.segments.iter().find(|(at, len, _)| (*at..at + len).contains(&in_file));
        let Some(&(at, _, address)) = segment else {
            return vec![Place { offset: in_file, ..Place::default() }];
        };
        let offset = in_file - at + address;
        let Some(loader) = &module.loader else { return vec![Place { offset, ..Place::default() }] };
        let call = offset.saturating_sub(1);
        let mut places = Vec::new();
        if let Ok(mut frames) = loader.find_frames(call) {
            while let (true, Ok(Some(frame))) = (places.len() < MOST_INLINED, frames.next()) {
                let name = frame.function.as_ref().and_then(|f| f.demangle().ok());
                let line = frame.location.and_then(|l| Some(at_line(l.file?, l.line)));
                places.push(Place { offset, symbol: name.map(std::borrow::Cow::into_owned), line });
            }
        }
        if places.is_empty() {
            places.push(Place { offset, ..Place::default() });
        }
        // Without debug information the symbol table still has the function itself.
        if let Some(last) = places.last_mut().filter(|p| p.symbol.is_none()) {
            let symbol = loader.find_symbol(call);
            last.symbol = symbol.map(|s| addr2line::demangle_auto(s.into(), None).into_owned());
        }
        places
    }
}

/// How many functions inlined at one address are told.
const MOST_INLINED: usize = 16;

fn at_line(file: &str, line: Option<u32>) -> String {
    line.map_or_else(|| file.to_string(), |line| format!("{file}:{line}"))
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
