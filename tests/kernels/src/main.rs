//! `unplug-kernels`: records what real kernels leave behind, and holds it against the models.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use unplug_kernels::compare::misses;
use unplug_kernels::fixture::{Fixture, OfKind};
use unplug_kernels::kernel::{Kind, kind, kinds, missing, release, serve_commands, sweep};
use unplug_kernels::live::{Run, measure_all, usable};
use unplug_kernels::modelled::modelled;
use unplug_kernels::observe::observe;
use unplug_kernels::script::Script;
use unplug_kernels::suite::{check_all, fixture_path, fixtures, home, tightness, workloads};
use unplug_kernels::variant::{Depth, variant, variants};
use unplug_kernels::{Error, Result, generate, rules, table};

const USAGE: &str = "\
unplug-kernels record [--wait] [--jobs N] [--limit N] [--kinds A,B] [WORKLOAD...]
unplug-kernels generate [the same options] FIRST LAST
unplug-kernels soak [the same options] FIRST LAST
unplug-kernels try [the same options] FILE...
unplug-kernels check [WORKLOAD...]
unplug-kernels unseen WORKLOAD KIND
unplug-kernels run FILE KIND [VARIANT]
unplug-kernels table
unplug-kernels needs";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["helper", dir] => serve_commands(Path::new(dir)).map(|()| true),
        ["record", rest @ ..] => Options::of(rest).and_then(|options| {
            let mut list = workloads()?;
            list.retain(|s| options.names.is_empty() || options.names.contains(&s.name));
            record(&list, &options)
        }),
        ["generate", rest @ ..] => Options::of(rest).and_then(|options| {
            let list = seeds(&options)?;
            record(&list, &options)
        }),
        ["soak", rest @ ..] => Options::of(rest).and_then(|options| {
            let list = seeds(&options)?;
            try_all(&list, &options)
        }),
        ["try", rest @ ..] => Options::of(rest).and_then(|options| {
            let read = |name: &String| {
                let text = std::fs::read_to_string(name).map_err(Error::io(name))?;
                Script::parse(name, &text)
            };
            let list = options.names.iter().map(read).collect::<Result<Vec<_>>>()?;
            try_all(&list, &options)
        }),
        ["check", names @ ..] => check_named(names),
        ["unseen", name, kind] => unseen(name, kind),
        ["run", file, kind, rest @ ..] => run(file, kind, rest.first().copied().unwrap_or("plain")),
        ["table"] => write_table(),
        ["needs"] => needs(),
        _ => Err(usage("no such command")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            eprintln!("unplug-kernels: {e}");
            ExitCode::from(2)
        }
    }
}

fn usage(what: &str) -> Error {
    Error::Other(format!("{what}\n{USAGE}"))
}

struct Options {
    wait: bool,
    jobs: usize,
    limit: usize,
    kinds: Vec<&'static Kind>,
    names: Vec<String>,
}

impl Options {
    fn of(words: &[&str]) -> Result<Options> {
        let kinds = kinds().iter().collect();
        let mut options = Options { wait: false, jobs: 2, limit: 60, kinds, names: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| usage(&format!("{word} what?")));
            let number = |word: &&str| word.parse().map_err(|_| usage(&format!("{word} is no number")));
            match *word {
                "--wait" => options.wait = true,
                "--jobs" => options.jobs = number(value()?)?,
                "--limit" => options.limit = number(value()?)?,
                "--kinds" => {
                    let known = |name: &str| kind(name).ok_or_else(|| usage(&format!("no kind {name}")));
                    options.kinds = value()?.split(',').map(known).collect::<Result<_>>()?;
                }
                name => options.names.push(name.into()),
            }
        }
        Ok(options)
    }
}

/// The generated workloads from the first seed that is named to the last.
fn seeds(options: &Options) -> Result<Vec<Script>> {
    let seed = |n: usize| options.names.get(n).and_then(|word| word.parse::<u64>().ok());
    let (Some(first), Some(last)) = (seed(0), seed(1)) else { return Err(usage("two seeds")) };
    (first..=last).map(generate::generate).collect()
}

/// Runs workloads and compares them; keeps nothing, prints what is outside and how much was tried.
fn try_all(list: &[Script], options: &Options) -> Result<bool> {
    sweep();
    let (usable, lacking) = usable(options.kinds.iter().copied());
    lacking.iter().for_each(|line| eprintln!("{line}"));
    let jobs: Vec<_> = list.iter().flat_map(|s| usable.iter().map(move |k| (s.clone(), *k))).collect();
    let program = program()?;
    let run = Run { program: &program, wanted: &|_| true, limit: options.limit, at_once: options.jobs };
    let (all, failed) = measure_all(&jobs, &run, &|script, kind, checked| {
        for finding in &checked.findings {
            println!("OUTSIDE {finding}");
        }
        let (runs, images, trees) = (checked.runs, checked.images, checked.trees);
        println!("{} {} {runs} runs {images} images {trees} trees", script.name, kind.name);
    });
    failed.iter().for_each(|line| println!("*not measured*: {line}"));
    println!(
        "kernel {}: {} workloads, {} runs, {} crash images, {} trees, {} of them outside their model",
        release(),
        list.len(),
        all.runs,
        all.images,
        all.trees,
        all.findings.len()
    );
    Ok(all.findings.is_empty() && failed.is_empty())
}

fn program() -> Result<PathBuf> {
    std::env::current_exe().map_err(Error::io("the path of this program"))
}

/// Records workloads on every kind that this machine has; the fixtures keep what they hold of other kinds.
fn record(list: &[Script], options: &Options) -> Result<bool> {
    for path in sweep() {
        eprintln!("removed {}, left by a run that was killed", path.display());
    }
    let (usable, lacking) = usable(options.kinds.iter().copied());
    lacking.iter().for_each(|line| eprintln!("{line}"));
    let jobs: Vec<(&Script, &Kind)> = list.iter().flat_map(|s| usable.iter().map(move |k| (s, *k))).collect();
    let (next, program) = (AtomicUsize::new(0), program()?);
    let failed = Mutex::new(Vec::new());
    let files = Mutex::new(());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                while let Some((script, kind)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let done = record_one(script, kind, &program, options).and_then(|of_kind| {
                        let _held = files.lock();
                        keep(script, of_kind)
                    });
                    if let Err(e) = done {
                        eprintln!("{} on {}: {e}", script.name, kind.name);
                        if let Ok(mut failed) = failed.lock() {
                            failed.push(format!("{} on {}", script.name, kind.name));
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    Ok(failed.is_empty() && usable.len() == options.kinds.len())
}

/// The kinds that differ little from another are run with few variants.
fn depth(kind: &Kind, wait: bool) -> Depth {
    match kind.name {
        "ext4-nodelalloc" | "ext4-dioread_lock" | "ext4-noauto" | "ext4-writeback-lock" => Depth::Few,
        "btrfs" => Depth::Committing,
        _ if wait && kind.commits => Depth::Waiting,
        _ => Depth::All,
    }
}

fn record_one(script: &Script, kind: &Kind, program: &Path, options: &Options) -> Result<OfKind> {
    let begun = std::time::Instant::now();
    let mut list = variants(script, depth(kind, options.wait))?;
    list.retain(|variant| options.wait || !variant.name.starts_with("wait"));
    let runs: Vec<_> = observe(&list, kind, program, options.limit)?.into_iter().flatten().collect();
    let images: usize = runs.iter().map(|run| run.images).sum();
    let secs = begun.elapsed().as_secs_f64();
    println!("{:32} {:20} {:3} runs {images:6} images {secs:6.1} s", script.name, kind.name, runs.len());
    Ok(OfKind { kind: kind.name.into(), kernel: release(), runs })
}

fn keep(script: &Script, new: OfKind) -> Result<()> {
    let path = fixture_path(&script.name);
    let mut fixture = Fixture { script: script.clone(), kinds: Vec::new() };
    if let Ok(text) = std::fs::read_to_string(&path)
        && let Ok(old) = Fixture::parse(&script.name, &text)
        && old.script.to_string() == script.to_string()
    {
        fixture.kinds = old.kinds;
    }
    fixture.kinds.retain(|of_kind| of_kind.kind != new.kind || of_kind.kernel != new.kernel);
    fixture.kinds.push(new);
    let place = |name: &str| kinds().iter().position(|kind| kind.name == name);
    fixture.kinds.sort_by_key(|of_kind| (place(&of_kind.kind), of_kind.kernel.clone()));
    let new_path = path.with_extension("new");
    std::fs::write(&new_path, fixture.text()).map_err(Error::io("a fixture"))?;
    std::fs::rename(&new_path, &path).map_err(Error::io("a fixture"))
}

fn check_named(names: &[&str]) -> Result<bool> {
    let list = fixtures()?;
    let asked = list.iter().filter(|f| names.is_empty() || names.contains(&f.script.name.as_str()));
    let all = check_all(asked, None, &|_| true)?;
    for finding in &all.findings {
        println!("{finding}");
    }
    for model in &all.unmodelled {
        println!("*not measured*: no model {model}");
    }
    println!(
        "{} runs, {} crash images: {} real states outside their model, and {} that are known to be",
        all.runs,
        all.images,
        all.findings.len(),
        all.known.len()
    );
    Ok(all.findings.is_empty())
}

fn unseen(name: &str, kind_name: &str) -> Result<bool> {
    let kind = kind(kind_name).ok_or_else(|| usage("no such kind"))?;
    let list = fixtures()?;
    let fixture = list.iter().find(|f| f.script.name == name).ok_or_else(|| usage("no such workload"))?;
    let of_kind = fixture.kinds.iter().find(|of_kind| of_kind.kind == kind_name);
    let runs = of_kind.map_or(&[][..], |of_kind| &of_kind.runs);
    match tightness(&fixture.script, runs, kind)? {
        Some(found) => {
            found.seen.iter().for_each(|tree| println!("seen      {tree}"));
            found.unseen.iter().for_each(|tree| println!("not shown {tree}"));
        }
        None => println!("*not measured*: no model {}", kind.model),
    }
    Ok(true)
}

/// One script, on one kind, as one variant: trees, moments, and what the model says of them.
fn run(file: &str, kind_name: &str, variant_name: &str) -> Result<bool> {
    let kind = kind(kind_name).ok_or_else(|| usage("no such kind"))?;
    let missing = missing(kind);
    if !missing.is_empty() {
        println!("*not measured*: missing {}", missing.join(", "));
        return Ok(false);
    }
    let text = std::fs::read_to_string(file).map_err(Error::io(file))?;
    let script = Script::parse(file, &text)?;
    let variant = variant(&script, variant_name)?.ok_or_else(|| usage("no such variant"))?;
    let observed = observe(std::slice::from_ref(&variant), kind, &program()?, 400)?.pop().flatten();
    let Some(observed) = observed else {
        println!("{kind_name} does not have such a step");
        return Ok(false);
    };
    print!("{}", variant.script);
    println!("{} images", observed.images);
    observed.trees.iter().for_each(|(tree, moments)| println!("seen     {moments:12} {tree}"));
    let Some(model) = unplug_faults::model::by_name(kind.model) else {
        println!("*not measured*: no model {}", kind.model);
        return Ok(false);
    };
    let modelled = modelled(&variant.script, model, None)?;
    let unseen = modelled.iter().filter(|(tree, _)| !observed.trees.contains_key(*tree));
    unseen.for_each(|(tree, moments)| println!("modelled {moments:12} {tree}"));
    let found = misses(&observed.trees, &modelled);
    found.iter().for_each(|miss| println!("OUTSIDE  {:12} {}", miss.moments.to_string(), miss.tree));
    Ok(found.is_empty())
}

fn write_table() -> Result<bool> {
    let path = home().join("../../docs/ground-truth.md");
    let fixtures = fixtures()?;
    let checked = check_all(&fixtures, None, &|_| true)?;
    let page = table::page(&fixtures, &checked, &rules::section(&fixtures)?)?;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(Error::io("docs"))?;
    }
    std::fs::write(&path, page).map_err(Error::io("docs/ground-truth.md"))?;
    Ok(true)
}

fn needs() -> Result<bool> {
    let mut all = true;
    for kind in kinds() {
        let missing = missing(kind);
        all &= missing.is_empty();
        let what = if missing.is_empty() { "can be measured".into() } else { missing.join(", ") };
        println!("{:20} {what}", kind.name);
    }
    Ok(all)
}
