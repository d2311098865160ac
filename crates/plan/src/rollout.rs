//! What becomes of a service or a worker pool: which revisions serve, by which share, and what it says of itself.
//!
//! Of a worker pool the traffic is its instances. The rules, in short: LATEST follows the newest ready revision; a share or a tag on a revision that is
//! not ready leaves all traffic where it is; a revision without share and tag has no instances.

use std::{collections::BTreeMap, fmt, time::SystemTime};

use updraft_model::{
    Condition, State,
    condition::kind,
    revision::{
        RevisionScaling,
        lifecycle::{Activity, Phase, not_ready},
    },
    service::{
        Allocation, Scaling, ScalingMode, TrafficTarget,
        lifecycle::{self, Half},
    },
};

use crate::split;

/// How many instances those revisions have that serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizing {
    /// As requests need them, within bounds.
    Requests(Scaling),
    /// So many, of all of them together.
    Count(u32),
}

/// More revisions than this are not kept; the oldest without traffic go first. Cloud Run's limit.
pub const REVISIONS_KEPT: usize = 1000;

/// A revision as it was observed.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Its id.
    pub id: String,
    /// Its place in the order in which revisions became the latest.
    pub sequence: u64,
    /// How far it has come.
    pub phase: Phase,
    /// Its own bounds.
    pub scaling: RevisionScaling,
}

/// One line of the traffic table as it is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The line of the intent.
    pub target: TrafficTarget,
    /// The revision it leads to.
    pub revision: String,
}

/// What is known when a rollout is planned.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Where traffic is meant to go.
    pub targets: &'a [TrafficTarget],
    /// How many instances are meant.
    pub sizing: Sizing,
    /// The revision that the template made last.
    pub latest_created: &'a str,
    /// All revisions of the service, in any order.
    pub revisions: &'a [Observed],
    /// How traffic goes now.
    pub current: &'a [Assignment],
    /// The time.
    pub now: SystemTime,
}

/// What is to be done about one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Keep it startable within these bounds.
    Serve {
        /// Which.
        revision: String,
        /// Instances kept.
        min: u32,
        /// Instances allowed.
        max: u32,
    },
    /// It takes no traffic: let its instances go.
    Retire {
        /// Which.
        revision: String,
    },
    /// There are too many: remove it.
    Collect {
        /// Which.
        revision: String,
    },
}

/// The plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// The newest ready revision.
    pub latest_ready: Option<String>,
    /// The traffic table to be carried out; empty until something is ready.
    pub traffic: Vec<Assignment>,
    /// What is to be done, revision by revision, in the order of their ids.
    pub actions: Vec<Action>,
    /// The activity of every revision that is kept.
    pub activity: BTreeMap<String, Activity>,
    /// What the service says of itself, `Ready` first.
    pub conditions: Vec<Condition>,
}

/// Plans a rollout.
pub fn plan(input: &Input<'_>) -> Rollout {
    let latest_ready = latest_ready(input.revisions);
    let (traffic, routes) = route(input, latest_ready);
    let shares = shares(&traffic);
    let counts = match input.sizing {
        Sizing::Requests(_) => BTreeMap::new(),
        Sizing::Count(count) => split::divide(count, &shares),
    };
    let collected = collected(input, latest_ready, &shares);
    let mut actions = Vec::new();
    let mut activity = BTreeMap::new();
    let mut sorted: Vec<&Observed> = input.revisions.iter().collect();
    sorted.sort_by(|a, b| a.id.cmp(&b.id));
    for revision in sorted {
        let id = revision.id.clone();
        if collected.contains(&id.as_str()) {
            actions.push(Action::Collect { revision: id });
            continue;
        }
        let reserve = latest_ready.is_some_and(|latest| latest.id == id);
        match shares.get(id.as_str()) {
            Some(&percent) => {
                let (min, max) = match input.sizing {
                    Sizing::Requests(scaling) => bounds(&scaling, revision.scaling, percent),
                    Sizing::Count(_) => [counts.get(id.as_str()).copied().unwrap_or_default(); 2].into(),
                };
                actions.push(Action::Serve { revision: id.clone(), min, max });
                activity.insert(id, Activity::Active);
            }
            None => {
                if revision.phase.is_terminal() {
                    actions.push(Action::Retire { revision: id.clone() });
                }
                activity.insert(id, if reserve { Activity::Reserve } else { Activity::Retired });
            }
        }
    }
    let conditions = lifecycle::conditions(&configuration(input), &routes, input.now);
    Rollout { latest_ready: latest_ready.map(|latest| latest.id.clone()), traffic, actions, activity, conditions }
}

/// The bounds of a revision that takes `percent` of its service's traffic (0 for a tag alone): its own,
/// narrowed by its part of the service's.
pub fn bounds(service: &Scaling, revision: RevisionScaling, percent: u32) -> (u32, u32) {
    let part_up = |whole: u32| u32::try_from((u64::from(whole) * u64::from(percent)).div_ceil(100)).unwrap_or(whole);
    if let (ScalingMode::Manual, Some(count)) = (service.mode, service.manual_count) {
        // A tag without a share may still be called: one instance, unless the service is switched off.
        let fixed = part_up(count);
        return (fixed, if percent == 0 { count.min(1) } else { fixed });
    }
    let mut max = revision.max.max(1);
    if service.max > 0 && percent > 0 {
        // Rounded down, so that the parts together stay within the whole.
        let part = u32::try_from(u64::from(service.max) * u64::from(percent) / 100).unwrap_or(service.max);
        max = max.min(part.max(1));
    }
    (revision.min.max(part_up(service.min)).min(max), max)
}

fn latest_ready(revisions: &[Observed]) -> Option<&Observed> {
    let ready = revisions.iter().filter(|revision| revision.phase == Phase::Ready);
    ready.max_by_key(|revision| revision.sequence)
}

/// The traffic table with every line resolved, and how the routes fare.
fn route(input: &Input<'_>, latest_ready: Option<&Observed>) -> (Vec<Assignment>, Half) {
    let find = |id: &str| input.revisions.iter().find(|revision| revision.id == id);
    let mut resolved = Vec::new();
    let mut blocked = Vec::new();
    for target in input.targets {
        let revision = match &target.allocation {
            Allocation::Latest => latest_ready,
            Allocation::Revision(id) => find(id).filter(|revision| revision.phase == Phase::Ready),
        };
        match (revision, &target.allocation) {
            (Some(revision), _) => {
                resolved.push(Assignment { target: target.clone(), revision: revision.id.clone() });
            }
            (None, Allocation::Latest) => blocked.push(input.latest_created),
            (None, Allocation::Revision(id)) => blocked.push(id),
        }
    }
    if blocked.is_empty() {
        return (resolved, latest_half(input, latest_ready));
    }
    let half = blocked.iter().map(|id| blocked_half(id, find(id))).reduce(worse).unwrap_or(Half::Holds);
    let still =
        |assignment: &&Assignment| find(&assignment.revision).is_some_and(|revision| revision.phase == Phase::Ready);
    (input.current.iter().filter(still).cloned().collect(), half)
}

/// Every line has a ready revision: the routes hold, unless LATEST is about to move.
fn latest_half(input: &Input<'_>, latest_ready: Option<&Observed>) -> Half {
    let follows = input.targets.iter().any(|target| target.allocation == Allocation::Latest);
    let created = input.revisions.iter().find(|revision| revision.id == input.latest_created);
    match created {
        Some(created) if follows && !created.phase.is_terminal() && latest_ready != Some(created) => {
            Half::Waits { message: String::new() }
        }
        _ => Half::Holds,
    }
}

fn blocked_half(id: &str, revision: Option<&Observed>) -> Half {
    match revision.map(|revision| &revision.phase) {
        None => Half::Fails { message: format!("Revision '{id}' is not found.") },
        Some(Phase::Failed(failure)) => Half::Fails { message: not_ready(id, &failure.message) },
        Some(Phase::Resolving | Phase::Checking | Phase::Ready) => Half::Waits { message: String::new() },
    }
}

fn worse(a: Half, b: Half) -> Half {
    match (&a, &b) {
        (Half::Fails { .. }, _) => a,
        (_, Half::Fails { .. }) | (Half::Holds, _) => b,
        _ => a,
    }
}

fn configuration(input: &Input<'_>) -> Half {
    let created = input.revisions.iter().find(|revision| revision.id == input.latest_created);
    match created.map(|revision| &revision.phase) {
        Some(Phase::Ready) => Half::Holds,
        Some(Phase::Failed(failure)) => Half::Fails { message: not_ready(input.latest_created, &failure.message) },
        Some(Phase::Resolving | Phase::Checking) => Half::Waits { message: String::new() },
        // It is written together with its service. Were it waited for, nothing would ever end the wait.
        None => Half::Fails { message: format!("Revision '{}' is not found.", input.latest_created) },
    }
}

/// Revision → its whole share; a tag alone counts as 0.
fn shares(traffic: &[Assignment]) -> BTreeMap<&str, u32> {
    let mut shares = BTreeMap::new();
    for Assignment { target, revision } in traffic {
        let percent = u32::try_from(target.percent).unwrap_or(0);
        if percent > 0 || target.tag.is_some() {
            *shares.entry(revision.as_str()).or_insert(0) += percent;
        }
    }
    shares
}

/// The oldest revisions beyond what is kept that nothing refers to.
fn collected<'a>(input: &Input<'a>, latest_ready: Option<&Observed>, shares: &BTreeMap<&str, u32>) -> Vec<&'a str> {
    let surplus = input.revisions.len().saturating_sub(REVISIONS_KEPT);
    let referred = |id: &str| {
        let wanted = Allocation::Revision(id.to_owned());
        id == input.latest_created
            || latest_ready.is_some_and(|latest| latest.id == id)
            || shares.contains_key(id)
            || input.targets.iter().any(|target| target.allocation == wanted)
    };
    let mut free: Vec<&Observed> = input.revisions.iter().collect();
    if surplus == 0 {
        return Vec::new();
    }
    free.retain(|revision| revision.phase.is_terminal() && !referred(&revision.id));
    free.sort_by_key(|revision| revision.sequence);
    free.into_iter().take(surplus).map(|revision| revision.id.as_str()).collect()
}

// === impl Rollout ===

impl Rollout {
    /// Is everything as far as it will get until something changes?
    pub fn is_settled(&self) -> bool {
        self.ready().is_some_and(|ready| ready.state.is_terminal())
            && self.conditions.iter().all(|c| c.state.is_terminal())
    }

    /// Is everything as the intent wants it?
    pub fn serves(&self) -> bool {
        self.is_settled() && self.ready().is_some_and(|ready| ready.state == State::Succeeded)
    }

    /// The `Ready` condition.
    pub fn ready(&self) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind::READY)
    }

    /// Why the routes are not as the intent says, if they cannot become so.
    pub fn routes_failure(&self) -> Option<&str> {
        let failed = |c: &&Condition| c.kind == kind::ROUTES_READY && c.state == State::Failed;
        self.conditions.iter().find(failed).map(|condition| condition.message.as_str())
    }

    /// Shares of the service's own hosts: revision and percent, each revision once, none with 0.
    pub fn shares(&self) -> Vec<(&str, u32)> {
        shares(&self.traffic).into_iter().filter(|(_, percent)| *percent > 0).collect()
    }

    /// Tags and the revision each leads to.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        let tag = |line: &'_ Assignment| line.target.tag.is_some();
        self.traffic
            .iter()
            .filter(move |line| tag(line))
            .map(|line| (line.target.tag.as_deref().unwrap_or_default(), line.revision.as_str()))
    }
}

impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "latest ready: {}", self.latest_ready.as_deref().unwrap_or("none"))?;
        for Assignment { target, revision } in &self.traffic {
            let from = if target.allocation == Allocation::Latest { "LATEST → " } else { "" };
            let tag = target.tag.as_ref().map(|tag| format!(" tag {tag}")).unwrap_or_default();
            writeln!(f, "route {}% to {from}{revision}{tag}", target.percent)?;
        }
        for action in &self.actions {
            writeln!(f, "{action}")?;
        }
        for condition in &self.conditions {
            writeln!(f, "{condition}")?;
        }
        Ok(())
    }
}

// === impl Action ===

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serve { revision, min, max } => write!(f, "serve {revision} with {min} to {max} instances"),
            Self::Retire { revision } => write!(f, "retire {revision}"),
            Self::Collect { revision } => write!(f, "collect {revision}"),
        }
    }
}

#[cfg(test)]
mod tests;
