//! What a bench says.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde::Serialize;

use super::machine::Machine;
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
            let index = (series.len().saturating_sub(1)) * share / 100;
            let value = series.get(index).ok_or_else(|| format!("{name}: no figure was taken"))?;
            Ok(value.as_secs_f64() * 1e3)
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
        let _ = writeln!(
            out,
            "{:<44}{:>6}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "", "n", "min ms", "p50 ms", "p90 ms", "p99 ms", "max ms", "CPU ms"
        );
        for Row { name, n, min_ms, p50_ms, p90_ms, p99_ms, max_ms, cpu_ms } in &self.rows {
            let cpu = cpu_ms.map(|cpu| format!("{cpu:.2}")).unwrap_or_default();
            let middle = format!("{p50_ms:>10.2}{p90_ms:>10.2}{p99_ms:>10.2}");
            let _ = writeln!(out, "{name:<44}{n:>6}{min_ms:>10.2}{middle}{max_ms:>10.2}{cpu:>10}");
        }
        for (name, ratio) in &self.ratios {
            let _ = writeln!(out, "{name:<44}{ratio:>8.2}×");
        }
        for (name, figure) in &self.figures {
            let _ = writeln!(out, "{name:<44}{figure:>8.2}");
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
