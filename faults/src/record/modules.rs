//! From return addresses to places in programs and libraries.

use crate::event::SiteId;
use crate::symbol::{Place, Symbols};
use crate::trace::{Frame, Site};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

#[derive(Debug)]
struct Mapping {
    low: u64,
    high: u64,
    offset: u64,
    path: String,
}

/// The call sites of a trace, as they are met.
#[derive(Default)]
pub(crate) struct Sites {
    maps: BTreeMap<u32, Rc<Vec<Mapping>>>,
    /// Asked only, never walked.
    known: HashMap<Site, SiteId>,
    /// What an address list of one process came out as.
    memo: BTreeMap<(u32, Vec<u64>), Option<SiteId>>,
    symbols: Symbols,
    pub(crate) list: Vec<Site>,
}

impl Sites {
    /// A program began in process `pid`: this is its /proc/self/maps.
    pub(crate) fn program(&mut self, pid: u32, maps: &[u8]) {
        let text = String::from_utf8_lossy(maps);
        let mappings = text.lines().filter_map(mapping).collect();
        self.maps.insert(pid, Rc::new(mappings));
        self.memo.retain(|(p, _), _| *p != pid);
    }

    /// A child has its parent's mappings.
    pub(crate) fn forked(&mut self, parent: u32, child: u32) {
        if let Some(maps) = self.maps.get(&parent).cloned() {
            self.maps.insert(child, maps);
        }
        self.memo.retain(|(p, _), _| *p != child);
    }

    /// The site of a call, `None` where nothing of it is known.
    pub(crate) fn site(&mut self, pid: u32, frames: &[u64]) -> Option<SiteId> {
        let key = (pid, frames.to_vec());
        if let Some(site) = self.memo.get(&key) {
            return *site;
        }
        let site = self.resolve(pid, frames);
        self.memo.insert(key, site);
        site
    }

    fn resolve(&mut self, pid: u32, frames: &[u64]) -> Option<SiteId> {
        let maps = self.maps.get(&pid)?.clone();
        let mut site = Site::default();
        for &address in frames {
            // Beyond the first address that is no code, a chain of frame pointers has lost its way.
            let Some(m) = maps.iter().find(|m| (m.low..m.high).contains(&address)) else { break };
            let in_file = address - m.low + m.offset;
            self.frames(&m.path, in_file, &mut site.frames);
        }
        if site.frames.is_empty() {
            return None;
        }
        if let Some(&id) = self.known.get(&site) {
            return Some(id);
        }
        let id = SiteId(self.list.len() as u32);
        self.list.push(site.clone());
        self.known.insert(site, id);
        Some(id)
    }

    fn frames(&mut self, path: &str, in_file: u64, frames: &mut Vec<Frame>) {
        let module = path.rsplit('/').next().unwrap_or(path);
        let frame = |p: &Place| {
            let (symbol, line) = (p.symbol.clone(), p.line.clone());
            Frame { module: module.to_string(), offset: p.offset, symbol, line }
        };
        frames.extend(self.symbols.find(path, in_file).iter().map(frame));
    }
}

/// One line of /proc/self/maps, if it is code from a file.
fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (low, high) = words.next()?.split_once('-')?;
    let permissions = words.next()?;
    let offset = words.next()?;
    let path = words.nth(2)?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    (permissions.contains('x') && path.starts_with('/')).then_some(())?;
    Some(Mapping { low: number(low)?, high: number(high)?, offset: number(offset)?, path: path.to_string() })
}
