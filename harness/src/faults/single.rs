//! Which faults can befall which call.

use super::asked::{Kind, Wanted};
use super::census::{Census, Site};
use unplug_faults::plan::{Call, Outcome, Plan, Role, Rule};

/// One fault to be tried: a plan, and what group of results it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Single {
    /// The plan.
    pub plan: Plan,
    /// The group.
    pub group: Group,
}

/// Results that are shown together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// A call fails.
    Errors,
    /// A call moves less than it was asked to.
    Short,
    /// A call begins late.
    Delays,
    /// The disk fills.
    Full,
    /// A child process is killed.
    ChildKilled,
    /// The rules of a file.
    Plan,
}

impl Group {
    /// The name in the report, where a phase's would stand.
    pub fn name(self) -> &'static str {
        match self {
            Group::Errors => "fault: error",
            Group::Short => "fault: short",
            Group::Delays => "fault: delay",
            Group::Full => "fault: disk full",
            Group::ChildKilled => "fault: child killed",
            Group::Plan => "fault: plan",
        }
    }
}

/// The errors that a call can fail with, by its manual page. Most programs treat most of them alike: such runs are made
/// and not crashed again, see [`super::trim::fingerprint`].
fn errors(call: Call) -> &'static [i32] {
    use libc::{EAGAIN, ECONNRESET, EDQUOT, EINTR, EIO, EMFILE, ENOMEM, ENOSPC, EPIPE};
    match call.name() {
        "open" => &[EIO, ENOSPC, EMFILE, EDQUOT, ENOMEM, EINTR],
        "write" => &[EIO, ENOSPC, EINTR, EDQUOT, EAGAIN],
        "fsync" | "fdatasync" => &[EIO, ENOSPC, EDQUOT, EINTR],
        "sync_file_range" => &[EIO, ENOSPC, ENOMEM],
        "sync" => &[EIO, ENOSPC, EDQUOT],
        "msync" => &[EIO, ENOMEM],
        "truncate" => &[EIO, EINTR],
        "fallocate" => &[ENOSPC, EIO, EDQUOT, EINTR],
        "rename" | "link" | "symlink" | "mkdir" => &[EIO, ENOSPC, EDQUOT, ENOMEM],
        "unlink" => &[EIO, ENOMEM],
        "copy" => &[EIO, ENOSPC, EDQUOT, ENOMEM],
        "fork" => &[EAGAIN, ENOMEM],
        "send" => &[EPIPE, EAGAIN, EINTR, ECONNRESET, ENOMEM],
        "recv" => &[ECONNRESET, EAGAIN, EINTR, ENOMEM],
        "read" => &[EIO, EINTR],
        "open-read" => &[EIO, EMFILE, ENOMEM, EINTR],
        _ => &[],
    }
}

/// The single faults of a census: over every call, or over one of each class.
pub(crate) fn singles(census: &Census, wanted: &Wanted, every: bool) -> Vec<Single> {
    let mut out = Vec::new();
    for site in census.sites.iter().filter(|s| every || s.representative) {
        for errno in errors(site.call) {
            put(&mut out, site, wanted, Outcome::Errno(*errno), Group::Errors);
        }
        if site.call.moves_bytes() {
            put(&mut out, site, wanted, Outcome::Short(0), Group::Short);
        }
        for outcome in wanted.delays(site.call) {
            put(&mut out, site, wanted, outcome, Group::Delays);
        }
        if site.role == Role::Child && wanted.has(None, Kind::Kill) && !site.call.reads() {
            let plan = Plan::single(site.rule(Outcome::Kill));
            out.push(Single { plan, group: Group::ChildKilled });
        }
    }
    out
}

fn put(out: &mut Vec<Single>, site: &Site, wanted: &Wanted, outcome: Outcome, group: Group) {
    if wanted.has(Some(site.call), Kind::Call(outcome)) {
        out.push(Single { plan: Plan::single(site.rule(outcome)), group });
    }
}

/// Disks that fill after a quarter, a half and three quarters of what a run wrote, for good or for three calls.
pub(crate) fn full_disks(bytes: u64, wanted: &Wanted) -> Vec<Single> {
    if !wanted.has(None, Kind::Full) || bytes < 8 {
        return Vec::new();
    }
    let disk = |quarters: u64, refusals| Single {
        plan: Plan::single(Rule {
            calls: Call::recorded().filter(|c| ["write", "fallocate"].contains(&c.name())).collect(),
            path: "*".to_owned(),
            nth: unplug_faults::plan::Nth::ALL,
            role: Role::Any,
            outcome: Outcome::Full { bytes: bytes / 4 * quarters, refusals },
        }),
        group: Group::Full,
    };
    (1..4).flat_map(|quarters| [disk(quarters, 0), disk(quarters, 3)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Asked;

    fn site(call: &str, role: Role, representative: bool) -> Site {
        let (call, path) = (call.parse().unwrap(), "f".to_owned());
        Site { call, path, role, nth: 1, phase: "append".to_owned(), representative }
    }

    fn texts(wanted: &str, every: bool) -> Vec<String> {
        let sites = vec![
            site("write", Role::Main, true),
            site("write", Role::Main, false),
            site("fsync", Role::Child, false),
            site("fork", Role::Main, true),
        ];
        let Asked::Sweep(wanted) = wanted.parse().unwrap() else { panic!("a sweep") };
        singles(&Census { sites }, &wanted, every).iter().map(|s| s.plan.to_string()).collect()
    }

    #[test]
    fn every_call_has_its_own_faults() {
        let all = texts("all", true);
        let has = |text: &str| all.iter().filter(|t| t.as_str() == text).count();
        assert_eq!(has("write f EIO in=main"), 2);
        assert_eq!(has("write f EDQUOT in=main"), 2);
        assert_eq!(has("write f short in=main"), 2);
        assert_eq!(has("fsync f kill in=child"), 1);
        assert_eq!(has("fork f EAGAIN in=main"), 1);
    }

    #[test]
    fn of_a_list_only_what_it_names_and_only_representatives_where_that_is_asked() {
        assert_eq!(texts("fsync:EIO", true), ["fsync f EIO in=child"]);
        assert_eq!(texts("EIO", false), ["write f EIO in=main"]);
        assert_eq!(texts("short", false), ["write f short in=main"]);
        assert_eq!(texts("fsync:delay=1.5s", true), ["fsync f delay=1500ms in=child"]);
    }

    #[test]
    fn disks_fill_at_three_points_for_good_or_for_a_while() {
        let Asked::Sweep(wanted) = "full".parse().unwrap() else { panic!("a sweep") };
        let plans: Vec<String> = full_disks(400, &wanted).iter().map(|s| s.plan.to_string()).collect();
        assert_eq!(plans.len(), 6);
        assert_eq!(plans[1], "write,fallocate * full=100 until=3 nth=all");
        assert_eq!(full_disks(3, &wanted), []);
    }
}
