//! What is decided about a revision, and what follows from it.

use std::{
    sync::{Arc, MutexGuard},
    time::{Duration, Instant},
};

use updraft_base::OnFailure;
use updraft_model::instance::Usage;
use updraft_plan::scaling::{self, Action, Limit, Plan, StartReason, law::TICK};

use super::{About, Effects, End, Place, Revision, State};
use crate::{
    instance::{self, Instance, Order},
    slot::Slot,
};

/// After so long without it, what is in the way of a start is news again.
const QUIET: Duration = Duration::from_secs(60);

// === impl Revision ===

impl Revision {
    /// Gives places to who waits, asks the plan, and does what it says. Consumes the lock.
    pub(super) fn settle(self: &Arc<Self>, mut state: MutexGuard<'_, State>, mut effects: Effects) {
        let now = self.context.clock.instant();
        self.place_waiting(&mut state, &mut effects);
        let plan = scaling::plan(&state.observe(now, self.context.config.idle));
        state.kept = plan.kept;
        effects.decisions = state.decisions(&plan, now);
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
        let used = state.take_readings(&readings);
        state.demand.note(now, used);
        self.settle(state, Effects::default());
    }
}

// === impl State ===

impl State {
    /// Returns the CPU time that was used since the last readings; what an instance used before it was ready was its
    /// start.
    fn take_readings(&mut self, readings: &[(Arc<Instance>, Usage)]) -> Duration {
        let (mut used, mut all) = (Duration::ZERO, Duration::ZERO);
        for (instance, usage) in readings {
            let Some(place) = self.place(instance) else { continue };
            let before = place.cpu.replace(usage.cpu);
            place.memory = usage.memory_bytes;
            used += before.map_or(Duration::ZERO, |before| usage.cpu.saturating_sub(before));
            all += usage.cpu.saturating_sub(before.unwrap_or_default());
        }
        self.places.iter_mut().for_each(|place| place.peak = place.in_flight);
        let (millis, bytes) = self.entry.as_ref().map_or((0, 0), |entry| {
            let limits = || entry.spec.containers().map(|container| &container.limits);
            (limits().map(|limits| limits.cpu_millis).sum(), limits().map(|limits| limits.memory_bytes).sum::<u64>())
        });
        let awake = u32::try_from(readings.len()).unwrap_or(u32::MAX);
        self.used.cpu += all;
        self.used.cpu_allocated += TICK * awake * millis / 1000;
        self.used.memory = self.places.iter().map(|place| place.memory).sum();
        self.used.memory_allocated = bytes * self.places.len() as u64;
        used
    }

    /// The decisions of a plan for the log: `+2 (1 → 3): …`. What could not be done is said when that begins, not at
    /// every request that comes meanwhile, nor each time that the queue was empty for a moment ([`QUIET`]).
    fn decisions(&mut self, plan: &Plan<usize>, now: Instant) -> Vec<String> {
        let mut count = self.places.iter().filter(|place| place.about != About::Draining).count();
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
