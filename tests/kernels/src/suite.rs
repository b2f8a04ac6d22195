//! The workloads and fixtures of this package, checked against the models.

use crate::compare::{Miss, matches, misses};
use crate::fixture::{Fixture, OfKind};
use crate::kernel::{Kind, kind};
use crate::known::{KNOWN, apart};
use crate::modelled::{Wrong, modelled};
use crate::observe::{Observed, Trees};
use crate::script::Script;
use crate::variant::{Depth, Variant, variants};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use unplug_faults::model;

/// This package's directory.
pub fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn texts(dir: &Path) -> Result<Vec<(String, String)>> {
    let entries = fs::read_dir(dir).map_err(Error::at(dir))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        fs::read_to_string(path).map(|text| (name, text)).map_err(Error::at(path))
    };
    paths.iter().map(read).collect()
}

/// The hand-written workloads, by name.
///
/// # Errors
/// A file does not read.
pub fn workloads() -> Result<Vec<Script>> {
    texts(&home().join("workloads"))?.iter().map(|(name, text)| Script::parse(name, text)).collect()
}

/// Where a workload's observations are kept.
pub fn fixture_path(name: &str) -> PathBuf {
    home().join("observed").join(format!("{name}.txt"))
}

/// All recorded observations, by name.
///
/// # Errors
/// A file does not read.
pub fn fixtures() -> Result<Vec<Fixture>> {
    texts(&home().join("observed"))?.iter().map(|(name, text)| Fixture::parse(name, text)).collect()
}

/// A real tree outside its model, with all that is needed to see it again.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The workload.
    pub workload: String,
    /// The file system.
    pub kind: String,
    /// The kernel.
    pub kernel: String,
    /// The variant.
    pub variant: Variant,
    /// The tree and its moments.
    pub miss: Miss,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { workload, kind, kernel, variant, miss } = self;
        writeln!(f, "{workload}, {kind} on {kernel}, variant {}:", variant.name)?;
        writeln!(f, "    {} at {}", miss.tree, miss.moments)?;
        let script = variant.script.to_string();
        script.lines().try_for_each(|line| writeln!(f, "        {line}"))
    }
}

/// The outcome of a check.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Real trees outside their model.
    pub findings: Vec<Finding>,
    /// The same, of those that are [known](crate::known).
    pub known: Vec<Finding>,
    /// Kinds that no model of this build stands for.
    pub unmodelled: BTreeSet<String>,
    /// Runs that were compared, and their crash images.
    pub runs: usize,
    /// Crash images behind them.
    pub images: usize,
    /// The trees that they held, each once a run.
    pub trees: usize,
}

impl Checked {
    /// Adds another check's outcome.
    pub fn join(&mut self, other: Checked) {
        self.findings.extend(other.findings);
        self.known.extend(other.known);
        self.unmodelled.extend(other.unmodelled);
        self.runs += other.runs;
        self.images += other.images;
        self.trees += other.trees;
    }
}

/// [`check`] of many, on all cores; the outcome is in the fixtures' order.
///
/// # Errors
/// The first that a check gives.
pub fn check_all<'f>(
    fixtures: impl IntoIterator<Item = &'f Fixture>,
    wrong: Option<Wrong>,
    wanted: &(dyn Fn(&Kind) -> bool + Sync),
) -> Result<Checked> {
    let fixtures: Vec<&Fixture> = fixtures.into_iter().collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let (n, Some(fixture)) = {
            let n = next.fetch_add(1, Ordering::Relaxed);
            (n, fixtures.get(n))
        } {
            done.push((n, check(fixture, wrong, wanted)));
        }
        done
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap_or_default());
        ended.flatten().collect::<Vec<_>>()
    });
    if done.len() != fixtures.len() {
        return Err(Error::Other("a check gave up".into()));
    }
    done.sort_by_key(|(n, _)| *n);
    let mut all = Checked::default();
    for (_, checked) in done {
        all.join(checked?);
    }
    Ok(all)
}

/// Model states by model and variant: several kinds have one model.
pub type Cache = BTreeMap<(String, u32), Trees>;

/// Holds what was recorded of one workload against the models, or against models made wrong. Only kinds that
/// `wanted` accepts.
///
/// # Errors
/// The fixture was recorded with other scripts than are here now; or a model has too many states.
pub fn check(fixture: &Fixture, wrong: Option<Wrong>, wanted: &dyn Fn(&Kind) -> bool) -> Result<Checked> {
    let script = &fixture.script;
    let known = variants(script, Depth::Committing)?;
    let mut cache = Cache::new();
    let mut checked = Checked::default();
    for of_kind in &fixture.kinds {
        let kind = kind(&of_kind.kind)
            .ok_or_else(|| Error::Other(format!("{}: no kind {}", script.name, of_kind.kind)))?;
        if wanted(kind) {
            check_kind(script, of_kind, kind, &known, wrong, &mut cache, &mut checked)?;
        }
    }
    Ok(checked)
}

fn check_kind(
    script: &Script,
    of_kind: &OfKind,
    kind: &Kind,
    known: &[Variant],
    wrong: Option<Wrong>,
    cache: &mut Cache,
    checked: &mut Checked,
) -> Result<()> {
    let Some(model) = model::by_name(kind.model) else {
        checked.unmodelled.insert(kind.model.into());
        return Ok(());
    };
    for run in &of_kind.runs {
        let variant = known.iter().find(|v| v.name == run.variant);
        let variant = variant.filter(|v| v.script.fingerprint() == run.fingerprint).ok_or_else(|| {
            let (name, variant) = (&script.name, &run.variant);
            Error::Other(format!("{name}: {variant} is recorded of another script: record it again"))
        })?;
        let key = (model.name().to_owned(), run.fingerprint);
        if !cache.contains_key(&key) {
            cache.insert(key.clone(), modelled(&variant.script, model, wrong)?);
        }
        let found = misses(&run.trees, &cache[&key]).into_iter().map(|miss| {
            let (workload, variant) = (script.name.clone(), variant.clone());
            let (kind, kernel) = (of_kind.kind.clone(), of_kind.kernel.clone());
            Finding { workload, kind, kernel, variant, miss }
        });
        let (other, known) = apart(found.collect(), KNOWN);
        checked.findings.extend(other);
        checked.known.extend(known);
        checked.runs += 1;
        checked.images += run.images;
        checked.trees += run.trees.len();
    }
    Ok(())
}

/// How tight a model is for one workload on one file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tightness {
    /// Modelled trees that a kernel has shown.
    pub seen: Vec<String>,
    /// Modelled trees that no kernel has shown so far. They are not wrong for that.
    pub unseen: Vec<String>,
}

/// What was seen of what the model allows for the plain workload at any moment; `None` without a model.
///
/// # Errors
/// The model has too many states.
pub fn tightness(script: &Script, runs: &[Observed], kind: &Kind) -> Result<Option<Tightness>> {
    let Some(model) = model::by_name(kind.model) else { return Ok(None) };
    let shown: BTreeSet<&String> = runs.iter().flat_map(|run| run.trees.keys()).collect();
    let trees = modelled(script, model, None)?;
    // Rubbish is shown by what is no tree of its own.
    let rubbish: Vec<&&String> = shown.iter().filter(|real| !trees.contains_key(**real)).collect();
    let is_shown = |tree: &&String| {
        shown.contains(*tree) || tree.contains('?') && rubbish.iter().any(|real| matches(tree, real))
    };
    let (seen, unseen) = trees.keys().partition::<Vec<&String>, _>(is_shown);
    let own = |list: Vec<&String>| list.into_iter().cloned().collect();
    let (seen, unseen) = (own(seen), own(unseen));
    Ok(Some(Tightness { seen, unseen }))
}
