//! Two servers side by side: the same commands, and what of their replies must be equal.

use crate::commands::{ANY, Words};
use crate::server_support::{Client, Running};
use proptest::prelude::*;
use unplug_engine::resp::Reply;

/// A client of either server.
pub(crate) struct Pair {
    pub(crate) ours: Client,
    pub(crate) theirs: Client,
    /// Commands queued since MULTI.
    queued: Option<Vec<Words>>,
    /// What SPOP with a count left may be stored in another way than what SREM left.
    popped: bool,
    /// Other clients, which watch what happens to keys, and ask how many changes there were.
    watchers: [Client; 2],
    /// How many there were, on either server.
    changes: [i64; 2],
}

type Checked = Result<(), TestCaseError>;

impl Pair {
    pub(crate) fn new(ours: &Running, theirs: &Running) -> Pair {
        let watchers = [ours.connect(), theirs.connect()];
        let (ours, theirs) = (ours.connect(), theirs.connect());
        let mut pair = Pair { ours, theirs, queued: None, popped: false, watchers, changes: [0; 2] };
        assert_eq!(pair.ours.call("FLUSHALL"), pair.theirs.call("FLUSHALL"));
        pair.changes = pair.watchers.each_mut().map(changes);
        pair
    }

    /// Executes a command on both, and sees that both count the same changes since the last save.
    pub(crate) fn step(&mut self, command: &Words) -> Checked {
        self.compare(command)?;
        let now = self.watchers.each_mut().map(changes);
        let [ours, theirs] = [now[0] - self.changes[0], now[1] - self.changes[1]];
        prop_assert_eq!(ours, theirs, "changes (left ours) that {:?} counts as", command);
        self.changes = now;
        Ok(())
    }

    fn both(&mut self, command: &[String]) -> (Reply, Reply) {
        let argv: Vec<&[u8]> = command.iter().map(|a| a.as_bytes()).collect();
        self.ours.send(&argv);
        self.theirs.send(&argv);
        (self.ours.receive(), self.theirs.receive())
    }

    fn compare(&mut self, command: &Words) -> Checked {
        let name = command[0].as_str();
        let random =
            matches!(name, "SPOP" | "SRANDMEMBER" | "HRANDFIELD" | "ZRANDMEMBER" | "RANDOMKEY" | "WALK");
        match (name, &self.queued) {
            (_, Some(_)) if random => return Ok(()),
            ("SPOP", None) => return self.pop(command),
            ("WALK", None) => return self.walk(command),
            _ if random => return self.draw(command),
            _ => {}
        }
        for watcher in &mut self.watchers {
            watcher.call(&format!("WATCH {}", ANY.join(" ")));
        }
        let (mut ours, mut theirs) = self.both(command);
        let [a, b] = self.watchers.each_mut().map(|watcher| {
            watcher.send_raw(b"MULTI\r\nEXEC\r\n");
            (watcher.receive(), watcher.receive())
        });
        prop_assert_eq!(a, b, "what those see who watch keys (left ours), at {:?}", command);
        if let (Reply::Array(ours), Reply::Array(theirs), "EXEC", Some(queued)) =
            (&mut ours, &mut theirs, name, &self.queued)
        {
            for ((ours, theirs), command) in ours.iter_mut().zip(theirs).zip(queued) {
                forgive(command, ours, theirs);
                *ours = self.normal(command, ours.clone());
                *theirs = self.normal(command, theirs.clone());
            }
        }
        forgive(command, &mut ours, &theirs);
        match (name, &ours, &mut self.queued) {
            ("MULTI", Reply::Simple(_), queue) => *queue = Some(Vec::new()),
            (_, Reply::Simple(text), Some(queue)) if text == "QUEUED" => queue.push(command.clone()),
            ("EXEC" | "DISCARD" | "RESET", _, queue) => *queue = None,
            _ => {}
        }
        let (ours, theirs) = (self.normal(command, ours), self.normal(command, theirs));
        prop_assert_eq!(ours, theirs, "left ours, right Redis's, to {:?}", command);
        Ok(())
    }

    /// What is drawn at random, Redis is told to take.
    fn pop(&mut self, command: &Words) -> Checked {
        let argv: Vec<&[u8]> = command.iter().map(|a| a.as_bytes()).collect();
        self.ours.send(&argv);
        let ours = self.ours.receive();
        let members = match &ours {
            Reply::Bulk(member) => vec![member.clone()],
            Reply::Array(members) | Reply::Set(members) => members.iter().map(bytes).collect(),
            _ => Vec::new(),
        };
        if members.is_empty() {
            self.theirs.send(&argv);
            prop_assert_eq!(ours, self.theirs.receive(), "left ours, right Redis's, to {:?}", command);
            return Ok(());
        }
        self.popped |= argv.len() > 2;
        let count = command.get(2).map_or(1, |count| count.parse().unwrap());
        let Reply::Int(len) = self.theirs.call(&format!("SCARD {}", command[1])) else {
            return Err(TestCaseError::fail(format!("Redis has no such set: {command:?}")));
        };
        prop_assert_eq!(members.len(), count.min(usize::try_from(len).unwrap()), "{:?}", command);
        let mut srem: Vec<&[u8]> = vec![b"SREM", argv[1]];
        srem.extend(members.iter().map(Vec::as_slice));
        self.theirs.send(&srem);
        let removed = i64::try_from(members.len()).unwrap();
        prop_assert_eq!(
            self.theirs.receive(),
            Reply::Int(removed),
            "all different, all Redis's: {:?}",
            members
        );
        Ok(())
    }

    /// What is drawn at random has the same form, and is among what there is.
    fn draw(&mut self, command: &Words) -> Checked {
        let (ours, theirs) = self.both(command);
        prop_assert_eq!(form(&ours), form(&theirs), "forms (left ours) of replies to {:?}", command);
        if ours.is_error() {
            prop_assert_eq!(ours, theirs, "left ours, right Redis's, to {:?}", command);
            return Ok(());
        }
        let mut drawn = Vec::new();
        leaves(&ours, &mut drawn);
        let all = match command[0].as_str() {
            "SRANDMEMBER" => format!("SMEMBERS {}", command[1]),
            "HRANDFIELD" => format!("HGETALL {}", command[1]),
            "ZRANDMEMBER" => format!("ZRANGE {} 0 -1 WITHSCORES", command[1]),
            _ => "KEYS *".to_owned(),
        };
        let mut known = Vec::new();
        leaves(&self.theirs.call(&all), &mut known);
        prop_assert!(
            drawn.iter().all(|d| known.contains(d)),
            "{:?} gave {:?} of {:?}",
            command,
            drawn,
            known
        );
        if command.len() == 3 && !command[2].starts_with('-') {
            let count = drawn.len();
            drawn.sort();
            drawn.dedup();
            prop_assert_eq!(drawn.len(), count, "all are different: {:?}", command);
        }
        Ok(())
    }

    /// A walk in small pages gives everything.
    fn walk(&mut self, command: &Words) -> Checked {
        let mut gone_through = Vec::new();
        for client in [&mut self.ours, &mut self.theirs] {
            let (mut cursor, mut seen) = (b"0".to_vec(), Vec::new());
            loop {
                let mut argv: Vec<&[u8]> = command[1..].iter().map(|a| a.as_bytes()).collect();
                argv.extend([cursor.as_slice(), b"COUNT", b"7"]);
                client.send(&argv);
                match client.receive() {
                    Reply::Array(page) => {
                        let Reply::Array(items) = &page[1] else { panic!("{page:?}") };
                        let width = if command[1] == "HSCAN" || command[1] == "ZSCAN" { 2 } else { 1 };
                        seen.extend(items.chunks(width).map(<[Reply]>::to_vec));
                        cursor = bytes(&page[0]);
                    }
                    error => {
                        seen.push(vec![error]);
                        break;
                    }
                }
                if cursor == b"0" {
                    break;
                }
            }
            seen.sort_by_key(|item| format!("{item:?}"));
            seen.dedup();
            gone_through.push(seen);
        }
        prop_assert_eq!(&gone_through[0], &gone_through[1], "left ours, right Redis's: {:?}", command);
        Ok(())
    }

    /// The forms in which all keys are said to be stored.
    pub(crate) fn forms(&mut self) -> Checked {
        if self.queued.take().is_some() {
            self.both(&["DISCARD".into()]);
        }
        for db in 0..16 {
            self.compare(&["SELECT".into(), db.to_string()].into())?;
            for key in ANY {
                self.compare(&["OBJECT", "ENCODING", key].map(String::from).into())?;
            }
        }
        Ok(())
    }

    /// The same after both have saved and loaded what they hold.
    pub(crate) fn forms_reloaded(&mut self) -> Checked {
        for command in ["RELOAD", "DIGEST"] {
            self.compare(&["DEBUG".into(), command.into()].into())?;
        }
        // Both have made their sets anew, of what is in them.
        self.popped = false;
        self.forms()
    }

    /// A reply without what means nothing: the order of what has none, and the time between the two servers' turns.
    fn normal(&self, command: &[String], reply: Reply) -> Reply {
        match (command[0].as_str(), reply) {
            ("KEYS" | "SMEMBERS" | "SINTER" | "SUNION" | "SDIFF" | "HKEYS" | "HVALS", reply) => {
                sorted(reply, 1)
            }
            ("HGETALL", reply) => sorted(reply, 2),
            ("SORT", reply) if command[2..].starts_with(&["BY".into(), "nosort".into(), "DESC".into()]) => {
                counted(reply)
            }
            // What is not sorted by anything, or by what is not there, has no order in Redis.
            ("SORT" | "SORT_RO", reply) if command.iter().any(|word| word == "nosort" || word == "t*->f") => {
                sorted(reply, 1)
            }
            ("SCAN" | "SSCAN", reply) => page(reply, 1),
            ("HSCAN" | "ZSCAN", reply) => page(reply, 2),
            ("EXPIRETIME" | "PEXPIRETIME" | "TTL" | "PTTL", Reply::Int(1..)) => Reply::Int(1),
            ("HELLO", Reply::Array(_)) => Reply::Null,
            ("HELLO", Reply::Map(_)) => Reply::Int(3),
            ("OBJECT", Reply::Bulk(form)) if self.popped && form == b"intset" => {
                Reply::Bulk(b"hashtable".into())
            }
            (_, reply) => reply,
        }
    }
}

/// Redis 7.0's SORT looks at `errno` without having cleared it: it refuses good numbers if any number before was out of
/// range.
fn forgive(command: &[String], ours: &mut Reply, theirs: &Reply) {
    let error = "ERR One or more scores can't be converted into double";
    if command[0].starts_with("SORT") && *theirs == Reply::Error(error.into()) {
        *ours = theirs.clone();
    }
}

/// What INFO says of changes since the last save.
pub(crate) fn changes(client: &mut Client) -> i64 {
    let Reply::Bulk(text) = client.call("INFO persistence") else { panic!("no INFO") };
    let text = String::from_utf8(text).unwrap();
    let field = text.lines().find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"));
    field.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

/// How many items there are.
fn counted(reply: Reply) -> Reply {
    match reply {
        Reply::Array(items) => Reply::Int(i64::try_from(items.len()).unwrap()),
        other => other,
    }
}

fn bytes(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Bulk(bytes) => bytes.clone(),
        other => format!("{other:?}").into_bytes(),
    }
}

/// Items in groups of `width`, in the order of what they are.
fn sorted(reply: Reply, width: usize) -> Reply {
    let sort = |items: Vec<Reply>| -> Vec<Reply> {
        let mut groups: Vec<Vec<Reply>> = items.chunks(width).map(<[Reply]>::to_vec).collect();
        groups.sort_by_key(|group| format!("{group:?}"));
        groups.concat()
    };
    match reply {
        Reply::Array(items) => Reply::Array(sort(items)),
        Reply::Set(items) => Reply::Set(sort(items)),
        Reply::Map(items) => Reply::Map(sort(items)),
        other => other,
    }
}

/// A page of a walk: the cursor is the server's own affair, but whether there is more is not.
fn page(reply: Reply, width: usize) -> Reply {
    match reply {
        Reply::Array(items) if items.len() == 2 => {
            let more = Reply::Int(i64::from(items[0] != Reply::Bulk(b"0".into())));
            Reply::Array(vec![more, sorted(items[1].clone(), width)])
        }
        other => other,
    }
}

/// How a reply is built, without what it says.
fn form(reply: &Reply) -> String {
    match reply {
        Reply::Array(items) => format!("[{}]", items.iter().map(form).collect::<Vec<_>>().join(",")),
        Reply::Set(items) => format!("~[{}]", items.iter().map(form).collect::<Vec<_>>().join(",")),
        Reply::Map(items) => format!("%[{}]", items.iter().map(form).collect::<Vec<_>>().join(",")),
        Reply::Bulk(_) => "$".into(),
        Reply::Double(_) => ",".into(),
        other => format!("{other:?}"),
    }
}

/// Everything that a reply says, whatever it is nested in.
fn leaves(reply: &Reply, out: &mut Vec<String>) {
    match reply {
        Reply::Array(items) | Reply::Set(items) | Reply::Map(items) => {
            items.iter().for_each(|item| leaves(item, out))
        }
        Reply::Bulk(bytes) => out.push(String::from_utf8_lossy(bytes).into_owned()),
        Reply::Double(text) => out.push(text.clone()),
        _ => {}
    }
}
