//! Starts and stops at random, with kill -9 of the server, the launcher and containers mixed in: nothing leaks, no line
//! is lost, and no request is seen by two instances.
//!
//! The suite runs a thousand starts; `cargo xtask soak` runs this very test with more (`UPDRAFT_SOAK_STARTS`), and
//! `UPDRAFT_TEST_SEED` repeats what a run did. Instances end by themselves within moments of their last request, so
//! nearly each request is a start, and until then they are frozen. Some may go nowhere on the network. Each request has
//! a number of its own; whoever sees it writes it down before it answers.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use futures::future::join_all;
use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use updraft_base::Clock;

use super::{
    adoption::log,
    host::{Host, PATIENCE, containers_run_here, eventually},
    images,
    killed::{Chance, assert_nothing_left, launcher},
    traces::Traces,
};

/// How many starts the suite waits for.
const STARTS: usize = 1000;
const SERVICES: usize = 12;
/// Clients at once.
const CLIENTS: usize = 6;
/// How long a server is left alone at most.
const LONGEST: Duration = Duration::from_millis(3000);
/// An instance without a request is frozen at once, and ended after this.
const FLAGS: [&str; 4] = ["--freeze-after", "0", "--idle-timeout", "50ms"];

/// What is done to a server that works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// Containers are killed, or sandboxes that wait.
    Containers,
    /// The launcher is.
    Launcher,
    /// The server is.
    Server,
    /// The server is, and so is the next one while it starts.
    ServerTwice,
    /// Both are.
    Both,
    /// It is stopped as it should be.
    Stop,
}

/// A run.
struct Soak {
    clock: Clock,
    chance: Chance,
    /// Requests so far.
    asked: Cell<u64>,
    /// Which process answered which request, and in which episode that was.
    answered: RefCell<BTreeMap<u64, (String, usize)>>,
    /// Every process that ever answered.
    processes: RefCell<BTreeSet<String>>,
    /// Episodes that ended with the death of a launcher, which takes along what it had read.
    lossy: RefCell<BTreeSet<usize>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_starts_and_kills_leak_nothing_and_no_request_is_seen_twice() {
    if !containers_run_here() {
        return;
    }
    let wanted = std::env::var("UPDRAFT_SOAK_STARTS").ok().and_then(|text| text.parse().ok()).unwrap_or(STARTS);
    let soak = Soak {
        clock: Clock::system(),
        chance: Chance::seeded("soak"),
        asked: Cell::new(0),
        answered: RefCell::default(),
        processes: RefCell::default(),
        lossy: RefCell::default(),
    };
    let mut host = Host::start(&FLAGS);
    let (traces, data) = (Traces::of(&host), host.data_dir());
    host.load(&images::witness_with("soak", &["heed"]));
    let services: Vec<String> = (0..SERVICES).map(|number| format!("soak-{number}")).collect();
    let egress = ["all", "private", "none"].iter().cycle();
    let names: Vec<String> =
        services.iter().zip(egress).map(|(service, egress)| deploy(&host, service, egress)).collect();
    soak.quiet(&traces, &data, "before").await;
    let base = descriptors(&host);
    let mut episode = 0;
    while soak.processes.borrow().len() < wanted {
        let blow = soak.blow();
        soak.work(&host, &names, &traces, (episode, blow)).await;
        host = soak.strike(host, blow, episode).await;
        if episode % 10 == 9 {
            soak.quiet(&traces, &data, &format!("after episode {episode}, {blow:?}")).await;
        }
        episode += 1;
    }
    // What was killed last has come to its end, and the server has nothing to do.
    soak.quiet(&traces, &data, "in the end").await;
    soak.look_at_requests(&data, &services);
    eventually("no descriptor is left open", async || {
        let (server, launcher) = descriptors(&host);
        // The server keeps logs open, and connections for a while.
        server <= base.0 + SERVICES + CLIENTS && launcher <= base.1
    })
    .await;
    let (code, _dir) = host.stop();
    assert_eq!((code, traces.left()), (0, Vec::new()));
    let (starts, asked) = (soak.processes.borrow().len(), soak.asked.get());
    eprintln!("{starts} starts, {asked} requests, {episode} blows");
}

fn deploy(host: &Host, service: &str, egress: &str) -> String {
    let image = "localhost/soak:latest";
    let flags = ["--allow-unauthenticated", "--concurrency", "2", "--egress", egress, "--quiet"];
    host.ok(&[&["deploy", service, "--image", image][..], &flags].concat());
    host.host_of(service, None)
}

// === impl Soak ===

impl Soak {
    fn blow(&self) -> Blow {
        match self.chance.below(12) {
            0..4 => Blow::Containers,
            4..6 => Blow::Launcher,
            6..9 => Blow::Server,
            9 => Blow::ServerTwice,
            10 => Blow::Both,
            _ => Blow::Stop,
        }
    }

    /// Lets clients work for a while. Where that is what is to happen, containers are killed meanwhile.
    async fn work(&self, host: &Host, names: &[String], traces: &Traces, (episode, blow): (usize, Blow)) {
        // Connections are not kept from one server to the next.
        let client = Client::builder().timeout(PATIENCE).build().expect("a client");
        let over = Cell::new(false);
        let deadline = self.clock.instant() + self.chance.time(LONGEST);
        let clients = (0..CLIENTS).map(|_| async {
            while !over.get() {
                let name = &names[self.chance.below(names.len())];
                let _ = self.ask(host, &client, name, episode).await;
                self.clock.sleep(self.chance.time(Duration::from_millis(20))).await;
            }
        });
        let killer = async {
            while self.clock.instant() < deadline {
                self.clock.sleep(self.chance.time(Duration::from_millis(300))).await;
                if blow == Blow::Containers {
                    self.kill_a_container(traces);
                }
            }
            over.set(true);
        };
        // Some requests are under way when the blow falls: they are not waited for.
        let clients = async { drop(join_all(clients).await) };
        match blow {
            Blow::Containers => drop(tokio::join!(clients, killer)),
            _ => tokio::select! {
                biased;
                () = killer => {}
                () = clients => {}
            },
        }
    }

    /// A request with a number of its own. Fails when its server, or its instance, is killed.
    async fn ask(&self, host: &Host, client: &Client, name: &str, episode: usize) -> reqwest::Result<()> {
        let id = self.asked.get();
        self.asked.set(id + 1);
        let answer = client.get(format!("http://{}/seen/{id}", host.address)).header("host", name).send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            // Its instance was killed under it, with the launcher or alone.
            assert!(matches!(status.as_u16(), 500 | 503), "{status} {body}");
            return Ok(());
        }
        let (seen, process) = body.split_once(' ').expect("two words");
        assert_eq!(seen, id.to_string(), "somebody else's answer");
        self.processes.borrow_mut().insert(process.to_owned());
        self.answered.borrow_mut().insert(id, (process.to_owned(), episode));
        Ok(())
    }

    fn kill_a_container(&self, traces: &Traces) {
        let members = traces.members();
        let Some(&pid) = members.get(self.chance.below(members.len())) else { return };
        if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
            // It may have ended meanwhile, and its number is not given to another so soon.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    async fn strike(&self, host: Host, blow: Blow, episode: usize) -> Host {
        match blow {
            Blow::Containers => host,
            Blow::Launcher => {
                self.kill_launcher(&host, episode);
                host
            }
            Blow::Server => Host::start_in(host.kill(), &FLAGS),
            Blow::ServerTwice => {
                let dir = host.kill();
                self.kill_while_it_starts(&dir).await;
                Host::start_in(dir, &FLAGS)
            }
            Blow::Both => {
                // Stopped first: it must not have the time to end anything.
                let pid = launcher(&host);
                if let Some(pid) = pid {
                    let _ = kill_process(pid, Signal::STOP);
                }
                let dir = host.kill();
                if let Some(pid) = pid {
                    let _ = kill_process(pid, Signal::KILL);
                }
                self.lossy.borrow_mut().extend([episode, episode.saturating_sub(1)]);
                Host::start_in(dir, &FLAGS)
            }
            Blow::Stop => {
                let (code, dir) = host.stop();
                assert_eq!(code, 0, "episode {episode}");
                Host::start_in(dir, &FLAGS)
            }
        }
    }

    fn kill_launcher(&self, host: &Host, episode: usize) {
        if let Some(pid) = launcher(host) {
            // One that was killed just before may not have been replaced yet.
            let _ = kill_process(pid, Signal::KILL);
        }
        self.lossy.borrow_mut().extend([episode, episode.saturating_sub(1)]);
    }

    async fn kill_while_it_starts(&self, dir: &TempDir) {
        let mut hurried = super::adoption::serve(dir.path());
        self.clock.sleep(self.chance.time(Duration::from_millis(300))).await;
        hurried.kill().expect("our own child");
        hurried.wait().expect("our own child");
    }

    /// Nobody asks: every instance ends, and nothing is left of any.
    async fn quiet(&self, traces: &Traces, data: &Path, when: &str) {
        eventually(&format!("{when}: every instance ends"), async || traces.instances().is_empty()).await;
        eventually(&format!("{when}: no address stays restricted"), async || traces.restricted().is_empty()).await;
        assert_nothing_left(data, when);
    }

    /// Each was seen by one instance, or by none if nobody answered; and what was seen is in the log.
    fn look_at_requests(&self, data: &Path, services: &[String]) {
        let mut seen: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for (_, text) in services.iter().flat_map(|service| log(data, service)) {
            if let ["seen", id, process] = text.split(' ').collect::<Vec<_>>()[..] {
                seen.entry(id.parse().expect("a number")).or_default().insert(process.to_owned());
            }
        }
        for (id, by) in &seen {
            assert_eq!(by.len(), 1, "request {id} was seen by several: {by:?}");
        }
        let lossy = self.lossy.borrow();
        for (id, (process, episode)) in self.answered.borrow().iter() {
            let written = seen.get(id).is_some_and(|by| by.contains(process));
            assert!(written || lossy.contains(episode), "request {id} of episode {episode} is not in the log");
        }
    }
}

/// How many descriptors the server and its launcher have open.
fn descriptors(host: &Host) -> (usize, usize) {
    let open = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let launcher = launcher(host).map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
    (open(host.pid()), open(launcher))
}
