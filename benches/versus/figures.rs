//! Figures of both servers, as ratios.

/// One figure, measured on both in turn.
#[derive(Default)]
pub(crate) struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    /// One turn's figures: the engine's and Redis's.
    pub(crate) fn push(&mut self, engine: f64, redis: f64) {
        self.0.push((engine, redis));
    }

    fn median(mut all: Vec<f64>) -> f64 {
        all.sort_unstable_by(f64::total_cmp);
        match all.len() {
            0 => f64::NAN,
            len if len.is_multiple_of(2) => f64::midpoint(all[len / 2 - 1], all[len / 2]),
            len => all[len / 2],
        }
    }

    /// The medians: the engine's, Redis's, and that of the ratios of turns.
    fn medians(&self) -> (f64, f64, f64) {
        let of = |f: fn(&(f64, f64)) -> f64| Self::median(self.0.iter().map(f).collect());
        (of(|p| p.0), of(|p| p.1), of(|p| p.0 / p.1))
    }
}

/// What the ratio is to be.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// Prints a row of the table.
pub(crate) fn row(name: &str, unit: &str, pairs: &Pairs, goal: Goal) {
    let (engine, redis, ratio) = pairs.medians();
    let (goal, met) = match goal {
        Goal::AtLeast(x) => (format!(">= {x}"), ratio >= x),
        Goal::AtMost(x) => (format!("<= {x}"), ratio <= x),
    };
    let met = if met { "yes" } else { "**no**" };
    println!("| {name} | {} | {} | {ratio:.2} | {goal} | {met} |", shown(engine, unit), shown(redis, unit));
}

/// The table's head.
pub(crate) fn head() {
    println!("| measured | engine | redis | ratio | goal | met |\n|---|---:|---:|---:|---|---|");
}

/// A row for what could not be measured.
pub(crate) fn not_measured(name: &str, error: &dyn std::fmt::Display) {
    println!("| {name} | not measured: {error} | | | | |");
}

fn shown(value: f64, unit: &str) -> String {
    match value {
        v if v >= 10_000.0 => format!("{:.0} k{unit}", v / 1_000.0),
        v if v >= 100.0 => format!("{v:.0} {unit}"),
        v => format!("{v:.2} {unit}"),
    }
}
