//! What was measured, and what follows from it.

use std::{collections::BTreeMap, time::Duration};

use super::{App, Way};
use crate::{Error, bench::report::Row};

/// How much time is between two starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Spacing {
    /// None.
    BackToBack,
    /// 150 ms.
    Spaced,
}

/// All durations, by application, what was started, and spacing.
#[derive(Debug, Default)]
pub(crate) struct Series {
    taken: BTreeMap<(usize, Way, Spacing), Vec<Duration>>,
    cpu: BTreeMap<(usize, Way), Duration>,
}

type Ratios = BTreeMap<String, f64>;

// === impl Series ===

impl Series {
    pub(super) fn add(&mut self, key: (usize, Way, Spacing), taken: Duration) {
        self.taken.entry(key).or_default().push(taken);
    }

    pub(super) fn cpu(&mut self, key: (usize, Way), each: Duration) {
        self.cpu.insert(key, each);
    }

    /// The rows, and the ratios that are promised in SPEC.md.
    pub(super) fn report(self, apps: &[App], tool: Option<&str>) -> Result<(Vec<Row>, Ratios), Error> {
        let mut rows = Vec::new();
        let mut medians = BTreeMap::new();
        for (&(app, way, spacing), taken) in &self.taken {
            let what = match way {
                Way::Bare => "bare exec",
                Way::Hit => "updraft, pool hit",
                Way::Miss => "updraft, pool miss",
                Way::Runc => "runc",
                Way::Tool => tool.unwrap_or("tool"),
            };
            let when = if spacing == Spacing::Spaced { ", spaced" } else { "" };
            let mut row = Row::of(&format!("{}: {what}{when}", apps[app].name), taken.clone())?;
            // Taken in a run of its own, spaced.
            if spacing == Spacing::Spaced {
                row.cpu_ms = self.cpu.get(&(app, way)).map(|each| each.as_secs_f64() * 1e3);
            }
            medians.insert((app, way, spacing), row.p50_ms);
            rows.push(row);
        }
        let names: Vec<&str> = apps.iter().map(|app| app.name).collect();
        Ok((rows, ratios(&names, &medians)))
    }
}

fn ratios(names: &[&str], medians: &BTreeMap<(usize, Way, Spacing), f64>) -> Ratios {
    use Spacing::{BackToBack, Spaced};
    let over = |app: &str, upper: (Way, Spacing), lower: (Way, Spacing)| {
        let app = names.iter().position(|name| *name == app)?;
        let median = |(way, spacing)| medians.get(&(app, way, spacing));
        Some(median(upper)? / median(lower)?)
    };
    let wanted = [
        ("hit_vs_bare_exec", "static", (Way::Hit, BackToBack), (Way::Bare, BackToBack)),
        ("spaced_hit_vs_bare_exec", "static", (Way::Hit, Spaced), (Way::Bare, Spaced)),
        ("miss_vs_bare_exec", "static", (Way::Miss, BackToBack), (Way::Bare, BackToBack)),
        ("spaced_miss_vs_bare_exec", "static", (Way::Miss, Spaced), (Way::Bare, Spaced)),
        ("runc_vs_hit", "static", (Way::Runc, BackToBack), (Way::Hit, BackToBack)),
        ("spaced_runc_vs_hit", "static", (Way::Runc, Spaced), (Way::Hit, Spaced)),
        ("docker_vs_hit", "static", (Way::Tool, Spaced), (Way::Hit, Spaced)),
        ("python_overhead", "python", (Way::Hit, Spaced), (Way::Bare, Spaced)),
        ("node_overhead", "node", (Way::Hit, Spaced), (Way::Bare, Spaced)),
    ];
    wanted
        .into_iter()
        .filter_map(|(name, app, upper, lower)| Some((name.to_owned(), over(app, upper, lower)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_there_only_if_both_of_its_series_are() {
        let key = |way| (0, way, Spacing::BackToBack);
        let medians = BTreeMap::from([(key(Way::Bare), 2.0), (key(Way::Hit), 3.0), (key(Way::Runc), 60.0)]);
        let told = ratios(&["static"], &medians);
        assert_eq!(told.keys().collect::<Vec<_>>(), ["hit_vs_bare_exec", "runc_vs_hit"]);
        assert_eq!((told["hit_vs_bare_exec"], told["runc_vs_hit"]), (1.5, 20.0));
    }
}
