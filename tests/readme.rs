//! The documents tell the truth about the command line: every command in them is parsed by the real parser.

use clap::{CommandFactory, Parser};
use std::path::{Path, PathBuf};
use unplug::cli::args::Cli;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("harness stands in the workspace").to_owned()
}

/// The lines of fenced blocks, and what stands between backticks, that begin with `unplug ` or run it by cargo.
fn commands(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut fenced = false;
    for line in text.replace("\\\n", " ").lines() {
        if line.starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let candidates: Vec<&str> =
            if fenced { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
        for candidate in candidates {
            let candidate = candidate.trim().trim_start_matches("$ ");
            let command = candidate.split("  #").next().unwrap_or(candidate).trim();
            if let Some(rest) = command.strip_prefix("cargo run --release") {
                out.push(format!("unplug {}", rest.trim_start().trim_start_matches("--").trim()));
            } else if command.starts_with("unplug ") {
                out.push(command.to_owned());
            }
        }
    }
    out
}

/// The words of a line as a shell reads them, so far as single quotes go.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn every_command_in_the_readme_parses() {
    let text = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let found = commands(&text);
    assert!(found.len() >= 8, "the README shows the command at work: {found:?}");
    for command in &found {
        let words = words(command);
        match Cli::try_parse_from(words) {
            Err(error) if error.exit_code() != 0 => panic!("README.md: `{command}`: {error}"),
            // Parsed, or asked for help.
            _ => {}
        }
    }
}

#[test]
fn the_readme_speaks_of_every_command_and_exit_code() {
    let text = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    for command in Cli::command().get_subcommands().filter(|c| !c.is_hide_set()) {
        let name = format!("unplug {}", command.get_name());
        assert!(text.contains(&name), "README.md does not show `{name}`");
    }
    for code in ["| 0 |", "| 1 |", "| 2 |", "| 3 |", "| 4 |"] {
        assert!(text.contains(code), "README.md does not explain exit code {code}");
    }
}

#[test]
fn commands_are_found_where_they_stand() {
    assert_eq!(words("a 'b  c'd '' e"), ["a", "b  cd", "", "e"]);
    let text = "say `unplug show F` or\n```sh\n$ unplug check  # all\ncargo run --release -- replay R\n```\n";
    assert_eq!(commands(text), ["unplug show F", "unplug check", "unplug replay R"]);
}

#[test]
fn the_parser_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_store_in_the_readme_is_the_one_that_is_tested() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let test = std::fs::read_to_string(root().join("tests/readme_store.rs")).expect("the test");
    let (_, store) = test.split_once("// README: from here\n").expect("the mark");
    assert!(readme.contains(&format!("```rust\n{store}```")), "README.md shows another store");
}

#[test]
fn the_readme_names_every_model() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let named = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    let (_, models) = readme.split_once("\n## Models\n").expect("a chapter on models");
    let (models, _) = models.split_once("\n## ").expect("another chapter follows");
    let named: Vec<String> = models.lines().filter_map(named).collect();
    let known: Vec<&str> = unplug_faults::model::all().iter().map(|m| m.name()).collect();
    assert_eq!(named, known, "in the order of the report");
}

#[test]
fn the_readme_names_every_variable_that_a_user_can_set() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let places = [
        "harness/src/testing/env.rs",
        "harness/src/cli/args.rs",
        "harness/src/worker/scratch.rs",
        "harness/src/target/rig.rs",
    ];
    for place in places {
        let source = std::fs::read_to_string(root().join(place)).expect(place);
        let quoted = source.split('"').skip(1).step_by(2);
        let mut found = 0;
        for name in quoted.filter(|q| q.starts_with("UNPLUG_") && !q.contains('=')) {
            found += 1;
            assert!(readme.contains(&format!("| `{name}` |")), "README.md does not explain {name}");
        }
        assert!(found > 0, "{place} names no variable");
    }
}
