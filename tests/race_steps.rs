//! The steps of a rewrite that `engine/src/persist/mod.rs` numbers, as calls.
#![allow(dead_code, unreachable_pub)]

/// Whether it is told by a pattern of a call's name and its path, both separated by a blank; `*` is anything.
pub fn like(call: &str, pattern: &str) -> bool {
    unplug_faults::glob::matches(pattern.as_bytes(), call.as_bytes())
}

/// The steps of a rewrite in `engine/src/persist/mod.rs`, by the calls that they consist of, group after group: what arrives
/// must have arrived before each. Those of a group are made in any order.
pub const MULTI_STEPS: &[&[&str]] = &[
    // 2. (1 is no call under always: what is written is synced.)
    &["open* appendonlydir/appendonly.aof.2.incr.aof"],
    &["write appendonlydir/appendonly.aof.2.incr.aof"],
    // 3: the syncs are made at once.
    &["open* appendonlydir/temp-appendonly.aof.manifest"],
    &["link* appendonlydir/appendonly.aof.manifest"],
    &[
        "fdatasync appendonlydir/appendonly.aof.2.incr.aof",
        "fsync appendonlydir/temp-appendonly.aof.manifest",
        "fsync appendonlydir",
    ],
    &["rename* appendonlydir/temp-appendonly.aof.manifest"],
    &["fsync appendonlydir"],
    &["unlink* appendonlydir/appendonly.aof.manifest.prev"],
    // 4: the reply, and the child.
    &["sendto socket", "open* appendonlydir/temp-rewriteaof-bg-2.aof"],
    &["write appendonlydir/temp-rewriteaof-bg-2.aof"],
    &["fsync appendonlydir/temp-rewriteaof-bg-2.aof"],
    // 5
    &["rename* appendonlydir/temp-rewriteaof-bg-2.aof"],
    // 6
    &["fsync appendonlydir/temp-appendonly.aof.manifest"],
    &["fsync appendonlydir"],
    &["rename* appendonlydir/temp-appendonly.aof.manifest"],
    &["fsync appendonlydir"],
    // 7
    &["unlink* appendonlydir/appendonly.aof.1.base.*", "unlink* appendonlydir/appendonly.aof.1.incr.aof"],
    // 8
    &["fsync appendonlydir/temp-appendonly.aof.manifest"],
    &["fsync appendonlydir"],
    &["rename* appendonlydir/temp-appendonly.aof.manifest"],
    &["fsync appendonlydir"],
];

/// The same of a single file's rewrite. (1 is no call.)
pub const SINGLE_STEPS: &[&[&str]] = &[
    // 2
    &["sendto socket", "open* temp-rewriteaof-bg-2.aof"],
    &["write temp-rewriteaof-bg-2.aof"],
    &["fsync temp-rewriteaof-bg-2.aof"],
    // 3
    &["open* temp-rewriteaof-bg-2.aof"],
    &["write temp-rewriteaof-bg-2.aof"],
    &["fsync temp-rewriteaof-bg-2.aof"],
    // 4
    &["fsync ."],
    &["rename* temp-rewriteaof-bg-2.aof"],
    &["fsync ."],
];

/// Which of the steps are not among the calls, in their order.
pub fn missing<'a>(calls: &[String], groups: &[&[&'a str]]) -> Vec<&'a str> {
    let (mut missing, mut from) = (Vec::new(), 0);
    for group in groups {
        let mut end = from;
        for step in *group {
            match calls[from..].iter().position(|call| like(call, step)) {
                Some(at) => end = end.max(from + at + 1),
                None => missing.push(*step),
            }
        }
        from = end;
    }
    missing
}
