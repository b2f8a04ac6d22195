//! What a person sees of real runs of the engine: the report, a violation's story, a trace. Where a line of source
//! stands and how long a run took are left out; all else is the same on each run.

mod binary;

/// The text with each call site's place in the source replaced, and the toolchain's own paths and names.
fn redacted(text: &str) -> String {
    text.lines().map(|line| redact(line) + "\n").collect()
}

fn redact(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let bare = word.trim_end_matches([',', ')', ']', ';', ':']);
        let tail = &word[bare.len()..];
        let place = bare.rsplit_once(':').filter(|(path, n)| {
            path.ends_with(".rs") && !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())
        });
        // A repro is named after its content, which holds the addresses of this build's call sites.
        let named = bare.strip_suffix(".repro").and_then(|name| name.rsplit_once('-'));
        words.push(match place {
            None if named.is_some() => format!("{}-HASH.repro{tail}", named.map_or("", |(name, _)| name)),
            Some((path, _)) => format!("{}:LINE{tail}", path.rsplit('/').next().unwrap_or(path)),
            None => word.to_owned(),
        });
    }
    words.join(" ")
}

/// Up to the call site, which names the standard library's functions of this toolchain.
fn without_site(line: &str) -> &str {
    line.rfind(" [").filter(|_| line.ends_with(']')).map_or(line, |at| &line[..at])
}

#[test]
fn places_are_left_out_and_nothing_else() {
    let line = "the gap  /a/b/sync.rs:120 (f), at 12:30 in [src/x.rs:9]";
    assert_eq!(redact(line), "the gap  sync.rs:LINE (f), at 12:30 in x.rs:LINE]");
    assert_eq!(without_site("10-11 write log @0 +3 \"[a]\" [f /x/y.rs:3]"), "10-11 write log @0 +3 \"[a]\"");
}

const SMALL: &str = "--policy always --seed 1 --ops 12 --budget 100";

#[test]
fn the_report_of_the_correct_engine() {
    let dir = binary::directory();
    let words = format!("check engine {SMALL} --model prefix,posix");
    let report = binary::printed(&mut binary::unplug(dir.path(), &words), &[0]);
    insta::assert_snapshot!(redacted(&report));
}

#[test]
fn the_story_of_a_dropped_sync() {
    let dir = binary::directory();
    let words = format!("check engine {SMALL} --model ext4-ordered --drop-sync fdatasync:*incr*");
    let report = binary::printed(&mut binary::unplug(dir.path(), &words), &[1]);
    insta::assert_snapshot!(redacted(&report));
}

#[test]
fn a_trace_shown() {
    let dir = binary::directory();
    let record = "record engine --policy always --seed 1 --ops 9 -o run.trace";
    binary::printed(&mut binary::unplug(dir.path(), record), &[0]);
    let shown = binary::printed(&mut binary::unplug(dir.path(), "show run.trace"), &[0]);
    insta::assert_snapshot!(shown.lines().map(without_site).collect::<Vec<_>>().join("\n"));
}
