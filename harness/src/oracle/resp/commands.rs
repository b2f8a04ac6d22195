//! The commands of the RESP model, as Redis 7's documentation describes them: what kinds there are, which keys they name,
//! and who runs them.

use super::reply::{OK, Reply, Said};
use super::typed::WrongType;
use super::{RespOracle, combine, hashes, keys, lists, sets, sort, sorted_sets, strings};

/// One command, as those who know the commands of a type are given it.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    /// Its name, in capitals.
    pub(super) name: &'a str,
    pub(super) args: &'a [&'a [u8]],
    /// The model's time, in milliseconds since 1970.
    pub(super) at: u64,
}

/// What came of it; `None` if the type has no such command.
pub(super) type Run = Option<Result<Reply, WrongType>>;

/// What kind of command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meta {
    /// May change keys.
    Write,
    /// Changes nothing.
    Read,
    /// Speaks of saving.
    Persistence,
}

pub(super) const WRITES: &[&str] = &[
    // Strings.
    "SET",
    "SETNX",
    "SETEX",
    "PSETEX",
    "GETSET",
    "GETDEL",
    "GETEX",
    "MSET",
    "MSETNX",
    "APPEND",
    "SETRANGE",
    "INCR",
    "DECR",
    "INCRBY",
    "DECRBY",
    "INCRBYFLOAT",
    "SETBIT",
    "BITOP",
    "BITFIELD",
    // Lists.
    "RPUSH",
    "LPUSH",
    "RPUSHX",
    "LPUSHX",
    "LPOP",
    "RPOP",
    "LSET",
    "LINSERT",
    "LREM",
    "LTRIM",
    "LMOVE",
    "RPOPLPUSH",
    "LMPOP",
    // Sets.
    "SADD",
    "SREM",
    "SMOVE",
    "SPOP",
    "SINTERSTORE",
    "SUNIONSTORE",
    "SDIFFSTORE",
    // Hashes.
    "HSET",
    "HMSET",
    "HSETNX",
    "HDEL",
    "HINCRBY",
    "HINCRBYFLOAT",
    // Sorted sets.
    "ZADD",
    "ZINCRBY",
    "ZREM",
    "ZPOPMIN",
    "ZPOPMAX",
    "ZREMRANGEBYRANK",
    "ZREMRANGEBYSCORE",
    "ZREMRANGEBYLEX",
    "ZRANGESTORE",
    "ZMPOP",
    "ZUNIONSTORE",
    "ZINTERSTORE",
    "ZDIFFSTORE",
    // Keys.
    "DEL",
    "UNLINK",
    "EXPIRE",
    "PEXPIRE",
    "EXPIREAT",
    "PEXPIREAT",
    "PERSIST",
    "SORT",
    "RENAME",
    "RENAMENX",
    "COPY",
    "MOVE",
    "SWAPDB",
    "FLUSHALL",
    "FLUSHDB",
];

const READS: &[&str] = &[
    "GET",
    "MGET",
    "STRLEN",
    "GETBIT",
    "LLEN",
    "LRANGE",
    "LINDEX",
    "SCARD",
    "SISMEMBER",
    "SMISMEMBER",
    "SMEMBERS",
    "SRANDMEMBER",
    "SINTER",
    "SUNION",
    "SDIFF",
    "HGET",
    "HMGET",
    "HGETALL",
    "HKEYS",
    "HVALS",
    "HLEN",
    "HEXISTS",
    "HSTRLEN",
    "ZSCORE",
    "ZCARD",
    "ZCOUNT",
    "ZRANK",
    "ZREVRANK",
    "ZRANGE",
    "EXISTS",
    "TOUCH",
    "TYPE",
    "TTL",
    "PTTL",
    "EXPIRETIME",
    "PEXPIRETIME",
    "SELECT",
    "PING",
    "CONFIG",
    "DBSIZE",
];

const PERSISTENCE: &[&str] = &["SAVE", "BGSAVE", "BGREWRITEAOF", "LASTSAVE", "INFO", "WAITAOF", "SHUTDOWN"];

/// The command's name in capitals.
pub(super) fn name(command: &[Vec<u8>]) -> String {
    command.first().map(|n| String::from_utf8_lossy(n).to_ascii_uppercase()).unwrap_or_default()
}

/// What kind of command this is; `None` if the model does not know it.
pub(super) fn meta(name: &str) -> Option<Meta> {
    let kinds = [(WRITES, Meta::Write), (READS, Meta::Read), (PERSISTENCE, Meta::Persistence)];
    kinds.into_iter().find(|(names, _)| names.contains(&name)).map(|(_, meta)| meta)
}

/// Whether the model knows the command, in this form.
pub(super) fn is_known(command: &[Vec<u8>]) -> bool {
    let name = name(command);
    let unknown = [sorted_sets::is_unknown, sort::is_unknown, strings::is_unknown];
    meta(&name).is_some() && !unknown.iter().any(|unknown| unknown(&name, command))
}

/// Whether the command speaks of other databases than the one that is selected.
pub(super) fn crosses_databases(command: &[Vec<u8>]) -> bool {
    matches!(name(command).as_str(), "SELECT" | "MOVE" | "COPY" | "SWAPDB")
}

/// The keys that a command speaks of.
pub(super) fn keys_of(command: &[Vec<u8>]) -> Vec<&[u8]> {
    let args: Vec<&[u8]> = command.iter().skip(1).map(Vec::as_slice).collect();
    let first = |n: usize| args.iter().take(n).copied().collect();
    match name(command).as_str() {
        "DEL" | "UNLINK" | "EXISTS" | "TOUCH" | "MGET" | "SINTER" | "SUNION" | "SDIFF" | "SINTERSTORE"
        | "SUNIONSTORE" | "SDIFFSTORE" => args,
        "RENAME" | "RENAMENX" | "COPY" | "SMOVE" | "LMOVE" | "RPOPLPUSH" | "ZRANGESTORE" => first(2),
        "LMPOP" | "ZMPOP" => lists::many_keys(&args).to_vec(),
        "SORT" => sort::keys(&args),
        "MSET" | "MSETNX" => args.into_iter().step_by(2).collect(),
        "BITOP" => args.into_iter().skip(1).collect(),
        "ZUNIONSTORE" | "ZINTERSTORE" | "ZDIFFSTORE" => combine::keys(&args),
        known if matches!(meta(known), Some(Meta::Persistence)) => Vec::new(),
        "SELECT" | "PING" | "CONFIG" | "FLUSHALL" | "FLUSHDB" | "DBSIZE" | "SWAPDB" => Vec::new(),
        _ => first(1),
    }
}

/// Runs one command. `said` is what the server is known to have replied to it, for commands that draw by chance.
pub(super) fn run(o: &mut RespOracle, command: &[Vec<u8>], at: u64, said: Option<&Said>) -> Reply {
    let args: Vec<&[u8]> = command.iter().skip(1).map(Vec::as_slice).collect();
    let name = name(command);
    match (name.as_str(), args.as_slice()) {
        ("PING", []) => return Reply::Simple("PONG"),
        ("PING", [text]) => return Reply::Bulk(Some(text.to_vec())),
        ("SAVE", []) | ("SHUTDOWN", _) => return OK,
        ("BGSAVE" | "BGREWRITEAOF" | "INFO" | "CONFIG" | "WAITAOF", _) => return Reply::Any,
        _ => {}
    }
    if let Some(reply) = keys::run(o, &name, &args, at) {
        return reply;
    }
    let call = Call { name: &name, args: &args, at };
    let typed = strings::run(o, call)
        .or_else(|| lists::run(o, call))
        .or_else(|| sets::run(o, call, said))
        .or_else(|| hashes::run(o, call))
        .or_else(|| sorted_sets::run(o, call))
        .or_else(|| combine::run(o, call))
        .or_else(|| sort::run(o, call));
    // A wrong type, and a wrong number of arguments, are errors like others: their texts are the server's own.
    match typed {
        Some(Ok(reply)) => reply,
        Some(Err(_)) | None => Reply::Error,
    }
}
