//! Which single commands a generated workload holds: every type's, most of them *not idempotent*, on few keys that others
//! write too.

use crate::target::resp_op::RespOp;
use crate::workload::phases::Maker;
use crate::workload::random::Random;

type Command = Vec<Vec<u8>>;

/// Workloads of fewer operations have no large collections: each takes an operation to make.
const OPERATIONS_TO_FILL: u64 = 40;
/// The large collections' keys.
pub(super) const LARGE: [&str; 3] = ["tl", "hl", "zl"];
/// One more than redis.conf's `zset-max-listpack-entries`. A hash may have 512 fields, but no long value; a set 512 members,
/// but nothing that is no integer: a recovery reads each of them, so that no more are made than it takes.
const MEMBERS: usize = 129;
/// More than redis.conf's `hash-max-listpack-value` and `zset-max-listpack-value`.
const LONG: u64 = 70;

/// The types' letters, with which the names of their keys begin: strings, counters, floating-point numbers, lists, sets,
/// hashes, sorted sets.
const KINDS: [char; 7] = ['s', 'n', 'f', 'l', 't', 'h', 'z'];

/// A key of a kind. Some collections are large ones.
fn key(random: &mut Random, kind: char) -> Vec<u8> {
    let large = LARGE.iter().find(|name| name.starts_with(kind));
    match large {
        Some(name) if random.one_in(6) => name.as_bytes().to_vec(),
        _ => format!("{kind}{}", random.below(if kind == 's' { 5 } else { 3 })).into_bytes(),
    }
}

/// A quarter, a half, a tenth: numbers with digits behind the point.
fn fraction(random: &mut Random) -> Vec<u8> {
    let whole = random.below(40);
    let tail = ["", ".25", ".5", ".75", ".1"][random.below(5) as usize];
    format!("{}{whole}{tail}", if random.one_in(4) { "-" } else { "" }).into_bytes()
}

fn words<const N: usize>(words: [&[u8]; N]) -> Command {
    words.iter().map(|w| w.to_vec()).collect()
}

impl Maker<'_> {
    /// One operation of a client: mostly a command, sometimes a transaction of two or three.
    pub(super) fn operation_of_any_type(&mut self, flush: bool) -> RespOp {
        // Behind the phase in which everything may be flushed, so that rewrites and saves have to do with them.
        if !flush && self.shape.large_values && self.shape.operations >= OPERATIONS_TO_FILL {
            self.filled += 1;
            match LARGE.get(self.filled - 1) {
                Some(name) => return RespOp::transaction(vec![fill(name)]),
                None if self.filled == LARGE.len() + 1 && self.shape.expiry => {
                    return RespOp::command(&["EXPIRE", LARGE[1], "100000"]);
                }
                None => {}
            }
        }
        if self.random.one_in(14) {
            let commands = (0..self.random.between(2, 3)).map(|_| self.command_of_any_type(false)).collect();
            return RespOp::transaction(commands);
        }
        RespOp::transaction(vec![self.command_of_any_type(flush)])
    }

    fn command_of_any_type(&mut self, flush: bool) -> Command {
        let expiry = u64::from(self.shape.expiry);
        let flush = u64::from(flush && self.shape.flush && self.values > 6);
        match self.random.weighted(&[28, 20, 17, 18, 19, 10, 7 * expiry, 3, flush]) {
            0 => self.string(),
            1 => self.list(),
            2 => self.set(),
            3 => self.hash(),
            4 => self.sorted_set(),
            5 => self.whole_key(),
            6 => self.expiry(),
            7 => self.read(),
            _ => words([b"FLUSHALL"]),
        }
    }

    fn string(&mut self) -> Command {
        let r = &mut self.random;
        let (s, n) = (key(r, 's'), key(r, 'n'));
        match r.weighted(&[8, 7, 7, 3, 3, 1, 1, 2, 1]) {
            0 => words([b"SET", &s, &self.remembered_value()]),
            1 => words([b"INCR", &n]),
            2 => words([b"APPEND", &s, &self.remembered_value()]),
            3 => {
                let f = key(r, 'f');
                words([b"INCRBYFLOAT", &f, &fraction(r)])
            }
            4 => {
                let offset = r.below(24).to_string();
                words([b"SETRANGE", &s, offset.as_bytes(), &self.short()])
            }
            5 => words([b"SETBIT", &s, r.below(64).to_string().as_bytes(), b"1"]),
            6 => words([b"BITOP", b"XOR", &s, &key(r, 's'), &key(r, 's')]),
            7 => words([b"GETSET", &n, r.below(100).to_string().as_bytes()]),
            _ if self.shape.expiry => {
                words([b"GETEX", &s, b"PX", self.random.between(20, 90_000).to_string().as_bytes()])
            }
            _ => words([b"GETDEL", &s]),
        }
    }

    fn list(&mut self) -> Command {
        let r = &mut self.random;
        let (l, other) = (key(r, 'l'), key(r, 'l'));
        let end = |r: &mut Random| if r.one_in(2) { &b"LEFT"[..] } else { b"RIGHT" };
        match r.weighted(&[8, 3, 5, 4, 2, 1, 1, 1, 1]) {
            0 => words([b"RPUSH", &l, &self.remembered_value()]),
            1 => words([b"LPUSH", &l, &self.short(), &self.short()]),
            2 => words([b"LPOP", &l]),
            3 => words([b"LMOVE", &l, &other, end(r), end(r)]),
            4 => words([b"RPOPLPUSH", &l, &other]),
            5 => words([b"LINSERT", &l, b"BEFORE", b"pivot", &self.short()]),
            6 => words([b"LSET", &l, b"-1", b"pivot"]),
            7 => words([b"LTRIM", &l, b"0", b"5"]),
            _ => words([b"LREM", &l, b"1", b"pivot"]),
        }
    }

    fn set(&mut self) -> Command {
        let r = &mut self.random;
        let (t, other) = (key(r, 't'), key(r, 't'));
        match r.weighted(&[6, 4, 4, 1, 2]) {
            // Integers first: such a set is stored in another form.
            0 if r.one_in(2) => {
                let from = r.below(1000) as i64 - 300;
                words([b"SADD", &t, from.to_string().as_bytes(), (from * 7).to_string().as_bytes()])
            }
            0 => words([b"SADD", &t, &self.short(), &self.short()]),
            1 if r.one_in(3) => words([b"SPOP", &t, b"2"]),
            1 => words([b"SPOP", &t]),
            2 => {
                let member = (r.below(1000) as i64 - 300).to_string();
                let known = self.known();
                let member = if self.random.one_in(4) { member.into_bytes() } else { known };
                words([b"SMOVE", &t, &other, &member])
            }
            3 => words([b"SREM", &t, &self.known(), &self.known()]),
            _ => {
                let command: &[u8] = [&b"SUNIONSTORE"[..], b"SDIFFSTORE"][r.below(2) as usize];
                let to = format!("t{}", r.below(3));
                words([command, to.as_bytes(), &t, &other])
            }
        }
    }

    fn hash(&mut self) -> Command {
        let r = &mut self.random;
        let h = key(r, 'h');
        let field = |r: &mut Random| format!("f{}", r.below(8)).into_bytes();
        let count = |r: &mut Random| format!("c{}", r.below(3)).into_bytes();
        match r.weighted(&[5, 6, 3, 2, 1]) {
            0 => {
                let (a, b) = (field(r), field(r));
                words([b"HSET", &h, &a, &self.short(), &b, &self.short()])
            }
            1 => words([b"HINCRBY", &h, &count(r), r.between(1, 9).to_string().as_bytes()]),
            2 => words([b"HINCRBYFLOAT", &h, b"x", &fraction(r)]),
            3 => words([b"HDEL", &h, &field(r), &count(r)]),
            _ => {
                let field = field(r);
                words([b"HSETNX", &h, &field, &self.short()])
            }
        }
    }

    fn sorted_set(&mut self) -> Command {
        let r = &mut self.random;
        let (z, other) = (key(r, 'z'), key(r, 'z'));
        let member = |r: &mut Random| format!("m{}", r.below(6)).into_bytes();
        let score = fraction(r);
        match r.weighted(&[5, 6, 2, 4, 1, 1, 1]) {
            0 => {
                let (other, member) = (fraction(r), member(r));
                words([b"ZADD", &z, &score, &member, &other, &self.short()])
            }
            1 => words([b"ZINCRBY", &z, &score, &member(r)]),
            2 => {
                let how: &[u8] = [&b"GT"[..], b"NX", b"XX", b"INCR"][r.below(4) as usize];
                words([b"ZADD", &z, how, &score, &member(r)])
            }
            3 => words([if r.one_in(2) { b"ZPOPMIN" } else { b"ZPOPMAX" }, &z]),
            4 => words([b"ZREM", &z, &member(r), &member(r)]),
            5 => words([b"ZREMRANGEBYRANK", &z, b"1", b"1"]),
            _ => {
                let to = format!("z{}", r.below(3));
                words([b"ZUNIONSTORE", to.as_bytes(), b"2", &z, &other, b"WEIGHTS", b"1", b"2"])
            }
        }
    }

    /// What is done with keys whatever they hold; of one kind, so that later commands find what they expect.
    fn whole_key(&mut self) -> Command {
        let r = &mut self.random;
        let kind = KINDS[r.below(KINDS.len() as u64) as usize];
        // Large collections are not copied about.
        let mut small = || format!("{kind}{}", r.below(3)).into_bytes();
        let (a, b) = (small(), small());
        match r.weighted(&[10, 2, 2, 2, 1, 1]) {
            0 => words([b"DEL", &a]),
            1 => words([b"RENAME", &a, &b]),
            2 => words([b"RENAMENX", &a, &b]),
            3 => words([b"COPY", &a, &b, b"REPLACE"]),
            4 => words([b"MOVE", &a, b"1"]),
            _ => words([b"SWAPDB", b"0", b"1"]),
        }
    }

    fn expiry(&mut self) -> Command {
        let r = &mut self.random;
        let kind = KINDS[r.below(KINDS.len() as u64) as usize];
        let any = key(r, kind);
        match r.weighted(&[4, 3, 1]) {
            0 => words([b"EXPIRE", &any, b"100000"]),
            1 => {
                // A large collection that expires early is none any more.
                let small = format!("{kind}{}", r.below(3));
                words([b"PEXPIRE", small.as_bytes(), r.between(20, 1500).to_string().as_bytes()])
            }
            _ => words([b"PERSIST", &any]),
        }
    }

    fn read(&mut self) -> Command {
        let r = &mut self.random;
        match r.below(4) {
            0 => words([b"GET", &key(r, 's')]),
            1 => words([b"SMEMBERS", format!("t{}", r.below(3)).as_bytes()]),
            2 => words([b"HGETALL", format!("h{}", r.below(3)).as_bytes()]),
            _ => words([b"ZRANGE", format!("z{}", r.below(3)).as_bytes(), b"0", b"-1", b"WITHSCORES"]),
        }
    }

    /// A member or a field's value like no other: mostly very short, sometimes too long for the small forms.
    fn short(&mut self) -> Vec<u8> {
        let len = if self.random.one_in(10) { LONG } else { self.random.below(5) };
        self.numbered(len)
    }

    fn remembered_value(&mut self) -> Vec<u8> {
        let value = self.value();
        self.remember(value)
    }

    fn numbered(&mut self, len: u64) -> Vec<u8> {
        self.values += 1;
        let mut value = format!("v{}:", self.values).into_bytes();
        value.extend(self.random.text(len as usize));
        self.remember(value)
    }

    fn remember(&mut self, value: Vec<u8>) -> Vec<u8> {
        self.recent.truncate(RECENT - 1);
        self.recent.insert(0, value.clone());
        value
    }

    /// A value that was made before, so that it may be found.
    fn known(&mut self) -> Vec<u8> {
        let at = self.random.below(self.recent.len() as u64) as usize;
        self.recent.get(at).cloned().unwrap_or_else(|| b"none".to_vec())
    }
}

/// So many of the values made last are remembered.
const RECENT: usize = 12;

/// The command that makes a large collection, one that outgrows the small form.
fn fill(name: &str) -> Command {
    let pair = |a: String, b: String| [a, b].map(String::into_bytes);
    let (command, members): (&[u8], Vec<Vec<u8>>) = match name.as_bytes()[0] {
        b't' => {
            let integers = (0..MEMBERS).map(|i| i.to_string().into_bytes());
            (b"SADD", integers.chain([b"none".to_vec()]).collect())
        }
        b'h' => {
            let long = pair("long".to_owned(), "l".repeat(LONG as usize));
            let fields = (0..MEMBERS).flat_map(|i| pair(i.to_string(), (i * 3).to_string()));
            (b"HSET", long.into_iter().chain(fields).collect())
        }
        _ => {
            let scored = |i: usize| pair(format!("{}.5", i % 50), i.to_string());
            (b"ZADD", (0..MEMBERS).flat_map(scored).collect())
        }
    };
    [words([command, name.as_bytes()]), members].concat()
}
