//! Worlds that chance makes, seen by clients: they ask over both protocols, read, and go away, while instances crash,
//! start slowly, fail to start and get lost, answers break off, traffic moves, bounds change and the clock jumps.
//!
//! The fleet has a simulation of its own, with more of this. Here every request goes through the whole front door, over
//! real connections on both sides, so what happens first is not the seed's to say. A seed that fails is told;
//! `SIMULATION_SEED=N` runs it alone.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use hyper::client::conn::http2;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use updraft_base::Shutdown;
use updraft_engine::EngineError;
use updraft_model::instance::{Exit, InstanceId};

use super::*;
use crate::respond::Rejection;

const SEEDS: u64 = 10_000;
/// Things that happen in one world.
const EVENTS: u32 = 8;
const IMAGE: &str = "registry.test/app@sha256:00";
const TIMEOUT: Duration = Duration::from_secs(60);
/// What a client asks for; the last is answered only by the time limit.
const PATHS: [&str; 7] = ["/", "/", "/wait/700", "/bytes/100000", "/cut", "/exit/3", "/hold"];
/// Those that break off, and others at the same instance with them.
const BREAKS: [&str; 2] = ["/cut", "/exit/3"];

/// How a request ended for its client.
#[derive(Debug)]
enum Told {
    Answer(StatusCode, String),
    /// There was a head, and the body broke off.
    Broken,
    /// The client went away.
    Left,
    /// Not even a head came.
    Nothing(String),
}

/// What a client was told that asked for `path`, when its request was so old.
struct End {
    path: &'static str,
    age: Duration,
    told: Told,
}

struct Simulation {
    world: World,
    app: App,
    /// The greatest maximum that a revision ever has.
    ceiling: u32,
    chance: StdRng,
    first: TestClient,
    second: http2::SendRequest<Empty<Bytes>>,
    leaving: Vec<Shutdown>,
    sent: u64,
    ends: Arc<Mutex<Vec<End>>>,
    /// How much time has passed, in milliseconds.
    passed: Arc<AtomicU64>,
    /// Was one of [`BREAKS`] asked for?
    is_cut: bool,
    /// The instances that ended under their requests.
    crashed: BTreeSet<InstanceId>,
    /// What the log was told.
    log: Arc<Mutex<Vec<RequestRecord>>>,
}

impl Simulation {
    async fn new(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let fleet = FleetConfig { idle: Duration::from_secs(60), queue: 8, ..FleetConfig::default() };
        let front = Front::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let mut world = World::behind(front, (ProxyConfig::default(), fleet), None).await;
        let log = Arc::default();
        let mut entries = std::mem::replace(&mut world.requests, mpsc::channel(1).1);
        let taken: Arc<Mutex<Vec<RequestRecord>>> = Arc::clone(&log);
        world.tasks.spawn("log", OnFailure::Log, async move {
            while let Some(entry) = entries.recv().await {
                taken.lock().expect("no panic").push(entry);
            }
        });
        let ceiling = chance.random_range(1..=3);
        let app = App {
            protocol: if chance.random_bool(0.3) { Protocol::H2c } else { Protocol::Http1 },
            concurrency: chance.random_range(1..=3),
            max: ceiling,
            timeout: TIMEOUT,
            ..App::default()
        };
        let (first, second) = (world.client(), world.h2c().await);
        let (leaving, ends, passed) = (Vec::new(), Arc::default(), Arc::default());
        let (sent, is_cut, crashed) = (0, false, BTreeSet::new());
        let simulation =
            Self { world, app, ceiling, chance, first, second, leaving, sent, ends, passed, is_cut, crashed, log };
        simulation.route(50);
        simulation
    }

    fn below(&mut self, end: usize) -> usize {
        self.chance.random_range(0..end)
    }

    fn route(&self, share: u32) {
        self.world.serve(&self.app, &[(self.app.revision(1), 100 - share), (self.app.revision(2), share)]);
    }

    fn ask(&mut self) {
        let path = PATHS[self.below(PATHS.len())];
        self.is_cut |= BREAKS.contains(&path);
        let (ends, leave) = (self.ends.clone(), Shutdown::default());
        let (first, second, which) = (self.first.clone(), self.second.clone(), self.below(2));
        self.leaving.push(leave.clone());
        let passed = self.passed.clone();
        let since = passed.load(SeqCst);
        self.sent += 1;
        self.world.server.spawn("client", OnFailure::Log, async move {
            let told = tokio::select! {
                told = async { if which == 0 { ask(first, path).await } else { ask_second(second, path).await } } => told,
                () = leave.asked() => Told::Left,
            };
            let age = Duration::from_millis(passed.load(SeqCst) - since);
            ends.lock().expect("no panic").push(End { path, age, told });
        });
    }

    /// Something happens.
    fn happen(&mut self) {
        match self.below(100) {
            0..45 => (0..=self.below(3)).for_each(|_| self.ask()),
            45..52 if !self.leaving.is_empty() => {
                let one = self.below(self.leaving.len());
                self.leaving.swap_remove(one).ask();
            }
            52..62 => self.crash(),
            62..68 => {
                let scripts: [&[&str]; 4] = [&["serve"], &["wait=3000", "serve"], &["wait=500", "exit=1"], &["sleep"]];
                let script = scripts[self.below(scripts.len())];
                self.world.engine.script(IMAGE, script);
            }
            68..72 => {
                let fault = EngineError::Host { operation: "start".to_owned(), cause: "no memory".to_owned() };
                let fault = (self.below(2) == 0).then_some(fault);
                self.world.engine.fail_start(IMAGE, fault);
            }
            72..80 => {
                let share = [0, 10, 50, 100][self.below(4)];
                self.route(share);
            }
            80..84 => {
                self.app.max = self.chance.random_range(1..=self.ceiling);
                self.route(50);
            }
            84..87 => self.advance(60_000, 20_000_000),
            _ => self.advance(0, 5000),
        }
    }

    fn crash(&mut self) {
        let records = self.world.engine.records();
        if let Some(recent) = records.len().checked_sub(1) {
            let record = &records[recent - self.below(records.len().min(4))];
            let exits = [Exit::Code(1), Exit::Signal(9), Exit::Lost];
            let exit = exits[self.below(exits.len())].clone();
            if self.world.engine.kill(&record.id, exit) {
                self.crashed.insert(record.id.clone());
            }
        }
    }

    fn advance(&mut self, from: usize, to: usize) {
        let time = from + self.below(to - from);
        self.pass(time as u64);
    }

    fn pass(&self, millis: u64) {
        self.passed.fetch_add(millis, SeqCst);
        self.world.hand.advance(Duration::from_millis(millis));
    }

    /// Lets everybody do something, and looks at what is promised at any moment.
    async fn settle(&self) {
        Clock::system().sleep(Duration::from_millis(1)).await;
        for record in self.world.engine.records() {
            // The application counts a request out a moment after the front door has its answer.
            let most = self.app.concurrency * 2;
            assert!(record.in_flight() <= most, "an instance has {} requests", record.in_flight());
        }
        let live = self.world.engine.peak_live();
        assert!(live <= 2 * self.ceiling as usize, "there were {live} instances");
    }

    /// No more faults. Everybody is told something, it serves again, and in the end nothing is left.
    async fn recover(mut self) {
        self.world.engine.script(IMAGE, &["serve"]);
        self.world.engine.fail_start(IMAGE, None);
        self.app.max = self.ceiling;
        self.route(50);
        let count = |this: &Self| this.ends.lock().expect("no panic").len() as u64;
        self.wait_for("every request has an end", |this| count(this) == this.sent).await;
        let counted = self.world.counted();
        let left = self.look();
        // Who goes away at once may not have been heard.
        assert!((self.sent - left..=self.sent).contains(&counted), "{counted} of {} requests were counted", self.sent);
        self.world.until_idle().await;
        let client = self.world.client();
        let again = async {
            // Starts that failed before may hold the next one back, and speak for the requests that wait meanwhile.
            while client.get("/").await.0 != StatusCode::OK {}
        };
        tokio::select! {
            () = again => {}
            () = self.wait_for("it serves again", |_| false) => unreachable!("it panics"),
        }
        self.pass(60_000);
        self.wait_for("nothing is left", |this| this.world.engine.live() == 0).await;
        self.look_at_log();
        drop((self.first, self.second));
        self.world.end().await;
    }

    /// Is what every client was told one of the things that may happen to it? Says how many left.
    fn look(&self) -> u64 {
        let mut left = 0;
        for End { path, age, told } in self.ends.lock().expect("no panic").iter() {
            match told {
                Told::Left => left += 1,
                Told::Answer(StatusCode::OK, body) => match *path {
                    "/bytes/100000" => assert_eq!(body.len(), 100_000),
                    "/" | "/wait/700" => assert!(["app-1", "app-2"].contains(&body.as_str()), "{body}"),
                    other => panic!("{other} was answered whole"),
                },
                // Busy, not started, gone, too long.
                Told::Answer(status, _) => assert!([429, 500, 503, 504].contains(&status.as_u16()), "{path}: {status}"),
                Told::Broken => assert!(self.is_cut || !self.crashed.is_empty() || *age >= TIMEOUT, "{path} broke off"),
                Told::Nothing(why) => panic!("{path} had no answer at all: {why}"),
            }
        }
        left
    }

    /// A request that came to nothing at an instance that was well until then had been sent where nobody listened, yet or
    /// any more. And what the clients saw is in it, with where their time went.
    fn look_at_log(&self) {
        let log = self.log.lock().expect("no panic");
        let cut = self.ends.lock().expect("no panic").iter().filter(|end| matches!(end.told, Told::Broken)).count();
        let noted = log.iter().filter(|entry| entry.status == 200 && entry.note.is_some()).count();
        assert!(noted >= cut, "{cut} answers broke off, and the log has {noted}");
        for entry in log.iter() {
            assert_eq!(entry.stops.iter().flatten().sum::<Duration>(), entry.latency, "{entry:?}");
            let waited = entry.waits.as_deref().map(|it| it.queued + it.sandbox + it.app);
            // Who was not given a place waited for one, whoever ended that.
            let has_waited = entry.target.is_some() && entry.instance.is_none();
            assert!(!has_waited || waited == Some(entry.latency), "{entry:?}");
            assert!(waited.is_none_or(|waited| waited <= entry.latency), "{entry:?}");
        }
        let breaks = |entry: &&RequestRecord| BREAKS.iter().any(|path| entry.url.ends_with(path));
        let broken = |entry: &&RequestRecord| entry.note == Rejection::Broken.note();
        let mut excused: BTreeSet<&InstanceId> =
            log.iter().filter(breaks).filter_map(|it| it.instance.as_ref()).collect();
        excused.extend(&self.crashed);
        for entry in log.iter().filter(broken) {
            let instance = entry.instance.as_ref();
            assert!(instance.is_some_and(|instance| excused.contains(instance)), "nothing was wrong: {entry:?}");
        }
    }

    /// Lets time go on until `done`, for at most an hour.
    async fn wait_for(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        for _ in 0..2000 {
            self.settle().await;
            if done(self) {
                return;
            }
            self.pass(1800);
        }
        panic!("never happened: {what}");
    }
}

impl World {
    /// Requests that had an end.
    fn counted(&self) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes everything");
        let lines = text.lines().filter(|line| line.starts_with("updraft_requests_total{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

async fn ask(client: TestClient, path: &str) -> Told {
    let request = Request::get(format!("http://{}{path}", client.address)).header("host", APP);
    let request = request.body(Empty::new()).expect("well formed");
    told(client.client.request(request).await).await
}

async fn ask_second(mut client: http2::SendRequest<Empty<Bytes>>, path: &str) -> Told {
    let request = Request::get(format!("http://{APP}{path}")).body(Empty::new()).expect("well formed");
    told(client.send_request(request).await).await
}

async fn told<E: std::fmt::Debug>(answer: Result<Response<Incoming>, E>) -> Told {
    match answer {
        Ok(answer) => {
            let status = answer.status();
            match answer.into_body().collect().await {
                Ok(body) => Told::Answer(status, String::from_utf8_lossy(&body.to_bytes()).into_owned()),
                Err(_) => Told::Broken,
            }
        }
        Err(error) => Told::Nothing(format!("{error:?}")),
    }
}

async fn simulate(seed: u64) {
    let mut simulation = Simulation::new(seed).await;
    for _ in 0..EVENTS {
        simulation.happen();
        simulation.settle().await;
    }
    simulation.recover().await;
}

#[test]
fn whatever_happens_every_request_has_one_end_that_may_be_and_nothing_is_left() {
    updraft_engine::seeds::all_end_well(SEEDS, simulate);
}
