//! `unplug check command` on programs that people have: a shell script that replaces a file, and `git commit`.

mod binary;

use binary::{assert_tidy, compiled, ran, said};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The command with these arguments, in a directory.
fn unplug(dir: &Path, args: &[&str]) -> Command {
    let mut command = binary::tidy_unplug(dir, "");
    command.args(args);
    command
}

/// The classes of the findings in JSON lines.
fn classes(json: &str) -> Vec<String> {
    let mut classes = Vec::new();
    for line in json.lines() {
        let cell: serde_json::Value = serde_json::from_str(line).expect("one object a line");
        let found = cell["violations"].as_array().expect("a list");
        classes.extend(found.iter().map(|v| v["class"].as_str().expect("a word").to_owned()));
    }
    classes.sort();
    classes.dedup();
    classes
}

/// Each line of the script says that the number is saved.
fn script(write: &str, rename: &str) -> String {
    format!("for i in 1 2 3; do echo $i > f.tmp; {write}; mv f.tmp f; {rename}; echo $i; done")
}

/// The file holds the last of the numbers.
const COUNTS: &str = "test $UNPLUG_ACKED = 0 || test $(cat f) -ge $UNPLUG_ACKED";

fn check<'a>(run: &'a str, check: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["check", "command", "--run", run, "--check", check, "--repro-dir", "found"], more].concat()
}

#[test]
fn a_file_that_is_replaced_with_all_syncs_holds() {
    let dir = binary::directory();
    let script = script("sync f.tmp", "sync .");
    let models = ["--model", "prefix,ext4-ordered,posix"];
    let told = said(&mut unplug(dir.path(), &check(&script, COUNTS, &models)), 0);
    // Without its syncs the same run must be violated, in every cell.
    assert!(told.contains("HOLDS: 3 of 3 cells") && told.contains("3 of 3 sabotages found"), "{told}");
    assert!(told.contains("a command has no probes"), "{told}");
    assert_tidy(dir.path());
    assert!(!dir.path().join("found").exists(), "nothing was found");
}

#[test]
fn each_missing_sync_has_its_own_loss() {
    let dir = binary::directory();
    let found = |script: &str, model: &str| {
        let args = check(script, COUNTS, &["--model", model, "--format", "json"]);
        classes(&ran(&mut unplug(dir.path(), &args), 1).0)
    };
    // The new name is not durable when the number is printed: an older, whole file.
    let no_directory = script("sync f.tmp", ":");
    assert_eq!(found(&no_directory, "ext4-ordered"), ["acknowledged-loss"]);
    assert_eq!(found(&no_directory, "posix"), ["acknowledged-loss"]);
    // The new name stands before the content does: an empty file, which counts nothing.
    let no_file = script(":", "sync .");
    assert_eq!(found(&no_file, "posix"), ["acknowledged-loss"]);
}

#[test]
fn without_a_promise_only_what_is_there_must_be_whole() {
    let dir = binary::directory();
    // Replaces a file of three lines; half of one is never to be seen.
    let run = |sync: &str| {
        format!("for i in 1 2; do (echo $i; echo $i; echo $i) > t; {sync}; mv t f; echo $i; done")
    };
    let whole = "if test ! -e f; then test $UNPLUG_ACKED = 0; exit; fi; \
                 test \"$(sort -u f | wc -l) $(wc -l < f)\" = '1 3' && test $(head -n 1 f) -ge $UNPLUG_ACKED";
    let models = ["--policy", "no", "--model", "ext4-ordered,posix"];
    let told = said(&mut unplug(dir.path(), &check(&run("sync t"), whole, &models)), 0);
    assert!(told.contains("2 of 2 sabotages found"), "{told}");
    let told = said(&mut unplug(dir.path(), &check(&run(":"), whole, &models)), 1);
    assert!(told.contains("refuses-to-open"), "{told}");
}

/// A repository with one commit, and a configuration of its own.
fn git(dir: &Path, fsync: &str, then: &str, models: &str) -> Option<Command> {
    if Command::new("git").arg("--version").output().is_err() {
        eprintln!("NOT MEASURED: no git in PATH");
        return None;
    }
    let setup = format!(
        "git init -q . && git config core.fsync {fsync} && git config user.name a && git config user.email a@b && \
         git config maintenance.auto false && echo 0 > f && git add f && git commit -qm c0"
    );
    let run = format!("for i in 1 2; do echo $i > f; git add f; git commit -qm c$i; {then}; echo c$i; done");
    // The subjects of the commits that can be reached are the lines that are there.
    let look = "git fsck --full >&2 && git log --format=%s";
    let args = check(&run, look, &["--prints", "--setup", &setup, "--model", models, "--budget", "250"]);
    let mut command = unplug(dir, &args);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    Some(command)
}

#[test]
fn a_commit_with_every_sync_of_gits_and_one_more_survives_on_ext4() {
    let dir = binary::directory();
    let Some(mut command) = git(dir.path(), "all", "sync -f .", "ext4-ordered") else { return };
    let told = said(&mut command, 0);
    assert!(told.contains("HOLDS: 1 of 1 cells") && told.contains("1 of 1 sabotages found"), "{told}");
}

/// git syncs what it writes and then renames it into place; nothing makes the name durable.
#[test]
fn a_commit_with_every_sync_of_gits_can_be_gone_and_nothing_else() {
    let dir = binary::directory();
    let Some(mut command) = git(dir.path(), "all", ":", "ext4-ordered") else { return };
    let (json, _) = ran(command.args(["--format", "json"]), 1);
    assert_eq!(classes(&json), ["acknowledged-loss"]);
}

/// With git's defaults neither the index nor the branch is synced: a power loss leaves a repository that git itself
/// calls corrupt.
#[test]
fn a_commit_as_git_makes_it_by_default_can_corrupt_the_repository() {
    let dir = binary::directory();
    let Some(mut command) = git(dir.path(), "committed", "sync -f .", "ext4-ordered") else { return };
    let (json, _) = ran(command.args(["--format", "json"]), 1);
    assert!(classes(&json).contains(&"refuses-to-open".to_owned()), "{json}");
}

#[test]
fn a_finding_is_replayed_and_a_strangers_checker_is_not_run_unasked() {
    let dir = binary::directory();
    let script = script("sync f.tmp", ":");
    let (_, err) = ran(&mut unplug(dir.path(), &check(&script, COUNTS, &["--model", "posix"])), 1);
    let line = err.lines().last().and_then(|l| l.strip_prefix("replay: ")).expect("a replay line");
    let shell = |line: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(dir.path());
        shell
    };
    assert!(said(&mut shell(line), 1).contains("VIOLATED as in the repro: acknowledged-loss"));
    let (bare, _) = line.split_once(" --check ").expect("the checker is in the line");
    let told = said(&mut shell(bare), 2);
    assert!(told.contains("not run unasked") && told.contains("--check 'test $UNPLUG_ACKED"), "{told}");

    // The disk by hand: the line that is printed is one for a shell, too, and the checker says no.
    let repro =
        fs::read_dir(dir.path().join("found")).expect("there").next().expect("one").expect("readable");
    let path = repro.path();
    let laid = said(&mut unplug(dir.path(), &["image", path.to_str().expect("UTF-8"), "disk"]), 0);
    let by_hand = laid.lines().find_map(|l| l.strip_prefix("check: ")).expect("a line");
    assert!(!shell(by_hand).status().expect("a shell").success(), "{by_hand}");
    // The lines that had been printed stand where the line says.
    let acked = fs::read_to_string(dir.path().join("disk.acked")).expect("beside the disk");
    let count = by_hand.split("UNPLUG_ACKED=").nth(1).and_then(|rest| rest.split(' ').next());
    assert_eq!(count, Some(acked.lines().count().to_string().as_str()), "{by_hand}");
    assert!(by_hand.contains("disk.acked") && !acked.is_empty(), "{by_hand}");
}

#[test]
fn a_recorded_command_is_explored_later_and_by_any_number_of_workers() {
    let dir = binary::directory();
    let script = script("sync f.tmp", ":");
    let record = ["record", "command", "--run", &script, "--check", COUNTS, "-o", "run.trace"];
    ran(&mut unplug(dir.path(), &record), 0);
    let shown = said(&mut unplug(dir.path(), &["show", "run.trace"]), 0);
    assert!(shown.contains("trace of command"), "{shown}");
    let told = said(&mut unplug(dir.path(), &["explore", "run.trace"]), 2);
    assert!(told.contains("add: --check"), "{told}");
    let explored = |workers: &str| -> Vec<String> {
        let args = ["explore", "run.trace", "--check", COUNTS, "--format", "json", "--workers", workers];
        let (json, _) = ran(&mut unplug(dir.path(), &[&args[..], &["--repro-dir", "r"]].concat()), 1);
        json.lines().map(binary::without_elapsed).collect()
    };
    let one = explored("1");
    assert!(one.len() >= 4, "{one:?}");
    assert_eq!(one, explored("2"));
}

#[test]
fn what_cannot_be_a_test_is_told_in_a_sentence() {
    let dir = binary::directory();
    let told = |args: &[&str], code| said(&mut unplug(dir.path(), args), code);
    let usage = [
        (&["check", "command", "--check", "true"][..], "needs --run 'CMD'"),
        (&["check", "command", "--run", "true"], "needs --check 'CMD'"),
        (&["check", "--run", "true"], "is for the target `command`"),
        (
            &["check", "command", "--run", "x", "--check", "y", "--policy", "everysec"],
            "promises nothing like it",
        ),
        (&["check", "command", "--run", "x", "--check", "y", "--dir", "/no/such"], "not a directory"),
        (&["check", "command", "--run", "x", "--check", "y", "--server", "z"], "names a redis-server"),
    ];
    for (args, word) in usage {
        let told = told(args, 2);
        assert!(told.contains(word), "{word}: {told}");
    }
    let not_measured = [
        ("echo half > f; echo out of ideas >&2; exit 3", "true", "out of ideas"),
        ("no-such-program-at-all && echo done", "true", "not found"),
        ("echo x > f", "true", "--run printed no line"),
        // A line without its end is not said yet.
        ("echo x > f; printf saved", "true", "--run printed no line"),
        ("echo x > f; echo saved", "false", "does not accept what the run begins with"),
        ("echo x > f; echo saved", "test $UNPLUG_ACKED = 0", "does not find the line \"saved\""),
        ("echo x > f; echo saved", "no-such-checker", "cannot be run"),
        ("echo x > f; echo saved", "true", "finds every line where nothing was run yet"),
    ];
    for (run, look, word) in not_measured {
        let told = told(&check(run, look, &["--model", "prefix"]), 3);
        assert!(told.contains(word), "{word}: {told}");
    }
    let told = told(&check("echo x; echo x > f", "echo x; echo y", &["--prints", "--model", "prefix"]), 3);
    assert!(told.contains("does not find the line \"x\""), "{told}");
}

#[test]
fn a_checker_that_hangs_or_dies_on_an_image_convicts() {
    let dir = binary::directory();
    // Fine as long as nothing is half done; the second rename is what a crash can fall in front of.
    let run = "echo 1 > a; sync a; sync .; mv a b; sync .; echo moved";
    let more = ["--model", "prefix", "--budget", "40"];
    let hangs = "if test -e a; then while :; do :; done; fi; test $UNPLUG_ACKED = 0 || test -e b";
    let told = said(&mut unplug(dir.path(), &check(run, hangs, &more)), 1);
    assert!(told.contains("recovery-hang") && told.contains("ms of CPU time"), "{told}");
    let dies = "if test -e a; then kill -SEGV $$; fi; test $UNPLUG_ACKED = 0 || test -e b";
    let told = said(&mut unplug(dir.path(), &check(run, dies, &more)), 1);
    assert!(told.contains("recovery-crash") && told.contains("SIGSEGV"), "{told}");
}

#[test]
fn a_static_program_in_the_command_is_named() {
    let dir = binary::directory();
    let text = "#include <stdio.h>\n#include <unistd.h>\n#include <fcntl.h>\nint main(void) {\n\
                int f = open(\"f\", O_CREAT | O_WRONLY, 0644); write(f, \"x\", 1); fsync(f);\n\
                puts(\"saved\"); return 0; }\n";
    let Some(program) = compiled(dir.path(), "static-writer", &["-static"], text) else { return };
    let told =
        said(&mut unplug(dir.path(), &check(&program.to_string_lossy(), "true", &["--model", "prefix"])), 3);
    assert!(told.contains("exec of a static program"), "{told}");
}

#[test]
fn a_volatile_file_may_be_mapped() {
    let dir = binary::directory();
    // A log, and an index of it in a shared mapping, as SQLite has one.
    let text = "#include <stdio.h>\n#include <unistd.h>\n#include <fcntl.h>\n#include <sys/mman.h>\n\
                int main(void) { int f = open(\"log\", O_CREAT | O_WRONLY | O_APPEND, 0644);\n\
                int s = open(\"log-shm\", O_CREAT | O_RDWR, 0644); ftruncate(s, 4096);\n\
                int d = open(\".\", O_RDONLY); fsync(d);\n\
                char *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, s, 0);\n\
                for (int i = 1; i < 4; i++) { dprintf(f, \"%d\\n\", i); fsync(f); m[i] = 1;\n\
                printf(\"%d\\n\", i); fflush(stdout); } return 0; }\n";
    let Some(program) = compiled(dir.path(), "indexed", &[], text) else { return };
    let program = program.to_string_lossy().into_owned();
    let look = "test $UNPLUG_ACKED = 0 || test $(wc -l < log) -ge $UNPLUG_ACKED";
    let models = ["--model", "prefix,ext4-ordered,posix"];
    let told = said(&mut unplug(dir.path(), &check(&program, look, &models)), 3);
    assert!(told.contains("mmap(MAP_SHARED, PROT_WRITE)"), "{told}");
    let volatile = [&models[..], &["--volatile", "*-shm"]].concat();
    let told = said(&mut unplug(dir.path(), &check(&program, look, &volatile)), 0);
    assert!(told.contains("3 of 3 sabotages found"), "{told}");
    // A glob that names another file hides nothing.
    let other = [&models[..], &["--volatile", "*-idx"]].concat();
    said(&mut unplug(dir.path(), &check(&program, look, &other)), 3);
}

#[test]
fn a_directory_to_begin_with_is_copied_and_left_alone() {
    let dir = binary::directory();
    let start = dir.path().join("start");
    fs::create_dir_all(start.join("sub")).expect("writable");
    fs::write(start.join("sub/f"), "0\n").expect("writable");
    std::os::unix::fs::symlink("sub/f", start.join("f")).expect("writable");
    let run = "cat f > g; echo 1 >> g; sync g; mv g sub/f; sync sub; echo 1";
    let look = "grep -q 0 f && { test $UNPLUG_ACKED = 0 || grep -q 1 f; }";
    let args = check(run, look, &["--dir", "start", "--model", "prefix,posix"]);
    said(&mut unplug(dir.path(), &args), 0);
    assert_eq!(fs::read_to_string(start.join("sub/f")).expect("there"), "0\n");
    // The scratch directories of these tests lie below the directory itself.
    let told = said(&mut unplug(dir.path(), &check(run, look, &["--dir", ".", "--model", "prefix"])), 3);
    assert!(told.contains("scratch directories lie in it"), "{told}");
}

#[test]
fn ctrl_c_ends_a_command_that_goes_on_for_ever() {
    let dir = binary::directory();
    let marker = dir.path().join("began");
    let run = format!("touch {}; while :; do sleep 1; done", marker.display());
    let mut command = unplug(dir.path(), &check(&run, "true", &["--model", "prefix"]));
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
    let child = child.expect("started");
    let start = Instant::now();
    while !marker.exists() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.expect("kill").success());
    let asked = Instant::now();
    let output = child.wait_with_output().expect("reaped");
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(asked.elapsed() < Duration::from_secs(30), "it ends soon");
    assert_tidy(dir.path());
}

#[test]
fn the_commands_in_the_readme_hold() {
    if Command::new("git").arg("--version").output().is_err() {
        return eprintln!("NOT MEASURED: no git in PATH");
    }
    let readme =
        fs::read_to_string(binary::root().join("README.md")).expect("README.md").replace("\\\n", " ");
    let examples: Vec<&str> =
        readme.lines().filter(|l| l.starts_with("unplug check command") && l.contains('\'')).collect();
    assert_eq!(examples.len(), 2, "{examples:?}");
    for example in examples {
        let dir = binary::directory();
        // As a user who has told git a name.
        let line = example.replacen("unplug", env!("CARGO_BIN_EXE_unplug"), 1) + " --budget 150";
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).current_dir(dir.path()).env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            shell.env(format!("GIT_{who}_NAME"), "a").env(format!("GIT_{who}_EMAIL"), "a@b");
        }
        let told = said(&mut shell, 0);
        assert!(told.contains("HOLDS"), "{told}");
    }
}
