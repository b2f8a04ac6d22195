//! How the store under test is configured: a variant, and options by name.

use super::args::SubjectArgs;
use super::failure::Failure;
use super::plan::Subject;
use crate::target::options::{self, Of, OptionError, ServerOption, engine_config, join};
use crate::target::policy::Policy;
use crate::target::resp::RespTarget;
use crate::target::variant::{VARIANTS, Variant};
use crate::workload::Workload;
use crate::workload::resp::Shape;

/// A configuration that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The variant that it begins with.
    pub variant: &'static Variant,
    /// Options of the server that is recorded.
    pub set: Vec<ServerOption>,
    /// Options in which the server that recovers differs.
    pub recover: Vec<ServerOption>,
}

/// The models that are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Their names.
    pub(super) models: &'a [String],
    /// Whether they were named: where not, it is the usual ones.
    pub(super) named: bool,
}

impl Configuration {
    /// A variant with the options of the command line, checked as far as they are known.
    ///
    /// # Errors
    /// [`Failure::Usage`] for an option that is none.
    pub(super) fn of(
        variant: &'static Variant,
        args: &SubjectArgs,
        subject: &Subject,
        policies: &[Policy],
    ) -> Result<Configuration, Failure> {
        let read = |name: &str, texts: &[String], of| {
            let wrong = |e: OptionError| refused(name, &e.to_string());
            options::parse(texts, of).map_err(wrong)
        };
        let set = read("--set", &args.set, Of::Recorded)?;
        let recover = read("--recover-set", &args.recover_set, Of::Recovering)?;
        if matches!(subject, Subject::Command(_)) && !(set.is_empty() && recover.is_empty()) {
            return Err(Failure::usage(
                "--set and --recover-set are for servers: a command takes its own options".into(),
                "write them into --run, or leave them out".into(),
            ));
        }
        let set = join(&variant.options(), &set);
        let recover = join(&variant.recovery(), &recover);
        if *subject == Subject::Engine {
            for policy in policies {
                let known = |name: &str, options: &[ServerOption]| {
                    engine_config(*policy, options).map(drop).map_err(|e| refused(name, &e.to_string()))
                };
                known("--set", &set)?;
                known("--recover-set", &join(&set, &recover))?;
            }
        }
        Ok(Configuration { variant, set, recover })
    }

    /// Those of the policies to which it makes a difference.
    pub(super) fn policies(&self, wanted: &[Policy]) -> Vec<Policy> {
        wanted.iter().copied().filter(|policy| self.variant.policies.contains(policy)).collect()
    }

    /// Those of the models under which anything is promised here.
    pub(super) fn models(&self, wanted: Wanted<'_>) -> Vec<String> {
        match self.variant.documented() {
            None => wanted.models.to_vec(),
            Some(names) if !wanted.named => names.iter().map(|name| (*name).to_owned()).collect(),
            Some(names) => wanted.models.iter().filter(|m| names.contains(&m.as_str())).cloned().collect(),
        }
    }

    /// Policies and models that are left of those that are wanted.
    pub(super) fn cells(&self, policies: &[Policy], wanted: Wanted<'_>) -> Vec<(Policy, String)> {
        let of = |policy: Policy| self.models(wanted).into_iter().map(move |model| (policy, model));
        self.policies(policies).into_iter().flat_map(of).collect()
    }

    /// Why nothing of it can be run.
    pub(super) fn says_nothing(&self) -> Failure {
        let Variant { name, summary, policies, .. } = self.variant;
        let policies: Vec<&str> = policies.iter().map(|p| p.name()).collect();
        let models = self.variant.documented();
        let models = models.map(|models| format!(", under the models {} only", models.join(" and ")));
        Failure::usage(
            format!("--variant {name}: nothing is promised where it was asked for ({summary})"),
            format!("it is for the policies {}{}", policies.join(", "), models.unwrap_or_default()),
        )
    }

    /// Configures a target.
    pub(super) fn apply(&self, target: &mut RespTarget) {
        target.extra.clone_from(&self.set);
        target.recover.clone_from(&self.recover);
        target.origin = self.variant.origin;
        target.variant = (!self.variant.is_usual()).then(|| self.variant.name.to_owned());
    }

    /// The workload of a policy.
    pub(super) fn workload(&self, policy: Policy, ops: u32, seed: u64) -> Workload {
        let Variant { course, all_types, .. } = *self.variant;
        Shape { course, all_types, tour: true, ..Shape::new(policy, u64::from(ops)) }.generate(seed)
    }
}

fn refused(option: &str, why: &str) -> Failure {
    Failure::usage(
        format!("{option} {why}"),
        "give options as redis.conf has them; `unplug engine --help` has those that are the engine's own"
            .into(),
    )
}

/// The variant of this name; the default one for none.
///
/// # Errors
/// [`Failure::Usage`] that lists them.
pub(super) fn variant(name: &str, subject: &Subject) -> Result<&'static Variant, Failure> {
    if name.is_empty() {
        return Ok(Variant::usual());
    }
    if *subject != Subject::Engine {
        return Err(Failure::usage(
            format!("--variant {name}: variants are the embedded engine's"),
            "for another server, give its options with --set NAME=VALUE".into(),
        ));
    }
    Variant::named(name).ok_or_else(|| {
        let list: String = VARIANTS.iter().map(|v| format!("\n    {:<18} {}", v.name, v.summary)).collect();
        Failure::usage(format!("no variant is called '{name}'"), format!("the variants are{list}"))
    })
}

/// The variants of these names, in the table's order; the default one for none.
pub(super) fn variants(names: &[String], subject: &Subject) -> Result<Vec<&'static Variant>, Failure> {
    if names.is_empty() {
        return Ok(vec![Variant::usual()]);
    }
    let named = names.iter().filter(|name| *name != ALL).map(|name| variant(name, subject));
    let named = named.collect::<Result<Vec<_>, _>>()?;
    let all = names.iter().any(|name| name == ALL);
    if all {
        // Only to say whose they are.
        variant(Variant::usual().name, subject)?;
    }
    Ok(VARIANTS.iter().filter(|v| all || named.contains(v)).collect())
}

/// As a variant's name: every one.
const ALL: &str = "all";
