//! One instance, from the decision to start it to its end.

use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
};
use updraft_base::Clock;
use updraft_engine::EngineError;
use updraft_model::{
    channel::BookEntry,
    instance::{Exit, InstanceId, InstanceSpec, Secrets},
    owner::Owner,
    receipt::Receipt,
};
use updraft_plan::scaling::StartReason;

use crate::{
    affinity::Affinity,
    boost,
    containers::{self, Stuck},
    context::Context,
    ended::Ended,
    evidence,
    failure::Cause,
    frost::Frost,
    health, parting,
    probe::Target,
    revision::{End, Revision},
    secrets::{self, Held},
};

/// So long an instance without a startup probe has to run until it counts as up.
const STEADY: Duration = Duration::from_secs(1);
/// The container's lines that are kept for the message of a failed start.
const LAST_LINES: usize = 20;
/// The longest of them, in bytes.
const LAST_LINE_MAX: usize = 2000;
/// How long the startup probe's connection waits for the first request.
const KEPT_OPEN: Duration = Duration::from_millis(20);

/// What is known of one instance.
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) owner: Owner,
    pub(crate) port: u16,
    /// What names it to its clients.
    pub(crate) affinity: Affinity,
    /// The name of the container that takes the traffic, if there are others.
    ingress: Option<String>,
    asked: Instant,
    timing: OnceLock<Timing>,
    exit: watch::Sender<Option<Ended>>,
    /// Of its exit, until that is written to the log.
    receipt: Mutex<Receipt>,
    /// The same, for as long as the instance is known: that of an attempt is kept until its end is written down.
    kept: Mutex<Receipt>,
    order: watch::Sender<Order>,
    out_of_reach: AtomicBool,
    /// The port that only one instance can have, if it turned out that this one listens there.
    alone: watch::Sender<Option<u16>>,
    /// Who has the port that it wanted, in a sentence, if somebody else has.
    crowded: OnceLock<String>,
    pub(crate) frost: Frost,
    pub(crate) secrets: Held,
    /// The last lines of each container; of the one that takes the traffic without a name.
    tails: Mutex<BTreeMap<Option<String>, VecDeque<String>>>,
    /// Told once when the engine has said that it runs: who waits to ask it again need not wait any more.
    pub(crate) running: Notify,
    /// The startup probe's connection: the first request is as welcome on it, and need not wait for another.
    opened: Mutex<Option<TcpStream>>,
    attached: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
}

/// What an instance is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Run.
    Run,
    /// End.
    Stop,
}

/// Where the time of a start went: readings of the clock's `instant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// It was decided to start the instance.
    pub asked: Instant,
    /// The engine had its process running: from `asked` on it was the sandbox's time.
    pub started: Instant,
    /// It passed its startup probe: from `started` on it was the application's time.
    pub ready: Instant,
}

// === impl Instance ===

impl Instance {
    /// One that is to be started.
    pub(crate) fn new(entry: &BookEntry, asked: Instant) -> Self {
        let spec = &*entry.spec;
        let id = InstanceId(format!("{:032x}{:08x}", rand::random::<u128>(), rand::random::<u32>()));
        let ingress = (!spec.sidecars.is_empty()).then(|| spec.ingress.name.clone());
        let secrets = Held::new(entry.secrets.clone());
        Self { ingress, secrets, ..Self::adopted(id, spec.owner.clone(), spec.port, asked) }
    }

    /// One that is there already, of one container.
    pub(crate) fn adopted(id: InstanceId, owner: Owner, port: u16, asked: Instant) -> Self {
        Self {
            id,
            owner,
            port,
            affinity: Affinity::random(),
            ingress: None,
            asked,
            timing: OnceLock::new(),
            exit: watch::Sender::new(None),
            receipt: Mutex::default(),
            kept: Mutex::default(),
            order: watch::Sender::new(Order::Run),
            out_of_reach: AtomicBool::new(false),
            alone: watch::Sender::new(None),
            crowded: OnceLock::new(),
            frost: Frost::default(),
            secrets: Held::unknown(),
            tails: Mutex::default(),
            running: Notify::new(),
            opened: Mutex::default(),
            attached: Mutex::default(),
        }
    }

    pub(crate) fn timing(&self) -> Option<Timing> {
        self.timing.get().copied()
    }

    /// What one of its containers is called in the log: nothing if it is the only one.
    pub(crate) fn container(&self, sidecar: Option<String>) -> Option<String> {
        sidecar.or_else(|| self.ingress.clone())
    }

    pub(crate) fn exited(&self, ended: Ended, receipt: Receipt) {
        if self.owner.attempt().is_some() {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = receipt.clone();
        }
        *self.receipt.lock().unwrap_or_else(PoisonError::into_inner) = receipt;
        self.exit.send_replace(Some(ended));
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.exit.borrow().is_some()
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.exit.borrow().clone()
    }

    /// Of its exit, for whoever deals with it.
    pub(crate) fn receipt(&self) -> Receipt {
        std::mem::take(&mut *self.receipt.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same for whoever writes down how an attempt has ended.
    pub(crate) fn kept_receipt(&self) -> Receipt {
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn came_up(&self, timing: Timing) {
        // It comes up once.
        let _ = self.timing.set(timing);
    }

    /// Nobody can connect to it any more.
    pub(crate) fn lose_reach(&self) {
        self.out_of_reach.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_out_of_reach(&self) -> bool {
        self.out_of_reach.load(Ordering::Relaxed)
    }

    pub(crate) fn order(&self, order: Order) {
        self.order.send_replace(order);
    }

    pub(crate) fn stands_alone(&self, port: u16) {
        self.alone.send_replace(Some(port));
    }

    pub(crate) fn crowded_out(&self, why: String) {
        // The first is the one that it ended for.
        let _ = self.crowded.set(why);
    }

    pub(crate) fn crowded(&self) -> Option<&str> {
        self.crowded.get().map(String::as_str)
    }

    pub(crate) fn remember(&self, sidecar: Option<&String>, line: &str) {
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        let tail = tails.entry(sidecar.cloned()).or_default();
        if tail.len() == LAST_LINES {
            tail.pop_front();
        }
        tail.push_back(line[..line.floor_char_boundary(LAST_LINE_MAX)].to_owned());
    }

    /// The last lines of one of its containers.
    pub(crate) fn last_lines(&self, sidecar: Option<&String>) -> Vec<String> {
        let tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        tails.get(&sidecar.cloned()).into_iter().flatten().cloned().collect()
    }

    pub(crate) fn attached<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = attached.clone().and_then(|known| known.downcast::<T>().ok()) {
            return known;
        }
        let made = Arc::new(make());
        *attached = Some(made.clone());
        made
    }

    pub(crate) fn keep_open(&self, connection: Option<TcpStream>) {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    /// The connection that is open since the start, if nobody has had it.
    pub(crate) fn opened(&self) -> Option<TcpStream> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Closes the probe's connection unless a request comes for it at once: a program is not to wait for what nobody
    /// will send. Never ends.
    async fn let_go(&self, clock: &Clock) {
        clock.sleep(KEPT_OPEN).await;
        drop(self.opened());
        std::future::pending().await
    }

    pub(crate) fn detach(&self) {
        drop(self.opened());
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(crate) async fn until_exit(&self) -> Ended {
        let mut exit = self.exit.subscribe();
        // An error cannot be: the sender is in `self`.
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        ended.unwrap_or(Ended { sidecar: None, exit: Exit::Lost, time: SystemTime::UNIX_EPOCH })
    }

    async fn until_alone(&self) -> u16 {
        let mut alone = self.alone.subscribe();
        match alone.wait_for(Option::is_some).await.ok().and_then(|port| *port) {
            Some(port) => port,
            // The sender is in `self`, so this cannot be.
            None => std::future::pending().await,
        }
    }

    pub(crate) async fn until_ordered(&self) {
        let _ = self.order.subscribe().wait_for(|order| *order == Order::Stop).await;
    }
}

/// How the way up ended.
pub(crate) enum Start {
    /// It is ready.
    Up(Timing),
    /// It failed. Does a process have to be ended still?
    Failed(Cause, Remains),
    /// It is not wanted any more.
    Unwanted,
}

/// What is left of a start that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remains {
    Nothing,
    Process,
}

/// The life of one instance: start, probe, serve, stop. Tells `revision` of every step.
pub(crate) async fn live(revision: Arc<Revision>, instance: Arc<Instance>, entry: Arc<BookEntry>, why: StartReason) {
    let context = revision.context().clone();
    context.metrics.starts.inc();
    // Before its program can ask who it is.
    context.instances.enlist(&instance, &entry.account);
    context.say(&instance, format!("Starting new instance. Reason: {}", reason(why)));
    let start = match bring_up(&context, &instance, &entry).await {
        Start::Up(timing) if entry.startup_probe.is_none() => steady(&context, &instance, (&entry, timing)).await,
        start => start,
    };
    match start {
        Start::Up(timing) => {
            instance.came_up(timing);
            context.metrics.start_seconds.observe(timing.ready.duration_since(timing.asked).as_secs_f64());
            revision.came_up(&instance, Some(timing));
            serve(&context, &revision, (&instance, &entry)).await;
        }
        Start::Failed(cause, remains) => {
            context.metrics.start_failures.inc();
            let retry = cause.retry();
            let failure = Arc::new(cause.into_failure(&entry, &instance));
            let found = &failure.diagnosis;
            tracing::info!(
                owner = %instance.owner, instance = %instance.id, code = %found.code, cause = found.cause, "start failed"
            );
            let text = format!("Start failed [{}]. {} {}", found.code, found.cause, found.advice);
            context.say(&instance, text.trim_end());
            revision.failed(&instance, failure, retry);
            if remains == Remains::Process {
                parting::end(&context, &instance, Duration::ZERO).await;
            }
            revision.gone(&instance, End::Wanted);
        }
        Start::Unwanted => {
            parting::end(&context, &instance, context.config.stop_grace).await;
            revision.gone(&instance, End::Wanted);
        }
    }
    context.instances.remove(&instance.id);
}

/// What nobody asks whether it is up is so when it has run for a moment: a program that is not there, or that lacks a
/// setting, ends within that.
async fn steady(context: &Context, instance: &Instance, (entry, timing): (&BookEntry, Timing)) -> Start {
    tokio::select! {
        biased;
        ended = instance.until_exit() => {
            context.say_end(instance, &ended);
            let after = context.clock.instant().saturating_duration_since(timing.started);
            Start::Failed(Cause::Exited(ended, after), Remains::Nothing)
        }
        () = instance.until_ordered() => Start::Unwanted,
        never = secrets::follow(context, instance, &entry.spec) => match never {},
        () = context.clock.sleep(STEADY) => Start::Up(Timing { ready: context.clock.instant(), ..timing }),
    }
}

/// The life of an instance that another server had started, from its revision's point of view: probe, serve, stop. It
/// counts among those on their way up. One that does not pass its probe is replaced, and is no start that failed.
pub(crate) async fn go_on(revision: Arc<Revision>, instance: Arc<Instance>, entry: Arc<BookEntry>) {
    let context = revision.context().clone();
    context.instances.enlist(&instance, &entry.account);
    context.say(&instance, "The server was restarted. The instance goes on.");
    // One of several containers is not adopted: none is started any more.
    let nothing = Secrets::default();
    match rise(&context, &instance, (&entry, &entry.spec, &nothing), std::future::ready(Ok(()))).await {
        Ok(Start::Up(_)) => {
            revision.came_up(&instance, None);
            serve(&context, &revision, (&instance, &entry)).await;
        }
        failed => {
            revision.dismiss(&instance);
            if !matches!(failed, Ok(Start::Failed(_, Remains::Nothing))) {
                parting::end(&context, &instance, context.config.stop_grace).await;
            }
            revision.gone(&instance, End::Wanted);
        }
    }
}

/// An engine that was restarted since the deploy has to prepare the image anew.
pub(crate) async fn bring_up(context: &Context, instance: &Instance, entry: &BookEntry) -> Start {
    let spec = boost::spec(context, entry);
    // Newer than the entry, if it took a while until the start began.
    let values = instance.secrets.newest();
    if let Some(fault) = &values.fault {
        return Start::Failed(Cause::Secrets(fault.clone()), Remains::Nothing);
    }
    secrets::say_unreadable(context, instance, (&spec, &values));
    instance.secrets.was_shown(values.clone());
    let start = || context.engine.start(&instance.id, &spec, &values);
    let mut risen = rise(context, instance, (entry, &spec, &values), start()).await;
    if let Err(EngineError::NotPrepared { .. }) = risen {
        risen = match context.engine.prepare(&entry.spec).await {
            Ok(()) => rise(context, instance, (entry, &spec, &values), start()).await,
            Err(error) => Err(error),
        };
    }
    risen.unwrap_or_else(|error| {
        context.say(instance, format!("The instance was not started. {error}"));
        Start::Failed(Cause::Engine(error), Remains::Nothing)
    })
}

/// Starts its first containers, by `starting`, and waits until all are up.
async fn rise(
    context: &Context,
    instance: &Instance,
    (entry, spec, values): (&BookEntry, &InstanceSpec, &Secrets),
    starting: impl Future<Output = Result<(), EngineError>> + Send,
) -> Result<Start, EngineError> {
    let early = containers::start(context, instance, entry, starting).await?;
    let started = context.clock.instant();
    let ran_for = || context.clock.instant().saturating_duration_since(started);
    let went = tokio::select! {
        biased;
        ended = instance.until_exit() => {
            context.say_end(instance, &ended);
            if let Some(probe) = entry.startup_probe.as_ref().filter(|_| ended.sidecar.is_none()) {
                let target = Target::new(context, instance, (&entry.spec, &entry.spec.ingress));
                context.say(instance, target.cancelled(probe));
            }
            return Ok(Start::Failed(Cause::Exited(ended, ran_for()), Remains::Nothing));
        }
        () = instance.until_ordered() => return Ok(Start::Unwanted),
        never = secrets::follow(context, instance, &entry.spec) => match never {},
        went = containers::come_up(context, instance, (entry, spec, values), early) => went,
    };
    Ok(match went {
        Ok(()) => Start::Up(Timing { asked: instance.asked, started, ready: context.clock.instant() }),
        Err(Stuck::NotReady(container, failed)) => {
            context.say(instance, failed.report.log.clone());
            let ran_for = ran_for();
            let sidecar = entry.spec.sidecar_name(container).map(str::to_owned);
            let found = evidence::look(context, instance, (&entry.spec, container), *failed).await;
            Start::Failed(Cause::NotReady(sidecar, Box::new(found), ran_for), Remains::Process)
        }
        Err(Stuck::Engine(error)) => {
            context.say(instance, format!("The instance was not started. {error}"));
            Start::Failed(Cause::Engine(error), Remains::Process)
        }
    })
}

/// Waits until the instance ends by itself, is to end, or is not well any more.
async fn serve(context: &Context, revision: &Arc<Revision>, (instance, entry): (&Arc<Instance>, &BookEntry)) {
    let limited = async {
        let port = instance.until_alone().await;
        revision.limit_to_one(instance, port);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = limited => {}
        () = instance.let_go(&context.clock) => {}
        () = boost::settle_down(context, instance, entry) => {}
        never = secrets::follow(context, instance, &entry.spec) => match never {},
        ended = instance.until_exit() => {
            context.say_end(instance, &ended);
            instance.detach();
            instance.frost.finish(context, &instance.id);
            revision.gone(instance, End::Crash);
        }
        () = instance.until_ordered() => {
            parting::part(context, instance).await;
            revision.gone(instance, End::Wanted);
        }
        () = health::until_ill(context, revision, (instance, entry)) => {
            // At once: who does not live does not end well when it is asked to.
            revision.became_ill(instance);
            parting::end(context, instance, Duration::ZERO).await;
            revision.gone(instance, End::Ill);
        }
    }
}

fn reason(why: StartReason) -> String {
    match why {
        StartReason::Demand { .. } => format!("AUTOSCALING - Instance started because {why} in a running instance."),
        StartReason::Load(_) => format!("AUTOSCALING - Instance started because of its load: {why}."),
        StartReason::Minimum => "MANUAL_OR_CUSTOMER_MIN_INSTANCE - Instance started because of customer-configured \
                                 min-instances or manual scaling."
            .to_owned(),
        StartReason::Check => "DEPLOYMENT_ROLLOUT - Instance started due to traffic shifting between revisions due \
                               to deployment, traffic split adjustment, or deployment health check."
            .to_owned(),
    }
}
