//! What a container of the reference engine does while it runs.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::sync::CancellationToken;
use updraft_model::{
    fault::{ProgramFault, ProgramProblem, StartFault},
    instance::{Exit, Listener, Stream},
};

use super::Shared;
use crate::{
    EngineEvent,
    fake_app::App,
    fake_instance::Launch,
    script::{NO_SUCH_PROGRAM, Step},
};

// === impl Shared ===

impl Shared {
    /// Does what the container is told, step by step. How it ended by itself, or was told to.
    pub(super) async fn run_steps(&self, launch: &Arc<Launch>, running: oneshot::Sender<()>) -> Exit {
        let mut running = Some(running);
        let mut term = launch.instance.term.clone();
        if launch.container.command.first().is_some_and(|program| program == NO_SUCH_PROGRAM) {
            let program = ProgramFault {
                program: NO_SUCH_PROGRAM.to_owned(),
                searched: None,
                file: NO_SUCH_PROGRAM.to_owned(),
                problem: ProgramProblem::Absent,
                similar: Vec::new(),
            };
            return Exit::NotStarted { cause: StartFault::Program(Box::new(program)) };
        }
        for step in &launch.steps {
            launch.instance.record.until_awake().await;
            match Step::parse(step) {
                Step::Print(text) => self.say(launch, Stream::Stdout, text).await,
                Step::PrintError(text) => self.say(launch, Stream::Stderr, text).await,
                Step::IgnoreTerm => term = CancellationToken::new(),
                Step::Listen(address) => launch.instance.show(launch.sidecar.as_deref(), Listener::Tcp(address)),
                Step::Exit(code) => return Exit::Code(code),
                Step::Put(path, text) => self.put(launch, &path, text).await,
                Step::Follow(path) => {
                    running.take();
                    tokio::select! {
                        () = self.follow(launch, &path) => {}
                        () = term.cancelled() => return Exit::Code(0),
                    }
                }
                Step::Show(path) => {
                    let text = launch.read(&path).unwrap_or_else(|| format!("{path}: not there"));
                    self.say(launch, Stream::Stdout, text).await;
                }
                Step::Ask(address) => {
                    let answer = launch.ask(&address).await.unwrap_or_else(|error| format!("{address}: {error}"));
                    self.say(launch, Stream::Stdout, answer).await;
                }
                Step::Allocate(bytes) => {
                    let limit = launch.container.limits.memory_bytes;
                    if bytes > limit {
                        return Exit::OutOfMemory { limit, used: limit };
                    }
                }
                Step::Wait(duration) => {
                    running.take();
                    tokio::select! {
                        () = self.clock.sleep(duration) => {}
                        () = term.cancelled() => return Exit::Code(0),
                    }
                }
                Step::Tick(every) => {
                    running.take();
                    tokio::select! {
                        () = self.tick(launch, every) => {}
                        () = term.cancelled() => return Exit::Code(0),
                    }
                }
                Step::Sleep => {
                    running.take();
                    term.cancelled().await;
                    return Exit::Code(0);
                }
                Step::Behind(server) => {
                    launch.instance.listen(launch.port, Some(server));
                    let here = (Ipv4Addr::UNSPECIFIED, launch.port).into();
                    launch.instance.show(launch.sidecar.as_deref(), Listener::Tcp(here));
                    running.take();
                    term.cancelled().await;
                    return Exit::Code(0);
                }
                Step::Serve(port) => return self.serve(launch, port.unwrap_or(launch.port), (running, term)).await,
                Step::Unknown(step) => {
                    self.say(launch, Stream::Stderr, format!("unknown step '{step}'")).await;
                    return Exit::Code(64);
                }
            }
        }
        Exit::Code(0)
    }

    async fn serve(
        &self,
        launch: &Arc<Launch>,
        port: u16,
        (running, term): (Option<oneshot::Sender<()>>, CancellationToken),
    ) -> Exit {
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await {
            Ok(listener) => listener,
            Err(error) => return Exit::NotStarted { cause: StartFault::Sandbox(error.to_string()) },
        };
        launch.instance.listen(port, listener.local_addr().ok());
        launch.instance.show(launch.sidecar.as_deref(), Listener::Tcp((Ipv4Addr::UNSPECIFIED, port).into()));
        drop(running);
        let app = Arc::new(App {
            answer: launch.env("ANSWER").unwrap_or("ok").to_owned(),
            record: launch.instance.record.clone(),
            clock: self.clock.clone(),
            gate: self.gate.subscribe(),
            exit: launch.exit(),
            read: launch.reader(),
        });
        tokio::select! {
            () = app.serve(listener) => Exit::Lost,
            () = term.cancelled() => Exit::Code(0),
        }
    }

    async fn put(&self, launch: &Launch, path: &str, text: String) {
        if let Err(error) = launch.write(path, text) {
            self.say(launch, Stream::Stdout, format!("{path}: {error}")).await;
        }
    }

    async fn follow(&self, launch: &Launch, path: &str) {
        let mut changes = launch.instance.secrets.changes();
        let mut said = None;
        loop {
            let now = launch.read(path).unwrap_or_else(|| format!("{path}: not there"));
            launch.instance.record.until_awake().await;
            if said.as_ref() != Some(&now) {
                self.say(launch, Stream::Stdout, now.clone()).await;
                said = Some(now);
            }
            // The sender is the instance's, which is in `launch`.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn tick(&self, launch: &Launch, every: Duration) {
        for number in 1u64.. {
            launch.instance.record.until_awake().await;
            self.say(launch, Stream::Stdout, format!("tick {number}")).await;
            self.clock.sleep(every).await;
        }
    }

    async fn say(&self, launch: &Launch, stream: Stream, text: String) {
        let (id, sidecar) = (&launch.instance.id, &launch.sidecar);
        self.desk
            .tell(|receipt| EngineEvent::Output {
                id: id.clone(),
                sidecar: sidecar.clone(),
                stream,
                text: text.clone(),
                receipt,
            })
            .await;
    }
}
