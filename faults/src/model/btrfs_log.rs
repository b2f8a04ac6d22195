//! What the logs of btrfs hold: which effects a sync's log forces, and which it may bring along.

use crate::effect::{EffectId, EffectKind, Effects, Meta};
use crate::event::{Clock, Event, FileId, Name, NodeKind};
use crate::model::Allowance;
use crate::model::btrfs_held::Held;
use crate::model::cover::{self, Came, Failures, Point, Strength};
use crate::trace::Trace;
use std::collections::{BTreeMap, BTreeSet};

/// The logs of a trace.
pub(crate) struct Logs {
    /// From when on each effect is on the disk, by a commit or by a log.
    pub(crate) forced: Vec<Clock>,
    /// The effects that some log can bring, and the effects of names and shapes that every such log holds.
    pub(crate) ways: BTreeMap<EffectId, Held>,
    /// The renames of which a log may bring the new name alone, and from when on that name is forced.
    pub(crate) both: BTreeMap<EffectId, Clock>,
    /// What an entry needs whichever way it comes: its directory, and that its name is free.
    pub(crate) places: Vec<(EffectId, EffectId)>,
}

/// What a log has of an effect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Has {
    Nothing,
    /// It may have it.
    Perhaps,
    /// Perhaps, or the new name of a rename alone.
    PerhapsNewName,
    /// The new name for sure, the removal of the old one perhaps.
    NewName,
    All,
}

impl Logs {
    /// The logs of all syncs of a trace.
    pub(crate) fn of(trace: &Trace, effects: &Effects, lacks: Option<Allowance>) -> Logs {
        let mut points = cover::points(trace);
        points.sort_by_key(|point| (point.begin, point.end));
        let mut reader = Reader { lacks, failures: Failures::of(&points), ..Reader::at_base(trace, effects) };
        for point in &points {
            reader.advance(point.begin);
            reader.sync(point);
        }
        reader.advance(Event::NEVER);
        reader.logs
    }
}

/// A walk over the trace: the names of the moment, and what no sync has forced yet.
struct Reader<'t> {
    trace: &'t Trace,
    effects: &'t Effects,
    next: usize,
    dirs: BTreeSet<FileId>,
    names: BTreeMap<FileId, BTreeSet<(FileId, Name)>>,
    /// The effect that made a directory.
    made: BTreeMap<FileId, EffectId>,
    /// The rename that made a name free.
    vacated: BTreeMap<(FileId, Name), EffectId>,
    /// Changes of names and shapes that nothing has forced yet, and those that something has.
    changes: Vec<u32>,
    settled: Vec<u32>,
    contents: BTreeMap<FileId, Vec<u32>>,
    /// When each file or directory was synced last.
    logged: BTreeMap<FileId, Clock>,
    failures: Failures,
    logs: Logs,
    lacks: Option<Allowance>,
}

impl<'t> Reader<'t> {
    fn at_base(trace: &'t Trace, effects: &'t Effects) -> Reader<'t> {
        let logs = Logs {
            forced: vec![Event::NEVER; effects.list.len()],
            ways: BTreeMap::new(),
            both: BTreeMap::new(),
            places: Vec::new(),
        };
        let mut reader = Reader {
            trace,
            effects,
            next: 0,
            dirs: BTreeSet::from([FileId::ROOT]),
            names: BTreeMap::new(),
            made: BTreeMap::new(),
            vacated: BTreeMap::new(),
            changes: Vec::new(),
            settled: Vec::new(),
            contents: BTreeMap::new(),
            logged: BTreeMap::new(),
            failures: Failures::of(&[]),
            logs,
            lacks: None,
        };
        for node in &trace.base {
            reader.names.entry(node.file).or_default().insert((node.dir, node.name.clone()));
            if node.kind == NodeKind::Dir {
                reader.dirs.insert(node.file);
            }
        }
        reader
    }

    /// Takes in what was called before a moment.
    fn advance(&mut self, before: Clock) {
        while let Some(effect) = self.effects.list.get(self.next).filter(|effect| effect.issued < before) {
            let id = self.next as u32;
            self.next += 1;
            match &effect.kind {
                EffectKind::Data { file, .. } | EffectKind::Size { file, .. } => {
                    self.contents.entry(*file).or_default().push(id);
                }
                EffectKind::Meta(Meta::Return { .. }) => {}
                EffectKind::Meta(meta) => {
                    self.changes.push(id);
                    self.name(EffectId(id), meta);
                }
            }
        }
    }

    fn name(&mut self, id: EffectId, meta: &Meta) {
        match meta {
            Meta::Create { dir, name, file, kind } => {
                self.put(id, *dir, name, *file);
                if *kind == NodeKind::Dir {
                    self.dirs.insert(*file);
                    self.made.insert(*file, id);
                }
            }
            Meta::Link { dir, name, file } => self.put(id, *dir, name, *file),
            Meta::Unlink { dir, name, file } => self.take(*dir, name, *file),
            Meta::Rename { from_dir, from_name, to_dir, to_name, file, replaced } => {
                if let Some(old) = replaced {
                    self.take(*to_dir, to_name, *old);
                }
                self.take(*from_dir, from_name, *file);
                self.put(id, *to_dir, to_name, *file);
                self.vacated.insert((*from_dir, from_name.clone()), id);
            }
            Meta::Exchange { a_dir, a_name, a, b_dir, b_name, b } => {
                self.take(*a_dir, a_name, *a);
                self.take(*b_dir, b_name, *b);
                self.put(id, *a_dir, a_name, *b);
                self.put(id, *b_dir, b_name, *a);
            }
            Meta::Return { .. } | Meta::Truncate { .. } | Meta::Allocate { .. } => {}
        }
    }

    /// A name needs its directory. And where it was freed by a rename, it needs that: a log that holds an inode
    /// whose name another one had in the last commit holds that other one with its new name (btrfs_log_inode,
    /// conflicting inodes), or both would want one name.
    fn put(&mut self, id: EffectId, dir: FileId, name: &Name, file: FileId) {
        self.names.entry(file).or_default().insert((dir, name.clone()));
        let place = self.made.get(&dir).copied().into_iter();
        let free = self.vacated.remove(&(dir, name.clone()));
        self.logs.places.extend(place.chain(free).map(|on| (id, on)));
    }

    fn take(&mut self, dir: FileId, name: &Name, file: FileId) {
        if let Some(names) = self.names.get_mut(&file) {
            names.remove(&(dir, name.clone()));
        }
    }

    fn parents(&self, file: FileId) -> BTreeSet<FileId> {
        self.names.get(&file).into_iter().flatten().map(|(dir, _)| *dir).collect()
    }

    /// The directories above.
    fn above(&self, file: FileId) -> BTreeSet<FileId> {
        let mut found = self.parents(file);
        let mut todo: Vec<FileId> = found.iter().copied().collect();
        while let Some(dir) = todo.pop() {
            todo.extend(self.parents(dir).into_iter().filter(|up| found.insert(*up)));
        }
        found
    }

    fn sync(&mut self, point: &Point) {
        match point.file {
            None => self.commit(point),
            Some(file) => self.log(point, file),
        }
    }

    /// What a synchronous write itself has done.
    fn own(&self, point: &Point) -> std::ops::Range<usize> {
        let list = &self.effects.list;
        match point.own {
            Some(own) => {
                list.partition_point(|effect| effect.event < own)
                    ..list.partition_point(|effect| effect.event <= own)
            }
            None => 0..0,
        }
    }

    fn force(&mut self, id: u32, end: Clock) {
        if self.failures.void(&self.effects.list[id as usize], end) {
            return;
        }
        let forced = &mut self.logs.forced[id as usize];
        *forced = (*forced).min(end);
    }

    /// Whether the call was over before the sync was made.
    fn covered(&self, id: u32, point: &Point) -> bool {
        self.trace.over(self.effects.list[id as usize].event as usize) < point.begin
    }

    /// sync and syncfs commit everything: "syncfs: everything: yes".
    fn commit(&mut self, point: &Point) {
        for id in (0..self.next as u32).filter(|_| point.came == Came::Forced) {
            if self.covered(id, point) {
                self.force(id, point.end);
            }
        }
    }

    /// What a sync that began now finds forced is no business of its log any more.
    fn forget(&mut self, file: FileId, now: Clock) {
        let open = |id: &u32| self.logs.forced[*id as usize] > now;
        let forced = self.changes.iter().copied().filter(|id| !open(id));
        self.settled.extend(forced);
        self.settled.sort_unstable();
        self.changes.retain(open);
        if let Some(list) = self.contents.get_mut(&file) {
            list.retain(open);
        }
    }

    /// fsync, fdatasync and synchronous writes, which all write the same log: "fsync(f) logs f's data, truncates,
    /// all its names, the removal of old names, and ancestor directories; nothing else is guaranteed". One that is told of
    /// an earlier error writes it too, and looks for the error behind it (btrfs_sync_file), but if it finds that it need
    /// not: what its log has may be there. So, too, where the process was killed inside one.
    fn log(&mut self, point: &Point, file: FileId) {
        self.forget(file, point.begin);
        if point.came == Came::Lost {
            // The pages were marked clean; the size moves on (zero-extended), at the next log or commit.
            return;
        }
        if file != FileId::ROOT && self.names.get(&file).is_none_or(BTreeSet::is_empty) {
            // btrfs_log_inode_parent: "a link count of 0 means they will never be accessible": no log is written.
            return;
        }
        let (sure, names, perhaps) = self.held(point, file);
        // What was forced before is there when this log is, and in a commit if it comes before the effect.
        let mut all = [sure.as_slice(), &names, &self.settled].concat();
        all.sort_unstable();
        let there = Held { all, names };
        for id in sure.iter().chain(&perhaps) {
            self.came(*id, &there);
        }
        for id in self.own(point) {
            self.came(id as u32, &there);
            self.force(id as u32, point.forces());
        }
        let whole = matches!(point.how, Strength::Full | Strength::Data);
        let contents: Vec<u32> = self.contents.get(&file).cloned().unwrap_or_default();
        for id in contents {
            self.came(id, &there);
            if whole && self.covered(id, point) {
                self.force(id, point.forces());
            }
        }
        self.meanwhile(point, file, &there);
        self.logged.insert(file, point.end);
    }

    /// What is called while the sync runs may still come into its log: of the file's pages and names, as they are looked at
    /// one after the other.
    fn meanwhile(&mut self, point: &Point, file: FileId, there: &Held) {
        let log = Log::of(self, file);
        let effects = self.effects;
        let from = effects.list.partition_point(|effect| effect.issued <= point.begin);
        let during = effects.list[from..].iter().take_while(|effect| effect.issued < point.end);
        for (id, effect) in (from as u32..).zip(during) {
            let has = match &effect.kind {
                _ if point.own == Some(effect.event) => continue,
                EffectKind::Data { file: of, .. } | EffectKind::Size { file: of, .. } if *of == file => {
                    Has::Perhaps
                }
                EffectKind::Data { .. } | EffectKind::Size { .. } => Has::Nothing,
                EffectKind::Meta(meta) => match log.has(self, meta) {
                    Has::Nothing if self.rides(id, meta) => Has::Perhaps,
                    has => has,
                },
            };
            if matches!(has, Has::NewName | Has::PerhapsNewName) {
                self.logs.both.entry(EffectId(id)).or_insert(Event::NEVER);
            }
            if has != Has::Nothing {
                self.came(id, there);
            }
        }
    }

    /// One more log that can have brought the effect: what all of them hold becomes less.
    fn came(&mut self, id: u32, there: &Held) {
        match self.logs.ways.get_mut(&EffectId(id)) {
            Some(held) => held.meet(there),
            None => drop(self.logs.ways.insert(EffectId(id), there.before(id))),
        }
    }

    /// The changes of names and shapes that a log of the file holds, those whose new names are there with it, and
    /// those that it may hold.
    fn held(&mut self, point: &Point, file: FileId) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
        let log = Log::of(self, file);
        let (mut sure, mut names, mut perhaps) = (Vec::new(), Vec::new(), Vec::new());
        let mut riders_into: BTreeSet<FileId> = BTreeSet::new();
        for id in self.changes.clone() {
            let EffectKind::Meta(meta) = &self.effects.list[id as usize].kind else { continue };
            let covered = self.covered(id, point);
            let mut has = log.has(self, meta);
            if has == Has::Nothing && self.rides(id, meta) {
                has = Has::Perhaps;
                let into = cover::parents(meta).into_iter().flatten();
                into.for_each(|dir| riders_into.extend(self.above(dir).into_iter().chain([dir])));
            }
            if has == Has::NewName || has == Has::PerhapsNewName {
                let at = if covered && has == Has::NewName { point.forces() } else { Event::NEVER };
                let new_name = self.logs.both.entry(EffectId(id)).or_insert(Event::NEVER);
                *new_name = at.min(*new_name);
            }
            // A log comes back as a whole, with the new names that it has; those of logs before it stay.
            let earlier = self.logs.both.get(&EffectId(id)).is_some_and(|at| *at <= point.begin);
            match has {
                Has::All if covered => {
                    self.force(id, point.forces());
                    sure.push(id);
                    continue;
                }
                Has::Nothing => {}
                _ => perhaps.push(id),
            }
            if earlier || covered && has == Has::NewName {
                names.push(id);
            }
        }
        let made = riders_into.iter().filter_map(|dir| self.made.get(dir)).map(|id| id.0);
        perhaps.extend(made.filter(|id| sure.binary_search(id).is_err()));
        (sure, names, perhaps)
    }

    /// "a rename of an already logged inode rides on any later log sync" (btrfs_log_new_name; also where the old
    /// directory was logged).
    fn rides(&self, id: u32, meta: &Meta) -> bool {
        if self.lacks == Some(Allowance::Riders) {
            return false;
        }
        let issued = self.effects.list[id as usize].issued;
        let logged = |file: &FileId| self.logged.get(file).is_some_and(|at| *at < issued);
        match meta {
            Meta::Rename { file, from_dir, .. } => logged(file) || logged(from_dir),
            Meta::Link { file, .. } => logged(file),
            Meta::Exchange { a, b, .. } => logged(a) || logged(b),
            _ => false,
        }
    }
}

/// The log of one sync.
struct Log {
    file: FileId,
    is_dir: bool,
    /// A file without a name is not logged: "a link count of 0 means they will never be accessible".
    nameless: bool,
    parents: BTreeSet<FileId>,
    above: BTreeSet<FileId>,
}

impl Log {
    fn of(reader: &Reader<'_>, file: FileId) -> Log {
        let parents = reader.parents(file);
        let nameless = parents.is_empty() && file != FileId::ROOT;
        let is_dir = reader.dirs.contains(&file);
        Log { file, is_dir, nameless, parents, above: reader.above(file) }
    }

    fn has(&self, reader: &Reader<'_>, meta: &Meta) -> Has {
        let (made, moved) = match meta {
            _ if self.nameless => return Has::Nothing,
            Meta::Return { .. } => return Has::Nothing,
            Meta::Truncate { file, .. } | Meta::Allocate { file, .. } => {
                return if *file == self.file { Has::All } else { Has::Nothing };
            }
            Meta::Create { file, .. } => (Some(*file), [None, None]),
            Meta::Link { file, .. } | Meta::Unlink { file, .. } | Meta::Rename { file, .. } => {
                (None, [Some(*file), None])
            }
            Meta::Exchange { a, b, .. } => (None, [Some(*a), Some(*b)]),
        };
        // Ancestors that are new; a renamed one keeps its old path ("rename a directory; append and fsync a child").
        let own = |file: FileId| file == self.file;
        if made.is_some_and(|file| own(file) || self.above.contains(&file)) {
            return Has::All;
        }
        let moved = moved.into_iter().flatten();
        if moved.clone().any(own) && !self.is_dir {
            return Has::All;
        }
        if moved.clone().any(|file| own(file) || self.above.contains(&file))
            && reader.lacks != Some(Allowance::MovedAncestors)
        {
            return Has::Perhaps;
        }
        self.entry(reader, meta)
    }

    /// A directory's log has all its entries; that of a file may have those of its parents, "individually".
    fn entry(&self, reader: &Reader<'_>, meta: &Meta) -> Has {
        let dirs = cover::parents(meta);
        let (from, to) = match meta {
            Meta::Rename { from_dir, to_dir, .. } => (*from_dir, *to_dir),
            _ => (dirs[0].unwrap_or(FileId::ROOT), dirs[0].unwrap_or(FileId::ROOT)),
        };
        let into_only = |dir: &FileId| matches!(meta, Meta::Rename { .. }) && to == *dir && from != *dir;
        if self.is_dir && dirs.contains(&Some(self.file)) {
            // A rename out of the directory makes its sync a commit (btrfs_record_unlink_dir), or the log has both.
            let half = into_only(&self.file) && reader.lacks != Some(Allowance::BothNames);
            return if half { Has::NewName } else { Has::All };
        }
        let near = |dir: &FileId| {
            // New directories below a logged one are logged too (log_new_dir_dentries).
            let below = self.is_dir
                && reader.lacks != Some(Allowance::EntriesBelow)
                && reader.made.contains_key(dir)
                && reader.above(*dir).contains(&self.file);
            let of_file = !self.is_dir && reader.lacks != Some(Allowance::ParentsEntries);
            of_file && self.parents.contains(dir) || below
        };
        match dirs.iter().flatten().find(|dir| near(dir)) {
            Some(_) if dirs.iter().flatten().any(|dir| near(dir) && into_only(dir)) => Has::PerhapsNewName,
            Some(_) => Has::Perhaps,
            None => Has::Nothing,
        }
    }
}
