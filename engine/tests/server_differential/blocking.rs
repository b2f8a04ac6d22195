//! Several clients, of which some wait for keys: each gets on the engine what it gets on redis-server, in the same order.

use crate::compare::changes;
use crate::server_support::{Client, Running};
use crate::{OPTIONS, digest, directed};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use unplug_engine::resp::Reply;

/// Scenarios. A line is `CLIENT command`: its reply is awaited. `CLIENT? command` is one that has to wait: the next line is
/// executed once the server says that one client more does. `CLIENT <` awaits the reply to it, `CLIENT x` disconnects, `CLIENT closed` was disconnected;
/// `CLIENT | a; b` sends several at once. `$A` is A's number.
pub(crate) const SCENARIOS: &[(&str, &str)] = &[
    (
        "order of arrival",
        "A? BLPOP k 0\nB? BRPOP k 0\nD? BLPOP k 0\nC RPUSH k 1 2 3 4\nA <\nB <\nD <\nC LRANGE k 0 -1",
    ),
    (
        "fewer than there are waiting",
        "A? BLPOP k 0\nB? BLPOP k 0\nC RPUSH k 1\nA <\nA? BLPOP k 0\nC RPUSH k 2\nB <\nC LPUSH k 3\nA <",
    ),
    ("several keys", "A? BLPOP k1 k2 k3 0\nC RPUSH k3 x\nA <\nC RPUSH k1 y\nC KEYS *"),
    (
        "the order of keys in a transaction",
        "A? BLPOP k1 k2 0\nC MULTI\nC RPUSH k2 b\nC RPUSH k1 a\nC EXEC\nA <\nC KEYS *",
    ),
    ("pushed and taken away", "A? BLPOP k 0\nC MULTI\nC RPUSH k a\nC DEL k\nC EXEC\nC RPUSH k b\nA <"),
    ("pushed and popped", "A? BLPOP k 0\nC MULTI\nC RPUSH k a b\nC LPOP k\nC EXEC\nA <"),
    (
        "a transaction's order of clients",
        "A? BLPOP k 0\nB? BLPOP k 0\nC MULTI\nC RPUSH k a\nC RPUSH k b\nC LPUSH k c\nC EXEC\nA <\nB <\nC LRANGE k 0 -1",
    ),
    ("rename", "A? BLPOP k 0\nC RPUSH l a\nC RENAME l k\nA <"),
    ("renamenx", "A? BZPOPMIN k 0\nC ZADD l 1 a\nC RENAMENX l k\nA <"),
    ("rename over a string", "A? BLPOP k 0\nC SET k x\nC RPUSH l a\nC RENAME l k\nA <"),
    ("lmove", "A? BLPOP k 0\nC RPUSH l a b\nC LMOVE l k RIGHT LEFT\nA <"),
    ("rpoplpush", "A? BRPOP k 0\nC RPUSH l a b\nC RPOPLPUSH l k\nA <"),
    ("sort store", "A? BLPOP k 0\nC RPUSH l 3 1 2\nC SORT l STORE k\nA <\nC LRANGE k 0 -1"),
    (
        "sort store over a string",
        "A? BLPOP k 0.3\nC SET k x\nC RPUSH l 3 1 2\nC SORT l STORE k\nA <\nC LRANGE k 0 -1",
    ),
    ("zunionstore", "A? BZPOPMAX k 0\nC ZADD z 1 a 2 b\nC ZUNIONSTORE k 1 z\nA <"),
    (
        "zrangestore over a string",
        "A? BZPOPMAX k 0.3\nC SET k x\nC ZADD z 1 a 2 b\nC ZRANGESTORE k z 0 -1\nA <",
    ),
    ("copy", "A? BLPOP k 0\nC RPUSH l a\nC COPY l k\nA <\nC EXISTS k l"),
    ("copy to another database", "A SELECT 3\nA? BLPOP k 0\nC RPUSH k a\nC COPY k k DB 3\nA <\nC EXISTS k"),
    ("copy over a string", "A? BLPOP k 0\nC SET k x\nC RPUSH l a\nC COPY l k REPLACE\nA <"),
    ("move", "A SELECT 3\nA? BLPOP k 0\nC RPUSH k a\nC MOVE k 3\nA <"),
    ("swapdb", "A? BLPOP k l 0\nC SELECT 5\nC RPUSH k a\nC SWAPDB 0 5\nA <"),
    ("swapdb the other way", "A? BLPOP k 0\nC SELECT 5\nC RPUSH k a\nC SWAPDB 5 0\nA <"),
    ("another database", "A SELECT 2\nA? BLPOP k 0\nC RPUSH k a\nC SELECT 2\nC RPUSH k b\nA <"),
    ("another type", "A? BLPOP k 0\nB? BZPOPMIN k 0\nC ZADD k 1 a\nB <\nC RPUSH k x\nA <"),
    (
        "another type in front",
        "A? BLPOP k 0\nB? BZPOPMIN k 0\nD? BLPOP k 0\nC RPUSH k x y\nA <\nD <\nC ZADD k 1 a\nB <",
    ),
    ("a string comes and goes", "A? BLPOP k 0\nC SET k x\nC DEL k\nC RPUSH k y\nA <"),
    (
        "what is moved is waited for",
        "A? BLMOVE k j LEFT RIGHT 0\nB? BLPOP j 0\nC RPUSH k x\nA <\nB <\nC KEYS *",
    ),
    (
        "a chain",
        "A? BRPOPLPUSH b c 0\nB? BLMOVE a b LEFT LEFT 0\nD? BLPOP c 0\nC RPUSH a 1 2\nB <\nA <\nD <\nC LRANGE a 0 -1",
    ),
    ("a circle", "A? BLMOVE k k LEFT RIGHT 0\nC RPUSH k x y z\nA <\nC LRANGE k 0 -1"),
    (
        "each end",
        "C RPUSH j m n\nA? BLMOVE k j LEFT RIGHT 0\nB? BLMOVE k j RIGHT LEFT 0\nD? BLMOVE k j RIGHT RIGHT 0\nC RPUSH k 1 2 3 4 5\nA <\nB <\nD <\nC LRANGE j 0 -1\nC LRANGE k 0 -1",
    ),
    (
        "a destination of another type",
        "C SET s x\nA? BLMOVE k s LEFT RIGHT 0\nB? BLPOP k 0\nC RPUSH k y\nA <\nB <",
    ),
    ("blmpop", "A? BLMPOP 0 2 k1 k2 RIGHT COUNT 3\nC RPUSH k2 a b c d\nA <\nC LRANGE k2 0 -1"),
    ("bzmpop", "A? BZMPOP 0 2 k1 k2 MAX COUNT 2\nC ZADD k2 1 a 2 b 3 c\nA <\nC ZRANGE k2 0 -1"),
    (
        "the whole set",
        "A? BZMPOP 0 1 k MIN COUNT 10\nB? BZPOPMIN k 0\nC ZADD k 1 a 2 b\nA <\nC ZADD k 3 c\nB <",
    ),
    (
        "resp3",
        "A HELLO 3\nA? BZPOPMIN k 0\nC ZADD k 1.5 a 2 b\nA <\nA? BZMPOP 0.05 1 none MIN\nA <\nA? BLPOP none 0.05\nA <\nA BZMPOP 0 1 k MAX",
    ),
    (
        "timeouts",
        "A? BLPOP k 0.05\nA <\nA? BLMOVE k j LEFT LEFT 0.01\nA <\nA? BRPOPLPUSH k j 0.01\nA <\nA? BLMPOP 0.01 1 k LEFT\nA <\nA? BZPOPMAX k 0.01\nA <\nC RPUSH k x\nC LLEN k",
    ),
    ("the shorter one first", "A? BLPOP k 0.4\nB? BLPOP k 0.1\nB <\nC RPUSH k x\nA <"),
    (
        "unblocked",
        "A? BLPOP k 0\nB? BLMOVE k j LEFT LEFT 0\nD? BZPOPMIN k 0\nC CLIENT UNBLOCK $A\nA <\nC CLIENT UNBLOCK $B ERROR\nB <\nC CLIENT UNBLOCK $D timeout\nD <\nC CLIENT UNBLOCK $A\nC CLIENT UNBLOCK $C\nC CLIENT UNBLOCK $A FOO\nC RPUSH k x\nC LLEN k",
    ),
    (
        "unblocked by one who waits himself",
        "A? BLPOP k 0\nB | CLIENT UNBLOCK $A ERROR; RPUSH k 1; BLPOP k 0\nA <",
    ),
    ("wait", "A? WAIT 1 50\nA <\nA? WAIT 2 0\nC CLIENT UNBLOCK $A\nA <\nC MULTI\nC WAIT 1 0\nC EXEC"),
    ("disconnected", "A? BLPOP k 0\nB? BLPOP k 0\nA x\nC RPUSH k 1\nB <\nC LLEN k"),
    ("killed", "A? BLPOP k 0\nB? BLPOP k 0\nC CLIENT KILL ID $A\nA closed\nC RPUSH k 1\nB <"),
    (
        "in a transaction nobody waits",
        "A MULTI\nA BLPOP k 0\nA BLMOVE k j LEFT LEFT 0\nA BRPOPLPUSH k j 0\nA BLMPOP 0 1 k LEFT\nA BZPOPMIN k 0\nA BZMPOP 0 1 k MIN\nA RPUSH k x\nA BLPOP k 0\nA EXEC",
    ),
    (
        "what is sent meanwhile",
        "A? | BLPOP k 0; INCR n; BLPOP k 0; INCR n\nC GET n\nC RPUSH k a\nA <\nA <\nC RPUSH k b\nA <\nA <",
    ),
    (
        "served one after the other in one turn",
        "A? | BLPOP k 0; RPUSH j 1\nB? | BLPOP j 0; RPUSH m 2\nD? BLPOP m 0\nC RPUSH k a\nA <\nA <\nB <\nB <\nD <",
    ),
    ("watched", "D WATCH k\nA? BLPOP k 0\nC RPUSH k a\nA <\nD MULTI\nD GET x\nD EXEC"),
    (
        "watched in another way",
        "D WATCH j\nA? BLMOVE k j LEFT LEFT 0\nC RPUSH k a\nA <\nD MULTI\nD GET x\nD EXEC",
    ),
    (
        "pipelined by one who pushes",
        "A? BLPOP k 0\nC | RPUSH k a; LLEN k; INFO_BLOCKED; RPUSH k b\nA <\nC LRANGE k 0 -1",
    ),
    ("expired at once", "A? BLPOP k 0\nC MULTI\nC RPUSH k a\nC EXPIRE k -1\nC EXEC\nC RPUSH k b\nA <"),
    ("flushed", "C RPUSH l 1\nA? BLPOP k 0\nC FLUSHALL\nC RPUSH k x\nA <"),
    ("loaded anew", "C RPUSH l 1\nA? BLPOP k 0\nC DEBUG RELOAD\nC RPUSH k x\nA <\nC LRANGE l 0 -1"),
    ("a key twice", "A? BLPOP k k 0\nC RPUSH k a b\nA <\nC LRANGE k 0 -1"),
    ("no reply wanted", "A? | CLIENT REPLY SKIP; BLPOP k 0\nC RPUSH k a\nA PING\nC LLEN k"),
    (
        "no reply wanted at all",
        "A? | CLIENT REPLY OFF; BLPOP k 0; CLIENT REPLY ON; PING\nC RPUSH k a\nA <\nA <\nC LLEN k",
    ),
    ("by growing", "A? BLPOP k 0\nC LPUSHX k a\nC RPUSHX k a\nC LINSERT k BEFORE a b\nC RPUSH k c\nA <"),
    ("by zincrby", "A? BZPOPMAX k 0\nC ZADD k XX 1 a\nC ZINCRBY k 4 m\nA <"),
];

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Play<'a> {
    server: &'a Running,
    control: Client,
    clients: BTreeMap<String, Client>,
    ids: BTreeMap<String, String>,
    seen: Vec<String>,
}

impl Play<'_> {
    pub(crate) fn new(server: &Running) -> Play<'_> {
        let mut play = Play {
            server,
            control: server.connect(),
            clients: BTreeMap::new(),
            ids: BTreeMap::new(),
            seen: Vec::new(),
        };
        assert_eq!(play.control.call("FLUSHALL"), Reply::Simple("OK".into()));
        for name in ["A", "B", "C", "D"] {
            let mut client = server.connect();
            let Reply::Int(id) = client.call("CLIENT ID") else { panic!("no id") };
            play.ids.insert(format!("${name}"), id.to_string());
            play.clients.insert(name.into(), client);
        }
        play
    }

    fn blocked(&mut self) -> usize {
        let Reply::Bulk(text) = self.control.call("INFO clients") else { panic!("no INFO") };
        let text = String::from_utf8(text).unwrap();
        let field = text.lines().find_map(|line| line.strip_prefix("blocked_clients:")).unwrap();
        field.parse().unwrap()
    }

    fn until_blocked(&mut self, wanted: usize, line: &str) {
        let begun = Instant::now();
        while self.blocked() != wanted {
            assert!(begun.elapsed() < PATIENCE, "{line}: not {wanted} clients wait");
        }
    }

    fn send(&mut self, name: &str, commands: &str) -> usize {
        let commands: Vec<&str> = commands.split(';').map(str::trim).collect();
        let mut bytes = Vec::new();
        for command in &commands {
            let command = command.replace("INFO_BLOCKED", "CLIENT LIST ID 99999");
            let words = command.split(' ').map(|word| self.ids.get(word).map_or(word, |id| id.as_str()));
            let words: Vec<&str> = words.collect();
            bytes.extend(format!("*{}\r\n", words.len()).bytes());
            words.iter().for_each(|word| bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes()));
        }
        self.clients.get_mut(name).unwrap().send_raw(&bytes);
        commands.len()
    }

    fn receive(&mut self, name: &str) {
        let reply = self.clients.get_mut(name).unwrap().receive();
        self.seen.push(format!("{name}: {reply:?}"));
    }

    fn line(&mut self, line: &str) {
        let (who, rest) = line.split_once(' ').unwrap();
        let (name, waits) = (who.trim_end_matches('?'), who.ends_with('?'));
        let before = self.blocked();
        match rest {
            "<" => self.receive(name),
            "closed" => assert!(self.clients.remove(name).unwrap().closed(), "{line}"),
            "x" => {
                self.clients.remove(name);
                self.until_blocked(before - 1, line);
            }
            _ => {
                let count = self.send(name, rest.trim_start_matches("| "));
                if waits {
                    self.until_blocked(before + 1, line);
                } else {
                    (0..count).for_each(|_| self.receive(name));
                    if rest.starts_with("HELLO") {
                        // It names the client's number.
                        self.seen.pop();
                    }
                }
            }
        }
    }

    /// What every client has seen, and what is left: who still waits, how many changes there were, and the data.
    pub(crate) fn end(mut self, scenario: &str) -> (Vec<String>, Reply) {
        let before = changes(&mut self.control);
        for line in scenario.lines() {
            self.line(line);
        }
        let waiting = self.blocked();
        self.seen.push(format!("{waiting} wait"));
        // What nobody has asked for, nobody has got.
        for (name, client) in &mut self.clients {
            if !scenario.lines().any(|line| line.starts_with(&format!("{name}?"))) || waiting == 0 {
                assert_eq!(client.call("ECHO end"), Reply::Bulk(b"end".into()), "{name} got more");
            }
        }
        if !scenario.contains("RELOAD") {
            self.seen.push(format!("{} changes", changes(&mut self.control) - before));
        }
        let digest = digest(self.server);
        (self.seen, digest)
    }
}

#[test]
fn those_who_wait_get_what_they_get_from_redis() {
    let (dir, their_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(theirs) = Running::redis(their_dir.path(), &[]) else { return };
    let ours = Running::engine(dir.path(), &OPTIONS);
    for (name, scenario) in SCENARIOS {
        let expected = Play::new(&theirs).end(scenario);
        assert_eq!(Play::new(&ours).end(scenario), expected, "left ours, right Redis's: {name}");
        assert_eq!(ours.connect().call("DEBUG LOADAOF"), Reply::Simple("OK".into()), "{name}");
        assert_eq!(digest(&ours), expected.1, "{name}: the log rebuilds what is there");
    }
    drop(ours);
    let log = std::fs::read(dir.path().join("appendonlydir/appendonly.aof.1.incr.aof")).unwrap();
    let log = String::from_utf8(log).unwrap().to_uppercase();
    for name in ["BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP"] {
        assert!(!log.contains(&format!("\r\n{name}\r\n")), "{name} is in the log");
    }
    for name in ["LPOP", "RPOP", "LMOVE", "RPOPLPUSH", "ZPOPMIN", "ZPOPMAX"] {
        assert!(log.contains(&format!("\r\n{name}\r\n")), "{name} is not in the log");
    }
    // Data behind which nobody waits: a last comparison of the whole log.
    let ours = Running::engine(dir.path(), &OPTIONS);
    ours.connect().call("RPUSH last a b");
    let last = digest(&ours);
    drop(ours);
    assert_eq!(directed::read_by_redis(dir.path()), Some(last), "Redis loads the log");
}

#[test]
fn a_server_ends_with_clients_that_wait_and_has_forgotten_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Running::engine(dir.path(), &OPTIONS);
    let (mut a, mut b, mut c) = (server.connect(), server.connect(), server.connect());
    a.send(&[b"BLPOP", b"k", b"0"]);
    b.send(&[b"BZPOPMIN", b"k", b"100"]);
    // Answered in another turn: both wait by now.
    while !matches!(c.call("CLIENT LIST"), Reply::Bulk(list) if String::from_utf8_lossy(&list).matches("flags=bU").count() == 2)
    {
    }
    c.send(&[b"SHUTDOWN"]);
    assert!(c.closed() && a.closed() && b.closed());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let server = Running::engine(dir.path(), &OPTIONS);
    let mut c = server.connect();
    assert_eq!(c.call("RPUSH k a"), Reply::Int(1));
    assert_eq!(c.call("LLEN k"), Reply::Int(1));
}

#[test]
fn a_wait_for_the_log_is_ended_too() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::engine(dir.path(), &OPTIONS);
    let (mut a, mut c) = (server.connect(), server.connect());
    let Reply::Int(id) = a.call("CLIENT ID") else { panic!("no id") };
    for (how, expected) in [
        ("TIMEOUT", Reply::Array(vec![Reply::Int(1), Reply::Int(0)])),
        ("ERROR", Reply::Error(unplug_engine::command::UNBLOCKED.into())),
    ] {
        // Two replicas will never have it.
        a.send(&[b"WAITAOF", b"0", b"2", b"0"]);
        while c.call(&format!("CLIENT UNBLOCK {id} {how}")) == Reply::Int(0) {}
        match (a.receive(), expected) {
            (Reply::Array(got), Reply::Array(_)) => assert_eq!(got.len(), 2),
            (got, expected) => assert_eq!(got, expected),
        }
        assert_eq!(c.call(&format!("CLIENT UNBLOCK {id}")), Reply::Int(0));
        assert_eq!(a.call("PING"), Reply::Simple("PONG".into()));
    }
}

/// The system calls of a server under `appendfsync always` while one client pushes what two others wait for.
#[test]
fn who_is_served_hears_of_it_when_it_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, calls) = (dir.path().join("engine.sock"), dir.path().join("calls"));
    let mut strace = std::process::Command::new("strace");
    strace.args(["-y", "-s", "400", "-e", "trace=write,sendto,fdatasync", "-o"]).arg(&calls);
    strace.args([
        env!("CARGO_BIN_EXE_unplug-engine"),
        "--port",
        "0",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ]);
    strace.args(["--dir"]).arg(dir.path()).arg("--unixsocket").arg(&socket);
    let child = match strace.stdout(std::process::Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("NOT MEASURED: strace: {error}");
            assert_ne!(std::env::var("UNPLUG_REQUIRE_REDIS").as_deref(), Ok("1"), "strace is required");
            return;
        }
    };
    let server = Running::over(child, socket);
    let (mut a, mut b, mut c) = (server.connect(), server.connect(), server.connect());
    a.send(&[b"BLPOP", b"k", b"0"]);
    b.send(&[b"BLMOVE", b"k", b"j", b"LEFT", b"RIGHT", b"0"]);
    while !matches!(c.call("CLIENT LIST"), Reply::Bulk(list) if String::from_utf8_lossy(&list).matches("flags=bU").count() == 2)
    {
    }
    assert_eq!(c.call("RPUSH k first-item second-item"), Reply::Int(2));
    assert_eq!(
        (a.receive(), b.receive()),
        (
            Reply::Array(vec![Reply::Bulk(b"k".into()), Reply::Bulk(b"first-item".into())]),
            Reply::Bulk(b"second-item".into()),
        )
    );
    c.send(&[b"SHUTDOWN", b"NOSAVE"]);
    assert!(c.closed());
    let mut server = server;
    server.child.wait().unwrap();
    let calls = std::fs::read_to_string(&calls).unwrap();
    let lines: Vec<&str> = calls.lines().collect();
    let logged = lines
        .iter()
        .position(|l| l.contains("RPUSH") && l.contains(".incr.aof"))
        .expect("a write to the log");
    let batch = lines[logged];
    assert!(batch.contains("LPOP") && batch.contains("LMOVE"), "one write for all: {batch}");
    let after = |what: &dyn Fn(&str) -> bool| lines[logged..].iter().position(|l| what(l)).unwrap();
    let synced = after(&|l| l.starts_with("fdatasync"));
    // Pushed, popped and moved: nobody hears of it before.
    for reply in [":2\\r\\n", "first-item\\r\\n\"", "$11\\r\\nsecond-item\\r\\n\""] {
        let told = after(&|l| l.contains(reply) && !l.contains(".aof"));
        assert!(synced < told, "{reply} before the sync:\n{}", lines[logged..].join("\n"));
    }
    assert!(!lines[..logged].iter().any(|l| l.contains("-item")), "not before the log either");
}
