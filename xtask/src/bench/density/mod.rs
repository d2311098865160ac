//! Many services at zero beside ten: what a server takes for services that nobody calls.
//!
//! Two servers, measured in turn: their memory, a `GET` of a service at the API, the lookup of a route, and a
//! start with the data that is there. A route is looked up by a request to a service that lets nobody call it: the front
//! door finds its route, sees that the caller may not, and refuses; no instance is started for that.
//!
//! The services are made through the API, in batches of which each is ready before the next is begun, and the time for
//! that is bounded: 40 minutes, or 45 seconds with `--quick`. What was reached is told, and all figures are for
//! that many. What comes after takes about a minute, and three starts of each server, two with `--quick`, each of which is
//! given up after five minutes.

mod site;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use self::site::Site;
use super::{
    Options,
    cold_start::apps::App,
    files::Files,
    interrupt,
    machine::Machine,
    report::{Report, Row},
    server::Server,
};
use crate::Error;

/// Services of the small server.
const FEW: usize = 10;

/// How much of it.
struct Scale {
    many: usize,
    /// How long the making may take.
    patience: Duration,
    rounds: usize,
    /// Requests of each kind to each server in a round. All rounds together stay below the 6,000 reads of a project that
    /// the API lets through in a minute: the ten services are in one project.
    requests: usize,
    starts: usize,
}

/// Durations by what was measured.
type Series = BTreeMap<(What, usize), Vec<Duration>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Get,
    Lookup,
    /// Until the server tells its address.
    Start,
    /// Until routes that were there before lead somewhere.
    Routes,
}

/// Runs the bench.
pub(crate) fn run(root: &Path, options: &Options) -> Result<Report, Error> {
    let machine = Machine::here();
    let scale = Scale::of(options);
    let files = Files::make("density")?;
    let app = App::hello(root, files.path())?;
    let archive = files.path().join("image.tar");
    fs::write(&archive, app.archive(site::IMAGE)?)?;
    let program = match &options.updraft {
        Some(program) => program.clone(),
        None => Server::build(root)?,
    };
    let make = |count| Site::make(&program, &archive, (count, scale.patience));
    let mut sites = [make(FEW)?, make(scale.many)?];
    let mut figures = BTreeMap::from_iter(sites[1].made_figures(scale.many));
    let mut series = Series::new();
    ask(&sites, &scale, &mut series)?;
    figures.extend(memory(&sites, "")?);
    restart(&mut sites, scale.starts, &mut series)?;
    figures.extend(memory(&sites, "_after_start")?);
    report(machine, (series, sites.map(|site| site.count())), figures)
}

/// API and front door, in turn.
fn ask(sites: &[Site; 2], scale: &Scale, series: &mut Series) -> Result<(), Error> {
    for _ in 0..scale.rounds {
        for (which, site) in sites.iter().enumerate() {
            interrupt::check()?;
            series.entry((What::Get, which)).or_default().extend(site.gets(scale.requests)?);
            series.entry((What::Lookup, which)).or_default().extend(site.lookups(scale.requests)?);
        }
    }
    Ok(())
}

/// Starts with the data that is there, in turn.
fn restart(sites: &mut [Site; 2], starts: usize, series: &mut Series) -> Result<(), Error> {
    for _ in 0..starts {
        for (which, site) in sites.iter_mut().enumerate() {
            interrupt::check()?;
            let (started, routed) = site.restart()?;
            series.entry((What::Start, which)).or_default().push(started);
            series.entry((What::Routes, which)).or_default().push(routed);
        }
    }
    Ok(())
}

/// What both servers take now, and what each of the services that only one of them has adds.
fn memory(sites: &[Site; 2], when: &str) -> Result<Vec<(String, f64)>, Error> {
    let [few, many] = sites;
    let (few_mib, many_mib) = (few.pss_mib()?, many.pss_mib()?);
    let each = (many_mib - few_mib) * 1024.0 / (many.count().saturating_sub(few.count())).max(1) as f64;
    let figures = [("pss_mib_few", few_mib), ("pss_mib_many", many_mib), ("kib_each_service", each)];
    Ok(figures.map(|(name, figure)| (format!("{name}{when}"), figure)).into())
}

fn report(
    machine: Machine,
    (series, counts): (Series, [usize; 2]),
    mut figures: BTreeMap<String, f64>,
) -> Result<Report, Error> {
    let mut rows = Vec::new();
    let mut p99s = BTreeMap::new();
    for ((what, which), taken) in series {
        let row = Row::of(&format!("{} services: {}", counts[which], what.told()), taken)?;
        p99s.insert((what, which), (row.p50_ms, row.p99_ms));
        rows.push(row);
    }
    figures.insert("api_get_p99_ms".to_owned(), p99s[&(What::Get, 1)].1);
    figures.insert("start_ms".to_owned(), p99s[&(What::Start, 1)].0);
    figures.insert("routes_ms".to_owned(), p99s[&(What::Routes, 1)].0);
    let over = |what, figure: fn(&(f64, f64)) -> f64| figure(&p99s[&(what, 1)]) / figure(&p99s[&(what, 0)]);
    let ratios = [
        ("api_get_p50_vs_few", over(What::Get, |it| it.0)),
        ("api_get_p99_vs_few", over(What::Get, |it| it.1)),
        ("lookup_p50_vs_few", over(What::Lookup, |it| it.0)),
        ("lookup_p99_vs_few", over(What::Lookup, |it| it.1)),
        ("start_vs_few", over(What::Start, |it| it.0)),
        ("routes_vs_few", over(What::Routes, |it| it.0)),
    ];
    let ratios = ratios.map(|(name, ratio)| (name.to_owned(), ratio)).into();
    Ok(Report { machine, rows, ratios, figures })
}

// === impl Scale ===

impl Scale {
    fn of(options: &Options) -> Self {
        let many = |own| options.count.unwrap_or(own).max(FEW + 1);
        match options.quick {
            true => {
                let patience = Duration::from_secs(45);
                Self { many: many(1_000), patience, rounds: 3, requests: 500, starts: 2 }
            }
            false => {
                let patience = Duration::from_secs(2400);
                Self { many: many(100_000), patience, rounds: 5, requests: 1_000, starts: 3 }
            }
        }
    }
}

// === impl What ===

impl What {
    fn told(self) -> &'static str {
        match self {
            Self::Get => "GET of a service",
            Self::Lookup => "route found, refused",
            Self::Start => "start until it has an address",
            Self::Routes => "start until routes lead",
        }
    }
}
