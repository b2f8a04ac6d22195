//! A real server recovered both ways on one trace, started on each image and forked for each, and with lives spared and
//! all lived: the reports are equal.

mod binary;
mod real;

/// What the server wrote is quoted in messages, and names processes and times.
fn without_quotes(line: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    forget(&mut value);
    value.to_string()
}

/// Takes out, at any depth, what is not a result: elapsed time, repro names (a hash over messages too), texts.
fn forget(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            for key in ["elapsed_s", "repro", "replay", "story", "explanation", "message"] {
                map.remove(key);
            }
            map.values_mut().for_each(forget);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(forget),
        _ => {}
    }
}

#[test]
fn forks_starts_and_spared_lives_give_the_same_report() {
    if real::redis_version().is_none() {
        return;
    }
    for policy in ["always", "everysec", "snapshot"] {
        let dir = binary::directory();
        let record = format!("record redis --policy {policy} --seed 3 --ops 16 -o run.trace");
        binary::printed(&mut binary::unplug(dir.path(), &record), &[0]);
        let explore = |forks: &str, spared: &str, workers: u32| -> Vec<String> {
            let words = "explore run.trace --model ext4-ordered,posix --budget 60 --format json --workers";
            let mut command = binary::unplug(dir.path(), &format!("{words} {workers}"));
            command.env("UNPLUG_FORK_SERVER", forks).env("UNPLUG_SPARE_LIVES", spared);
            binary::printed(&mut command, &[0, 1, 3]).lines().map(without_quotes).collect()
        };
        let all = explore("no", "no", 2);
        assert!(all.len() > 1, "{all:?}");
        for (forks, spared, workers) in [("yes", "no", 2), ("yes", "yes", 3), ("yes", "yes", 1)] {
            let found = explore(forks, spared, workers);
            assert_eq!(found, all, "{policy}, forks {forks}, lives spared {spared}, {workers} workers");
        }
    }
}
