//! The suite that every [`Engine`] passes.
//!
//! An implementation gives a [`Bed`] and calls [`crate::contract_suite!`] in its tests; the macro
//! names every case, so none can be forgotten. The containers do what [`crate::script`] says: the
//! bed's image has a program as its entrypoint that reads its arguments that way.

mod adoption;
pub mod containers;
mod cpu;
pub mod secrets;

pub use adoption::{
    a_new_engine_has_adopted_nothing, a_successor_goes_on_with_what_its_predecessor_had_started,
    a_successor_is_told_what_was_not_dealt_with_and_nothing_else,
};
pub use cpu::{
    a_frozen_instance_ends_as_any_other, a_frozen_instance_makes_no_progress_until_it_is_thawed,
    a_successor_finds_awake_what_its_predecessor_had_frozen, the_cpu_of_an_instance_can_be_changed_while_it_runs,
    what_is_not_there_has_no_cpu_to_take_or_limit, what_is_sent_to_a_frozen_instance_is_answered_after_the_thaw,
};
pub use secrets::a_variable_from_a_secret_has_its_value_and_without_one_nothing_starts;

use std::{
    io,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};
use updraft_base::{Backoff, Clock};
use updraft_model::{
    instance::{ContainerSpec, Egress, Exit, InstanceId, InstanceSpec, Limits, Listener, Secrets, Stream},
    name::Parent,
};

use crate::{Engine, EngineError, EngineEvent, script::NO_SUCH_PROGRAM};

/// How long a case waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(20);
/// The grace of stops that are not about the grace.
const GRACE: Duration = Duration::from_secs(10);
/// The port of the instances. All have the same: they must not see each other.
const PORT: u16 = 8080;

/// What an implementation of [`Engine`] gives to the suite: one engine, new for each case.
#[async_trait]
pub trait Bed: Send + Sync {
    /// The engine.
    fn engine(&self) -> Arc<dyn Engine>;

    /// From now on [`Bed::engine`] is another one, on the same place: this one is gone as SIGKILL makes it go.
    async fn successor(&mut self);

    /// Do instances live on when their engine is killed? If not, they end with it.
    fn instances_outlive_their_engine(&self) -> bool {
        true
    }

    /// The pinned image whose entrypoint reads its arguments as [`crate::script`] says.
    fn image(&self) -> String;

    /// Can instances be frozen here? An engine that cannot has to say so.
    fn can_freeze(&self) -> bool {
        true
    }

    /// Can CPU be limited here? An engine that cannot has to say so.
    fn can_limit_cpu(&self) -> bool {
        true
    }
}

/// Makes one test of each case. The argument is the name, in the calling module, of an `async fn() -> Option<impl
/// Bed>`; `None` skips, after it printed why.
#[macro_export]
macro_rules! contract_suite {
    ($bed:ident) => {
        $crate::contract_suite! { $bed:
            a_started_instance_is_connected_to_and_answers,
            lines_of_output_arrive_in_order_and_before_the_exit,
            the_exit_code_is_told,
            a_variable_from_a_secret_has_its_value_and_without_one_nothing_starts,
            a_stop_lets_the_instance_end_by_itself,
            an_instance_that_ignores_sigterm_is_killed_after_the_grace,
            a_stop_without_grace_kills,
            a_stop_of_what_is_not_there_is_no_error,
            a_start_before_prepare_is_refused,
            a_program_that_cannot_be_executed_is_an_event,
            too_much_memory_is_told_apart_from_a_signal,
            what_does_not_listen_refuses_connections,
            what_is_not_there_is_not_found,
            the_list_and_the_usage_are_of_what_is_there,
            an_inspection_shows_what_listens_in_this_instance_and_no_other,
            instances_of_one_image_do_not_see_each_other,
            a_new_engine_has_adopted_nothing,
            a_successor_goes_on_with_what_its_predecessor_had_started,
            a_successor_is_told_what_was_not_dealt_with_and_nothing_else,
            shutdown_leaves_nothing,
            a_frozen_instance_makes_no_progress_until_it_is_thawed,
            what_is_sent_to_a_frozen_instance_is_answered_after_the_thaw,
            a_frozen_instance_ends_as_any_other,
            a_successor_finds_awake_what_its_predecessor_had_frozen,
            what_is_not_there_has_no_cpu_to_take_or_limit,
            the_cpu_of_an_instance_can_be_changed_while_it_runs,
        }
    };
    ($bed:ident: $($case:ident,)*) => {
        mod contract_suite {
            $(
                #[tokio::test]
                async fn $case() {
                    if let Some(mut bed) = super::$bed().await {
                        $crate::contract::$case(&mut bed).await;
                    }
                }
            )*
        }
    };
}

/// The engine of a case with its events.
struct Stage {
    engine: Arc<dyn Engine>,
    events: mpsc::Receiver<EngineEvent>,
    image: String,
    clock: Clock,
    ended: Vec<InstanceId>,
}

// === the cases ===

/// Start, connect, ask, read.
pub async fn a_started_instance_is_connected_to_and_answers(bed: &mut impl Bed) {
    let stage = Stage::new(bed);
    let id = stage.start("a", &["serve"]).await;
    assert_eq!(stage.get(&id).await, "ok");
    stage.end().await;
}

/// The order within each stream, and nothing after the exit.
pub async fn lines_of_output_arrive_in_order_and_before_the_exit(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let id = stage.start("a", &["print=one", "eprint=oops", "print=two", "print=", "print=three", "exit=0"]).await;
    let (lines, exit) = stage.until_exit(&id).await;
    let of = |wanted: Stream| -> Vec<&str> {
        lines.iter().filter(|(stream, _)| *stream == wanted).map(|(_, text)| text.as_str()).collect()
    };
    assert_eq!(of(Stream::Stdout), ["one", "two", "", "three"]);
    assert_eq!(of(Stream::Stderr), ["oops"]);
    assert_eq!(exit, Exit::Code(0));
    stage.end().await;
}

/// `exit(3)` is 3.
pub async fn the_exit_code_is_told(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let id = stage.start("a", &["exit=3"]).await;
    assert_eq!(stage.until_exit(&id).await.1, Exit::Code(3));
    stage.end().await;
}

/// SIGTERM comes first, and who obeys is not killed.
pub async fn a_stop_lets_the_instance_end_by_itself(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let id = stage.start("a", &["serve"]).await;
    stage.get(&id).await;
    stage.engine.stop(&id, GRACE).await;
    assert_eq!(stage.until_exit(&id).await.1, Exit::Code(0));
    stage.end().await;
}

/// The grace is granted, and then it is over.
pub async fn an_instance_that_ignores_sigterm_is_killed_after_the_grace(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let id = stage.start("a", &["ignore-term", "serve"]).await;
    stage.get(&id).await;
    let (asked, grace) = (stage.clock.instant(), Duration::from_millis(300));
    stage.engine.stop(&id, grace).await;
    assert_eq!(stage.until_exit(&id).await.1, Exit::Signal(9));
    assert!(stage.since(asked) >= grace, "killed after {:?}", stage.since(asked));
    stage.end().await;
}

/// A grace of zero is no grace.
pub async fn a_stop_without_grace_kills(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let id = stage.start("a", &["ignore-term", "sleep"]).await;
    stage.engine.stop(&id, Duration::ZERO).await;
    assert_eq!(stage.until_exit(&id).await.1, Exit::Signal(9));
    stage.end().await;
}

/// Neither of the unknown nor of what has ended.
pub async fn a_stop_of_what_is_not_there_is_no_error(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    stage.engine.stop(&InstanceId("unknown".to_owned()), GRACE).await;
    let id = stage.start("a", &["exit=0"]).await;
    stage.until_exit(&id).await;
    stage.engine.stop(&id, GRACE).await;
    stage.engine.stop(&id, Duration::ZERO).await;
    stage.end().await;
}

/// Whoever starts has to prepare: a start never pulls.
pub async fn a_start_before_prepare_is_refused(bed: &mut impl Bed) {
    let stage = Stage::new(bed);
    let refused = stage.engine.start(&InstanceId("0a".to_owned()), &stage.spec(&["serve"]), &Secrets::default()).await;
    assert!(matches!(refused, Err(EngineError::NotPrepared { .. })), "{refused:?}");
    assert!(stage.engine.list().await.is_empty());
    stage.end().await;
}

/// The start succeeds, the exit says why nothing ran.
pub async fn a_program_that_cannot_be_executed_is_an_event(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let mut spec = stage.spec(&[]);
    spec.ingress.command = vec![NO_SUCH_PROGRAM.to_owned()];
    let id = stage.start_spec("a", &spec).await;
    let exit = stage.until_exit(&id).await.1;
    assert!(matches!(&exit, Exit::NotStarted { cause } if cause.to_string().contains(NO_SUCH_PROGRAM)), "{exit:?}");
    stage.end().await;
}

/// The kernel's kill for memory has its own exit, with the limit.
pub async fn too_much_memory_is_told_apart_from_a_signal(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let id = stage.start("a", &["allocate=512", "sleep"]).await;
    let exit = stage.until_exit(&id).await.1;
    let wanted = limits().memory_bytes;
    assert!(matches!(exit, Exit::OutOfMemory { limit, .. } if limit == wanted), "{exit:?}");
    stage.end().await;
}

/// A live instance without a listener is told apart from one that is not there.
pub async fn what_does_not_listen_refuses_connections(bed: &mut impl Bed) {
    let stage = Stage::new(bed);
    let id = stage.start("a", &["sleep"]).await;
    let refused = stage.engine.connect(&id, PORT).await.map(drop).map_err(|error| error.kind());
    assert_eq!(refused, Err(io::ErrorKind::ConnectionRefused));
    assert_ne!(stage.engine.listens(&id, PORT), Some(true));
    stage.end().await;
}

/// Neither before its start nor after its end.
pub async fn what_is_not_there_is_not_found(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let id = stage.start("a", &["exit=0"]).await;
    stage.until_exit(&id).await;
    for id in [id, InstanceId("unknown".to_owned())] {
        let missing = stage.engine.connect(&id, PORT).await.map(drop).map_err(|error| error.kind());
        assert_eq!(missing, Err(io::ErrorKind::NotFound), "{id}");
        assert_eq!(stage.engine.listens(&id, PORT), None, "{id}");
        assert_eq!(stage.engine.usage(&id).await, None, "{id}");
        assert_eq!(stage.engine.inspect(&id).await, None, "{id}");
    }
    stage.end().await;
}

/// Both show an instance from its start to its end.
pub async fn the_list_and_the_usage_are_of_what_is_there(bed: &mut impl Bed) {
    let mut stage = Stage::new(bed);
    let (first, second) = (stage.start("a", &["sleep"]).await, stage.start("b", &["sleep"]).await);
    let mut list = stage.engine.list().await;
    list.sort();
    assert_eq!(list, [first.clone(), second.clone()]);
    assert!(stage.engine.usage(&first).await.is_some());
    stage.engine.stop(&first, GRACE).await;
    stage.until_exit(&first).await;
    assert_eq!(stage.engine.list().await, [second]);
    stage.end().await;
}

/// Every address with its port, and nothing of the neighbour; who listens nowhere has no listener.
pub async fn an_inspection_shows_what_listens_in_this_instance_and_no_other(bed: &mut impl Bed) {
    let stage = Stage::new(bed);
    let busy = stage.start("a", &["listen=127.0.0.1:9001", "serve"]).await;
    let other = stage.start("b", &["listen=127.0.0.1:9002", "serve"]).await;
    let deaf = stage.start("c", &["sleep"]).await;
    for id in [&busy, &other] {
        stage.get(id).await;
    }
    let serving = Listener::Tcp((Ipv4Addr::UNSPECIFIED, PORT).into());
    for (id, own) in [(&busy, 9001), (&other, 9002)] {
        let seen = stage.engine.inspect(id).await.expect("it is there");
        let own = Listener::Tcp((Ipv4Addr::LOCALHOST, own).into());
        let mut listeners = seen.listeners.expect("they can be seen");
        listeners.sort();
        assert_eq!(listeners, [serving.clone(), own]);
        assert!(!seen.processes.is_empty(), "{:?}", seen.processes);
    }
    let seen = stage.engine.inspect(&deaf).await.expect("it is there");
    assert_eq!(seen.listeners, Some(Vec::new()));
    stage.end().await;
}

/// The same port in each, another answer from each.
pub async fn instances_of_one_image_do_not_see_each_other(bed: &mut impl Bed) {
    let stage = Stage::new(bed);
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        let mut spec = stage.spec(&["serve"]);
        spec.ingress.env.push(("ANSWER".to_owned(), name.to_owned()));
        ids.push((stage.start_spec(name, &spec).await, name));
    }
    for (id, name) in ids {
        assert_eq!(stage.get(&id).await, name);
    }
    stage.end().await;
}

/// Those that serve, those that sleep, those that do not want to.
pub async fn shutdown_leaves_nothing(bed: &mut impl Bed) {
    let stage = Stage::new(bed);
    let mut ids = Vec::new();
    for (name, steps) in [("a", &["serve"][..]), ("b", &["sleep"]), ("c", &["ignore-term", "sleep"])] {
        ids.push(stage.start(name, steps).await);
    }
    stage.engine.shutdown(Duration::from_millis(200)).await;
    assert!(stage.engine.list().await.is_empty());
    for id in &ids {
        let gone = stage.engine.connect(id, PORT).await.map(drop).map_err(|error| error.kind());
        assert_eq!(gone, Err(io::ErrorKind::NotFound), "{id}");
    }
}

// === impl Stage ===

impl Stage {
    fn new(bed: &impl Bed) -> Self {
        let engine = bed.engine();
        let events = engine.events().expect("the first call gets the receiver");
        assert!(engine.events().is_none(), "there is one receiver");
        Self { engine, events, image: bed.image(), clock: Clock::system(), ended: Vec::new() }
    }

    fn spec(&self, steps: &[&str]) -> InstanceSpec {
        InstanceSpec {
            owner: Parent::new("demo-project", "us-central1").service("contract").revision("contract-1").into(),
            ingress: self.container("contract-1", PORT, steps),
            sidecars: Vec::new(),
            volumes: Vec::new(),
            port: PORT,
            egress: Egress::All,
        }
    }

    /// A container that does these steps, and serves on `port` if it does.
    fn container(&self, name: &str, port: u16, steps: &[&str]) -> ContainerSpec {
        ContainerSpec {
            name: name.to_owned(),
            image: self.image.clone(),
            args: steps.iter().map(|&step| step.to_owned()).collect(),
            env: vec![("PORT".to_owned(), port.to_string())],
            limits: limits(),
            ..ContainerSpec::default()
        }
    }

    async fn start(&self, name: &str, steps: &[&str]) -> InstanceId {
        self.start_spec(name, &self.spec(steps)).await
    }

    async fn start_spec(&self, name: &str, spec: &InstanceSpec) -> InstanceId {
        self.start_with(name, spec, &Secrets::default()).await
    }

    async fn start_with(&self, name: &str, spec: &InstanceSpec, secrets: &Secrets) -> InstanceId {
        // Ids are hex.
        let id = InstanceId(format!("00{name}"));
        self.engine.prepare(spec).await.expect("the image can be prepared");
        self.engine.start(&id, spec, secrets).await.expect("the instance can be started");
        id
    }

    /// The body of `GET /`, asked as soon as the instance listens.
    async fn get(&self, id: &InstanceId) -> String {
        let asked = self.clock.instant();
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
        let mut stream = loop {
            match self.engine.connect(id, PORT).await {
                Ok(stream) => break stream,
                Err(error) => assert!(self.since(asked) < DEADLINE, "{id} does not listen: {error}"),
            }
            self.clock.sleep(backoff.next_exact()).await;
        };
        let request = b"GET / HTTP/1.1\r\nhost: contract\r\nconnection: close\r\n\r\n";
        assert_ne!(self.engine.listens(id, PORT), Some(false), "it took a connection");
        stream.write_all(request).await.expect("the request is taken");
        let mut answer = String::new();
        let read = self.clock.timeout(DEADLINE, stream.read_to_string(&mut answer)).await;
        read.expect("the answer comes").expect("the answer is text");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).expect("an answer has a head")
    }

    /// What the instance printed until its exit, and that. Events of others are passed over.
    async fn until_exit(&mut self, wanted: &InstanceId) -> (Vec<(Stream, String)>, Exit) {
        let mut lines = Vec::new();
        loop {
            match self.event().await {
                EngineEvent::Output { id, stream, text, .. } if id == *wanted => lines.push((stream, text)),
                EngineEvent::Exited { id, exit, .. } if id == *wanted => return (lines, exit),
                _ => {}
            }
        }
    }

    /// The same with another engine in place of this one, as if its server had been killed.
    async fn succeed(self, bed: &mut impl Bed) -> Self {
        let Self { engine, events, .. } = self;
        drop(engine);
        bed.successor().await;
        drop(events);
        Self::new(bed)
    }

    /// Ends the case: nothing of a predecessor is there.
    async fn end_empty(self) {
        assert_eq!(self.engine.adopted().await, []);
        assert!(self.engine.list().await.is_empty());
        self.end().await;
    }

    async fn event(&mut self) -> EngineEvent {
        let event = self.clock.timeout(DEADLINE, self.events.recv()).await;
        let event = event.expect("something is told in time").expect("the engine is there");
        if let EngineEvent::Exited { id, .. } = &event {
            self.ended.push(id.clone());
        }
        event
    }

    fn since(&self, earlier: Instant) -> Duration {
        self.clock.instant().saturating_duration_since(earlier)
    }

    /// Ends the case. What is told of an instance after its exit would be a lie.
    async fn end(mut self) {
        self.engine.shutdown(Duration::ZERO).await;
        while let Ok(event) = self.events.try_recv() {
            let (EngineEvent::Output { id, .. }
            | EngineEvent::Alone { id, .. }
            | EngineEvent::Crowded { id, .. }
            | EngineEvent::Exited { id, .. }) = &event;
            assert!(!self.ended.contains(id), "told after the exit: {event:?}");
            if matches!(event, EngineEvent::Exited { .. }) {
                self.ended.push(id.clone());
            }
        }
        assert!(self.engine.list().await.is_empty());
    }
}

fn limits() -> Limits {
    Limits { cpu_millis: 1000, memory_bytes: 64 << 20, pids: 64 }
}
