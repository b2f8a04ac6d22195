//! A slow checker, written straight from the rules: no graph, no windows, every pair of effects looked at.

use std::collections::BTreeSet;
use unplug_faults::effect::{Effect, EffectKind, Effects, Meta, Outcome, PAGE};
use unplug_faults::event::*;
use unplug_faults::trace::Trace;

pub struct Slow<'a> {
    pub trace: &'a Trace,
    pub list: &'a [Effect],
    pub model: &'a str,
    /// Every order in which the calls can have been carried out: by event, its place.
    orders: Vec<Vec<usize>>,
}

/// What calls change in an order that the trace gives: all names, or one file.
fn subject(op: &Op) -> Option<FileId> {
    match op {
        Op::Create { .. } | Op::Link { .. } | Op::Unlink { .. } | Op::Rename { .. } | Op::Exchange { .. } => {
            Some(FileId::ROOT)
        }
        Op::Write { file, .. } | Op::Truncate { file, .. } | Op::Allocate { file, .. } => Some(*file),
        _ => None,
    }
}

/// When a call was over: when it returned, or else when its process was killed.
fn over(trace: &Trace, call: &Event) -> Clock {
    let kills = trace.events.iter().filter(|e| e.op == Op::Kill && e.begin > call.begin);
    if call.end != Event::NEVER { call.end } else { kills.map(|e| e.begin).min().unwrap_or(Event::NEVER) }
}

/// All orders of the calls in which one that had ended before another began comes before it, and calls that change the
/// same thing come as in the trace. Each call is carried out at one moment of its own.
fn orders(trace: &Trace) -> Vec<Vec<usize>> {
    let n = trace.events.len();
    let first = |a: usize, b: usize| {
        let (x, y) = (&trace.events[a], &trace.events[b]);
        over(trace, x) < y.begin || a < b && subject(&x.op).is_some() && subject(&x.op) == subject(&y.op)
    };
    let mut begun: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..n {
        let longer = |order: &Vec<usize>| {
            let left: Vec<usize> = (0..n).filter(|e| !order.contains(e)).collect();
            let next = left.iter().filter(|e| !left.iter().any(|other| first(*other, **e)));
            next.map(|e| [order.as_slice(), &[*e]].concat()).collect::<Vec<_>>()
        };
        begun = begun.iter().flat_map(longer).collect();
    }
    let places = |order: Vec<usize>| {
        let mut places = vec![0; n];
        order.iter().enumerate().for_each(|(at, event)| places[*event] = at);
        places
    };
    begun.into_iter().map(places).collect()
}

fn mask(kind: &EffectKind, outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Whole | Outcome::Parts(_) => {
            if matches!(kind, EffectKind::Data { .. }) {
                kind.sectors()
            } else {
                0xFF
            }
        }
        Outcome::Sectors(mask) => mask,
        _ => 0,
    }
}

fn touches(kind: &EffectKind, x: FileId) -> bool {
    match kind {
        EffectKind::Data { file, .. } | EffectKind::Size { file, .. } => *file == x,
        EffectKind::Meta(
            Meta::Create { dir, file, .. } | Meta::Link { dir, file, .. } | Meta::Unlink { dir, file, .. },
        ) => *dir == x || *file == x,
        EffectKind::Meta(Meta::Rename { from_dir, to_dir, file, replaced, .. }) => {
            *from_dir == x || *to_dir == x || *file == x || *replaced == Some(x)
        }
        EffectKind::Meta(Meta::Exchange { a_dir, b_dir, a, b, .. }) => [a_dir, b_dir, a, b].contains(&&x),
        EffectKind::Meta(Meta::Truncate { file, .. } | Meta::Allocate { file, .. }) => *file == x,
        // Only in the effects that btrfs is given; not compared here.
        EffectKind::Meta(Meta::Return { .. }) => false,
    }
}

fn entry_of(kind: &EffectKind, x: FileId) -> bool {
    match kind {
        EffectKind::Meta(Meta::Create { dir, .. } | Meta::Link { dir, .. } | Meta::Unlink { dir, .. }) => {
            *dir == x
        }
        EffectKind::Meta(Meta::Rename { from_dir, to_dir, .. }) => *from_dir == x || *to_dir == x,
        EffectKind::Meta(Meta::Exchange { a_dir, b_dir, .. }) => *a_dir == x || *b_dir == x,
        _ => false,
    }
}

impl<'a> Slow<'a> {
    pub fn new(trace: &'a Trace, effects: &'a Effects, model: &'a str) -> Self {
        Slow { trace, list: &effects.list, model, orders: orders(trace) }
    }

    pub fn outcomes(&self, kind: &EffectKind) -> Vec<Outcome> {
        let mut all = vec![Outcome::Absent, Outcome::Whole];
        let posix = self.model.starts_with("posix");
        match kind {
            EffectKind::Data { fresh, .. } => {
                if posix || self.model == "ext4-ordered" && !fresh {
                    let sectors = kind.sectors();
                    all.extend(
                        (1..=255u8).filter(|m| m & !sectors == 0 && *m != sectors).map(Outcome::Sectors),
                    );
                }
                if posix && *fresh {
                    all.push(Outcome::Stale);
                }
            }
            EffectKind::Meta(Meta::Rename { replaced, .. }) if self.model == "posix-split" => {
                let parts: &[u8] = if replaced.is_some() { &[1, 2, 3, 5] } else { &[2, 4] };
                all.extend(parts.iter().map(|p| Outcome::Parts(*p)));
            }
            _ => {}
        }
        all
    }

    pub fn points(&self) -> BTreeSet<Clock> {
        let ends = self.trace.events.iter().flat_map(|e| [e.begin, e.end]).filter(|t| *t != Event::NEVER);
        ends.chain([0]).collect()
    }

    pub fn legal(&self, out: &[Outcome], at: Clock) -> bool {
        let issued = self.list.iter().zip(out).all(|(e, o)| *o == Outcome::Absent || e.issued <= at);
        issued && self.forced(out, at) && self.ordered(out)
    }

    /// Whether all that is forced is whole. What a synchronous write forces on ext4 is its pages, and a page
    /// goes with what was written to the same sectors before.
    fn forced(&self, out: &[Outcome], at: Clock) -> bool {
        let mut must: Vec<bool> =
            (0..self.list.len()).map(|i| self.forced_by_a_sync(i, &out[i], at)).collect();
        if self.model.starts_with("posix") {
            for i in 0..must.len() {
                // Where the data may have been given up, so may the size that goes with them.
                must[i] &= !self.size_of(i) || must[i + 1];
            }
        }
        for j in (0..must.len()).rev() {
            for i in 0..j {
                if must[j] && self.model == "ext4-ordered" && self.written_back_with(i, j) {
                    must[i] = true;
                }
            }
        }
        must.iter().zip(out).all(|(must, outcome)| !must || *outcome == Outcome::Whole)
    }

    fn written_back_with(&self, i: usize, j: usize) -> bool {
        match (&self.list[i].kind, &self.list[j].kind) {
            (EffectKind::Data { file, page, .. }, EffectKind::Data { file: f2, page: p2, fresh, .. }) => {
                let shared = self.list[i].kind.sectors() & self.list[j].kind.sectors() != 0;
                file == f2 && page == p2 && shared && !fresh && !self.cut_between(i, j, *file, *page)
            }
            _ => false,
        }
    }

    /// Whether it is the size of the data effect behind it.
    fn size_of(&self, i: usize) -> bool {
        let next = self.list.get(i + 1);
        let data = next.is_some_and(|next| matches!(next.kind, EffectKind::Data { .. }));
        matches!(self.list[i].kind, EffectKind::Size { .. })
            && data
            && next.is_some_and(|next| next.event == self.list[i].event)
    }

    /// Whether a sync that ended at this moment and found nothing wrong says nothing of these data: another one had
    /// begun by then, has failed, and may have tried to write them.
    fn given_up(&self, i: usize, end: Clock) -> bool {
        let effect = &self.list[i];
        let EffectKind::Data { file: of, .. } = effect.kind else { return false };
        self.trace.events.iter().any(|event| {
            let tried = match event.op {
                Op::Sync { file, .. } => file == of,
                Op::SyncAll => true,
                _ => false,
            };
            tried && event.errno == libc::EIO && event.begin < end && effect.issued < event.end
        })
    }

    fn forced_by_a_sync(&self, i: usize, outcome: &Outcome, at: Clock) -> bool {
        let effect = &self.list[i];
        let kind = &effect.kind;
        self.trace.events.iter().enumerate().any(|(index, event)| {
            if event.end > at || event.errno != 0 || self.given_up(i, event.end) {
                return false;
            }
            let covered = over(self.trace, &self.trace.events[effect.event as usize]) < event.begin;
            let own = effect.event == index as u32;
            match &event.op {
                // By the letter sync() only schedules; on Linux it waits.
                Op::SyncAll => covered && self.model != "posix-split",
                Op::Sync { file, kind: SyncKind::Fsync } => covered && self.sync(kind, *file, true, outcome),
                Op::Sync { file, kind: SyncKind::Fdatasync } => {
                    covered && self.sync(kind, *file, false, outcome)
                }
                Op::Write { sync: WriteSync::None, .. } => false,
                Op::Write { file, sync, .. } => {
                    let names = matches!(kind, EffectKind::Meta(_)) && !self.model.starts_with("posix");
                    own || covered && names && self.sync(kind, *file, *sync == WriteSync::Full, outcome)
                }
                _ => false,
            }
        })
    }

    /// Whether a sync of the file does not allow this outcome.
    fn sync(&self, kind: &EffectKind, x: FileId, full: bool, outcome: &Outcome) -> bool {
        match (self.model, kind) {
            ("posix-split", EffectKind::Meta(Meta::Rename { from_dir, to_dir, .. })) => {
                let parts = match outcome {
                    Outcome::Absent => 0,
                    Outcome::Parts(parts) => *parts,
                    _ => 7,
                };
                *from_dir == x && parts & 2 == 0 || *to_dir == x && parts & 4 == 0
            }
            ("posix" | "posix-split", _) => kind.content_of() == Some(x) || entry_of(kind, x),
            ("prefix", _) => touches(kind, x),
            // fdatasync of a file forces none of its names; of a directory, its entries.
            (
                _,
                EffectKind::Meta(
                    Meta::Rename { .. } | Meta::Link { .. } | Meta::Unlink { .. } | Meta::Exchange { .. },
                ),
            ) => touches(kind, x) && (full || entry_of(kind, x)),
            _ => touches(kind, x),
        }
    }

    /// Whether there is an order of the calls in which all that is there has what it needs.
    fn ordered(&self, out: &[Outcome]) -> bool {
        let n = self.list.len();
        let fits = |order: &Vec<usize>| {
            (0..n).all(|j| out[j] == Outcome::Absent || (0..n).all(|i| i == j || self.pair(i, j, out, order)))
        };
        self.orders.iter().any(fits)
    }

    /// Whether effect j may be there, as far as effect i is concerned.
    fn pair(&self, i: usize, j: usize, out: &[Outcome], order: &[usize]) -> bool {
        let (a, b) = (&self.list[i], &self.list[j]);
        let whole = out[i] == Outcome::Whole;
        let earlier = match a.event == b.event {
            true => i < j,
            false => order[a.event as usize] < order[b.event as usize],
        };
        if self.model == "prefix" {
            // A size with its data; the zeros of a cut with the truncate.
            let data_of_it = j + 1 == i
                && a.event == b.event
                && (matches!(b.kind, EffectKind::Size { .. })
                    || matches!(a.kind, EffectKind::Meta(Meta::Truncate { .. })));
            return whole || !earlier && !data_of_it;
        }
        let journal = |k: &EffectKind| matches!(k, EffectKind::Meta(_));
        let floating = matches!(b.kind, EffectKind::Size { .. } | EffectKind::Data { fresh: true, .. });
        let follows = earlier && (journal(&b.kind) || floating);
        if self.model == "ext4-ordered" && journal(&a.kind) && follows && !whole {
            return false;
        }
        if i > j {
            return true;
        }
        let file_a = a.kind.content_of();
        let set_between = (i + 1..j).any(|k| {
            matches!(&self.list[k].kind, EffectKind::Meta(Meta::Truncate { file, .. }) if Some(*file) == file_a)
        });
        match (&a.kind, &b.kind) {
            (EffectKind::Size { .. }, EffectKind::Size { .. })
                if file_a == b.kind.content_of() && !set_between && !whole =>
            {
                return false;
            }
            (EffectKind::Size { .. }, EffectKind::Data { fresh, .. })
                if i + 1 == j
                    && a.event == b.event
                    && !whole
                    && (*fresh || !self.cut_before(i, file_a))
                    && !self.straddles(j) =>
            {
                return false;
            }
            _ => {}
        }
        self.model != "ext4-ordered" || self.ext4(i, j, out, earlier)
    }

    fn ext4(&self, i: usize, j: usize, out: &[Outcome], earlier: bool) -> bool {
        let (a, b) = (&self.list[i], &self.list[j]);
        let whole = out[i] == Outcome::Whole;
        let last_link = |file: FileId| self.dies(j) == Some(file);
        match (&a.kind, &b.kind) {
            (
                EffectKind::Data { file, page, fresh, .. },
                EffectKind::Data { file: f2, page: p2, fresh: again, .. },
            ) => {
                if file != f2 || page != p2 || *again || self.cut_between(i, j, *file, *page) {
                    return true;
                }
                let wanted = mask(&b.kind, out[j]) & a.kind.sectors();
                (!fresh || whole) && wanted & !mask(&a.kind, out[i]) == 0
            }
            // What it cuts off counts as there; and the zeros behind the new end are written first, in a page that
            // the disk may already show.
            (EffectKind::Data { file, page, .. }, EffectKind::Meta(Meta::Truncate { file: f2, size })) => {
                let waits = match a.event == b.event {
                    true => self.shows(i, *file, *page),
                    false => *page >= size.div_ceil(PAGE),
                };
                file != f2 || !waits || whole
            }
            (EffectKind::Size { file, .. }, EffectKind::Meta(Meta::Truncate { file: f2, .. })) => {
                file != f2 || whole
            }
            (EffectKind::Meta(Meta::Truncate { file, size }), EffectKind::Data { file: f2, page, .. }) => {
                file != f2 || *page < size.div_ceil(PAGE) || whole
            }
            (
                EffectKind::Size { file, .. },
                EffectKind::Meta(Meta::Rename { file: f2, replaced: Some(_), .. }),
            ) if file == f2 => whole || !earlier,
            (
                EffectKind::Data { file, .. }
                | EffectKind::Size { file, .. }
                | EffectKind::Meta(Meta::Truncate { file, .. }),
                EffectKind::Meta(_),
            ) => !last_link(*file) || whole,
            _ => true,
        }
    }

    fn cut_between(&self, i: usize, j: usize, file: FileId, page: u64) -> bool {
        (i + 1..j).any(|k| {
            matches!(&self.list[k].kind, EffectKind::Meta(Meta::Truncate { file: f, size })
                if *f == file && page >= size.div_ceil(PAGE))
        })
    }

    /// Whether the page of effect `i` had a written block for sure when `i` was issued: one from before the trace, or
    /// one of which something has been synced.
    fn shows(&self, i: usize, file: FileId, page: u64) -> bool {
        let of_page = |k: &usize| {
            matches!(&self.list[*k].kind, EffectKind::Data { file: f, page: p, .. } if (*f, *p) == (file, page))
                && !self.cut_between(*k, i, file, page)
        };
        let now = self.list[i].issued;
        let data: Vec<usize> = (0..i).filter(of_page).collect();
        let new = data.iter().any(|k| matches!(self.list[*k].kind, EffectKind::Data { fresh: true, .. }));
        !new || data.iter().any(|k| self.forced_by_a_sync(*k, &Outcome::Absent, now))
    }

    fn cut_before(&self, i: usize, file: Option<FileId>) -> bool {
        self.list[..i]
            .iter()
            .any(|e| matches!(e.kind, EffectKind::Meta(Meta::Truncate { .. })) && e.kind.content_of() == file)
    }

    /// Whether an extending write's page also has bytes of it within the size from before.
    fn straddles(&self, j: usize) -> bool {
        let EffectKind::Data { file, page, start, .. } = &self.list[j].kind else { return false };
        let base = self.trace.base.iter().find(|node| node.file == *file);
        let mut size = base.map_or(0, |node| node.data.len() as u64);
        for effect in &self.list[..j - 1] {
            match &effect.kind {
                EffectKind::Size { file: f, to } if f == file => size = *to,
                EffectKind::Meta(Meta::Truncate { file: f, size: to }) if f == file => size = *to,
                _ => {}
            }
        }
        page * PAGE + u64::from(*start) < size
    }

    /// The file whose last name effect `j` takes away.
    fn dies(&self, j: usize) -> Option<FileId> {
        let gone = match &self.list[j].kind {
            EffectKind::Meta(Meta::Unlink { file, .. }) => *file,
            EffectKind::Meta(Meta::Rename { replaced: Some(old), .. }) => *old,
            _ => return None,
        };
        let mut links = self.trace.base.iter().filter(|node| node.file == gone).count() as i64;
        for effect in &self.list[..=j] {
            match &effect.kind {
                EffectKind::Meta(Meta::Create { file, .. } | Meta::Link { file, .. }) if *file == gone => {
                    links += 1
                }
                EffectKind::Meta(Meta::Unlink { file, .. }) if *file == gone => links -= 1,
                EffectKind::Meta(Meta::Rename { replaced: Some(old), .. }) if *old == gone => links -= 1,
                _ => {}
            }
        }
        (links == 0).then_some(gone)
    }
}
