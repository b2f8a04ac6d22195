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
            cell.policy.clone(),
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

fn painted(verdict: Verdict, look: Look) -> String {
    let name = verdict_name(verdict);
    match verdict {
        Verdict::Holds => look.paint(name, |s| s.green()),
        Verdict::NotMeasured => look.paint(name, |s| s.yellow()),
        Verdict::Violated | Verdict::HarnessBroken => look.paint(name, |s| s.red().bold()),
    }
}
