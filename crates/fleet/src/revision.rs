//! One revision: its instances, its queue, and what is decided about them.
//!
//! Everything is under one short lock that is never held across an await or a call to somebody
//! else; what follows from a change is collected in [`Effects`] and done after the lock is free.

mod decide;
mod demand;
mod health;
mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use updraft_base::Backoff;
use updraft_engine::SpecDigest;
use updraft_model::{
    channel::{BookEntry, Check, CheckOutcome, Health, StartFailure},
    name::{Collection, RevisionName},
};
use updraft_plan::{
    patience::Starts,
    scaling::{CheckState, Limit, RetireReason, StartReason},
};

use crate::{
    adoption::Candidate,
    affinity::Affinity,
    context::Context,
    failure::Retry,
    instance::{Instance, Order, Timing},
    series::{Reading, Used},
    slot::{Answer, Cause, Refusal, Slot, Ticket},
};

use demand::Demand;

/// The wait after the first failed start; it doubles up to [`HOLD_BACK_CAP`].
const HOLD_BACK_FIRST: Duration = Duration::from_millis(200);
/// The longest wait before another start is tried.
const HOLD_BACK_CAP: Duration = Duration::from_secs(10);

/// A revision with something to do.
pub(crate) struct Revision {
    name: RevisionName,
    context: Arc<Context>,
    state: Mutex<State>,
}

struct State {
    /// `None`: not in the book.
    entry: Option<Arc<BookEntry>>,
    check: CheckState,
    outcome: CheckOutcome,
    places: Vec<Place>,
    queue: BTreeMap<u64, oneshot::Sender<Answer>>,
    next_ticket: u64,
    /// Failed starts since the last one that succeeded.
    failures: u32,
    hold_back: Backoff,
    held_until: Option<Instant>,
    /// When it is going to be woken. A wish for later than the first of them needs no timer of its own: it is made
    /// again then. So this stays short.
    wakes: BTreeSet<Instant>,
    /// Can there be only one instance, whatever the book allows?
    alone: bool,
    timing: Option<Timing>,
    /// How long starts take.
    starts: Starts,
    demand: Demand,
    used: Used,
    /// So many instances, the oldest, are to have the requests.
    kept: u32,
    /// What was in the way of a start, and when it was last.
    withheld: Option<(Limit, Instant)>,
    /// Why the latest start failed, if none has succeeded since.
    trouble: Option<Arc<StartFailure>>,
    counted: Counts,
    /// What was published last.
    said: Option<Health>,
}

/// An instance and the requests it has.
struct Place {
    instance: Arc<Instance>,
    about: About,
    in_flight: u32,
    idle_since: Instant,
    /// The CPU time it had used when that was read last; before that its start is at work.
    cpu: Option<Duration>,
    /// When that was; `None` if it was frozen since.
    read: Option<Instant>,
    /// The memory it used then, in bytes; one that is frozen keeps what it has.
    memory: u64,
    /// The most requests it had at a time since the last measurement.
    peak: u32,
    /// The same for the time between the two last measurements.
    peak_before: u32,
    /// How many of its readiness probes have failed; it gets requests while none has.
    unready: u32,
    /// Was it decided to freeze it since its last request? Whether it is frozen only its frost knows.
    frozen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Starting,
    Ready,
    Draining,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    starting: u32,
    ready: u32,
    draining: u32,
    /// Of those that are ready, the ones whose readiness probe has failed.
    unready: u32,
}

/// Why an instance has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It was told to.
    Wanted,
    /// By itself.
    Crash,
    /// Its liveness probe failed; what there was to learn from that has been learned.
    Ill,
}

/// What a request gets.
pub(crate) enum Admission {
    /// A place.
    Now(Slot),
    /// A place in the queue.
    Queued(Ticket),
}

/// What a queued request gets: the instance is made a [`Slot`] of when the lock is free.
type Outcome = Result<Arc<Instance>, Refusal>;

/// What is to be done once the lock is free.
#[derive(Default)]
struct Effects {
    answers: Vec<(oneshot::Sender<Answer>, Outcome)>,
    starts: Vec<(Arc<Instance>, Arc<BookEntry>, StartReason)>,
    joins: Vec<(Candidate, Arc<BookEntry>)>,
    stops: Vec<Arc<Instance>>,
    retired: Vec<(Arc<Instance>, RetireReason)>,
    freezes: Vec<Arc<Instance>>,
    /// For the log of decisions.
    decisions: Vec<String>,
    wake_at: Option<Instant>,
}

// === impl Revision ===

impl Revision {
    pub(crate) fn new(context: Arc<Context>, name: RevisionName) -> Self {
        let state = State {
            entry: None,
            check: CheckState::Open,
            outcome: CheckOutcome::Pending,
            places: Vec::new(),
            queue: BTreeMap::new(),
            next_ticket: 0,
            failures: 0,
            hold_back: Backoff::new(HOLD_BACK_FIRST, HOLD_BACK_CAP),
            held_until: None,
            wakes: BTreeSet::new(),
            alone: false,
            timing: None,
            starts: Starts::default(),
            demand: Demand::new(context.clock.instant()),
            used: Used::default(),
            kept: 1,
            withheld: None,
            trouble: None,
            counted: Counts::default(),
            said: None,
        };
        Self { name, context, state: Mutex::new(state) }
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Where the time went in the newest start that succeeded.
    pub(crate) fn timing(&self) -> Option<Timing> {
        self.lock().timing
    }

    /// What is to be told of it.
    pub(crate) fn reading(&self) -> Reading {
        let state = self.lock();
        let is_worker = self.name.service.collection == Collection::WorkerPools;
        let is_active = |place: &&Place| is_worker || place.about == About::Starting || place.in_flight > 0;
        let active = state.places.iter().filter(is_active).count();
        Reading {
            active: u32::try_from(active).unwrap_or(u32::MAX),
            idle: u32::try_from(state.places.len() - active).unwrap_or(u32::MAX),
            pending: u32::try_from(state.queue.len()).unwrap_or(u32::MAX),
            // Of two spans: the newer one has only just begun after a measurement, and would say what is so now.
            concurrency: state.places.iter().map(|it| it.peak.max(it.peak_before)).max().unwrap_or_default(),
            used: state.used,
        }
    }

    pub(crate) fn name(&self) -> &RevisionName {
        &self.name
    }

    /// Are there requests without a place?
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.lock().queue.is_empty()
    }

    /// Is there neither an instance nor a request?
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.places.is_empty() && state.queue.is_empty()
    }

    /// Has it such an instance, that takes requests?
    pub(crate) fn has(&self, wanted: Affinity) -> bool {
        self.lock().places.iter().any(|place| place.is_open() && place.instance.affinity == wanted)
    }

    /// A place, in the instance that is wanted if that has room; or a place in the queue.
    pub(crate) fn admit(self: &Arc<Self>, wanted: Option<Affinity>) -> Result<Admission, Refusal> {
        let now = self.context.clock.instant();
        let mut state = self.lock();
        if state.entry.is_none() {
            return Err(Refusal::Unavailable);
        }
        if state.queue.is_empty()
            && let Some(place) = state.free_place(wanted)
        {
            let instance = place.occupy();
            state.demand.more(now);
            drop(state);
            return Ok(Admission::Now(Slot::new(self.clone(), instance)));
        }
        if state.is_off() {
            return Err(Refusal::Overdue(Cause::Off));
        }
        if state.queue.len() >= self.context.config.queue {
            return Err(Refusal::QueueFull);
        }
        state.demand.more(now);
        let patience = state.starts.patience(state.wait(self.context.config.stop_grace));
        let (sender, answer) = oneshot::channel();
        let number = state.next_ticket;
        state.next_ticket += 1;
        state.queue.insert(number, sender);
        self.context.metrics.pending_requests.inc();
        self.settle(state, Effects::default());
        Ok(Admission::Queued(Ticket { revision: self.clone(), number, answer, patience }))
    }

    /// A ticket was used or given back.
    pub(crate) fn leave_queue(&self, number: u64) {
        self.context.metrics.pending_requests.dec();
        let mut state = self.lock();
        if state.queue.remove(&number).is_some() {
            state.demand.fewer(1, self.context.clock.instant());
        }
    }

    /// Why there was no place for a request that waited as long as it may.
    pub(crate) fn cause(&self) -> Cause {
        let state = self.lock();
        if state.is_full() { Cause::Maximum } else { Cause::Start }
    }

    /// A request has ended: its place goes to the one that waits longest.
    pub(crate) fn release(self: &Arc<Self>, instance: &Arc<Instance>) {
        let mut state = self.lock();
        let Some(place) = state.place(instance) else { return };
        place.in_flight = place.in_flight.saturating_sub(1);
        let (about, in_flight, now) = (place.about, place.in_flight, self.context.clock.instant());
        if in_flight == 0 {
            place.idle_since = now;
        }
        state.demand.fewer(1, now);
        match about {
            About::Draining if in_flight == 0 => instance.order(Order::Stop),
            About::Ready if !state.queue.is_empty() => self.settle(state, Effects::default()),
            // The plan looks at idle instances when the first of them is due, and not in the request's own time.
            About::Ready if in_flight == 0 => {
                let idle = self.context.config.idle;
                let rest = self.grace(&state).map_or(idle, |grace| grace.min(idle));
                let effects = state.look_again(now + rest);
                drop(state);
                self.apply(effects);
            }
            _ => {}
        }
    }

    /// How long its instances may be idle before they are frozen.
    fn grace(&self, state: &State) -> Option<Duration> {
        self.context.grace(state.entry.as_ref()?.cpu)
    }

    /// The book has a new opinion.
    pub(crate) fn set_entry(self: &Arc<Self>, entry: Option<Arc<BookEntry>>) {
        if self.context.is_closing() {
            return;
        }
        let mut state = self.lock();
        if state.entry == entry {
            return;
        }
        let was_wanted = state.is_check_wanted();
        let is_wanted = entry.as_ref().is_some_and(|entry| entry.check == Check::Wanted);
        let mut effects = Effects::default();
        let is_other = match (&state.entry, &entry) {
            (Some(old), Some(new)) => old.spec != new.spec || old.health_probes != new.health_probes,
            _ => false,
        };
        if is_other {
            // Removed and made anew under its old name: what runs, and what is known, is another's.
            state.drain_places(&mut effects);
            state.alone = false;
        }
        if is_other || (is_wanted && !was_wanted) {
            state.reopen_check();
            if state.places.iter().any(|place| place.about == About::Ready) {
                state.pass_check();
            }
        }
        state.replace_entry(entry);
        match state.entry.clone() {
            Some(entry) => self.adopt(&mut state, &mut effects, &entry),
            None => state.refuse_all(&Refusal::Unavailable, &mut effects),
        }
        if state.is_off() {
            state.refuse_all(&Refusal::Overdue(Cause::Off), &mut effects);
        }
        self.settle(state, effects);
    }

    /// Nobody gets in any more, and every instance ends when its requests have.
    pub(crate) fn close(self: &Arc<Self>) {
        let mut state = self.lock();
        state.entry = None;
        let mut effects = Effects::default();
        state.refuse_all(&Refusal::ShuttingDown, &mut effects);
        self.settle(state, effects);
    }

    /// The time the plan wanted to be looked at again has come.
    pub(crate) fn wake(self: &Arc<Self>, at: Instant) {
        let mut state = self.lock();
        state.wakes.remove(&at);
        self.settle(state, Effects::default());
    }

    /// An instance passed its startup probe. Without `timing` it was not this server that started it.
    pub(crate) fn came_up(self: &Arc<Self>, instance: &Arc<Instance>, timing: Option<Timing>) {
        let now = self.context.clock.instant();
        let mut state = self.lock();
        if let Some(place) = state.place(instance)
            && place.about == About::Starting
        {
            place.idle_since = timing.map_or(now, |timing| timing.ready);
            place.about = About::Ready;
            state.failures = 0;
            state.timing = timing.or(state.timing);
            if let Some(timing) = timing {
                state.starts = state.starts.with(timing.ready.saturating_duration_since(timing.asked));
            }
            state.trouble = None;
            state.pass_check();
        }
        self.settle(state, Effects::default());
    }

    /// It turned out that a second instance could not listen where this one does.
    pub(crate) fn limit_to_one(self: &Arc<Self>, instance: &Arc<Instance>, port: u16) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.alone, true) {
            let text = format!(
                "WARNING: the container listens on port {port} and not on the port that the variable PORT names. \
                 Instances share one network here (docs/isolation.md), so this revision is limited to one instance."
            );
            tracing::warn!(revision = %self.name, port, "limited to one instance: its image does not listen on $PORT");
            self.context.say(instance, text);
        }
        self.settle(state, Effects::default());
    }

    /// A start failed. The place counts towards the maximum until [`Revision::gone`].
    pub(crate) fn failed(self: &Arc<Self>, instance: &Arc<Instance>, failure: Arc<StartFailure>, retry: Retry) {
        let mut state = self.lock();
        let place = state.place(instance).filter(|place| place.about == About::Starting);
        // One that is not wanted any more, perhaps of another spec, teaches nothing.
        let Some(place) = place else { return };
        place.about = About::Draining;
        state.failures += 1;
        state.trouble = Some(failure.clone());
        state.hold_back(self.context.clock.instant());
        let is_last = state.failures >= self.context.config.attempts;
        let is_verdict = retry != Retry::Platform || is_last;
        if is_verdict && state.is_check_wanted() && state.check == CheckState::Open {
            state.check = CheckState::Failed;
            state.outcome = CheckOutcome::Failed(StartFailure::clone(&failure));
        }
        let hopeless = retry == Retry::Useless || is_last;
        let alone = state.places.iter().all(|place| place.about == About::Draining);
        let mut effects = Effects::default();
        if hopeless && alone {
            state.refuse_all(&Refusal::StartFailed(failure), &mut effects);
        }
        self.settle(state, effects);
    }

    /// An instance that another server had started is of no use. Others may be started in its place as soon as it is
    /// gone, or before where there may be more.
    pub(crate) fn dismiss(self: &Arc<Self>, instance: &Arc<Instance>) {
        let mut state = self.lock();
        if let Some(place) = state.place(instance) {
            place.about = About::Draining;
        }
        self.settle(state, Effects::default());
    }

    /// An instance has ended and nothing of it is left.
    pub(crate) fn gone(self: &Arc<Self>, instance: &Arc<Instance>, end: End) {
        let mut state = self.lock();
        let now = self.context.clock.instant();
        if let Some(at) = state.places.iter().position(|place| Arc::ptr_eq(&place.instance, instance)) {
            let place = state.places.remove(at);
            // Its requests end without being counted down.
            state.demand.fewer(place.in_flight, now);
        }
        state.learn_from_end(instance, end, now);
        self.settle(state, Effects::default());
    }

    /// Counts the instances of a server before this one among those on their way up, if they are of this very spec.
    fn adopt(&self, state: &mut State, effects: &mut Effects, entry: &Arc<BookEntry>) {
        let candidates = self.context.adoption.take(&self.name);
        if candidates.is_empty() {
            return;
        }
        let (spec, now) = (SpecDigest::of(&entry.spec), self.context.clock.instant());
        // Dropping the others ends them.
        for candidate in candidates.into_iter().filter(|candidate| candidate.spec == spec) {
            let instance = candidate.instance.clone();
            instance.secrets.offer(entry.secrets.clone());
            state.places.push(Place::starting(instance, now));
            effects.joins.push((candidate, entry.clone()));
        }
    }

    /// Under the lock, so that what is published is in the order of what happened.
    fn publish(&self, state: &mut State) {
        let now = state.count();
        let before = std::mem::replace(&mut state.counted, now);
        let metrics = &self.context.metrics;
        for (gauge, before, now) in [
            (&metrics.starting, before.starting, now.starting),
            (&metrics.ready, before.ready, now.ready),
            (&metrics.draining, before.draining, now.draining),
            (&metrics.unready, before.unready, now.unready),
        ] {
            gauge.inc_by(i64::from(now) - i64::from(before));
        }
        let asked = state.is_check_wanted();
        let has_news = asked || now.ready + now.starting > 0 || state.trouble.is_some();
        let health = (state.entry.is_some() && has_news).then(|| Health {
            // Of one that nobody asks for any more there is no news: it would be taken for some at each start.
            check: if asked { state.outcome.clone() } else { CheckOutcome::Pending },
            ready: now.ready,
            starting: now.starting,
            trouble: state.trouble.clone(),
        });
        if state.said != health {
            state.said.clone_from(&health);
            self.context.board.set(&self.name, health);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
