//! A real redis-server: its trace explains the directory, and its replies stand where they were sent.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;
#[path = "common/redis.rs"]
mod redis;

use unplug_faults::event::Op;
use unplug_faults::record::{Options, Recorder};
use unplug_faults::trace::Meta;

#[test]
fn a_whole_tour_is_followed() {
    let Some(server) = redis::server() else { return };
    for policy in ["always", "everysec"] {
        let (dir, beside) = (common::directory(), common::directory());
        let socket = beside.path().join("socket");
        let mut command = redis::command(&server, dir.path(), &socket, policy);
        let recorder = Recorder::start(Options::new(dir.path())).unwrap();
        recorder.arm(&mut command);
        let mut child = command.spawn().unwrap();
        redis::tour(&recorder, &socket, &mut child);
        let trace = recorder.finish(Meta::default()).unwrap();
        for line in common::lines(&trace) {
            eprintln!("{line:.120}");
        }
        assert_eq!(trace.blind, [], "{policy}");
        let appends = trace
            .events
            .iter()
            .filter(|e| matches!(&e.op, Op::Write { data, .. } if data.windows(6).any(|w| w == b"key:19")));
        assert!(appends.count() >= 3, "{policy}: appended, saved and rewritten");
        // Under `always` each acknowledged SET was synced before its reply was sent.
        let reply = trace.events.iter().find(|e| matches!(e.op, Op::Reply { id: 5, .. })).unwrap();
        let send = trace.events.iter().find(|e| matches!(e.op, Op::Send { .. }) && e.begin == reply.begin);
        assert!(send.is_some(), "{policy}: the reply was matched to a send");
        let set = |e: &&unplug_faults::event::Event| matches!(&e.op, Op::Write { data, .. } if data.windows(5).any(|w| w == b"key:5"));
        let append = trace.events.iter().find(set).unwrap();
        assert!(append.end < reply.begin, "{policy}: written before acknowledged");
        if policy == "always" {
            let synced = trace
                .events
                .iter()
                .any(|e| matches!(e.op, Op::Sync { .. }) && append.end < e.begin && e.end < reply.begin);
            assert!(synced, "synced before acknowledged");
        }
        assert!(trace.sites.iter().any(|s| s.frames[0].module.contains("redis")));
    }
}
