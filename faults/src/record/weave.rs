//! Puts what the target did and what its clients saw on the one clock.

use super::resolve::{Connection, Resolved, Sent};
use crate::event::{Clock, Event, Nanos, Op, Task};
use crate::trace::Blind;
use std::collections::BTreeMap;

/// What the harness itself writes down while it records.
pub(crate) enum Entry {
    Invoke { client: u32, id: u32, op: Vec<u8> },
    Reply { connection: Connection, id: u32, reply: Vec<u8>, stream_end: u64 },
    Phase(String),
    Kill,
    Advance,
}

/// All events in the order of their begins, and what could not be observed.
///
/// A reply counts from the begin of the send that carried its last byte. On a connection that is recorded, every
/// byte that a client got was sent by a recorded call, so a reply without one is a gap of the recording: it would
/// count from when the client read it, which hides losses, and is told as blind. `recorded` has the clients whose
/// connections were named.
pub(crate) fn weave(
    resolved: Resolved,
    entries: Vec<(Clock, Nanos, Entry)>,
    recorded: &BTreeMap<u32, u32>,
) -> (Vec<Event>, Vec<Blind>) {
    let Resolved { mut events, mut sends, mut blind, marks, .. } = resolved;
    events.extend(marks);
    for (clock, now, entry) in entries {
        let (begin, at, op) = match entry {
            Entry::Invoke { client, id, op } => (clock, now, Op::Invoke { client, id, op }),
            Entry::Phase(name) => (clock, now, Op::Phase(name)),
            Entry::Kill => (clock, now, Op::Kill),
            Entry::Advance => (clock, now, Op::Advance),
            Entry::Reply { connection, id, reply, stream_end } => {
                let carried = carrier(&mut sends, connection, stream_end, clock);
                if carried.is_none() && recorded.contains_key(&connection.0) {
                    blind.insert(unmatched(connection, id, stream_end));
                }
                let (begin, at) = carried.unwrap_or((clock, now));
                (begin, at, Op::Reply { client: connection.0, id, reply })
            }
        };
        events.push(Event { begin, end: begin, at, task: Task::default(), site: None, errno: 0, op });
    }
    // A send inside which the target was killed, and of which no client saw a byte, may not have happened.
    let reached = |s: &&Sent| s.stream_end.is_some();
    let first_replies = events.len();
    events.extend(sends.values().flatten().filter(reached).map(|s| s.event.clone()));
    // Stable, and sends first: a reply stands after the send that carried it.
    events.rotate_left(first_replies);
    events.sort_by_key(|e| e.begin);
    (events, blind.into_iter().collect())
}

/// Begin and time of the send that carried the byte before `stream_end`, which a client had read at `clock`.
fn carrier(
    sends: &mut BTreeMap<Connection, Vec<Sent>>,
    connection: Connection,
    stream_end: u64,
    clock: Clock,
) -> Option<(Clock, Nanos)> {
    let sends = sends.get_mut(&connection)?;
    if let Some(sent) = sends.iter().find(|s| s.stream_end.is_some_and(|end| end >= stream_end)) {
        return (sent.begin < clock).then_some((sent.begin, sent.at));
    }
    // More has come than the sends that returned have sent: it left in the one inside which the target was killed
    // (the kill hit between the system call and its record's end).
    let cut = sends.iter_mut().find(|s| s.event.end == Event::NEVER && s.begin < clock)?;
    if let Op::Send { stream_offset, len, .. } = &mut cut.event.op {
        *len = (*len).max(stream_end.saturating_sub(*stream_offset));
        cut.stream_end = Some(*stream_offset + *len);
    }
    Some((cut.begin, cut.at))
}

fn unmatched((client, generation): Connection, id: u32, stream_end: u64) -> Blind {
    Blind {
        what: "a reply without a send".to_string(),
        detail: format!(
            "operation {id}: client {client} (connection {generation}) had received {stream_end} bytes, and no \
             recorded send carried the last of them"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tasks::Tasks;
    use crate::record::tree::Tree;
    use std::collections::BTreeSet;

    const C: Connection = (7, 0);

    fn sent(begin: Clock, offset: u64, len: Option<u64>) -> Sent {
        let op = Op::Send { client: C.0, stream_offset: offset, len: len.unwrap_or(0) };
        let end = if len.is_some() { begin + 1 } else { Event::NEVER };
        let event = Event { begin, end, at: begin * 10, task: Task::default(), site: None, errno: 0, op };
        Sent { stream_end: len.map(|len| offset + len), begin, at: begin * 10, event }
    }

    fn reply(clock: Clock, id: u32, stream_end: u64) -> (Clock, Nanos, Entry) {
        (clock, clock * 10, Entry::Reply { connection: C, id, reply: b"+OK".to_vec(), stream_end })
    }

    fn woven(
        sends: Vec<Sent>,
        entries: Vec<(Clock, Nanos, Entry)>,
        recorded: bool,
    ) -> (Vec<Event>, Vec<Blind>) {
        let resolved = Resolved {
            events: Vec::new(),
            sends: [(C, sends)].into(),
            blind: BTreeSet::new(),
            tree: Tree::new(1, &BTreeMap::new()).0,
            tasks: Tasks::default(),
            marks: Vec::new(),
        };
        weave(resolved, entries, &recorded.then_some(C).into_iter().collect())
    }

    fn replies(events: &[Event]) -> Vec<(u32, Clock, Nanos)> {
        let id = |e: &Event| if let Op::Reply { id, .. } = e.op { Some((id, e.begin, e.at)) } else { None };
        events.iter().filter_map(id).collect()
    }

    #[test]
    fn a_reply_counts_from_the_send_of_its_last_byte_and_stands_after_it() {
        let (events, blind) = woven(
            vec![sent(2, 0, Some(5)), sent(4, 5, Some(3)), sent(6, 8, Some(2))],
            vec![reply(3, 0, 5), reply(9, 1, 10)],
            true,
        );
        assert_eq!(blind, []);
        assert_eq!(replies(&events), [(0, 2, 20), (1, 6, 60)]);
        let kinds: Vec<bool> = events.iter().map(|e| matches!(e.op, Op::Send { .. })).collect();
        assert_eq!(kinds, [true, false, true, true, false]);
    }

    #[test]
    fn what_came_from_a_send_that_never_returned_counts_from_its_begin() {
        let (events, blind) = woven(vec![sent(2, 0, Some(5)), sent(6, 5, None)], vec![reply(9, 1, 12)], true);
        assert_eq!(blind, []);
        assert_eq!(replies(&events), [(1, 6, 60)]);
        let last = events.iter().rfind(|e| matches!(e.op, Op::Send { .. })).unwrap();
        assert_eq!((last.end, last.begin), (Event::NEVER, 6));
        assert!(matches!(last.op, Op::Send { stream_offset: 5, len: 7, .. }), "{last:?}");
    }

    #[test]
    fn a_send_that_never_returned_and_that_nobody_saw_is_left_out() {
        let (events, blind) = woven(vec![sent(2, 0, Some(5)), sent(6, 5, None)], vec![reply(3, 0, 5)], true);
        assert_eq!((events.len(), blind.len()), (2, 0));
    }

    #[test]
    fn a_reply_that_no_recorded_send_can_have_carried_is_told() {
        // Too few bytes were sent; the send that never returned began after the reply had been read.
        for sends in [vec![sent(2, 0, Some(5))], vec![sent(2, 0, Some(5)), sent(11, 5, None)], vec![]] {
            let (events, blind) = woven(sends, vec![reply(9, 1, 12)], true);
            assert_eq!(replies(&events), [(1, 9, 90)]);
            assert!(blind.len() == 1 && blind[0].detail.contains("operation 1:"), "{blind:?}");
        }
        // Nor one that began after the client had read the reply.
        assert_eq!(woven(vec![sent(11, 0, Some(12))], vec![reply(9, 1, 12)], true).1.len(), 1);
        // A client whose connection is not recorded has never been promised more than the time of reading.
        assert_eq!(woven(vec![], vec![reply(9, 1, 12)], false).1, []);
    }
}
