//! Whatever happens to an execution, in whatever order: beginnings, ends, ends told twice, time limits,
//! crashes before and after something was written down, a cancellation.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    /// There is room for so many.
    Room(usize),
    /// The server dies after it decided to begin so many, before that was written down.
    RoomAndCrash(usize),
    /// A container that runs ends, and its end is written down.
    End(usize, AttemptEnd),
    /// A container that runs ends, and the server dies before that is written down.
    EndAndCrash(usize, AttemptEnd),
    /// An end that was told is told again.
    Again(usize),
    /// The server dies, and of what runs only each so-manieth is there when it is back.
    Crash(usize),
    /// Time passes.
    Wait(u64),
    /// The execution is cancelled.
    Cancel,
}

fn end() -> impl Strategy<Value = AttemptEnd> {
    prop_oneof![
        3 => Just(AttemptEnd::Succeeded),
        2 => Just(AttemptEnd::Exited(1)),
        1 => Just(AttemptEnd::Signalled(9)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0usize..4).prop_map(Event::Room),
        1 => (0usize..4).prop_map(Event::RoomAndCrash),
        8 => (any::<usize>(), end()).prop_map(|(which, end)| Event::End(which, end)),
        1 => (any::<usize>(), end()).prop_map(|(which, end)| Event::EndAndCrash(which, end)),
        2 => any::<usize>().prop_map(Event::Again),
        1 => (1usize..4).prop_map(Event::Crash),
        3 => (0u64..40).prop_map(Event::Wait),
        1 => Just(Event::Cancel),
    ]
}

fn any_terms() -> impl Strategy<Value = Terms> {
    (1u32..7, 0u32..4, 0u32..4).prop_map(|(task_count, parallelism, max_retries)| Terms {
        task_count,
        parallelism: parallelism.min(task_count),
        max_retries,
        timeout: 30 * SECOND,
    })
}

/// Containers, what is written down, and the server over both.
struct World {
    terms: Terms,
    progress: Progress,
    rows: BTreeMap<u32, Task>,
    is_cancelled: bool,
    /// Containers that run.
    live: BTreeSet<Attempt>,
    /// Containers that ended and whose end was not acknowledged: an engine keeps it.
    kept: BTreeMap<Attempt, (AttemptEnd, SystemTime)>,
    told: Vec<(Attempt, AttemptEnd)>,
    ever: HashSet<Attempt>,
    /// Who was told to end since the server started.
    stops: HashSet<Attempt>,
    /// Who was ever told, for what first.
    first_stops: BTreeMap<Attempt, Stop>,
    /// The same before the server came back last.
    old_stops: BTreeMap<Attempt, Stop>,
    now: SystemTime,
}

impl World {
    fn new(terms: Terms) -> Self {
        Self {
            terms,
            progress: Progress::new(terms),
            rows: BTreeMap::new(),
            is_cancelled: false,
            live: BTreeSet::new(),
            kept: BTreeMap::new(),
            told: Vec::new(),
            ever: HashSet::new(),
            stops: HashSet::new(),
            first_stops: BTreeMap::new(),
            old_stops: BTreeMap::new(),
            now: at(0),
        }
    }

    fn write_down(&mut self) {
        for index in self.progress.take_changed() {
            let task = self.progress.task(index).expect("a task");
            let before = self.rows.insert(index, task.clone()).unwrap_or_default();
            if before.phase.is_terminal() {
                assert_eq!(before, task, "what is over stays as it is");
            }
        }
    }

    /// Containers run only after they were written down, and each attempt once.
    fn run(&mut self, begun: Vec<Attempt>) {
        self.write_down();
        for attempt in begun {
            assert!(self.live.insert(attempt) && self.ever.insert(attempt), "{attempt} runs twice");
        }
        self.write_down();
    }

    fn deliver(&mut self, attempt: Attempt, end: AttemptEnd, when: SystemTime) {
        let told = self.old_stops.get(&attempt).filter(|stop| when >= stop.at);
        let want = told.map_or_else(|| end.clone(), |stop| stop.why.end());
        let ran = self.runs(attempt);
        match self.progress.ended(attempt, end.clone(), when) {
            Follows::Nothing => assert!(!ran, "{attempt} runs, and its end is not taken"),
            Follows::Over { end, .. } | Follows::Retry { end, .. } => assert_eq!(end, want, "{attempt}"),
        }
        self.write_down();
        self.kept.remove(&attempt);
        self.told.push((attempt, end));
    }

    /// The server dies; of what runs and of the ends that are kept each `of`th is there when it is back.
    fn crash(&mut self, of: usize) {
        self.now += 3 * SECOND;
        let mut place = 0;
        let mut is_there = |_: &Attempt| {
            place += 1;
            place % of == 0
        };
        self.live.retain(&mut is_there);
        self.kept.retain(|attempt, _| is_there(attempt));
        let adopted = self.live.iter().chain(self.kept.keys()).copied().collect();
        let rows = self.rows.clone();
        self.progress = Progress::resume(self.terms, rows, &adopted, self.now);
        self.stops.clear();
        self.old_stops.clone_from(&self.first_stops);
        self.write_down();
        if self.is_cancelled {
            self.cancel();
        }
        self.overdue();
        for (attempt, (end, when)) in self.kept.clone() {
            self.deliver(attempt, end, when);
        }
    }

    fn cancel(&mut self) {
        self.is_cancelled = true;
        let told = self.progress.cancel(self.now);
        self.stop(told);
    }

    fn overdue(&mut self) {
        let told = self.progress.overdue(self.now);
        self.stop(told);
    }

    fn stop(&mut self, told: Vec<Attempt>) {
        self.write_down();
        for attempt in told {
            assert!(self.stops.insert(attempt), "{attempt} is told twice");
            let stop = self.rows[&attempt.index].stop.expect("written down before it is sent");
            let first = *self.first_stops.entry(attempt).or_insert(stop);
            assert_eq!(stop, first, "what it was told for first stays");
        }
    }

    fn runs(&self, attempt: Attempt) -> bool {
        self.progress.running().any(|one| one == attempt)
    }

    fn pick(&self, which: usize) -> Option<Attempt> {
        self.live.iter().nth(which.checked_rem(self.live.len())?).copied()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Room(room) => {
                let begun = self.progress.begin(room, self.now);
                assert!(begun.len() <= room);
                self.run(begun);
            }
            Event::RoomAndCrash(room) => {
                self.progress.begin(room, self.now);
                self.crash(1);
            }
            Event::End(which, end) => {
                if let Some(attempt) = self.pick(which) {
                    self.live.remove(&attempt);
                    self.deliver(attempt, end, self.now);
                }
            }
            Event::EndAndCrash(which, end) => {
                if let Some(attempt) = self.pick(which) {
                    self.live.remove(&attempt);
                    self.kept.insert(attempt, (end.clone(), self.now));
                    self.progress.ended(attempt, end, self.now);
                    self.crash(which % 3 + 1);
                }
            }
            Event::Again(which) => {
                if let Some((attempt, end)) = which.checked_rem(self.told.len()).map(|place| self.told[place].clone()) {
                    assert_eq!(self.progress.ended(attempt, end, self.now), Follows::Nothing);
                    assert_eq!(self.progress.take_changed(), [0; 0]);
                }
            }
            Event::Crash(of) => self.crash(of),
            Event::Wait(seconds) => {
                self.now += Duration::from_secs(seconds);
                self.overdue();
            }
            Event::Cancel => self.cancel(),
        }
        self.check();
    }

    fn check(&self) {
        let mut seen = Counts::default();
        let mut pending = 0;
        for index in 0..self.terms.task_count {
            let task = self.progress.task(index).expect("a task");
            match task.phase {
                TaskPhase::Pending => pending += 1,
                TaskPhase::Running => seen.running += 1,
                TaskPhase::Succeeded => seen.succeeded += 1,
                TaskPhase::Failed => seen.failed += 1,
                TaskPhase::Cancelled => seen.cancelled += 1,
                TaskPhase::Abandoned => seen.abandoned += 1,
            }
            seen.retried += u32::from(task.attempts > 1);
            assert!(task.attempts <= self.terms.max_retries + 1, "no more attempts than retries and one");
            assert_eq!(self.rows.get(&index).cloned().unwrap_or_default(), task, "all changes were told");
            assert_eq!(task.phase == TaskPhase::Failed, {
                let has_used = task.attempts == self.terms.max_retries + 1;
                has_used
                    && task.phase.is_terminal()
                    && !matches!(task.phase, TaskPhase::Succeeded | TaskPhase::Cancelled)
            });
        }
        assert_eq!(seen, self.progress.counts());
        assert_eq!(pending, seen.pending(self.terms.task_count));
        assert_eq!(pending + seen.running + seen.over(), self.terms.task_count);
        assert!(seen.running <= self.terms.limit() && self.live.len() <= self.terms.limit() as usize);
        let running: BTreeSet<Attempt> = self.progress.running().collect();
        assert_eq!(running, self.live, "what runs is what is thought to run");
        assert_eq!(self.progress.outcome().is_some(), self.progress.is_over());
        assert!(!self.is_cancelled || pending == 0, "nothing of a cancelled execution waits");
    }

    /// Only what must happen happens from here on: it ends.
    fn finish(&mut self) {
        let steps = self.terms.task_count * (self.terms.max_retries + 1) * 2 + 2;
        for step in 0..steps {
            if self.progress.is_over() {
                break;
            }
            let begun = self.progress.begin(usize::MAX, self.now);
            self.run(begun);
            if let Some(attempt) = self.pick(0) {
                self.live.remove(&attempt);
                let end = if step % 2 == 0 { AttemptEnd::Exited(1) } else { AttemptEnd::Succeeded };
                self.deliver(attempt, end, self.now);
            } else {
                let due = self.progress.due(self.now).expect("who waits says until when");
                assert!(due > self.now);
                self.now = due;
            }
            self.check();
        }
        assert!(self.progress.is_over(), "{}", self.progress);
        assert_eq!(self.progress.due(self.now), None);
        let counts = self.progress.counts();
        match self.progress.outcome().expect("over") {
            Outcome::Succeeded => assert_eq!(counts.succeeded, self.terms.task_count),
            Outcome::Failed(tasks) => {
                assert_eq!(tasks.count, counts.failed);
                assert_eq!(counts.succeeded + counts.failed, self.terms.task_count, "all were tried");
            }
            Outcome::Cancelled => assert!(self.is_cancelled),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_an_execution_keeps_its_terms_and_comes_to_its_end(
        terms in any_terms(),
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut world = World::new(terms);
        for event in events {
            world.happen(event);
        }
        world.finish();
    }
}
