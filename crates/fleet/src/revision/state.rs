//! What is known of one revision, and small steps on it. Everything here is done under its lock.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use updraft_model::channel::{BookEntry, Check, CheckOutcome};
use updraft_plan::{
    cpu::{self, Freezing},
    patience::Wait,
    scaling::{self, Bounds, Candidate, CheckState, Observed, Phase, RetireReason},
};

use super::{About, Counts, Effects, End, Place, State};
use crate::{affinity::Affinity, instance::Instance, slot::Refusal};

/// An instance that ends by itself sooner than this after it was ready counts as a failed start:
/// otherwise one that crashes at once would be started in a tight loop.
const CRASH_WINDOW: Duration = Duration::from_secs(10);

// === impl Place ===

impl Place {
    pub(super) fn starting(instance: Arc<Instance>, now: Instant) -> Self {
        Self {
            instance,
            about: About::Starting,
            in_flight: 0,
            idle_since: now,
            cpu: None,
            read: None,
            memory: 0,
            peak: 0,
            peak_before: 0,
            unready: 0,
            frozen: false,
        }
    }

    /// Does it take requests, as long as it has room?
    pub(super) fn is_open(&self) -> bool {
        self.about == About::Ready && self.unready == 0
    }

    /// Counts one more request. The instance is for a [`crate::Slot`], made after the lock is free.
    pub(super) fn occupy(&mut self) -> Arc<Instance> {
        self.in_flight += 1;
        self.peak = self.peak.max(self.in_flight);
        self.frozen = false;
        self.instance.clone()
    }
}

// === impl State ===

impl State {
    pub(super) fn free_place(&mut self, wanted: Option<Affinity>) -> Option<&mut Place> {
        let spread = self.bounds()?.spread(self.kept);
        if let Some(wanted) = wanted {
            let is_wanted = |place: &Place| place.instance.affinity == wanted;
            let has_room = |place: &Place| place.is_open() && place.in_flight < spread.concurrency;
            if let Some(index) = self.places.iter().position(|place| is_wanted(place) && has_room(place)) {
                return self.places.get_mut(index);
            }
        }
        let open = self.places.iter().enumerate().filter(|(_, place)| place.is_open());
        let candidates = open.map(|(index, place)| (index, Candidate { load: place.in_flight, frozen: place.frozen }));
        let index = scaling::pick(candidates, spread)?;
        self.places.get_mut(index)
    }

    /// Which instances are to be frozen now, and when to look again. They count as frozen from here on.
    pub(super) fn freeze_idle(&mut self, now: Instant, grace: Option<Duration>) -> Freezing<Arc<Instance>> {
        // One that gets no requests would never be thawed.
        let awake = |place: &&mut Place| place.is_open() && place.in_flight == 0 && !place.frozen;
        let idle = self.places.iter_mut().filter(awake);
        let idle = idle.map(|place| {
            let idle_for = now.saturating_duration_since(place.idle_since);
            (place, idle_for)
        });
        let Freezing { due, again_in } = cpu::freezing(idle, grace);
        let freeze = |place: &mut Place| {
            place.frozen = true;
            // While it is frozen it has no CPU to use.
            place.read = None;
            place.instance.clone()
        };
        Freezing { due: due.into_iter().map(freeze).collect(), again_in }
    }

    /// Lets the revision be woken at `at`, if it is not woken before anyway.
    pub(super) fn look_again(&mut self, at: Instant) -> Effects {
        let is_first = self.wakes.first().is_none_or(|first| at < *first);
        if is_first {
            self.wakes.insert(at);
        }
        Effects { wake_at: is_first.then_some(at), ..Effects::default() }
    }

    pub(super) fn place(&mut self, instance: &Arc<Instance>) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| Arc::ptr_eq(&place.instance, instance))
    }

    /// The book has another entry; instances that run get the secrets of the same spec.
    pub(super) fn replace_entry(&mut self, entry: Option<Arc<BookEntry>>) {
        let old = std::mem::replace(&mut self.entry, entry);
        if let (Some(old), Some(new)) = (&old, &self.entry)
            && old.spec == new.spec
            && old.secrets != new.secrets
        {
            self.places.iter().for_each(|place| place.instance.secrets.offer(new.secrets.clone()));
        }
    }

    pub(super) fn is_check_wanted(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.check == Check::Wanted)
    }

    /// Forgets what earlier starts showed.
    pub(super) fn reopen_check(&mut self) {
        self.check = CheckState::Open;
        self.outcome = CheckOutcome::Pending;
        self.failures = 0;
        self.trouble = None;
        self.held_until = None;
        self.hold_back.reset();
    }

    /// Every instance ends when its requests have.
    pub(super) fn drain_places(&mut self, effects: &mut Effects) {
        for place in self.places.iter_mut().filter(|place| place.about != About::Draining) {
            place.about = About::Draining;
            if place.in_flight == 0 {
                effects.stops.push(place.instance.clone());
            }
        }
    }

    pub(super) fn retire(&mut self, index: usize, why: RetireReason, effects: &mut Effects) {
        let Some(place) = self.places.get_mut(index) else { return };
        place.about = About::Draining;
        effects.retired.push((place.instance.clone(), why));
        if place.in_flight == 0 {
            effects.stops.push(place.instance.clone());
        }
    }

    pub(super) fn refuse_all(&mut self, refusal: &Refusal, effects: &mut Effects) {
        let waiting = std::mem::take(&mut self.queue);
        // Each leaves the queue, which it is not in any more, without being counted down.
        self.demand.refused(u32::try_from(waiting.len()).unwrap_or(u32::MAX));
        effects.answers.extend(waiting.into_values().map(|waiting| (waiting, Err(refusal.clone()))));
    }

    pub(super) fn pass_check(&mut self) {
        if self.check == CheckState::Open {
            self.check = CheckState::Passed;
            self.outcome = CheckOutcome::Passed;
        }
    }

    pub(super) fn hold_back(&mut self, now: Instant) {
        self.held_until = Some(now + self.hold_back.next_delay());
    }

    /// An instance that crashes soon after it was up holds the next start back; one that lived long
    /// shows that the revision works.
    pub(super) fn learn_from_end(&mut self, instance: &Instance, end: End, now: Instant) {
        let Some(timing) = instance.timing() else { return };
        match end {
            End::Ill => {}
            _ if now.saturating_duration_since(timing.ready) >= CRASH_WINDOW => self.hold_back.reset(),
            End::Crash => self.hold_back(now),
            End::Wanted => {}
        }
    }

    pub(super) fn count(&self) -> Counts {
        let mut counts = Counts::default();
        for place in &self.places {
            match place.about {
                About::Starting => counts.starting += 1,
                About::Ready => {
                    counts.ready += 1;
                    counts.unready += u32::from(!place.is_open());
                }
                About::Draining => counts.draining += 1,
            }
        }
        counts
    }

    /// What the book says of it, within what is possible.
    pub(super) fn bounds(&self) -> Option<Bounds> {
        let most = if self.alone { 1 } else { u32::MAX };
        self.entry.as_ref().map(|entry| Bounds {
            concurrency: entry.concurrency,
            min: entry.min.min(most),
            max: entry.max.min(most),
            cpu_milli: entry.spec.containers().map(|container| container.limits.cpu_millis).sum(),
            targets: entry.targets,
            check: entry.check,
        })
    }

    /// Is it switched off? Then nothing is started for who waits.
    pub(super) fn is_off(&self) -> bool {
        self.bounds().is_some_and(|bounds| bounds.max == 0)
    }

    /// Are there as many instances as may be, and none of them on its way up?
    pub(super) fn is_full(&self) -> bool {
        let max = self.bounds().map_or(0, |bounds| bounds.max);
        self.places.len() >= usize::try_from(max).unwrap_or(usize::MAX) && self.count().starting == 0
    }

    /// What a request waits for that finds no place; an instance that ends has so much time for it.
    pub(super) fn wait(&self, stop_grace: Duration) -> Wait {
        let counts = self.count();
        match (self.is_full(), counts.draining > 0) {
            (true, true) => Wait::ForEnd(stop_grace),
            (true, false) => Wait::ForPlace,
            (false, _) => Wait::ForStart,
        }
    }

    pub(super) fn observe(&mut self, now: Instant, idle: Duration) -> Observed<usize> {
        let load = self.demand.load(now);
        let phase = |place: &Place| match place.about {
            About::Starting => Phase::Starting,
            About::Draining => Phase::Draining,
            About::Ready => {
                let in_flight = place.in_flight;
                let idle = in_flight == 0;
                let idle_for = if idle { now.saturating_duration_since(place.idle_since) } else { Duration::ZERO };
                if place.is_open() {
                    Phase::Ready { in_flight, idle_for }
                } else {
                    Phase::Unready { in_flight, idle_for }
                }
            }
        };
        let instances = self.places.iter().enumerate();
        Observed {
            bounds: self.bounds(),
            check: self.check,
            waiting: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
            load,
            instances: instances.map(|(id, place)| scaling::Instance { id, phase: phase(place) }).collect(),
            idle,
            held_back: self.held_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now)),
        }
    }
}
