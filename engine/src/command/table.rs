//! The command table.

use std::sync::LazyLock;

use super::context::Ctx;
use super::error::CommandError;
use super::{
    about, admin, bitfield, bits, blocking, client, config, connection, counters, debug, expiry, hashes,
    info, keys, lcs, lists, objects, replication, scan, set_algebra, sets, sort, sorted_sets, strings,
    transaction,
};
use crate::engine::Engine;
use crate::resp::Out;
use crate::session::{Outcome, Session};

/// A command on data: it can be replayed.
pub(super) type DataCommand = fn(&mut Ctx<'_>, &[&[u8]], &mut Out) -> Result<(), CommandError>;
/// A command on the server or the connection.
pub(super) type AdminCommand =
    fn(&mut Engine, &mut Session, &[&[u8]], &mut Out) -> Result<Outcome, CommandError>;

/// What a command runs.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// On data.
    Data(DataCommand),
    /// On the server.
    Admin(AdminCommand),
}

/// It changes data: it is logged, and refused when writes are.
pub(super) const WRITE: u16 = 1;
/// It only reads.
pub(super) const READ: u16 = 2;
/// It may need memory.
pub(super) const DENYOOM: u16 = 4;
/// It takes little time.
pub(super) const FAST: u16 = 8;
/// It concerns the server's operator.
pub(super) const ADMIN: u16 = 16;
/// It is refused between MULTI and EXEC.
pub(super) const NO_MULTI: u16 = 32;
/// It is executed, not queued, between MULTI and EXEC.
pub(super) const UNQUEUED: u16 = 64;
/// Its first argument names a subcommand, which must be known before it is queued.
pub(super) const CONTAINER: u16 = 128;

/// It may wait for others.
pub(super) const BLOCKING: u16 = 256;

/// The names of the flags, as COMMAND shows them.
pub(super) const FLAG_NAMES: [(u16, &str); 7] = [
    (WRITE, "write"),
    (READ, "readonly"),
    (DENYOOM, "denyoom"),
    (FAST, "fast"),
    (ADMIN, "admin"),
    (NO_MULTI, "no_multi"),
    (BLOCKING, "blocking"),
];

/// A command.
pub(super) struct Spec {
    /// Its name, in lower case.
    pub(super) name: &'static str,
    /// How many arguments it takes, its name included; negative: at least that many.
    pub(super) arity: i32,
    /// Its flags.
    pub(super) flags: u16,
    /// Its first key, its last (negative: from the end), and the step between.
    pub(super) keys: (i8, i8, i8),
    /// What it runs.
    pub(super) run: Run,
}

impl Spec {
    /// Whether it takes `argc` arguments.
    pub(super) fn takes(&self, argc: usize) -> bool {
        fits(self.arity, argc)
    }

    /// Whether it has a flag.
    pub(super) fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// Whether so many arguments are as many as `arity` says.
pub(super) fn fits(arity: i32, argc: usize) -> bool {
    let argc = i32::try_from(argc).unwrap_or(i32::MAX);
    if arity >= 0 { argc == arity } else { argc >= -arity }
}

const NONE: (i8, i8, i8) = (0, 0, 0);
const ONE: (i8, i8, i8) = (1, 1, 1);
const TWO: (i8, i8, i8) = (1, 2, 1);
const ALL: (i8, i8, i8) = (1, -1, 1);
const PAIRS: (i8, i8, i8) = (1, -1, 2);

const fn data(name: &'static str, arity: i32, flags: u16, keys: (i8, i8, i8), run: DataCommand) -> Spec {
    Spec { name, arity, flags, keys, run: Run::Data(run) }
}

const fn admin(name: &'static str, arity: i32, flags: u16, run: AdminCommand) -> Spec {
    Spec { name, arity, flags, keys: NONE, run: Run::Admin(run) }
}

/// One that may wait. It changes data, but is logged as another one.
const fn blocking(name: &'static str, arity: i32, flags: u16, keys: (i8, i8, i8), run: AdminCommand) -> Spec {
    Spec { name, arity, flags: flags | BLOCKING, keys, run: Run::Admin(run) }
}

const WF: u16 = WRITE | FAST;
const WD: u16 = WRITE | DENYOOM;
const WDF: u16 = WRITE | DENYOOM | FAST;
const RF: u16 = READ | FAST;

/// All commands, sorted by name.
pub(super) static TABLE: &[Spec] = &[
    data("append", 3, WDF, ONE, strings::append),
    admin("auth", -2, FAST, connection::auth),
    admin("bgrewriteaof", 1, ADMIN, admin::bgrewriteaof),
    admin("bgsave", -1, ADMIN, admin::bgsave),
    data("bitcount", -2, READ, ONE, bits::bitcount),
    data("bitfield", -2, WD, ONE, bitfield::bitfield),
    data("bitfield_ro", -2, RF, ONE, bitfield::bitfield_ro),
    data("bitop", -4, WD, (2, -1, 1), bits::bitop),
    data("bitpos", -3, READ, ONE, bits::bitpos),
    blocking("blmove", 6, WD, TWO, blocking::blmove),
    blocking("blmpop", -5, WRITE, NONE, blocking::blmpop),
    blocking("blpop", -3, WRITE, (1, -2, 1), blocking::blpop),
    blocking("brpop", -3, WRITE, (1, -2, 1), blocking::brpop),
    blocking("brpoplpush", 4, WD, TWO, blocking::brpoplpush),
    blocking("bzmpop", -5, WRITE, NONE, blocking::bzmpop),
    blocking("bzpopmax", -3, WF, (1, -2, 1), blocking::bzpopmax),
    blocking("bzpopmin", -3, WF, (1, -2, 1), blocking::bzpopmin),
    admin("client", -2, CONTAINER, client::client),
    admin("command", -1, CONTAINER, about::command),
    admin("config", -2, ADMIN | CONTAINER, config::config),
    data("copy", -3, WD, TWO, keys::copy),
    data("dbsize", 1, RF, NONE, keys::dbsize),
    admin("debug", -2, ADMIN, debug::debug),
    data("decr", 2, WDF, ONE, counters::decr),
    data("decrby", 3, WDF, ONE, counters::decrby),
    data("del", -2, WRITE, ALL, keys::del),
    admin("discard", 1, FAST | UNQUEUED, transaction::discard),
    admin("echo", 2, FAST, connection::echo),
    admin("exec", 1, UNQUEUED, transaction::exec),
    data("exists", -2, RF, ALL, keys::exists),
    data("expire", -3, WF, ONE, expiry::expire),
    data("expireat", -3, WF, ONE, expiry::expireat),
    data("expiretime", 2, RF, ONE, expiry::expiretime),
    data("flushall", -1, WRITE, NONE, keys::flushall),
    data("flushdb", -1, WRITE, NONE, keys::flushdb),
    data("get", 2, RF, ONE, strings::get),
    data("getbit", 3, RF, ONE, bits::getbit),
    data("getdel", 2, WF, ONE, strings::getdel),
    data("getex", -2, WF, ONE, strings::getex),
    data("getrange", 4, READ, ONE, strings::getrange),
    data("getset", 3, WDF, ONE, strings::getset),
    data("hdel", -3, WF, ONE, hashes::hdel),
    admin("hello", -1, FAST, connection::hello),
    data("hexists", 3, RF, ONE, hashes::hexists),
    data("hget", 3, RF, ONE, hashes::hget),
    data("hgetall", 2, READ, ONE, hashes::hgetall),
    data("hincrby", 4, WDF, ONE, hashes::hincrby),
    data("hincrbyfloat", 4, WDF, ONE, hashes::hincrbyfloat),
    data("hkeys", 2, READ, ONE, hashes::hkeys),
    data("hlen", 2, RF, ONE, hashes::hlen),
    data("hmget", -3, RF, ONE, hashes::hmget),
    data("hmset", -4, WDF, ONE, hashes::hmset),
    data("hrandfield", -2, READ, ONE, hashes::hrandfield),
    data("hscan", -3, READ, ONE, scan::hscan),
    data("hset", -4, WDF, ONE, hashes::hset),
    data("hsetnx", 4, WDF, ONE, hashes::hsetnx),
    data("hstrlen", 3, RF, ONE, hashes::hstrlen),
    data("hvals", 2, READ, ONE, hashes::hvals),
    data("incr", 2, WDF, ONE, counters::incr),
    data("incrby", 3, WDF, ONE, counters::incrby),
    data("incrbyfloat", 3, WDF, ONE, counters::incrbyfloat),
    admin("info", -1, 0, info::info),
    data("keys", 2, READ, NONE, keys::keys),
    admin("lastsave", 1, FAST, admin::lastsave),
    data("lcs", -3, READ, TWO, lcs::lcs),
    data("lindex", 3, READ, ONE, lists::lindex),
    data("linsert", 5, WD, ONE, lists::linsert),
    data("llen", 2, RF, ONE, lists::llen),
    data("lmove", 5, WD, TWO, lists::lmove),
    data("lmpop", -4, WRITE, NONE, lists::lmpop),
    data("lpop", -2, WF, ONE, lists::lpop),
    data("lpos", -3, READ, ONE, lists::lpos),
    data("lpush", -3, WDF, ONE, lists::lpush),
    data("lpushx", -3, WDF, ONE, lists::lpushx),
    data("lrange", 4, READ, ONE, lists::lrange),
    data("lrem", 4, WRITE, ONE, lists::lrem),
    data("lset", 4, WD, ONE, lists::lset),
    data("ltrim", 4, WRITE, ONE, lists::ltrim),
    data("mget", -2, RF, ALL, strings::mget),
    data("move", 3, WF, ONE, keys::move_key),
    data("mset", -3, WD, PAIRS, strings::mset),
    data("msetnx", -3, WD, PAIRS, strings::msetnx),
    admin("multi", 1, FAST | UNQUEUED, transaction::multi),
    data("object", -2, READ | CONTAINER, (2, 2, 1), objects::object),
    data("persist", 2, WF, ONE, expiry::persist),
    data("pexpire", -3, WF, ONE, expiry::pexpire),
    data("pexpireat", -3, WF, ONE, expiry::pexpireat),
    data("pexpiretime", 2, RF, ONE, expiry::pexpiretime),
    admin("ping", -1, FAST, connection::ping),
    data("psetex", 4, WD, ONE, strings::psetex),
    admin("psync", -3, ADMIN | NO_MULTI, replication::psync),
    data("pttl", 2, RF, ONE, expiry::pttl),
    admin("quit", -1, FAST | UNQUEUED, connection::quit),
    data("randomkey", 1, READ, NONE, keys::randomkey),
    data("rename", 3, WRITE, TWO, keys::rename),
    data("renamenx", 3, WF, TWO, keys::renamenx),
    admin("replconf", -1, ADMIN, replication::replconf),
    admin("reset", 1, FAST | UNQUEUED, connection::reset),
    admin("role", 1, FAST, replication::role),
    data("rpop", -2, WF, ONE, lists::rpop),
    data("rpoplpush", 3, WD, TWO, lists::rpoplpush),
    data("rpush", -3, WDF, ONE, lists::rpush),
    data("rpushx", -3, WDF, ONE, lists::rpushx),
    data("sadd", -3, WDF, ONE, sets::sadd),
    admin("save", 1, ADMIN | NO_MULTI, admin::save),
    data("scan", -2, READ, NONE, scan::scan),
    data("scard", 2, RF, ONE, sets::scard),
    data("sdiff", -2, READ, ALL, set_algebra::sdiff),
    data("sdiffstore", -3, WD, ALL, set_algebra::sdiffstore),
    admin("select", 2, FAST, connection::select),
    data("set", -3, WD, ONE, strings::set),
    data("setbit", 4, WD, ONE, bits::setbit),
    data("setex", 4, WD, ONE, strings::setex),
    data("setnx", 3, WDF, ONE, strings::setnx),
    data("setrange", 4, WD, ONE, strings::setrange),
    admin("shutdown", -1, ADMIN | NO_MULTI, admin::shutdown),
    data("sinter", -2, READ, ALL, set_algebra::sinter),
    data("sintercard", -3, READ, NONE, set_algebra::sintercard),
    data("sinterstore", -3, WD, ALL, set_algebra::sinterstore),
    data("sismember", 3, RF, ONE, sets::sismember),
    data("smembers", 2, READ, ONE, sets::smembers),
    data("smismember", -3, RF, ONE, sets::smismember),
    data("smove", 4, WF, TWO, sets::smove),
    data("sort", -2, WD, ONE, sort::sort),
    data("sort_ro", -2, READ, ONE, sort::sort_ro),
    data("spop", -2, WF, ONE, sets::spop),
    data("srandmember", -2, READ, ONE, sets::srandmember),
    data("srem", -3, WF, ONE, sets::srem),
    data("sscan", -3, READ, ONE, scan::sscan),
    data("strlen", 2, RF, ONE, strings::strlen),
    data("substr", 4, READ, ONE, strings::getrange),
    data("sunion", -2, READ, ALL, set_algebra::sunion),
    data("sunionstore", -3, WD, ALL, set_algebra::sunionstore),
    data("swapdb", 3, WF, NONE, keys::swapdb),
    admin("sync", 1, ADMIN | NO_MULTI, replication::sync),
    admin("time", 1, FAST, admin::time),
    data("touch", -2, RF, ALL, keys::exists),
    data("ttl", 2, RF, ONE, expiry::ttl),
    data("type", 2, RF, ONE, keys::type_of),
    data("unlink", -2, WF, ALL, keys::del),
    admin("unwatch", 1, FAST, transaction::unwatch),
    blocking("wait", 3, 0, NONE, blocking::wait),
    admin("waitaof", 4, 0, admin::waitaof),
    admin("watch", -2, FAST | UNQUEUED, transaction::watch),
    data("zadd", -4, WDF, ONE, sorted_sets::zadd),
    data("zcard", 2, RF, ONE, sorted_sets::zcard),
    data("zcount", 4, RF, ONE, sorted_sets::zcount),
    data("zdiff", -3, READ, NONE, sorted_sets::zdiff),
    data("zdiffstore", -4, WD, ONE, sorted_sets::zdiffstore),
    data("zincrby", 4, WDF, ONE, sorted_sets::zincrby),
    data("zinter", -3, READ, NONE, sorted_sets::zinter),
    data("zintercard", -3, READ, NONE, sorted_sets::zintercard),
    data("zinterstore", -4, WD, ONE, sorted_sets::zinterstore),
    data("zlexcount", 4, RF, ONE, sorted_sets::zlexcount),
    data("zmpop", -4, WRITE, NONE, sorted_sets::zmpop),
    data("zmscore", -3, RF, ONE, sorted_sets::zmscore),
    data("zpopmax", -2, WF, ONE, sorted_sets::zpopmax),
    data("zpopmin", -2, WF, ONE, sorted_sets::zpopmin),
    data("zrandmember", -2, READ, ONE, sorted_sets::zrandmember),
    data("zrange", -4, READ, ONE, sorted_sets::zrange),
    data("zrangebylex", -4, READ, ONE, sorted_sets::zrangebylex),
    data("zrangebyscore", -4, READ, ONE, sorted_sets::zrangebyscore),
    data("zrangestore", -5, WD, TWO, sorted_sets::zrangestore),
    data("zrank", 3, RF, ONE, sorted_sets::zrank),
    data("zrem", -3, WF, ONE, sorted_sets::zrem),
    data("zremrangebylex", 4, WRITE, ONE, sorted_sets::zremrangebylex),
    data("zremrangebyrank", 4, WRITE, ONE, sorted_sets::zremrangebyrank),
    data("zremrangebyscore", 4, WRITE, ONE, sorted_sets::zremrangebyscore),
    data("zrevrange", -4, READ, ONE, sorted_sets::zrevrange),
    data("zrevrangebylex", -4, READ, ONE, sorted_sets::zrevrangebylex),
    data("zrevrangebyscore", -4, READ, ONE, sorted_sets::zrevrangebyscore),
    data("zrevrank", 3, RF, ONE, sorted_sets::zrevrank),
    data("zscan", -3, READ, ONE, scan::zscan),
    data("zscore", 3, RF, ONE, sorted_sets::zscore),
    data("zunion", -3, READ, NONE, sorted_sets::zunion),
    data("zunionstore", -4, WD, ONE, sorted_sets::zunionstore),
];

/// The subcommands of a container command, with how many arguments each takes; `None` if it is none. (DEBUG is none in
/// Redis: it looks for itself, when it is executed.)
pub(super) fn subcommands(name: &str) -> Option<&'static [(&'static str, i32)]> {
    match name {
        "client" => Some(client::SUBCOMMANDS),
        "command" => Some(about::SUBCOMMANDS),
        "config" => Some(&[("get", -3), ("set", -4), ("rewrite", 2), ("resetstat", 2), ("help", 2)]),
        "object" => Some(&[("encoding", 3), ("freq", 3), ("help", 2), ("idletime", 3), ("refcount", 3)]),
        _ => None,
    }
}

/// A name in lower case as one number, so that it is compared at once; `None` if it is longer than any.
fn number(name: &[u8]) -> Option<u128> {
    let mut lower = [0u8; size_of::<u128>()];
    lower.get_mut(..name.len())?.copy_from_slice(name);
    lower.make_ascii_lowercase();
    Some(u128::from_le_bytes(lower))
}

/// Twice as many places as there may be commands.
const PLACES: usize = 1024;

/// Where a name is looked for first.
fn place(number: u128) -> usize {
    let folded = (number as u64) ^ ((number >> 64) as u64).rotate_left(32);
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize % PLACES
}

/// The commands by their names.
static NAMES: LazyLock<Vec<Option<(u128, &'static Spec)>>> = LazyLock::new(|| {
    let mut names = vec![None; PLACES];
    for spec in TABLE {
        let Some(number) = number(spec.name.as_bytes()) else { continue };
        let mut at = place(number);
        while names[at].is_some() {
            at = (at + 1) % PLACES;
        }
        names[at] = Some((number, spec));
    }
    names
});

/// The command of that name, in any case.
pub(super) fn find(name: &[u8]) -> Option<&'static Spec> {
    let number = number(name)?;
    let mut at = place(number);
    while let Some((other, spec)) = NAMES[at] {
        // The lengths too: a NUL byte at the end of a name is not the nothing behind another name.
        if other == number && spec.name.len() == name.len() {
            return Some(spec);
        }
        at = (at + 1) % PLACES;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_in_any_case() {
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
        for spec in TABLE {
            assert_eq!(find(spec.name.to_uppercase().as_bytes()).map(|s| s.name), Some(spec.name));
        }
        assert!(TABLE.len() < PLACES / 2, "a look-up comes to an empty place soon");
        assert!(
            find(b"").is_none()
                && find(b"get\0").is_none()
                && find(b"a-name-that-is-longer-than-any-command").is_none()
        );
    }
}
