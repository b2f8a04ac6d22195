//! The table at the end: one row a cell.

use super::{Look, number};
use crate::cell::CellResult;
use crate::verdict::Verdict;
use comfy_table::{CellAlignment, Table, presets};

const HEAD: [&str; 8] =
    ["policy", "phase", "model", "legal states", "checked", "images", "worst loss", "verdict"];

/// The verdict in words.
pub fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::Violated => "violated",
        Verdict::NotMeasured => "not measured",
        Verdict::HarnessBroken => "harness broken",
    }
}

/// All cells.
pub fn table(cells: &[CellResult], look: Look) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(HEAD);
    for cell in cells {
        // `all` where checked equals legal by proof, not by chance.
        let checked = number::grouped(cell.states_checked);
        let checked = if cell.exhaustive { format!("{checked} (all)") } else { checked };
        table.add_row([
            cell.configuration(),
            cell.phase.clone(),
            cell.model.clone(),
            number::count(&cell.legal_states),
            checked,
            number::grouped(cell.images_recovered),
            number::loss(cell.worst_loss, cell.exhaustive),
            painted(cell.verdict, look),
        ]);
    }
    for right in 3..7 {
        if let Some(column) = table.column_mut(right) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    // comfy-table pads the last column too; trailing blanks would make diffs of reports unreadable.
    table.to_string().lines().map(|l| format!("{}\n", l.trim_end())).collect()
}

/// Policies and phases against models, each with its verdict alone: where it is violated, at a glance. `None` where
/// there is nothing to compare, or nothing but what holds.
pub fn matrix(cells: &[CellResult], look: Look) -> Option<String> {
    let mut models: Vec<&str> = Vec::new();
    let mut places: Vec<(String, &str)> = Vec::new();
    for cell in cells {
        if !models.contains(&cell.model.as_str()) {
            models.push(&cell.model);
        }
        let place = (cell.configuration(), cell.phase.as_str());
        if !places.contains(&place) {
            places.push(place);
        }
    }
    if models.len() < 2 || cells.iter().all(|cell| cell.verdict == Verdict::Holds) {
        return None;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["policy", "phase"].iter().chain(&models));
    for (run, phase) in places {
        // Of several runs of one policy (slow syncs, say) the gravest stands.
        let verdict = |model: &&str| {
            let here = |c: &&CellResult| {
                (c.configuration(), c.phase.as_str(), &c.model.as_str()) == (run.clone(), phase, model)
            };
            cells.iter().filter(here).map(|c| c.verdict).max().map_or("-".into(), |v| painted(v, look))
        };
        let row = [run.clone(), phase.to_owned()];
        table.add_row(row.into_iter().chain(models.iter().map(verdict)));
    }
    Some(table.to_string().lines().map(|l| format!("{}\n", l.trim_end())).collect())
}

fn painted(verdict: Verdict, look: Look) -> String {
    let name = verdict_name(verdict);
    match verdict {
        Verdict::Holds => look.paint(name, |s| s.green()),
        Verdict::NotMeasured => look.paint(name, |s| s.yellow()),
        Verdict::Violated | Verdict::HarnessBroken => look.paint(name, |s| s.red().bold()),
    }
}
