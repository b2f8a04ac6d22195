//! Lists.

use super::args::{self, is};
use super::context::Ctx;
use super::error::{CommandError, INDEX_RANGE, NO_KEY, SYNTAX};
use super::sorted_sets::pop_count;
use crate::resp::Out;
use crate::value::List;

type Done = Result<(), CommandError>;

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Left,
    Right,
}

impl End {
    pub(super) fn read(arg: &[u8]) -> Result<End, CommandError> {
        if is(arg, "left") {
            Ok(End::Left)
        } else if is(arg, "right") {
            Ok(End::Right)
        } else {
            Err(SYNTAX)
        }
    }

    /// Its name in a command.
    pub(super) fn name(self) -> &'static [u8] {
        match self {
            End::Left => b"LEFT",
            End::Right => b"RIGHT",
        }
    }

    /// The command that takes an item from there.
    pub(super) fn pop_name(self) -> &'static [u8] {
        match self {
            End::Left => b"LPOP",
            End::Right => b"RPOP",
        }
    }

    fn push(self, list: &mut List, item: &[u8]) {
        match self {
            End::Left => list.push_front(item),
            End::Right => list.push_back(item),
        }
    }

    fn pop(self, list: &mut List) -> Option<Vec<u8>> {
        match self {
            End::Left => list.pop_front(),
            End::Right => list.pop_back(),
        }
    }
}

fn push(cx: &mut Ctx<'_>, argv: &[&[u8]], end: End, only_existing: bool, out: &mut Out) -> Done {
    let key = argv[1];
    if only_existing && cx.get::<List>(key)?.is_none() {
        out.int(0);
        return Ok(());
    }
    let list = cx.get_or_new::<List>(key)?;
    for item in &argv[2..] {
        end.push(list, item);
    }
    out.count(list.len());
    cx.touch(key);
    cx.count(argv.len() - 2);
    Ok(())
}

/// RPUSH key item...
pub(super) fn rpush(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    push(cx, argv, End::Right, false, out)
}

/// LPUSH key item...
pub(super) fn lpush(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    push(cx, argv, End::Left, false, out)
}

/// RPUSHX key item...
pub(super) fn rpushx(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    push(cx, argv, End::Right, true, out)
}

/// LPUSHX key item...
pub(super) fn lpushx(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    push(cx, argv, End::Left, true, out)
}

fn pop(cx: &mut Ctx<'_>, argv: &[&[u8]], end: End, name: &str, out: &mut Out) -> Done {
    if argv.len() > 3 {
        return Err(CommandError::arity(name));
    }
    let key = argv[1];
    let count = argv.get(2).map(|n| args::count(n)).transpose()?;
    let Some(list) = cx.get::<List>(key)? else {
        match count {
            Some(_) => out.null_array(),
            None => out.null(),
        }
        return Ok(());
    };
    let take = count.unwrap_or(1).min(list.len());
    if count.is_some() {
        out.array(take);
    }
    for _ in 0..take {
        out.bulk_or_null(end.pop(list).as_deref());
    }
    let empty = list.is_empty();
    if take > 0 {
        cx.changed_to(key, empty);
        cx.count(take);
    }
    Ok(())
}

/// Takes one item from an end, if there is such a list.
pub(super) fn pop_one(cx: &mut Ctx<'_>, key: &[u8], end: End) -> Result<Option<Vec<u8>>, CommandError> {
    let Some(list) = cx.get::<List>(key)? else { return Ok(None) };
    let (item, empty) = (end.pop(list), list.is_empty());
    cx.changed_to(key, empty);
    Ok(item)
}

/// LPOP key [count]
pub(super) fn lpop(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    pop(cx, argv, End::Left, "lpop", out)
}

/// RPOP key [count]
pub(super) fn rpop(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    pop(cx, argv, End::Right, "rpop", out)
}

/// LLEN key
pub(super) fn llen(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let len = cx.read::<List>(argv[1])?.map_or(0, |l| l.len());
    out.count(len);
    Ok(())
}

/// LRANGE key start stop
pub(super) fn lrange(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (start, end) = (args::integer(argv[2])?, args::integer(argv[3])?);
    let Some(list) = cx.read::<List>(argv[1])? else {
        out.array(0);
        return Ok(());
    };
    let range = args::range(start, end, list.len());
    out.array(range.len());
    for item in list.range(range) {
        out.bulk(item);
    }
    Ok(())
}

/// LINDEX key index
pub(super) fn lindex(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let Some(list) = cx.read::<List>(argv[1])? else {
        out.null();
        return Ok(());
    };
    let at = args::index(args::integer(argv[2])?, list.len());
    out.bulk_or_null(at.and_then(|i| list.get(i)));
    Ok(())
}

/// LSET key index item
pub(super) fn lset(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let list = cx.get::<List>(argv[1])?.ok_or(NO_KEY)?;
    let at = args::index(args::integer(argv[2])?, list.len());
    if !at.is_some_and(|i| list.set(i, argv[3])) {
        return Err(INDEX_RANGE);
    }
    cx.touch(argv[1]);
    out.ok();
    Ok(())
}

/// LREM key count item
pub(super) fn lrem(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let count = args::integer(argv[2])?;
    let Some(list) = cx.get::<List>(argv[1])? else {
        out.int(0);
        return Ok(());
    };
    let before = list.len();
    let limit = if count == 0 { before } else { usize::try_from(count.unsigned_abs()).unwrap_or(before) };
    let found = list.iter().filter(|item| *item == argv[3]).count();
    // Which of those that are found goes: the first ones, or, counted from the tail, the last ones.
    let going = if count < 0 { found.saturating_sub(limit)..found } else { 0..limit.min(found) };
    let mut seen = 0;
    if !going.is_empty() {
        list.retain(|_, item| {
            let is = item == argv[3];
            seen += usize::from(is);
            !(is && going.contains(&(seen - 1)))
        });
    }
    let (removed, empty) = (before - list.len(), list.is_empty());
    if removed > 0 {
        cx.changed_to(argv[1], empty);
        cx.count(removed);
    }
    out.count(removed);
    Ok(())
}

/// LTRIM key start stop
pub(super) fn ltrim(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (start, end) = (args::integer(argv[2])?, args::integer(argv[3])?);
    if let Some(list) = cx.get::<List>(argv[1])? {
        let range = args::range(start, end, list.len());
        let removed = list.len() - range.len();
        list.keep(range);
        let empty = list.is_empty();
        if removed > 0 {
            cx.changed_to(argv[1], empty);
            cx.count(removed);
        } else {
            cx.signal(argv[1]);
        }
    }
    out.ok();
    Ok(())
}

/// LINSERT key BEFORE|AFTER pivot item
pub(super) fn linsert(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let after = is(argv[2], "after");
    if !after && !is(argv[2], "before") {
        return Err(SYNTAX);
    }
    let Some(list) = cx.get::<List>(argv[1])? else {
        out.int(0);
        return Ok(());
    };
    let found = list.iter().position(|i| i == argv[3]);
    match found {
        None => out.int(-1),
        Some(at) => {
            list.insert(at + usize::from(after), argv[4]);
            out.count(list.len());
            cx.touch(argv[1]);
        }
    }
    Ok(())
}

/// What LPOS may be told.
struct Search {
    /// The first match that counts, from the front or, negative, from the back.
    rank: i64,
    /// How many matches are wanted (0: all); `None` for one, which is not in an array then.
    count: Option<usize>,
    /// How many items are looked at; 0: all.
    most: usize,
}

impl Search {
    fn read(argv: &[&[u8]]) -> Result<Search, CommandError> {
        let mut search = Search { rank: 1, count: None, most: 0 };
        let size = |n: i64| usize::try_from(n).unwrap_or(usize::MAX);
        for option in argv.chunks(2) {
            match option {
                [name, n] if is(name, "rank") => {
                    search.rank = args::symmetric(n)?;
                    if search.rank == 0 {
                        return Err(CommandError::fixed(
                            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second \
                             ... or use negative to start from the end of the list",
                        ));
                    }
                }
                [name, n] if is(name, "count") => {
                    search.count = Some(size(args::at_least(0, n, "ERR COUNT can't be negative")?));
                }
                [name, n] if is(name, "maxlen") => {
                    search.most = size(args::at_least(0, n, "ERR MAXLEN can't be negative")?);
                }
                _ => return Err(SYNTAX),
            }
        }
        Ok(search)
    }

    fn find(&self, list: &List, item: &[u8]) -> Vec<usize> {
        let len = list.len();
        let most = if self.most == 0 { len } else { self.most.min(len) };
        let wanted = self.count.map_or(1, |count| if count == 0 { len } else { count });
        let skipped = usize::try_from(self.rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
        // From the back, all those that are looked at are gone through: a list is walked from the front.
        let first = if self.rank > 0 { 0 } else { len - most };
        let places = list.range(first..first + most).enumerate().filter(|(_, i)| *i == item);
        let places = places.map(|(place, _)| first + place);
        if self.rank > 0 {
            places.skip(skipped).take(wanted).collect()
        } else {
            let found: Vec<usize> = places.collect();
            found.into_iter().rev().skip(skipped).take(wanted).collect()
        }
    }
}

/// LPOS key item [RANK n] [COUNT n] [MAXLEN n]
pub(super) fn lpos(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let search = Search::read(&argv[3..])?;
    let found = cx.read::<List>(argv[1])?.map_or(Vec::new(), |list| search.find(list, argv[2]));
    match (search.count, found.first()) {
        (None, None) => out.null(),
        (None, Some(first)) => out.count(*first),
        (Some(_), _) => {
            out.array(found.len());
            found.iter().for_each(|place| out.count(*place));
        }
    }
    Ok(())
}

/// LMPOP numkeys key... LEFT|RIGHT [COUNT n]
pub(super) fn lmpop(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (keys, rest) = args::counted_keys(&argv[1..])?;
    let end = End::read(rest.first().ok_or(SYNTAX)?)?;
    let count = pop_count(&rest[1..])?;
    for key in keys {
        if pop_many(cx, key, end, count, out)? {
            return Ok(());
        }
    }
    out.null_array();
    Ok(())
}

/// Takes up to `count` items from an end of a list, replies with its name and them, and is logged as LPOP or RPOP. Says
/// whether there is such a list.
pub(super) fn pop_many(
    cx: &mut Ctx<'_>,
    key: &[u8],
    end: End,
    count: usize,
    out: &mut Out,
) -> Result<bool, CommandError> {
    let Some(list) = cx.get::<List>(key)? else { return Ok(false) };
    let count = count.min(list.len());
    out.array(2);
    out.bulk(key);
    out.array(count);
    for _ in 0..count {
        out.bulk_or_null(end.pop(list).as_deref());
    }
    let empty = list.is_empty();
    cx.changed_to(key, empty);
    cx.count(count);
    cx.translate(&[end.pop_name(), key, count.to_string().as_bytes()]);
    Ok(true)
}

/// Whether there is such a list; an error if it is something else.
pub(super) fn is_there(cx: &mut Ctx<'_>, key: &[u8]) -> Result<bool, CommandError> {
    Ok(cx.get::<List>(key)?.is_some())
}

/// Moves an item from an end of one list to an end of another, or the same.
pub(super) fn move_item(cx: &mut Ctx<'_>, from: (&[u8], End), to: (&[u8], End), out: &mut Out) -> Done {
    if cx.get::<List>(from.0)?.is_none() {
        out.null();
        return Ok(());
    }
    // The destination's type is checked before anything is taken.
    cx.get::<List>(to.0)?;
    let Some(source) = cx.get::<List>(from.0)? else { return Ok(()) };
    let Some(item) = from.1.pop(source) else { return Ok(()) };
    let empty = source.is_empty();
    out.bulk(&item);
    if from.0 == to.0 {
        // One list: it must not vanish in between, or its expiry would go with it.
        to.1.push(source, &item);
    } else {
        cx.changed_to(from.0, empty);
        to.1.push(cx.get_or_new::<List>(to.0)?, &item);
    }
    cx.touch(to.0);
    Ok(())
}

/// RPOPLPUSH source destination
pub(super) fn rpoplpush(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    move_item(cx, (argv[1], End::Right), (argv[2], End::Left), out)
}

/// LMOVE source destination LEFT|RIGHT LEFT|RIGHT
pub(super) fn lmove(cx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Out) -> Done {
    let (from, to) = (End::read(argv[3])?, End::read(argv[4])?);
    move_item(cx, (argv[1], from), (argv[2], to), out)
}
