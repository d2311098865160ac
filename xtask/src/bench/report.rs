//! What a bench says.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde::Serialize;

use super::{
    machine::Machine,
    stats::{ms, percentile},
};
use crate::Error;

/// The outcome of a bench.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where.
    pub(crate) machine: Machine,
    /// What was measured.
    pub(crate) rows: Vec<Row>,
    /// What counts: name → figure.
    pub(crate) ratios: BTreeMap<String, f64>,
    /// What else was asked for: name → figure.
    #[serde(flatten)]
    pub(crate) figures: BTreeMap<String, f64>,
}

/// A series of durations.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// Of what.
    pub(crate) name: String,
    /// How many.
    pub(crate) n: usize,
    /// The shortest, in milliseconds.
    pub(crate) min_ms: f64,
    /// The median.
    pub(crate) p50_ms: f64,
    /// Nine in ten were not longer.
    pub(crate) p90_ms: f64,
    /// 99 in a hundred were not longer.
    pub(crate) p99_ms: f64,
    /// The longest.
    pub(crate) max_ms: f64,
    /// CPU time of each, in milliseconds, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_ms: Option<f64>,
    /// How many there were in a second, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_s: Option<f64>,
}

// === impl Row ===

impl Row {
    /// The row of a series.
    ///
    /// # Errors
    /// When the series is empty: then nothing was measured.
    pub(crate) fn of(name: &str, mut series: Vec<Duration>) -> Result<Self, Error> {
        series.sort();
        let at = |share: usize| -> Result<f64, Error> {
            let value = percentile(&series, share).ok_or_else(|| format!("{name}: no figure was taken"))?;
            Ok(ms(value))
        };
        Ok(Self {
            name: name.to_owned(),
            n: series.len(),
            min_ms: at(0)?,
            p50_ms: at(50)?,
            p90_ms: at(90)?,
            p99_ms: at(99)?,
            max_ms: at(100)?,
            cpu_ms: None,
            per_s: None,
        })
    }
}

// === impl Report ===

impl Report {
    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        let Machine { cpus, cpu, kernel, load } = &self.machine;
        let _ = writeln!(out, "{cpus} × {cpu}, Linux {kernel}, load {load}");
        let head = ["n", "min ms", "p50 ms", "p90 ms", "p99 ms", "max ms", "CPU ms", "per s"];
        let head: String = head.map(|column| format!("{column:>10}")).concat();
        let _ = writeln!(out, "{:<48}{}", "", head.trim_end());
        for row in &self.rows {
            let Row { name, n, min_ms, p50_ms, p90_ms, p99_ms, max_ms, cpu_ms, per_s } = row;
            let times = [Some(*min_ms), Some(*p50_ms), Some(*p90_ms), Some(*p99_ms), Some(*max_ms), *cpu_ms, *per_s];
            let times = times.map(|time| format!("{:>10}", time.map(figure).unwrap_or_default())).concat();
            let _ = writeln!(out, "{name:<48}{n:>10}{}", times.trim_end());
        }
        for (name, ratio) in &self.ratios {
            let _ = writeln!(out, "{name:<48}{:>10}×", figure(*ratio));
        }
        for (name, value) in &self.figures {
            let _ = writeln!(out, "{name:<48}{:>10}", figure(*value));
        }
        out
    }

    /// For programs: one line.
    pub(crate) fn json(&self, bench: &str) -> Result<String, Error> {
        let mut object = serde_json::to_value(self)?;
        if let Some(object) = object.as_object_mut() {
            object.insert("bench".to_owned(), bench.into());
        }
        Ok(serde_json::to_string(&object)?)
    }
}

/// Hundredths; of what is small as many places as tell something, of what is large none.
fn figure(value: f64) -> String {
    match value.abs() {
        small if small > 0.0 && small < 0.1 => format!("{value:.4}"),
        large if large >= 10_000.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_the_middle_and_the_ends() {
        let series = (1..=11).rev().map(Duration::from_millis).collect();
        let row = Row::of("x", series).expect("not empty");
        assert_eq!((row.min_ms, row.p50_ms, row.p90_ms, row.max_ms), (1.0, 6.0, 10.0, 11.0));
        assert!(Row::of("nothing", Vec::new()).is_err());
    }
}
