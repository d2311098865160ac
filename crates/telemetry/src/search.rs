//! Looking through the logs of all services for what a filter means, page by page.
//!
//! Every entry has a [`Position`]: its time, then its insert id. A page is the first entries in the order that is
//! asked for, after a position. Segments are read from that end on until no other can hold an entry that comes
//! earlier; a page that would have to read too much ends sooner and says where to go on.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use serde_json::Value;
use updraft_model::{audit::AuditLog, name::ServiceName};

use crate::{
    attempts, audit,
    disk::{self, Segment},
    filter::{Filter, Scope},
    logs::{DISORDER, Order},
};

/// What one page may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// What is read for it, in bytes, once it has begun to look.
    pub(crate) scan: u64,
    /// What it holds, in bytes; one entry always fits.
    pub(crate) page: usize,
}

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Search {
    /// In these projects, by id.
    pub projects: Vec<String>,
    /// In which of them the audit log of what was read may be seen, too.
    pub private: Vec<String>,
    /// Which entries.
    pub filter: Filter,
    /// Not older than this, whatever the filter says.
    pub since: Option<SystemTime>,
    /// From which end.
    pub order: Order,
    /// At most so many; at least 1.
    pub limit: usize,
    /// After this one, in the order that is asked for.
    pub after: Option<Position>,
}

/// The place of an entry among all. Also a place between entries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// In nanoseconds since 1970.
    pub nanos: u64,
    /// The insert id.
    pub id: String,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Entries in the form of `google.logging.v2.LogEntry`.
    pub entries: Vec<Value>,
    /// Where the next page begins, if there may be one.
    pub next: Option<Position>,
}

/// A segment that may hold something, with the times between which its entries lie.
struct Candidate {
    segment: Segment,
    first: u64,
    last: u64,
    /// From when on entries of its log are kept.
    kept: u64,
}

/// The best entries so far, in the order that is asked for.
struct Page<'s> {
    search: &'s Search,
    since: u64,
    until: u64,
    entries: BTreeMap<Position, (Value, usize)>,
    /// What the entries take, and may take, in bytes.
    bytes: usize,
    bytes_max: usize,
    /// The first that there was no room for: neither is there for what comes after it.
    cut: Option<Position>,
    /// There may be more after what was found.
    is_more: bool,
}

/// Carries out a search over the logs below `dir`. `oldest` says from when on entries of a log are kept, in nanoseconds:
/// what is to go soon is not shown on some days and missing on others.
pub(crate) fn run(dir: &Path, search: &Search, oldest: impl Fn(&ServiceName) -> u64, bounds: Bounds) -> Found {
    let scope = search.filter.scope();
    let since = search.since.max(scope.since).map_or(0, disk::nanos);
    let until = scope.until.map_or(u64::MAX, disk::nanos);
    let entries = BTreeMap::new();
    let mut page = Page { search, since, until, entries, bytes: 0, bytes_max: bounds.page, cut: None, is_more: false };
    let mut candidates = candidates(dir, search, &scope, oldest);
    candidates.retain(|candidate| page.may_hold(candidate));
    match search.order {
        Order::NewestFirst => candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.last)),
        Order::OldestFirst => candidates.sort_by_key(|candidate| candidate.first),
    }
    let (mut read, mut stopped) = (0, None);
    for candidate in &candidates {
        if page.is_full_before(candidate) {
            // Nothing that is left comes before what was found; it comes after.
            page.is_more = true;
            break;
        }
        if read > bounds.scan && page.has_got_on(candidate) {
            stopped = Some(candidate);
            break;
        }
        read += candidate.segment.size();
        page.read(candidate);
    }
    page.finish(stopped)
}

/// The segments of everything that the scope allows.
fn candidates(dir: &Path, search: &Search, scope: &Scope, oldest: impl Fn(&ServiceName) -> u64) -> Vec<Candidate> {
    let services = disk::services(dir, |service| is_meant(service, search, scope)).unwrap_or_else(|error| {
        tracing::warn!(%error, cause = %error.source, "logs cannot be read");
        Vec::new()
    });
    let disorder = u64::try_from(DISORDER.as_nanos()).unwrap_or(u64::MAX);
    let mut found = Vec::new();
    for (service, segments) in services {
        let kept = oldest(&service);
        let ends: Vec<u64> = segments.iter().skip(1).map(|next| next.start).collect();
        for (index, segment) in segments.into_iter().enumerate() {
            let first = segment.start.saturating_sub(disorder);
            let last = ends.get(index).copied().unwrap_or_else(|| segment.last_time());
            found.push(Candidate { segment, first, last: last.saturating_add(disorder), kept });
        }
    }
    found
}

fn is_meant(service: &ServiceName, search: &Search, scope: &Scope) -> bool {
    let fits = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w.eq_ignore_ascii_case(found));
    let project = &service.parent.project;
    let is_there = || match audit::log_of(service) {
        // They have entries about all services of the project.
        Some(AuditLog::Activity) => true,
        Some(AuditLog::DataAccess) => search.private.contains(project),
        // As have these, of all jobs.
        None if attempts::is_shelf(service) => true,
        None => fits(&scope.location, &service.parent.location) && fits(&scope.service, &service.service),
    };
    search.projects.contains(project) && fits(&scope.project, project) && is_there()
}

// === impl Position ===

impl Position {
    fn of(entry: &Value) -> Option<Self> {
        let time: SystemTime = entry["timestamp"].as_str()?.parse::<Timestamp>().ok()?.into();
        Some(Self { nanos: disk::nanos(time), id: entry["insertId"].as_str().unwrap_or_default().to_owned() })
    }

    /// The time of it.
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.nanos)
    }
}

// === impl Page ===

impl Page<'_> {
    fn may_hold(&self, candidate: &Candidate) -> bool {
        let fits_time = candidate.last >= self.since.max(candidate.kept) && candidate.first <= self.until;
        fits_time
            && match (&self.search.after, self.search.order) {
                (Some(after), Order::NewestFirst) => candidate.first <= after.nanos,
                (Some(after), Order::OldestFirst) => candidate.last >= after.nanos,
                (None, _) => true,
            }
    }

    /// Is there no room for anything that this candidate can hold?
    fn is_full_before(&self, candidate: &Candidate) -> bool {
        let last = match self.search.order {
            Order::NewestFirst => self.entries.first_key_value(),
            Order::OldestFirst => self.entries.last_key_value(),
        };
        let last = last.map(|(position, _)| position).filter(|_| self.entries.len() >= self.search.limit);
        let is_beyond = |edge: &Position| match self.search.order {
            Order::NewestFirst => edge.nanos > candidate.last,
            Order::OldestFirst => edge.nanos < candidate.first,
        };
        last.is_some_and(is_beyond) || self.cut.as_ref().is_some_and(is_beyond)
    }

    /// Would a next page that begins at this candidate look at less than this one?
    fn has_got_on(&self, candidate: &Candidate) -> bool {
        match (&self.search.after, self.search.order) {
            (None, Order::NewestFirst) => candidate.last < u64::MAX,
            (None, Order::OldestFirst) => candidate.first > 0,
            (Some(after), Order::NewestFirst) => candidate.last.saturating_add(1) < after.nanos,
            (Some(after), Order::OldestFirst) => candidate.first > after.nanos,
        }
    }

    fn read(&mut self, Candidate { segment, kept, .. }: &Candidate) {
        let bytes = segment.read().unwrap_or_else(|error| {
            tracing::warn!(path = %segment.path.display(), %error, "a part of the logs cannot be read");
            Vec::new()
        });
        for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(entry) = serde_json::from_slice::<Value>(line) else { continue };
            let Some(position) = Position::of(&entry) else { continue };
            let in_time = (self.since.max(*kept)..=self.until).contains(&position.nanos);
            if in_time && self.is_wanted(&position) && self.search.filter.matches(&entry) {
                self.put(position, entry, line.len());
            }
        }
    }

    /// Does `position` come after this one, in the order that is asked for?
    fn is_after(&self, position: &Position, other: &Position) -> bool {
        match self.search.order {
            Order::NewestFirst => position < other,
            Order::OldestFirst => position > other,
        }
    }

    fn is_wanted(&self, position: &Position) -> bool {
        self.search.after.as_ref().is_none_or(|after| self.is_after(position, after))
            && self.cut.as_ref().is_none_or(|cut| self.is_after(cut, position))
    }

    fn put(&mut self, position: Position, entry: Value, bytes: usize) {
        self.bytes += bytes;
        if let Some((_, before)) = self.entries.insert(position, (entry, bytes)) {
            self.bytes -= before;
        }
        while self.entries.len() > self.search.limit || (self.bytes > self.bytes_max && self.entries.len() > 1) {
            let last = match self.search.order {
                Order::NewestFirst => self.entries.pop_first(),
                Order::OldestFirst => self.entries.pop_last(),
            };
            let Some((position, (_, bytes))) = last else { return };
            self.bytes -= bytes;
            self.cut = Some(position);
        }
    }

    /// The page; `stopped` is the first candidate that was not read although it might have had something.
    fn finish(mut self, stopped: Option<&Candidate>) -> Found {
        // Before this everything was looked at.
        let edge = stopped.map(|candidate| match self.search.order {
            Order::NewestFirst => candidate.last.saturating_add(1),
            Order::OldestFirst => candidate.first,
        });
        if let Some(edge) = edge {
            self.entries.retain(|position, _| match self.search.order {
                Order::NewestFirst => position.nanos >= edge,
                Order::OldestFirst => position.nanos < edge,
            });
        }
        let worst = match self.search.order {
            Order::NewestFirst => self.entries.first_key_value(),
            Order::OldestFirst => self.entries.last_key_value(),
        };
        let last = worst.map(|(position, _)| position.clone()).filter(|_| self.is_more || self.cut.is_some());
        let next = last.or_else(|| edge.map(|nanos| Position { nanos, id: String::new() }));
        let entries = self.entries.into_values().map(|(entry, _)| entry);
        let entries = match self.search.order {
            Order::NewestFirst => entries.rev().collect(),
            Order::OldestFirst => entries.collect(),
        };
        Found { entries, next }
    }
}
