//! What is decided about a revision, and what follows from it.

use std::{
    sync::{Arc, MutexGuard},
    time::{Duration, Instant},
};

use updraft_base::OnFailure;
use updraft_model::{channel::BookEntry, instance::Usage};
use updraft_plan::{
    cpu,
    scaling::{self, Action, Limit, Plan, StartReason, law::TICK},
};

use super::{About, Effects, End, Place, Revision, State};
use crate::{
    instance::{self, Instance, Order, Timing},
    slot::Slot,
};

/// After so long without it, what is in the way of a start is news again.
const QUIET: Duration = Duration::from_secs(60);

/// What an instance is given.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    /// Of CPU, in thousandths.
    millis: u32,
    /// The same during its start and a while after.
    start_millis: u32,
    /// Of memory.
    bytes: u64,
}

// === impl Revision ===

impl Revision {
    /// Gives places to who waits, asks the plan, and does what it says. Consumes the lock.
    pub(super) fn settle(self: &Arc<Self>, mut state: MutexGuard<'_, State>, mut effects: Effects) {
        let now = self.context.clock.instant();
        self.place_waiting(&mut state, &mut effects);
        let plan = scaling::plan(&state.observe(now, self.context.config.idle));
        state.kept = plan.kept;
        effects.decisions.extend(state.decisions(&plan, now));
        for action in plan.actions {
            match action {
                Action::Start { count, why } => self.begin(&mut state, &mut effects, count, why),
                Action::Retire { id, why } => state.retire(id, why, &mut effects),
            }
        }
        let grace = self.grace(&state);
        let freezing = state.freeze_idle(now, grace);
        effects.freezes = freezing.due;
        if let Some(again) = plan.again_in.into_iter().chain(freezing.again_in).min() {
            effects.wake_at = state.look_again(now + again).wake_at;
        }
        self.publish(&mut state);
        drop(state);
        self.apply(effects);
    }

    fn place_waiting(self: &Arc<Self>, state: &mut State, effects: &mut Effects) {
        while !state.queue.is_empty() {
            let Some(place) = state.free_place(None) else { return };
            let instance = place.occupy();
            if let Some((_, waiting)) = state.queue.pop_first() {
                effects.answers.push((waiting, Ok(instance)));
            }
        }
    }

    fn begin(&self, state: &mut State, effects: &mut Effects, count: u32, why: StartReason) {
        let Some(entry) = state.entry.clone() else { return };
        let now = self.context.clock.instant();
        for _ in 0..count {
            let instance = Arc::new(Instance::new(&entry, now));
            // Known before the engine is: its first events may come before `start` returns.
            self.context.instances.insert(instance.clone());
            state.places.push(Place::starting(instance.clone(), now));
            effects.starts.push((instance, entry.clone(), why));
        }
    }

    pub(super) fn apply(self: &Arc<Self>, effects: Effects) {
        for (waiting, answer) in effects.answers {
            let answer = answer.map(|instance| Slot::new(self.clone(), instance));
            // Who has left meanwhile gives the slot back by dropping it.
            let _ = waiting.send(answer);
        }
        for decision in effects.decisions {
            self.context.decided(&self.name, decision);
        }
        for instance in effects.freezes {
            instance.frost.freeze(&self.context, &instance.id);
        }
        for (instance, why) in effects.retired {
            self.context.say(&instance, format!("Stopping instance. Reason: {why}."));
        }
        for instance in effects.stops {
            instance.order(Order::Stop);
        }
        for (instance, entry, why) in effects.starts {
            let life = instance::live(self.clone(), instance, entry, why);
            self.context.tasks.spawn("instance", OnFailure::Log, life);
        }
        for (candidate, entry) in effects.joins {
            let instance = candidate.instance.clone();
            if !candidate.join(self, entry) {
                self.gone(&instance, End::Wanted);
            }
        }
        if let Some(at) = effects.wake_at {
            // Without a receiver the fleet is done.
            let _ = self.context.timer.send((at, Arc::downgrade(self)));
        }
    }

    /// Reads how much CPU its instances have used, and thinks their number over. Called every
    /// [`scaling::law::TICK`] while there are any.
    pub(crate) async fn measure(self: &Arc<Self>) {
        // What is frozen uses none.
        let awake = |place: &&Place| place.about != About::Starting && !place.frozen;
        let awake: Vec<_> = self.lock().places.iter().filter(awake).map(|place| place.instance.clone()).collect();
        let mut readings = Vec::with_capacity(awake.len());
        for instance in awake {
            let usage = self.context.engine.usage(&instance.id).await;
            readings.extend(usage.map(|usage| (instance, usage)));
        }
        let now = self.context.clock.instant();
        let mut state = self.lock();
        let used = state.take_readings(&readings, (now, self.context.config.machine_millis));
        state.demand.note(now, used);
        self.settle(state, Effects::default());
    }
}

// === impl Share ===

impl Share {
    fn of(entry: &BookEntry, machine_millis: u32) -> Self {
        let limits = || entry.spec.containers().map(|container| &container.limits);
        Self {
            millis: limits().map(|limits| limits.cpu_millis).sum(),
            start_millis: limits().map(|it| cpu::at_start(entry.cpu.boost, it.cpu_millis, machine_millis)).sum(),
            bytes: limits().map(|limits| limits.memory_bytes).sum(),
        }
    }

    /// The CPU time that an instance might have used between two moments, that of its start counted with what it has
    /// more then.
    fn between(&self, from: Instant, to: Instant, timing: Option<Timing>) -> Duration {
        let whole = to.saturating_duration_since(from);
        let start = timing.map_or(Duration::ZERO, |timing| {
            to.min(timing.ready + cpu::BOOST_AFTER_READY).saturating_duration_since(from)
        });
        (start * self.start_millis + whole.saturating_sub(start) * self.millis) / 1000
    }
}

// === impl State ===

impl State {
    /// Returns the CPU time that was used since the last readings, but for starts: what an instance used before it was
    /// read first is no load. It was given as well as used, though, and both are told.
    fn take_readings(
        &mut self,
        readings: &[(Arc<Instance>, Usage)],
        (now, machine_millis): (Instant, u32),
    ) -> Duration {
        let share = self.entry.as_deref().map(|entry| Share::of(entry, machine_millis)).unwrap_or_default();
        let (mut load, mut all, mut allocated) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for (instance, usage) in readings {
            let Some(place) = self.place(instance) else { continue };
            place.memory = usage.memory_bytes;
            let since = place.read.replace(now);
            let Some(before) = place.cpu.replace(usage.cpu) else {
                // Of one that another server had started nobody knows since when it used that.
                if let Some(timing) = instance.timing() {
                    all += usage.cpu;
                    allocated += share.between(timing.asked, now, Some(timing));
                }
                continue;
            };
            let used = usage.cpu.saturating_sub(before);
            let since = since.unwrap_or_else(|| now.checked_sub(TICK).unwrap_or(now));
            (load, all) = (load + used, all + used);
            allocated += share.between(since, now, instance.timing());
        }
        for place in &mut self.places {
            place.peak_before = std::mem::replace(&mut place.peak, place.in_flight);
        }
        self.used.cpu += all;
        self.used.cpu_allocated += allocated;
        self.used.memory = self.places.iter().map(|place| place.memory).sum();
        self.used.memory_allocated = share.bytes * self.places.len() as u64;
        load
    }

    /// How many instances there are, but for those that are to end.
    pub(super) fn live(&self) -> usize {
        self.places.iter().filter(|place| place.about != About::Draining).count()
    }

    /// The decisions of a plan for the log: `+2 (1 → 3): …`. What could not be done is said when that begins, not at
    /// every request that comes meanwhile, nor each time that the queue was empty for a moment ([`QUIET`]).
    fn decisions(&mut self, plan: &Plan<usize>, now: Instant) -> Vec<String> {
        let mut count = self.live();
        let mut decisions = Vec::new();
        for action in &plan.actions {
            let before = count;
            let text = match action {
                Action::Start { count: more, why } => {
                    count += usize::try_from(*more).unwrap_or(usize::MAX);
                    format!("+{more} ({before} → {count}): {why}")
                }
                Action::Retire { why, .. } => {
                    count = count.saturating_sub(1);
                    format!("-1 ({before} → {count}): {why}")
                }
            };
            decisions.push(text);
        }
        if let Some(withheld) = plan.withheld {
            let goes_on =
                |(by, last): (Limit, Instant)| by == withheld.by && now.saturating_duration_since(last) < QUIET;
            if !self.withheld.is_some_and(goes_on) {
                decisions.push(format!("+0 ({count}): {withheld}"));
            }
            self.withheld = Some((withheld.by, now));
        }
        decisions
    }
}
