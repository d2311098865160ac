//! Attempts at tasks: one instance each, from the book to the end that is told.
//!
//! Whoever writes the book has written down before that an attempt begins, and is told how it ended until that is written
//! down as well: the engine's receipt goes along. An attempt that a server before this one had begun is one of those that
//! the engine took over, or it is lost. It is never begun again: that is a decision about its task, and not made here.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, watch};
use updraft_base::OnFailure;
use updraft_model::{
    channel::{Begun, BookEntry, TaskBook, TaskEnd, TaskEntry, Wish},
    condition::Reason,
    instance::Exit,
    job::{AttemptEnd, AttemptName},
};

use crate::{
    adoption,
    context::Context,
    ended::Ended,
    failure::Cause,
    instance::{self, Instance, Order, Remains, Start, Timing},
    parting, secrets,
};

/// The attempts of this server.
pub(crate) struct Attempts {
    context: Arc<Context>,
    ends: mpsc::Sender<TaskEnd>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The book as it was followed last.
    followed: Arc<TaskBook>,
    /// Those that run.
    running: HashMap<AttemptName, Arc<Running>>,
    /// Those that have ended here and that the book names still: it has not heard of it. What it says of them now, such as
    /// that they are to end, is late, and begins nothing.
    over: HashSet<AttemptName>,
    /// Those that the engine took over and that the book has not named yet.
    inherited: HashMap<AttemptName, Arc<Instance>>,
}

/// An attempt that runs.
struct Running {
    name: AttemptName,
    instance: Arc<Instance>,
    entry: Arc<TaskEntry>,
    /// Why it was told to end, if it was: what is told first holds.
    stopped: OnceLock<Stop>,
}

/// Why an attempt was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Its execution was cancelled.
    Cancelled,
    /// It takes longer than it may.
    TimedOut,
    /// Nobody wants to know how it ends: its execution is gone.
    Unwanted,
    /// The server ends.
    Closing,
}

// === impl Attempts ===

impl Attempts {
    pub(crate) fn new(context: Arc<Context>, ends: mpsc::Sender<TaskEnd>) -> Self {
        Self { context, ends, state: Mutex::default() }
    }

    /// An instance that the engine took over waits for the book to name it.
    pub(crate) fn inherit(self: &Arc<Self>, context: &Arc<Context>, name: AttemptName, instance: Arc<Instance>) {
        self.lock().inherited.insert(name.clone(), instance.clone());
        let attempts = self.clone();
        context.tasks.spawn("adopted instance", OnFailure::Log, async move {
            tokio::select! {
                () = adoption::too_late(&attempts.context) => {}
                // A server that ends soon after it came does not wait for that.
                () = attempts.context.done.asked() => return,
            }
            if attempts.lock().inherited.remove(&name).is_some() {
                attempts.context.say(&instance, "Stopping instance. Reason: nobody waits for its task any more.");
                parting::end(&attempts.context, &instance, attempts.context.config.stop_grace).await;
                attempts.context.instances.remove(&instance.id);
            }
        });
    }

    /// Ends them all. Only a success is told then: the next server finds that the others are lost.
    pub(crate) fn close(&self) {
        let state = std::mem::take(&mut *self.lock());
        for running in state.running.values() {
            running.stop(Stop::Closing);
        }
        // What waits is ended by the engine, as everything is.
        for instance in state.inherited.into_values() {
            self.context.instances.remove(&instance.id);
        }
    }

    /// Makes the attempts what this book says.
    fn take_in(self: &Arc<Self>, book: &Arc<TaskBook>) {
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.followed, book.clone());
        for (name, entry) in book.entries.changes(&before.entries, Arc::ptr_eq) {
            match (entry, state.running.get(&**name)) {
                (Some(entry), Some(running)) => running.heed(entry.wish),
                (Some(_), None) if state.over.contains(&**name) => {}
                (Some(entry), None) => self.begin(&mut state, name, entry),
                (None, Some(running)) => running.stop(Stop::Unwanted),
                (None, None) => {
                    state.over.remove(&**name);
                }
            }
        }
    }

    fn begin(self: &Arc<Self>, state: &mut State, name: &AttemptName, entry: &Arc<TaskEntry>) {
        let inherited = state.inherited.remove(name);
        let (instance, begun) = match (entry.begun, inherited) {
            (_, Some(instance)) => (instance, Begun::Before),
            (Begun::Before, None) => return self.lost(state, name.clone()),
            (Begun::Now, None) => {
                let instance = Arc::new(Instance::new(&entry.runs, self.context.clock.instant()));
                // Known before the engine is: its first events may come before `start` returns.
                self.context.instances.insert(instance.clone());
                (instance, Begun::Now)
            }
        };
        let (name, entry, stopped) = (name.clone(), entry.clone(), OnceLock::new());
        let running = Arc::new(Running { name: name.clone(), instance, entry: entry.clone(), stopped });
        state.running.insert(name, running.clone());
        running.heed(entry.wish);
        self.context.tasks.spawn("attempt", OnFailure::Log, self.clone().live(running, begun));
    }

    /// Says of an attempt that it was gone when this server came.
    fn lost(self: &Arc<Self>, state: &mut State, name: AttemptName) {
        let attempts = self.clone();
        state.over.insert(name.clone());
        self.context.tasks.spawn("lost attempt", OnFailure::Log, async move {
            let receipt = updraft_model::receipt::Receipt::default();
            attempts.tell(TaskEnd { name, end: AttemptEnd::Lost, time: attempts.context.clock.now(), receipt }).await;
        });
    }

    /// From the start to the end.
    async fn live(self: Arc<Self>, running: Arc<Running>, begun: Begun) {
        let (context, instance, runs) = (&*self.context, &running.instance, &running.entry.runs);
        // Before its program can ask who it is.
        context.instances.enlist(instance, &runs.account);
        let end = match begun {
            Begun::Now => running.run(context).await,
            Begun::Before => {
                context.say(instance, "The server was restarted. The task goes on.");
                running.serve(context).await
            }
        };
        context.instances.remove(&instance.id);
        let receipt = instance.kept_receipt();
        self.lock().end(&running.name);
        // Of one that was stopped for nobody's sake it is not written down that it ended; so it is lost, not forgotten.
        let Some(end) = end.filter(|end| end.is_success() || !running.is_unwanted()) else { return };
        let time = instance.ended().map_or_else(|| context.clock.now(), |ended| ended.time);
        self.tell(TaskEnd { name: running.name.clone(), end, time, receipt }).await;
    }

    async fn tell(&self, end: TaskEnd) {
        if let Err(mpsc::error::SendError(end)) = self.ends.send(end).await {
            tracing::error!(attempt = %end.name, end = %end.end, "nobody is left who could write down how a task ended");
            // Not dropped: that would say that it is written down. The next server is told.
            std::mem::forget(end.receipt);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// An attempt has ended.
    fn end(&mut self, name: &AttemptName) {
        self.running.remove(name);
        if self.followed.entries.contains_key(name) {
            self.over.insert(name.clone());
        }
    }
}

// === impl Running ===

impl Running {
    fn stop(&self, why: Stop) {
        let _ = self.stopped.set(why);
        self.instance.order(Order::Stop);
    }

    fn heed(&self, wish: Wish) {
        match wish {
            Wish::Run => {}
            Wish::Cancel => self.stop(Stop::Cancelled),
            Wish::TimeOut => self.stop(Stop::TimedOut),
        }
    }

    fn is_unwanted(&self) -> bool {
        matches!(self.stopped.get(), Some(Stop::Unwanted | Stop::Closing))
    }

    /// Starts it and sees it to its end; `None` if nobody wants to know how it ended.
    async fn run(&self, context: &Context) -> Option<AttemptEnd> {
        let instance = &self.instance;
        context.metrics.starts.inc();
        match instance::bring_up(context, instance, &self.entry.runs).await {
            Start::Up(timing) => self.ran(context, timing).await,
            // A program may have done its work before anybody looked.
            Start::Failed(Cause::Exited(ended, _), _) => Some(self.judge(&ended)),
            Start::Failed(cause, remains) => {
                context.metrics.start_failures.inc();
                let failure = cause.into_failure(&self.entry.runs, instance);
                let found = &failure.diagnosis;
                context.say(instance, format!("Start failed [{}]. {} {}", found.code, found.cause, found.advice));
                if remains == Remains::Process {
                    parting::end(context, instance, Duration::ZERO).await;
                }
                Some(AttemptEnd::NotStarted { reason: failure.reason, message: found.to_string() })
            }
            Start::Unwanted => self.end(context).await,
        }
    }

    async fn ran(&self, context: &Context, timing: Timing) -> Option<AttemptEnd> {
        self.instance.came_up(timing);
        context.metrics.start_seconds.observe(timing.ready.duration_since(timing.asked).as_secs_f64());
        self.serve(context).await
    }

    /// Waits until it ends, or has to.
    async fn serve(&self, context: &Context) -> Option<AttemptEnd> {
        let (instance, runs) = (&self.instance, &*self.entry.runs);
        tokio::select! {
            biased;
            ended = instance.until_exit() => {
                context.say_end(instance, &ended);
                Some(self.judge(&ended))
            }
            never = secrets::follow(context, instance, &runs.spec) => match never {},
            () = instance.until_ordered() => self.end(context).await,
        }
    }

    /// Ends it because it was told to: as what that counts is known, whatever it exits with from then on.
    async fn end(&self, context: &Context) -> Option<AttemptEnd> {
        let stopped = self.stopped.get();
        let told_at = context.clock.now();
        if stopped == Some(&Stop::TimedOut) {
            context.say(&self.instance, "Terminating task because it has reached the maximum timeout.");
        }
        parting::end(context, &self.instance, context.config.stop_grace).await;
        // It had ended by itself, and was late to be told: of one that ended while no server was there, by hours.
        if let Some(ended) = self.instance.ended().filter(|ended| ended.time < told_at) {
            context.say_end(&self.instance, &ended);
            return Some(self.judge(&ended));
        }
        match stopped {
            Some(Stop::Cancelled) => Some(AttemptEnd::Cancelled),
            Some(Stop::TimedOut) => Some(AttemptEnd::TimedOut),
            // Who uses the time that is left and says that the work is done has done it.
            Some(Stop::Closing) => self.instance.ended().map(|ended| self.judge(&ended)).filter(AttemptEnd::is_success),
            Some(Stop::Unwanted) | None => None,
        }
    }

    fn judge(&self, ended: &Ended) -> AttemptEnd {
        of_exit(ended, &self.entry.runs, &self.instance)
    }
}

/// What the end of its instance says of an attempt.
fn of_exit(ended: &Ended, runs: &BookEntry, instance: &Instance) -> AttemptEnd {
    match (&ended.sidecar, &ended.exit) {
        (_, Exit::NotStarted { .. }) => {
            let failure = Cause::Exited(ended.clone(), Duration::ZERO).into_failure(runs, instance);
            AttemptEnd::NotStarted { reason: failure.reason, message: failure.diagnosis.to_string() }
        }
        (None, exit) | (_, exit @ (Exit::OutOfMemory { .. } | Exit::Lost)) => AttemptEnd::from(exit),
        // With a container beside it the task has lost what it depends on.
        (Some(_), _) => AttemptEnd::NotStarted { reason: Reason::NonZeroExitCode, message: ended.to_string() },
    }
}

/// Follows the book until the fleet is done.
pub(crate) async fn follow(attempts: Arc<Attempts>, mut book: watch::Receiver<Arc<TaskBook>>) {
    loop {
        let latest = book.borrow_and_update().clone();
        if !attempts.context.is_closing() {
            attempts.take_in(&latest);
        }
        tokio::select! {
            () = attempts.context.done.asked() => return,
            changed = book.changed() => if changed.is_err() { return },
        }
    }
}
