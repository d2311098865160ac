//! The executions that are under way, in memory: how far they have come, what of them the fleet is told, what it tells,
//! and how much of the machine they have.
//!
//! Everything here can be made again from the store. What the fleet tells is kept until it is written down: its receipts
//! are dropped then, and not before.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tokio::sync::watch;
use updraft_model::{
    Parent,
    channel::{TaskBook, TaskEnd, TaskEntry, Wish},
    job::{AttemptName, Counts, ExecutionName, ExecutionTemplate, JobName},
    level::Level,
};
use updraft_plan::{
    job::Progress,
    room::{self, Asker, Machine, Taken},
};

/// They.
#[derive(Debug)]
pub(crate) struct Executions {
    machine: Machine,
    state: Mutex<State>,
    book: watch::Sender<Arc<TaskBook>>,
}

#[derive(Debug, Default)]
struct State {
    /// What is known of each, also while a pass works on it.
    known: HashMap<ExecutionName, Known>,
    /// Those that no pass works on.
    live: HashMap<ExecutionName, Live>,
    /// What the fleet has told and no pass has taken.
    ends: HashMap<ExecutionName, Vec<TaskEnd>>,
    /// What the fleet is told.
    entries: Level<Arc<AttemptName>, Arc<TaskEntry>>,
    /// Those that were there when the server started and that no pass has looked at.
    unseen: HashSet<ExecutionName>,
    /// Is it known what runs of those? Until then what they have of the machine would be given away once more.
    is_whole: bool,
    /// Were all of them named?
    is_listed: bool,
    /// The server ends: what is begun now would be written down and never start.
    is_closing: bool,
    /// How many have been put in line.
    turns: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    counts: Counts,
    /// Tasks that have a part of the machine.
    running: u32,
    /// How much memory each has.
    size: u64,
    /// Could more tasks begin, if there were room?
    wants: bool,
    /// Its place in the line of those that had asked for more than there was room for.
    turn: Option<u64>,
}

/// What an execution asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    /// How many tasks are to begin.
    pub(crate) want: u32,
    /// How many run, now that all that was told is taken in.
    pub(crate) running: u32,
    /// How much memory each is promised, in bytes.
    pub(crate) size: u64,
    /// How much of it instances of services and worker pools are promised, in bytes.
    pub(crate) services: u64,
}

/// How far an execution has come: what a pass works with.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) template: ExecutionTemplate,
    pub(crate) progress: Progress,
    /// What is written down of its tasks, by their places.
    pub(crate) rows: BTreeMap<u32, Row>,
    /// Has the engine its image ready?
    pub(crate) is_prepared: bool,
    /// When its first attempt began.
    pub(crate) started: Option<SystemTime>,
    /// When it is going to be woken.
    pub(crate) alarm: Option<SystemTime>,
    /// How much memory a task is promised.
    pub(crate) size: u64,
}

/// What is known of a row, so that it can be written again without being read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// The version it has in the store.
    pub(crate) version: i64,
    /// When it was written first.
    pub(crate) created: SystemTime,
    /// When the first attempt began.
    pub(crate) started: SystemTime,
}

// === impl Executions ===

impl Executions {
    pub(crate) fn new(machine: Machine, book: watch::Sender<Arc<TaskBook>>) -> Self {
        Self { machine, state: Mutex::default(), book }
    }

    /// The server has started, and this one is there.
    pub(crate) fn expect(&self, name: ExecutionName) {
        let mut state = self.lock();
        if !state.is_whole {
            state.unseen.insert(name);
        }
    }

    /// All that are there were [expected](Self::expect). Is none of them waited for any more? Then tasks may begin.
    pub(crate) fn expected_all(&self) -> bool {
        let mut state = self.lock();
        let was_whole = state.is_whole;
        state.is_listed = true;
        state.is_whole |= state.unseen.is_empty();
        state.is_whole && !was_whole
    }

    /// What runs of one, as it was read.
    pub(crate) fn note(&self, name: &ExecutionName, live: &Live) {
        let counts = live.progress.counts();
        let mut state = self.lock();
        let known = state.known.entry(name.clone()).or_default();
        (known.counts, known.running, known.size) = (counts, counts.running, live.size);
    }

    /// It is known what runs of this one. Was it the last that was waited for? Then tasks may begin.
    pub(crate) fn seen(&self, name: &ExecutionName) -> bool {
        let mut state = self.lock();
        if state.is_whole {
            return false;
        }
        state.unseen.remove(name);
        state.is_whole = state.is_listed && state.unseen.is_empty();
        state.is_whole
    }

    /// Nothing begins any more.
    pub(crate) fn close(&self) {
        self.lock().is_closing = true;
    }

    /// How many are under way in a place.
    pub(crate) fn count(&self, parent: &Parent) -> usize {
        self.lock().known.keys().filter(|name| name.job.parent == *parent).count()
    }

    /// How many of its tasks are in which phase; `None` of one that is not under way.
    pub(crate) fn counts(&self, name: &ExecutionName) -> Option<Counts> {
        self.lock().known.get(name).map(|known| known.counts)
    }

    /// How many executions of each job are under way, and how many of their tasks run.
    pub(crate) fn by_job(&self) -> BTreeMap<JobName, (u32, u32)> {
        let mut all = BTreeMap::<JobName, (u32, u32)>::new();
        for (name, known) in &self.lock().known {
            let counts = all.entry(name.job.clone()).or_default();
            *counts = (counts.0 + 1, counts.1 + known.counts.running);
        }
        all
    }

    /// What is known of one. Comes back by [`Executions::put_back`].
    pub(crate) fn take(&self, name: &ExecutionName) -> Option<Live> {
        self.lock().live.remove(name)
    }

    /// What a pass came to.
    pub(crate) fn put_back(&self, name: &ExecutionName, live: Live, now: SystemTime) {
        let mut state = self.lock();
        let counts = live.progress.counts();
        // One whose image is not there yet keeps nobody waiting.
        let wants = live.is_prepared && live.progress.may_begin(now) > 0;
        let turn = state.known.get(name).and_then(|known| known.turn).filter(|_| wants);
        let known = Known { counts, running: counts.running, size: live.size, wants, turn };
        state.known.insert(name.clone(), known);
        state.live.insert(name.clone(), live);
    }

    /// Forgets one, but for what the fleet was told of it and has told: it is read from the store again. What it had claimed
    /// it gives back, and it keeps nobody waiting, since it may fail again and again.
    pub(crate) fn reread(&self, name: &ExecutionName) {
        let mut state = self.lock();
        state.live.remove(name);
        if let Some(known) = state.known.get_mut(name) {
            known.running = known.counts.running;
            (known.wants, known.turn) = (false, None);
        }
    }

    /// Forgets everything of one. Whatever of it runs is ended.
    pub(crate) fn forget(&self, name: &ExecutionName) {
        let mut state = self.lock();
        state.known.remove(name);
        state.live.remove(name);
        state.ends.remove(name);
        let gone: Vec<_> = state.entries.keys().filter(|one| one.task.execution == *name).cloned().collect();
        for attempt in &gone {
            state.entries.remove(attempt);
        }
        drop(state);
        if !gone.is_empty() {
            self.publish();
        }
    }

    /// The fleet has told how attempts ended. Returns the executions that these are of.
    pub(crate) fn told(&self, ends: Vec<TaskEnd>) -> Vec<ExecutionName> {
        let (mut state, mut names) = (self.lock(), Vec::new());
        for end in ends {
            let name = end.name.task.execution.clone();
            let waiting = state.ends.entry(name.clone()).or_default();
            if waiting.is_empty() {
                names.push(name);
            }
            waiting.push(end);
        }
        names
    }

    /// What was told of one, to be written down.
    pub(crate) fn ends(&self, name: &ExecutionName) -> Vec<TaskEnd> {
        self.lock().ends.remove(name).unwrap_or_default()
    }

    /// It could not be written down: the next pass gets it again.
    pub(crate) fn give_back(&self, name: &ExecutionName, mut ends: Vec<TaskEnd>) {
        if ends.is_empty() {
            return;
        }
        let mut state = self.lock();
        let waiting = state.ends.entry(name.clone()).or_default();
        ends.append(waiting);
        *waiting = ends;
    }

    /// Is this attempt among those that the fleet was told of?
    pub(crate) fn is_told(&self, name: &AttemptName) -> bool {
        self.lock().entries.contains_key(name)
    }

    /// How many more of its tasks may begin; they have their part from here on. One that gets less than it asked for waits
    /// in line.
    pub(crate) fn claim(&self, name: &ExecutionName, claim: Claim) -> u32 {
        let Claim { want, running, size, services } = claim;
        let mut state = self.lock();
        if state.is_closing {
            return 0;
        }
        let known = state.known.entry(name.clone()).or_default();
        // What has ended in this pass has given its part back, and what a pass had claimed that failed was never begun.
        (known.running, known.size) = (running, size);
        let turn = known.turn.unwrap_or(u64::MAX);
        let taken = Taken { services, ..state.taken() };
        let others = || state.known.iter().filter(|(one, known)| *one != name && known.wants).map(|(_, known)| known);
        let askers = u32::try_from(others().count() + 1).unwrap_or(u32::MAX);
        let is_ahead = |other: &&Known| {
            let asker = Asker { size: other.size, running: other.running, askers, ahead: 0 };
            other.turn.is_some_and(|other| other < turn) && room::room(self.machine, taken, asker) > 0
        };
        let ahead = u32::try_from(others().filter(is_ahead).count()).unwrap_or(u32::MAX);
        let granted = match state.is_whole {
            true => room::room(self.machine, taken, Asker { size, running, askers, ahead }).min(want),
            false => 0,
        };
        let next = state.turns + 1;
        let Some(known) = state.known.get_mut(name) else { return 0 };
        known.running += granted;
        known.wants = granted < want;
        known.turn = match (granted, known.turn) {
            (0, Some(turn)) => Some(turn),
            _ => (granted < want).then_some(next),
        };
        state.turns = next;
        granted
    }

    /// Those for which there may be room, those that have waited longest first, but for one: so many as there are places.
    pub(crate) fn waiting(&self, but: Option<&ExecutionName>) -> Vec<ExecutionName> {
        let state = self.lock();
        let free = self.machine.tasks.saturating_sub(state.taken().tasks);
        let waiting = state.known.iter().filter(|(name, known)| known.wants && Some(*name) != but);
        let mut waiting: Vec<_> = waiting.filter_map(|(name, known)| Some((known.turn?, name))).collect();
        waiting.sort_unstable_by_key(|(turn, _)| *turn);
        waiting.into_iter().take(usize::try_from(free).unwrap_or(usize::MAX)).map(|(_, name)| name.clone()).collect()
    }

    /// Tells the fleet: these attempts are to run, these to end, and of these everything is written down.
    pub(crate) fn tell(
        &self,
        begun: Vec<(AttemptName, TaskEntry)>,
        stopped: &[(AttemptName, Wish)],
        over: &[AttemptName],
    ) {
        if begun.is_empty() && stopped.is_empty() && over.is_empty() {
            return;
        }
        let mut state = self.lock();
        for name in over {
            state.entries.remove(name);
        }
        for (name, wish) in stopped {
            if let Some(entry) = state.entries.get(name).cloned() {
                let entry = TaskEntry { wish: *wish, ..TaskEntry::clone(&entry) };
                state.entries.insert(Arc::new(name.clone()), Arc::new(entry));
            }
        }
        for (name, entry) in begun {
            state.entries.insert(Arc::new(name), Arc::new(entry));
        }
        drop(state);
        self.publish();
    }

    fn publish(&self) {
        let state = self.lock();
        // Under the lock, so that an older version does not come after a newer one.
        self.book.send_replace(Arc::new(TaskBook { entries: state.entries.clone() }));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// What tasks have of the machine.
    fn taken(&self) -> Taken {
        let mut taken = Taken::default();
        for known in self.known.values() {
            taken.tasks += known.running;
            taken.memory += u64::from(known.running) * known.size;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use updraft_plan::job::Terms;

    use super::*;

    const MACHINE: Machine = Machine { memory: 8 << 30, tasks: 2 };

    fn name(job: &str) -> ExecutionName {
        Parent::new("demo-project", "us-central1").job(job).execution(format!("{job}-a"))
    }

    /// Of a server that has started with none.
    fn open() -> Executions {
        let all = Executions::new(MACHINE, watch::Sender::new(Arc::default()));
        all.expected_all();
        all
    }

    fn live(task_count: u32) -> Live {
        let terms = Terms { task_count, parallelism: 0, max_retries: 0, timeout: Duration::from_secs(60) };
        Live {
            template: ExecutionTemplate::default(),
            progress: Progress::new(terms),
            rows: BTreeMap::new(),
            is_prepared: true,
            started: None,
            alarm: None,
            size: 1 << 20,
        }
    }

    /// A pass of an execution: how many tasks may begin. They are begun, or the pass fails.
    fn pass(all: &Executions, job: &str, begins: bool) -> u32 {
        let mut live = all.take(&name(job)).unwrap_or_else(|| live(10));
        let (want, running) = (live.progress.may_begin(UNIX_EPOCH), live.progress.counts().running);
        let granted = all.claim(&name(job), Claim { want, running, size: live.size, services: 0 });
        if begins {
            live.progress.begin(granted as usize, UNIX_EPOCH);
            all.put_back(&name(job), live, UNIX_EPOCH);
        } else {
            all.reread(&name(job));
        }
        granted
    }

    #[test]
    fn who_waits_longest_is_woken_first_and_there_are_as_many_as_places() {
        let all = open();
        assert_eq!(pass(&all, "first", true), 2);
        assert_eq!((pass(&all, "second", true), pass(&all, "third", true)), (0, 0));
        assert!(all.waiting(Some(&name("first"))).is_empty(), "there is no place");
        let mut first = all.take(&name("first")).expect("it is there");
        let running: Vec<_> = first.progress.running().collect();
        first.progress.ended(running[0], updraft_model::job::AttemptEnd::Succeeded, UNIX_EPOCH);
        all.put_back(&name("first"), first, UNIX_EPOCH);
        assert_eq!(all.waiting(Some(&name("first"))), [name("second")]);
        assert_eq!(pass(&all, "third", true), 0, "the second has waited longer");
        assert_eq!(pass(&all, "second", true), 1);
    }

    #[test]
    fn what_a_pass_had_claimed_that_fails_is_for_others_at_once() {
        let all = open();
        assert_eq!(pass(&all, "failing", false), 2);
        assert_eq!(pass(&all, "other", true), 2);
    }

    #[test]
    fn after_a_start_nothing_begins_before_it_is_known_what_runs() {
        let all = Executions::new(MACHINE, watch::Sender::new(Arc::default()));
        all.expect(name("first"));
        assert_eq!(pass(&all, "new", true), 0, "others may be there");
        assert!(!all.seen(&name("new")));
        all.expect(name("second"));
        all.expected_all();
        assert_eq!(pass(&all, "first", true), 0, "the second may have the whole machine");
        assert!(!all.seen(&name("first")));
        assert_eq!(pass(&all, "second", true), 0);
        assert!(all.seen(&name("second")), "it was the last");
        assert_eq!(all.waiting(None), [name("new"), name("first")], "as many as there are places");
        assert_eq!(pass(&all, "new", true), 1, "of two places, for each of two that ask");
        assert!(!all.seen(&name("second")), "that is told once");
    }
}
