//! What a torn write of an operation could leave: operations that do only a part of it.

use super::commands::name;
use crate::target::resp_op::RespOp;

type Command = Vec<Vec<u8>>;

/// Operations that do only a part of this one.
pub(super) fn parts(op: &RespOp) -> Vec<RespOp> {
    let count = op.commands.len();
    let mut out = Vec::new();
    if op.is_transaction() {
        for i in 1..count {
            out.push(RespOp { commands: op.commands[..i].to_vec() });
            out.push(RespOp { commands: op.commands[i..].to_vec() });
            if count > 2 {
                let without = op.commands.iter().enumerate().filter(|(j, _)| *j != i);
                out.push(RespOp { commands: without.map(|(_, c)| c.clone()).collect() });
            }
        }
    }
    for (i, command) in op.commands.iter().enumerate() {
        for part in beginnings(command).into_iter().chain(halves(command)) {
            let mut commands = op.commands[..i].to_vec();
            commands.push(part);
            out.push(RespOp { commands });
        }
    }
    out
}

/// A command on several members or keys with only the first of them. Of very many, a few are tried.
fn beginnings(command: &Command) -> Vec<Command> {
    let (fixed, step) = match name(command).as_str() {
        "RPUSH" | "LPUSH" | "RPUSHX" | "LPUSHX" | "SADD" | "SREM" | "HDEL" | "ZREM" => (2, 1),
        "MSET" | "MSETNX" => (1, 2),
        "HSET" | "HMSET" => (2, 2),
        "ZADD" => (2 + command.iter().skip(2).take_while(|a| is_option(a)).count(), 2),
        "DEL" | "UNLINK" => (1, 1),
        _ => return Vec::new(),
    };
    let ends: Vec<usize> = (fixed + step..command.len()).step_by(step).collect();
    let stride = ends.len().div_ceil(MOST).max(1);
    // The last one too: one member short is the likeliest mistake.
    let some = ends.iter().enumerate().filter(|(i, _)| i % stride == 0 || i + 1 == ends.len());
    some.map(|(_, end)| command[..*end].to_vec()).collect()
}

/// So many beginnings of one command are tried.
const MOST: usize = 32;

fn is_option(argument: &[u8]) -> bool {
    let options = ["NX", "XX", "GT", "LT", "CH", "INCR"];
    options.iter().any(|option| argument.eq_ignore_ascii_case(option.as_bytes()))
}

/// A command that takes here and puts there, or takes several at once, done by half.
fn halves(command: &Command) -> Vec<Command> {
    let words = |words: &[&[u8]]| words.iter().map(|w| w.to_vec()).collect::<Command>();
    let args: Vec<&[u8]> = command.iter().skip(1).map(Vec::as_slice).collect();
    let popped = |side: &[u8]| if side.eq_ignore_ascii_case(b"LEFT") { &b"LPOP"[..] } else { b"RPOP" };
    match (name(command).as_str(), args.as_slice()) {
        ("SMOVE", [from, to, member]) => {
            vec![words(&[b"SREM", from, member]), words(&[b"SADD", to, member])]
        }
        ("RPOPLPUSH", [from, _]) => vec![words(&[b"RPOP", from])],
        ("LMOVE", [from, _, off, _]) => vec![words(&[popped(off), from])],
        ("RENAME" | "RENAMENX", [from, to]) => {
            vec![words(&[b"DEL", from]), words(&[b"COPY", from, to, b"REPLACE"]), words(&[b"DEL", to])]
        }
        ("MOVE", [key, n]) => vec![words(&[b"DEL", key]), words(&[b"COPY", key, key, b"DB", n])],
        ("COPY", [_, to, ..]) => vec![words(&[b"DEL", to])],
        (
            "SUNIONSTORE" | "SINTERSTORE" | "SDIFFSTORE" | "ZUNIONSTORE" | "ZINTERSTORE" | "ZDIFFSTORE"
            | "ZRANGESTORE",
            [to, ..],
        )
        | ("BITOP", [_, to, ..]) => vec![words(&[b"DEL", to])],
        (pop @ ("ZPOPMIN" | "ZPOPMAX" | "LPOP" | "RPOP"), [key, count]) => {
            let count = super::number::integer(count).unwrap_or(0).min(MOST as i64);
            (1..count).map(|n| words(&[pop.as_bytes(), key, n.to_string().as_bytes()])).collect()
        }
        // Which of the keys it takes from is not known here.
        ("LMPOP" | "ZMPOP", [rest @ .., count, _]) if count.eq_ignore_ascii_case(b"COUNT") => {
            vec![[command[..1].to_vec(), rest.iter().map(|w| w.to_vec()).collect()].concat()]
        }
        ("SORT", _) => super::sort::keys(&args).get(1).map(|to| words(&[b"DEL", to])).into_iter().collect(),
        _ => Vec::new(),
    }
}
