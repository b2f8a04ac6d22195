//! One finding, told.

use super::Look;
use super::grade::Graded;
use crate::cell::Story;
use crate::verdict::Class;
use std::fmt::Write;

/// How many lines of one paragraph are shown; the repro has them all.
const MOST_LINES: usize = 12;

/// The class's name, as everywhere: kebab-case.
pub fn class_name(class: Class) -> String {
    // The name that serde gives is the one that users see in JSON; a second list could differ from it.
    serde_json::to_value(class).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A finding as paragraphs, numbered.
pub fn finding(number: usize, graded: &Graded<'_>, look: Look) -> String {
    let (cell, found) = (graded.cell, graded.finding);
    let violation = &found.violation;
    let class = look.paint(class_name(violation.class), |s| s.red().bold());
    let mut out = String::new();
    let _ = writeln!(out, "{number}. {class}: {} / {} / {}", cell.configuration(), cell.phase, cell.model);
    let _ = writeln!(out, "   {}", violation.explanation);
    let _ = writeln!(out, "   grade         {}", graded.grade);
    paragraph(&mut out, "states", &graded.seen_in);
    if violation.stricter_than_documented {
        let _ = writeln!(out, "   promise       stricter than what the target documents");
    }
    let _ = writeln!(out, "   mechanism     {}", found.mechanism);
    let _ = writeln!(out, "   crash point   {}", violation.crash_point);
    out.push_str(&story(&found.story, look));
    if let Some(path) = &found.repro {
        let _ = writeln!(out, "   repro         {}", path.display());
    }
    out
}

/// The story alone.
pub fn story(story: &Story, look: Look) -> String {
    let mut out = String::new();
    paragraph(&mut out, "acknowledged", &story.acknowledged);
    paragraph(&mut out, "on the disk", &story.disk);
    paragraph(&mut out, "came back", &story.recovered);
    paragraph(&mut out, "allowed", &story.allowed);
    if let Some(gap) = &story.gap {
        let _ = writeln!(out, "   the gap       {}", look.paint(gap, |s| s.bold()));
    }
    out
}

fn paragraph(out: &mut String, title: &str, lines: &[String]) {
    for (i, line) in lines.iter().take(MOST_LINES).enumerate() {
        let _ = writeln!(out, "   {:<13} {line}", if i == 0 { title } else { "" });
    }
    if lines.len() > MOST_LINES {
        let _ = writeln!(out, "   {:<13} ... and {} more", "", lines.len() - MOST_LINES);
    }
}
