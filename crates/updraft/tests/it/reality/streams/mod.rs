//! Streams outlive rollouts: each stays on the instance on which it began, and gets all its messages, while one revision
//! after another takes the traffic.
//!
//! The suite has a thousand WebSockets, half of them over HTTP/2, and a thousand calls of gRPC; `cargo xtask streams`
//! runs this very test with more of them and more rollouts (`UPDRAFT_STREAMS`, `UPDRAFT_STREAMS_ROLLOUTS`). Each stream
//! says a number now and then, and one more after each rollout; what comes back names the instance and has to have that
//! number.

mod line;
mod usage;

use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use futures::future::join_all;
use tempfile::TempDir;
use tokio::sync::watch;
use updraft_base::{Clock, OnFailure, Tasks};

use self::{
    line::{CALLS, Line, connection},
    usage::{Usage, raise_open_files},
};
use super::{
    host::{Host, PATIENCE, UPDRAFT, containers_run_here, eventually},
    images,
    killed::Chance,
    traces::Traces,
};

/// How many of each kind the suite has.
const STREAMS: usize = 1000;
const ROLLOUTS: usize = 5;
/// How many messages there are in a second, beside those after a rollout.
const PER_SECOND: usize = 500;
/// The services: one for each protocol towards the container.
const SERVICES: [&str; 2] = ["sockets", "calls"];
const IMAGE: &str = "localhost/streams:latest";
/// The round that is the last.
const LAST: usize = usize::MAX;

/// What all streams have in common.
struct Site {
    clock: Clock,
    address: String,
    /// The names by which the services are called.
    hosts: [String; 2],
    tasks: Tasks,
    /// What streams are to do something for: the number of the rollout that has been made.
    round: watch::Receiver<usize>,
    /// The longest time between two messages.
    pause: Duration,
    seen: Arc<Seen>,
}

/// What streams have seen.
#[derive(Default)]
struct Seen {
    messages: AtomicU64,
    /// Messages that were said because a round had begun.
    of_rounds: AtomicU64,
    /// Streams that were closed as they should be.
    closed: AtomicU64,
    /// What went wrong, the first few of it.
    failures: Mutex<Vec<String>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_streams_outlive_rollouts_on_the_instances_on_which_they_began() {
    if !containers_run_here() {
        return;
    }
    let [streams, rollouts] = [("UPDRAFT_STREAMS", STREAMS), ("UPDRAFT_STREAMS_ROLLOUTS", ROLLOUTS)]
        .map(|(name, usual)| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual));
    // The server has the instance's side of each WebSocket, and the client's of those that have a connection of their own.
    raise_open_files((streams + streams.div_ceil(2)) as u64 + 500);
    let host = Host::start(&["--idle-timeout", "1s"]);
    let traces = Traces::of(&host);
    host.load(&images::streams("streams"));
    for (service, flag) in SERVICES.iter().zip(["--no-use-http2", "--use-http2"]) {
        let bounds = ["--concurrency", "1000", "--timeout", "3600", "--memory", "128Mi", "--allow-unauthenticated"];
        host.ok(&[&["deploy", service, "--image", IMAGE, flag, "--quiet"], &bounds[..]].concat());
    }
    eventually("the instances of the checks end", async || traces.instances().is_empty()).await;

    let before = Usage::of(host.pid());
    let (sender, round) = watch::channel(0);
    let site = Site::new(&host, round, streams);
    let chance = Chance::seeded("streams");
    let mut homes = site.open(streams, &chance).await;
    let (open, opened_in) = (Usage::of(host.pid()), site.clock.instant().saturating_duration_since(before.at));
    assert!(homes.iter().all(|home| home.contains("-00001-")), "{homes:?}");
    let firsts = homes.len();

    let (mut population, mut expected) = (2 * streams as u64, 0);
    for rollout in 1..=rollouts {
        let newest = roll_out(&host, rollout).await;
        expected += population;
        sender.send(rollout).expect("there are streams");
        site.until(&format!("all streams go on after rollout {rollout}"), || {
            site.seen.of_rounds.load(SeqCst) == expected
        })
        .await;
        let new = site.open(1, &chance).await;
        let places: Vec<&str> = new.iter().map(|home| home.split(' ').next().unwrap_or_default()).collect();
        assert!(newest.iter().all(|revision| places.contains(&revision.as_str())), "{places:?} is not {newest:?}");
        population += 2;
        homes.extend(new);
    }
    let live = traces.instances().len();
    assert!(live >= homes.len(), "{live} instances have streams of {homes:?}");
    sender.send(LAST).expect("there are streams");
    site.until("all streams are closed", || site.seen.closed.load(SeqCst) == population).await;
    let after = Usage::of(host.pid());

    site.tasks.drain().await;
    // Those of the newest revisions may be kept a while for what comes next.
    eventually("instances of old revisions end once their streams have", async || {
        traces.instances().len() <= SERVICES.len()
    })
    .await;
    eventually("no descriptor is left open", async || Usage::of(host.pid()).descriptors <= before.descriptors + 32)
        .await;
    let quiet = site.clock.instant();
    let (code, _dir) = host.stop();
    assert_eq!((code, traces.left()), (0, Vec::new()));
    let messages = site.seen.messages.load(SeqCst);
    eprintln!("{population} streams on {firsts} instances at first and {} in all, {rollouts} rollouts", homes.len());
    eprintln!(
        "{messages} messages; opened in {opened_in:.1?}, all closed after {:.1?}, all quiet after {:.1?}",
        after.at - before.at,
        quiet - before.at,
    );
    let grown = open.memory.saturating_sub(before.memory) >> 10;
    eprintln!(
        "the server: {} MiB without streams, {} MiB with them, {} KiB each; {} MiB at the end; CPU {:.1?} to open them, {:.1?} then",
        before.memory >> 20,
        open.memory >> 20,
        grown / (2 * streams as u64),
        after.memory >> 20,
        open.cpu.saturating_sub(before.cpu),
        after.cpu.saturating_sub(open.cpu),
    );
}

#[test]
fn the_server_may_have_as_many_files_open_as_the_machine_lets_it() {
    if !containers_run_here() {
        return;
    }
    // As a shell starts it: a low limit that everybody may raise.
    let mut serve = Command::new("sh");
    serve.args(["-c", "ulimit -Sn 256; exec \"$@\"", "sh", UPDRAFT]);
    let host = Host::start_by(serve, TempDir::with_prefix("updraft-it-").expect("a temporary directory"), &[]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", host.pid())).expect("it runs");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit");
    let [soft, hard, ..] = files.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{files}") };
    assert_eq!(soft, hard);
}

/// Makes a new revision of each service; returns their names once they have the traffic.
async fn roll_out(host: &Host, rollout: usize) -> Vec<String> {
    for service in SERVICES {
        let (deploy, variable) = (host.client(), format!("ROLLOUT={rollout}"));
        let deploy = move || deploy(&["deploy", service, "--image", IMAGE, "--set-env-vars", &variable, "--quiet"]);
        tokio::task::spawn_blocking(deploy).await.expect("it is deployed");
    }
    let ready = |service| host.describe(service)["status"]["latestReadyRevisionName"].as_str().map(str::to_owned);
    SERVICES.iter().map(|service| ready(*service).expect("a revision")).collect()
}

/// A stream that was opened, and the instance on which it is: its first message tells.
async fn first(opened: std::io::Result<Line>) -> (Line, String) {
    let mut line = opened.expect("a stream is opened");
    let said = line.say("0").await.expect("an echo");
    let home = said.strip_suffix(" 0").expect("what was said").to_owned();
    (line, home)
}

// === impl Site ===

impl Site {
    fn new(host: &Host, round: watch::Receiver<usize>, streams: usize) -> Self {
        Self {
            clock: Clock::system(),
            address: host.address.clone(),
            hosts: SERVICES.map(|service| host.host_of(service, None)),
            tasks: Tasks::new(),
            round,
            // Twice what it is on average.
            pause: Duration::from_secs((2 * 2 * streams / PER_SECOND).max(1) as u64),
            seen: Arc::default(),
        }
    }

    /// Opens so many streams of each kind and lets them live; returns the instances on which they are.
    async fn open(&self, count: usize, chance: &Chance) -> BTreeSet<String> {
        let mut homes = BTreeSet::new();
        let mut left = count;
        while left > 0 {
            // As many at a time as a connection has calls.
            let some = left.min(CALLS);
            left -= some;
            let shared = async || connection(&self.address, &self.tasks).await.expect("the server listens");
            let (for_sockets, for_calls) = (shared().await, shared().await);
            let [sockets, calls] = &self.hosts;
            let sockets = join_all((0..some).map(async |number| {
                first(match number % 2 {
                    0 => Line::websocket(&self.address, sockets).await,
                    _ => Line::tunnel(for_sockets.clone(), sockets).await,
                })
                .await
            }));
            let calls = join_all((0..some).map(async |_| first(Line::call(for_calls.clone(), calls).await).await));
            let opened = self.clock.timeout(PATIENCE, async { tokio::join!(sockets, calls) }).await;
            let (sockets, calls) = opened.expect("streams are opened in time");
            for (line, home) in sockets.into_iter().chain(calls) {
                homes.insert(home.clone());
                self.tasks.spawn("stream", OnFailure::Log, self.stream((line, home), chance).live());
            }
        }
        homes
    }

    fn stream(&self, (line, home): (Line, String), chance: &Chance) -> Stream {
        let (clock, mut round, seen) = (self.clock.clone(), self.round.clone(), self.seen.clone());
        // The rounds before its time are none of its business.
        round.mark_unchanged();
        Stream { line, home, number: 0, chance: chance.branch(), clock, round, seen, pause: self.pause }
    }

    /// Waits until `condition` holds; fails as soon as a stream has.
    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        eventually(what, async || {
            let failures = self.seen.failures.lock().expect("not poisoned");
            assert!(failures.is_empty(), "until {what}: {failures:#?}");
            condition()
        })
        .await;
    }
}

/// One stream and what it knows.
struct Stream {
    line: Line,
    /// The instance on which it began.
    home: String,
    /// What it said last.
    number: u64,
    chance: Chance,
    clock: Clock,
    round: watch::Receiver<usize>,
    pause: Duration,
    seen: Arc<Seen>,
}

// === impl Stream ===

impl Stream {
    async fn live(mut self) {
        let seen = self.seen.clone();
        let home = self.home.clone();
        let talked = self.talk().await;
        let closed = match talked {
            Ok(()) => {
                let closed = self.clock.timeout(PATIENCE, self.line.close()).await;
                closed
                    .map_err(|_| "it is not closed".to_owned())
                    .and_then(|closed| closed.map_err(|error| error.to_string()))
            }
            Err(why) => Err(why),
        };
        match closed {
            Ok(()) => drop(seen.closed.fetch_add(1, SeqCst)),
            Err(why) => {
                let mut failures = seen.failures.lock().expect("not poisoned");
                if failures.len() < 10 {
                    failures.push(format!("{home}: {why}"));
                }
            }
        }
    }

    /// Says a number now and then, and one for each round, until the last.
    async fn talk(&mut self) -> Result<(), String> {
        loop {
            let pause = self.chance.time(self.pause);
            let is_round = tokio::select! {
                changed = self.round.changed() => changed.map(|()| true).map_err(|_| "the test is over")?,
                () = self.clock.sleep(pause) => false,
            };
            self.number += 1;
            let number = self.number.to_string();
            let said = self.clock.timeout(PATIENCE, self.line.say(&number)).await;
            let said =
                said.map_err(|_| format!("no echo of {number}"))?.map_err(|error| format!("{number}: {error}"))?;
            if said != format!("{} {number}", self.home) {
                return Err(format!("{said:?} came back for {number}"));
            }
            self.seen.messages.fetch_add(1, SeqCst);
            if is_round {
                self.seen.of_rounds.fetch_add(1, SeqCst);
            }
            if is_round && *self.round.borrow() == LAST {
                return Ok(());
            }
        }
    }
}
