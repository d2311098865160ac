//! kill -9 at any moment: nothing that was acknowledged is lost, nothing is left behind, everything comes to an end.
//!
//! Clients deploy, route, open, close and delete services, push, tag, delete and pull images, all at once, and write
//! down what the server acknowledged ([`ledger`]). It is killed in the middle, with or without its launcher, while it
//! works or while it starts; after each restart everything that was written down is looked for, every service is
//! called, every operation has to end, and `updraft doctor --leaks` looks at the host.

mod chance;
pub(super) use chance::Chance;
mod deploys;
mod ledger;
mod pushes;
mod upstream;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Command, Stdio},
    time::Duration,
};

use reqwest::{Client, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use updraft_base::Clock;

use self::{
    deploys::{Api, Deployer, outcome},
    ledger::{Intent, Ledger, answer_of},
    pushes::Pusher,
    upstream::Upstream,
};
use super::{
    host::{Host, PATIENCE, UPDRAFT, containers_run_here},
    images,
};

/// How often the server is killed while it works.
const KILLS: usize = 50;
/// And how often while it starts.
const KILLED_STARTS: usize = 6;
/// The longest it works before it is killed: twice what the slowest action takes, so that every action is met in its
/// beginning, its middle and its end.
const LONGEST: Duration = Duration::from_millis(700);
/// The services of each client.
const SERVICES: [&[&str]; 2] = [&["alpha", "beta"], &["gamma", "delta"]];

/// The server did not answer: it was killed.
#[derive(Debug)]
struct Gone(reqwest::Error);

impl From<reqwest::Error> for Gone {
    fn from(error: reqwest::Error) -> Self {
        Self(error)
    }
}

/// A test under way.
struct Trial {
    clock: Clock,
    chance: Chance,
    ledger: Ledger,
    upstream: Upstream,
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_any_moment_loses_nothing_and_leaves_nothing() {
    if !containers_run_here() {
        return;
    }
    let chance = Chance::seeded("kill -9");
    let trial = Trial { clock: Clock::system(), chance, ledger: Ledger::default(), upstream: Upstream::start() };
    let mut host = Host::start(&[]);
    host.load(&images::witness("first"));
    host.load(&images::witness_with("second", &["serve"]));
    let mut starts: BTreeSet<usize> = (0..KILLED_STARTS).map(|_| trial.chance.below(KILLS)).collect();
    for round in 0..KILLS {
        let data_dir = trial.work_and_kill(host, round).await;
        if starts.remove(&round) {
            trial.kill_while_it_starts(&data_dir).await;
        }
        host = Host::start_in(data_dir, &[]);
        trial.look(&host, round).await;
    }
    let tags = trial.ledger.tags().len();
    let operations = trial.ledger.operations().len();
    eprintln!("{} writes were acknowledged, {operations} operations, {tags} tags", trial.ledger.acknowledged());
    assert!(operations > KILLS && tags > 3, "too little was going on to show anything");
    let data = host.data_dir();
    let (code, _data_dir) = host.stop();
    assert_eq!(code, 0, "it stops gracefully after all that");
    assert_nothing_left(&data, "after a graceful stop");
}

// === impl Trial ===

impl Trial {
    /// Lets the clients work, and kills the server in the middle.
    async fn work_and_kill(&self, host: Host, round: usize) -> TempDir {
        // Connections are not kept from one server to the next.
        let client = Client::builder().timeout(PATIENCE).build().expect("a client");
        let api = Api { client: &client, address: &host.address };
        let deployers = SERVICES.map(|services| Deployer {
            api,
            services,
            ledger: &self.ledger,
            upstream: &self.upstream,
            chance: self.chance.branch(),
        });
        let pusher =
            Pusher { client: &client, registry: &host.registry, ledger: &self.ledger, chance: self.chance.branch() };
        let work = async { tokio::join!(deployers[0].work(), deployers[1].work(), pusher.work(), self.visit(api)) };
        let after = self.chance.time(LONGEST);
        let with_launcher = self.chance.one_in(3);
        let pid = Pid::from_raw(host.pid().cast_signed()).expect("a process");
        let launcher = launcher(&host);
        tokio::select! {
            gone = work => panic!("round {round}: the server is gone before it was killed: {:?}", gone.0.0),
            () = self.clock.sleep(after) => kill_process(pid, Signal::KILL).expect("our own child"),
        }
        if let Some(launcher) = launcher.filter(|_| with_launcher) {
            // It may have ended by itself.
            let _ = kill_process(launcher, Signal::KILL);
        }
        host.kill()
    }

    /// Calls services while they are changed: whoever may call one is answered by it.
    async fn visit(&self, api: Api<'_>) -> Gone {
        loop {
            let services = match api.services().await {
                Ok(services) => services,
                Err(gone) => return gone,
            };
            for (id, service) in services {
                match api.visit(&service).await {
                    Err(gone) => return gone,
                    // Closed, or not ready yet, or deleted meanwhile.
                    Ok((StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, _)) => {}
                    Ok((StatusCode::OK, body)) => assert!(body.starts_with("answer-"), "{id}: {body}"),
                    // Its instances are stopped under the request when it is deleted.
                    Ok((StatusCode::SERVICE_UNAVAILABLE | StatusCode::INTERNAL_SERVER_ERROR, _)) => {}
                    Ok((status, body)) => panic!("{id}: {status} {body}"),
                }
            }
            self.clock.sleep(Duration::from_millis(30)).await;
        }
    }

    async fn kill_while_it_starts(&self, data_dir: &TempDir) {
        let mut serve = Command::new(UPDRAFT);
        serve.args(["serve", "--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0", "--log", "warn"]);
        serve.arg("--data-dir").arg(data_dir.path().join("data")).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = serve.spawn().expect("the binary starts");
        self.clock.sleep(self.chance.time(Duration::from_millis(200))).await;
        child.kill().expect("our own child");
        child.wait().expect("our own child");
    }

    /// Looks for everything that was acknowledged.
    async fn look(&self, host: &Host, round: usize) {
        let client = Client::builder().timeout(PATIENCE).build().expect("a client");
        let api = Api { client: &client, address: &host.address };
        self.look_at_services(api, round).await.expect("it answers");
        self.look_at_operations(api, round).await.expect("it answers");
        self.look_at_images(&client, &host.registry, round).await.expect("it answers");
        self.look_at_answers(api, round).await.expect("it answers");
        assert_nothing_left(&host.data_dir(), &format!("round {round}"));
    }

    async fn look_at_services(&self, api: Api<'_>, round: usize) -> Result<(), Gone> {
        let mut found: BTreeMap<String, Value> = api.services().await?.into_iter().collect();
        for (id, thing) in self.ledger.services() {
            let service = found.remove(&id);
            let intent = match &service {
                Some(service) => Some(Intent::of(service, &api.policy(&id).await?)),
                None => None,
            };
            assert!(thing.may_be(&intent), "round {round}: {id} is {intent:?}, not as in {thing:?}");
            let service = service.unwrap_or_default();
            let number = |value: &Value| value["generation"].as_str().and_then(|text| text.parse::<i64>().ok());
            if service["uid"] == thing.said["uid"] {
                assert!(number(&service) >= number(&thing.said), "round {round}: {id}: {service:#}\n{:#}", thing.said);
            }
            if thing.is_certain() && intent.is_some() {
                for field in ["uid", "generation", "etag"] {
                    assert_eq!(service[field], thing.said[field], "round {round}: {field} of {id}");
                }
            }
            self.ledger.found_service(&id, (intent, service));
        }
        assert!(found.is_empty(), "round {round}: nobody made {found:#?}");
        Ok(())
    }

    /// Every operation ends, and one that had ended has not changed.
    async fn look_at_operations(&self, api: Api<'_>, round: usize) -> Result<(), Gone> {
        let deadline = self.clock.instant() + PATIENCE;
        loop {
            let open = api.open_operations().await?;
            if open == 0 {
                break;
            }
            assert!(self.clock.instant() < deadline, "round {round}: {open} operations do not end");
            self.clock.sleep(Duration::from_millis(10)).await;
        }
        // The last ones anew each time, the old ones now and then.
        let all = self.ledger.operations();
        let is_old = |seen: &Option<Value>| seen.is_some() && round % 10 != 9;
        for (name, seen) in all.into_iter().filter(|(_, seen)| !is_old(seen)) {
            let operation = api.get(&name).await?;
            assert_eq!(operation["done"], true, "round {round}: {operation:#}");
            let ended = outcome(&operation);
            // Deletion is the only thing here that keeps a deploy from succeeding.
            let is_fair = ended == "done" || ended["code"] == 10;
            assert!(is_fair, "round {round}: {operation:#}");
            assert!(seen.is_none_or(|seen| seen == ended), "round {round}: it ended otherwise before: {operation:#}");
            self.ledger.operation_ended(&name, &ended);
        }
        Ok(())
    }

    async fn look_at_images(&self, client: &Client, registry: &str, round: usize) -> Result<(), Gone> {
        for (name, thing) in self.ledger.tags() {
            let (repository, tag) = name.split_once(':').expect("a tag");
            let found = pushes::tagged(client, registry, (repository, tag)).await?;
            assert!(thing.may_be(&found), "round {round}: {name} is {found:?}, not as in {thing:?}");
            self.ledger.found_tag(&name, found);
        }
        for (repository, digest) in self.ledger.take_blobs() {
            pushes::pulled(client, registry, (&repository, &digest)).await?;
        }
        Ok(())
    }

    /// Every service answers, with a revision that may be serving.
    async fn look_at_answers(&self, api: Api<'_>, round: usize) -> Result<(), Gone> {
        for (id, service) in api.services().await? {
            assert_eq!(service["latestReadyRevision"], service["latestCreatedRevision"], "round {round}: {service:#}");
            let intent = self.ledger.service(&id).expect("looked at before");
            let (status, body) = api.visit(&service).await?;
            if !intent.open {
                assert_eq!(status, StatusCode::FORBIDDEN, "round {round}: {id} is closed: {body}");
                continue;
            }
            assert_eq!(status, StatusCode::OK, "round {round}: {id}: {body}");
            if body == intent.answer {
                continue;
            }
            let lines = service["trafficStatuses"].as_array().expect("a table");
            let serving: BTreeSet<&str> = lines.iter().filter_map(|line| line["revision"].as_str()).collect();
            let revisions = api.revisions(&id).await?;
            let name = |revision: &Value| {
                revision["name"].as_str().and_then(|name| name.rsplit('/').next()).map(str::to_owned)
            };
            let by = revisions.iter().find(|revision| answer_of(revision) == body).and_then(name);
            assert!(
                by.as_deref().is_some_and(|by| serving.contains(by)),
                "round {round}: {id}: {body} of {by:?}\n{service:#}"
            );
        }
        Ok(())
    }
}

/// The launcher, by the engine's own note.
pub(super) fn launcher(host: &Host) -> Option<Pid> {
    let noted = std::fs::read_to_string(host.data_dir().join("run/launcher.lock")).ok()?;
    Pid::from_raw(noted.trim().parse().ok()?)
}

/// Lets the binary itself look at the host.
pub(super) fn assert_nothing_left(data_dir: &std::path::Path, when: &str) {
    let mut doctor = Command::new(UPDRAFT);
    doctor.args(["doctor", "--leaks", "--format", "json", "--data-dir"]).arg(data_dir);
    let output = doctor.stdin(Stdio::null()).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{when}: {said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.trim(), "[]", "{when}");
}
