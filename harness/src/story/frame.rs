//! Who wanted a call: the frame of the target's own in it.

use unplug_faults::trace::{Frame, Trace};

/// Modules whose frames say nothing of who wanted the call.
const PLUMBING: [&str; 6] = ["libc.so", "libc-", "ld-linux", "libpthread", "unplug-shim", "unplug_shim"];
/// Parts of the source paths of such frames: the standard library, and crates that only wrap system calls.
const PLUMBING_SOURCES: [&str; 7] =
    ["/rustc/", "/library/std/", "/library/core/", "/library/alloc/", "/libc-", "/nix-", "/rustix-"];
/// Their symbols, where there is no source line.
const PLUMBING_SYMBOLS: [&str; 7] = ["std::", "core::", "alloc::", "libc::", "nix::", "rustix::", "__rust"];

fn is_plumbing(frame: &Frame) -> bool {
    // A module that is the shim goes by the descriptor that it was loaded from.
    if frame.module.contains("memfd:") || PLUMBING.iter().any(|p| frame.module.starts_with(p)) {
        return true;
    }
    let source = frame.line.as_deref().unwrap_or_default();
    let symbol = frame.symbol.as_deref().unwrap_or_default().trim_start_matches('<');
    PLUMBING_SOURCES.iter().any(|p| source.contains(p))
        || PLUMBING_SYMBOLS.iter().any(|p| symbol.starts_with(p))
}

/// The call site of an event as a person would look it up: the innermost frame that is the target's own.
pub fn interesting_frame(trace: &Trace, event: u32) -> Option<String> {
    let site = trace.events.get(event as usize)?.site?;
    let frames = &trace.sites.get(site.0 as usize)?.frames;
    let frame = frames.iter().find(|f| !is_plumbing(f)).or(frames.first())?;
    let line = frame.line.as_deref().map(relative);
    Some(match (&frame.symbol, line) {
        (Some(symbol), Some(line)) => format!("{symbol} at {line}"),
        (Some(symbol), None) => format!("{symbol} in {}", frame.module),
        (None, Some(line)) => line.to_string(),
        (None, None) => format!("{}+{:#x}", frame.module, frame.offset),
    })
}

/// A source path from its crate's directory on: where a checkout stands is no part of a call site.
fn relative(line: &str) -> &str {
    let Some(src) = line.rfind("/src/") else { return line };
    line[..src].rfind('/').map_or(line, |crate_dir| &line[crate_dir + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::TraceBuilder;
    use unplug_faults::event::{Op, SiteId};
    use unplug_faults::trace::Site;

    fn frame(module: &str, symbol: &str, line: &str) -> Frame {
        let text = |t: &str| (!t.is_empty()).then(|| t.to_string());
        Frame { module: module.to_string(), offset: 16, symbol: text(symbol), line: text(line) }
    }

    fn told(frames: Vec<Frame>) -> Option<String> {
        let mut b = TraceBuilder::new();
        b.event(Op::SyncAll);
        let mut trace = b.trace();
        trace.events[0].site = Some(SiteId(0));
        trace.sites = vec![Site { frames }];
        interesting_frame(&trace, 0)
    }

    #[test]
    fn the_targets_own_frame_is_named() {
        let own = frame("unplug", "<engine::Log>::write", "/home/x/engine/src/persist/log.rs:198");
        let frames = vec![
            frame("libc.so.6", "write", ""),
            frame("unplug", "write_all<&std::fs::File>", "/rustc/5980/library/std/src/io/mod.rs:1877"),
            frame(
                "unplug",
                "nix::unistd::write",
                "/root/.cargo/registry/src/index-1/nix-0.30.1/src/unistd.rs:9",
            ),
            own,
        ];
        assert_eq!(told(frames).as_deref(), Some("<engine::Log>::write at engine/src/persist/log.rs:198"));
    }

    #[test]
    fn without_a_frame_of_its_own_the_innermost_is_better_than_none() {
        assert_eq!(told(vec![frame("libc.so.6", "fsync", "")]).as_deref(), Some("fsync in libc.so.6"));
        assert_eq!(told(vec![frame("redis-server", "", "")]).as_deref(), Some("redis-server+0x10"));
        assert_eq!(
            told(vec![frame("redis-server", "flushAppendOnlyFile", "aof.c:1100")]).as_deref(),
            Some("flushAppendOnlyFile at aof.c:1100")
        );
    }
}
