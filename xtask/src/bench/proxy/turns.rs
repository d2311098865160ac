//! What was measured, and what follows from it.

use std::{collections::BTreeMap, time::Duration};

use super::peers::Kind;
use crate::{
    Error,
    bench::{
        load::Spell,
        report::Row,
        stats::{median, ms, percentile},
    },
};

/// Whose turn it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// Nobody's: clients and backend by themselves.
    Direct,
    /// Ours.
    Updraft,
    /// A peer's.
    Peer(Kind),
}

/// What a turn was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Hosts that have a route.
    pub(super) routes: usize,
    /// Connections with a request under way.
    pub(super) concurrency: usize,
    /// Whose it was.
    pub(super) who: Who,
}

/// A turn in figures.
#[derive(Debug, Clone, Copy)]
struct Turn {
    count: usize,
    /// Least, p50, p90, p99, most; in milliseconds.
    times: [f64; 5],
    per_s: f64,
    /// Of each request, in milliseconds.
    cpu_ms: f64,
    /// Of a processor.
    busy: f64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Turns(BTreeMap<Key, Vec<Turn>>);

type Figures = BTreeMap<String, f64>;
type Figure = fn(&Turn) -> f64;

// === impl Who ===

impl Who {
    /// What rows and figures call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "backend direct",
            Self::Updraft => "updraft",
            Self::Peer(kind) => kind.name(),
        }
    }
}

// === impl Turns ===

impl Turns {
    /// Notes a turn, in which the proxy used so much of a processor's time.
    pub(super) fn add(&mut self, key: Key, spell: &Spell, cpu: Duration) -> Result<(), Error> {
        let Spell { taken, time } = spell;
        let at = |share| percentile(taken, share).map(ms).ok_or("no request was answered in a whole turn");
        let turn = Turn {
            count: taken.len(),
            times: [at(0)?, at(50)?, at(90)?, at(99)?, at(100)?],
            per_s: taken.len() as f64 / time.as_secs_f64(),
            cpu_ms: ms(cpu) / taken.len() as f64,
            busy: cpu.as_secs_f64() / time.as_secs_f64(),
        };
        self.0.entry(key).or_default().push(turn);
        Ok(())
    }

    /// Requests of all turns of somebody.
    pub(super) fn count(&self, who: Who) -> usize {
        self.0.iter().filter(|(key, _)| key.who == who).flat_map(|(_, turns)| turns).map(|turn| turn.count).sum()
    }

    /// Rows, ratios, and how busy each was.
    pub(super) fn report(&self) -> Result<(Vec<Row>, Figures, Figures), Error> {
        let rows = self.0.iter().map(|(key, turns)| row(key, turns)).collect::<Result<_, _>>()?;
        let busy = self.0.iter().filter(|(key, _)| key.concurrency == 64 && key.who != Who::Direct);
        let busy = busy.filter_map(|(key, turns)| {
            Some((format!("busy_{}_64_at_{}", key.who.name(), key.routes), median(turns.iter().map(|turn| turn.busy))?))
        });
        Ok((rows, self.ratios(), busy.collect()))
    }

    fn middle(&self, key: Key, figure: Figure) -> Option<f64> {
        median(self.0.get(&key)?.iter().map(figure))
    }

    /// Ours over theirs with the most routes, and ours with the most over ours with one. A peer that is not there has
    /// no ratio.
    fn ratios(&self) -> Figures {
        let Some(most) = self.0.keys().map(|key| key.routes).max() else { return Figures::new() };
        let key = |concurrency, who| Key { routes: most, concurrency, who };
        let (cpu, p50, p99): (Figure, Figure, Figure) =
            (|turn| turn.cpu_ms, |turn| turn.times[1], |turn| turn.times[3]);
        let over = |concurrency, who, figure| {
            Some(self.middle(key(concurrency, Who::Updraft), figure)? / self.middle(key(concurrency, who), figure)?)
        };
        // What the proxy adds to what client and backend take.
        let added = |who, figure| Some(self.middle(key(1, who), figure)? - self.middle(key(1, Who::Direct), figure)?);
        let mut ratios = Figures::new();
        let mut put = |name: String, ratio: Option<f64>| ratio.map(|ratio| ratios.insert(name, ratio));
        for kind in Kind::ALL {
            let (name, who) = (kind.name(), Who::Peer(kind));
            put(format!("cpu_vs_{name}_10k"), over(64, who, cpu));
            put(format!("cpu_vs_{name}_10k_at_1"), over(1, who, cpu));
            put(format!("per_s_vs_{name}_64"), over(64, who, |turn| turn.per_s));
            for concurrency in [64, 512] {
                put(format!("p99_vs_{name}_{concurrency}"), over(concurrency, who, p99));
            }
            for (percent, figure) in [("p50", p50), ("p99", p99)] {
                let ratio = || Some(added(Who::Updraft, figure)? / added(who, figure).filter(|added| *added > 0.0)?);
                put(format!("added_{percent}_vs_{name}"), ratio());
            }
        }
        let one = Key { routes: 1, ..key(64, Who::Updraft) };
        let grown = || Some(self.middle(key(64, Who::Updraft), cpu)? / self.middle(one, cpu)?);
        put("cpu_10k_vs_1_route".to_owned(), grown());
        ratios
    }
}

fn row(key: &Key, turns: &[Turn]) -> Result<Row, Error> {
    let name = format!("{} routes, {} at a time: {}", key.routes, key.concurrency, key.who.name());
    let middle = |figure: Figure| median(turns.iter().map(figure)).ok_or("no turn");
    let cpu_ms = middle(|turn| turn.cpu_ms)?;
    Ok(Row {
        name,
        n: turns.iter().map(|turn| turn.count).sum(),
        min_ms: turns.iter().map(|turn| turn.times[0]).fold(f64::INFINITY, f64::min),
        p50_ms: middle(|turn| turn.times[1])?,
        p90_ms: middle(|turn| turn.times[2])?,
        p99_ms: middle(|turn| turn.times[3])?,
        max_ms: turns.iter().map(|turn| turn.times[4]).fold(0.0, f64::max),
        cpu_ms: (key.who != Who::Direct).then_some(cpu_ms),
        per_s: Some(middle(|turn| turn.per_s)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_with_the_most_routes_and_against_those_that_were_there() {
        let mut turns = Turns::default();
        let mut add = |routes, concurrency, who, micros: u64| {
            let taken = vec![Duration::from_micros(micros); 100];
            let spell = Spell { taken, time: Duration::from_secs(1) };
            let key = Key { routes, concurrency, who };
            turns.add(key, &spell, Duration::from_micros(micros * 100)).expect("has requests");
        };
        for (routes, factor) in [(1, 1), (100, 2)] {
            for concurrency in [1, 64] {
                add(routes, concurrency, Who::Direct, 20);
                add(routes, concurrency, Who::Updraft, 120 * factor);
                add(routes, concurrency, Who::Peer(Kind::Nginx), 70);
            }
        }
        let ratios = turns.ratios();
        assert!((ratios["cpu_vs_nginx_10k"] - 240.0 / 70.0).abs() < 1e-9);
        assert!((ratios["added_p50_vs_nginx"] - 220.0 / 50.0).abs() < 1e-9);
        assert!((ratios["cpu_10k_vs_1_route"] - 2.0).abs() < 1e-9);
        assert!(!ratios.contains_key("cpu_vs_caddy_10k"));
    }
}
