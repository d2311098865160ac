//! The control plane dies between any two of its steps, and the next one repairs it by running again: its store is a
//! [`Mortal`] one.

use std::{sync::Arc, time::Duration};

use updraft_api::{iam, longrunning::Operation, run};
use updraft_model::{
    Error, ErrorKind,
    channel::{BookEntry, CheckOutcome},
};
use updraft_store::{Change, Envelope, Kind, MemoryStore, Page, Selection, Store};

use crate::{
    mortal::{LastCommit, Mortal},
    world::*,
};

/// What became of a life that was to end at some step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// That step did not come.
    Survived,
    Killed,
    KilledCommitting,
}

const ALL_KINDS: [Kind; 4] = [Kind::Service, Kind::Revision, Kind::Operation, Kind::Project];

/// What a client does.
#[derive(Debug, Clone, PartialEq)]
enum Action {
    Create,
    /// A template with this image.
    Deploy(&'static str),
    /// So much to the oldest revision, the rest to the latest.
    Split(i32),
    Open,
    DeleteOldest,
    Delete,
}

const SERVICE: &str = "hello";

/// Starts a control plane; `None` when its store died before it had begun.
async fn start(store: &Arc<Mortal>, bed: &Bed) -> Option<World> {
    let world = tokio::select! {
        biased;
        world = World::try_over(store.clone(), bed.clone()) => world.ok()?,
        () = store.death() => return None,
    };
    store.inspect_with(world.inspector());
    Some(world)
}

/// Does it; nobody hears the end of what was under way when the store died.
async fn act_while_it_lives(store: &Mortal, world: &World, action: &Action) -> Option<Result<(), Error>> {
    tokio::select! {
        biased;
        () = store.death() => None,
        done = act(world, action) => (!store.is_dead()).then(|| done.map(drop)),
    }
}

/// The fleet: what is called `bad` does not start.
fn checked(entry: &BookEntry) -> CheckOutcome {
    if entry.spec.ingress.image.contains("/bad") { failed() } else { CheckOutcome::Passed }
}

/// Everything that was begun goes on as far as it can.
async fn settle(world: &World) {
    for _ in 0..4 {
        world.settle().await;
        world.tell_each(checked);
    }
    world.settle().await;
}

/// The same, and what is kept for a while is gone.
async fn rest(world: &World) {
    settle(world).await;
    world.advance(Duration::from_secs(31)).await;
    settle(world).await;
}

async fn get(world: &World) -> Result<run::Service, Error> {
    let name = format!("{PARENT}/services/{SERVICE}");
    world.control.services_get(&ME, run::GetServiceRequest { name }).await
}

async fn oldest(world: &World) -> Result<String, Error> {
    let parent = format!("{PARENT}/services/{SERVICE}");
    let listed = world.control.revisions_list(&ME, run::ListRevisionsRequest { parent, ..Default::default() }).await?;
    Ok(listed.revisions.last().map(|revision| revision.name.clone()).unwrap_or_default())
}

/// Does it; the operation, if there is one.
async fn act(world: &World, action: &Action) -> Result<Option<Operation>, Error> {
    let update = |service| run::UpdateServiceRequest { service: Some(service), ..Default::default() };
    let control = &world.control;
    // Nothing is made at the same moment as something else: revisions have an order.
    world.hand.advance(Duration::from_secs(1));
    let operation = match action {
        Action::Create => {
            let request = run::CreateServiceRequest {
                parent: PARENT.to_owned(),
                service_id: SERVICE.to_owned(),
                service: Some(service("app")),
                validate_only: false,
            };
            control.services_create(&ME, request).await?
        }
        Action::Deploy(image) => {
            let changed = run::Service { template: service(image).template, ..get(world).await? };
            control.services_update(&ME, update(changed)).await?
        }
        Action::Split(percent) => {
            let traffic = vec![latest(100 - percent), to(&id(&oldest(world).await?), *percent, "old")];
            let changed = run::Service { traffic, ..get(world).await? };
            control.services_update(&ME, update(changed)).await?
        }
        Action::Open => {
            let binding = iam::Binding {
                role: "roles/run.invoker".to_owned(),
                members: vec!["allUsers".to_owned()],
                condition: None,
            };
            let policy = Some(iam::Policy { bindings: vec![binding], ..Default::default() });
            let resource = format!("{PARENT}/services/{SERVICE}");
            let request = iam::SetIamPolicyRequest { resource, policy, update_mask: None };
            control.services_set_iam_policy(&ME, request).await?;
            return Ok(None);
        }
        Action::DeleteOldest => {
            let request = run::DeleteRevisionRequest { name: oldest(world).await?, ..Default::default() };
            control.revisions_delete(&ME, request).await?
        }
        Action::Delete => {
            let name = format!("{PARENT}/services/{SERVICE}");
            control.services_delete(&ME, run::DeleteServiceRequest { name, ..Default::default() }).await?
        }
    };
    Ok(Some(operation))
}

/// Has it been done? Asked when the answer was lost, as a client would before it tries again.
async fn is_done(world: &World, action: &Action, revisions_before: usize) -> bool {
    let found = get(world).await;
    let template = |service: &run::Service| service.template.clone().unwrap_or_default().containers[0].image.clone();
    match (action, found) {
        (Action::Delete, found) => found.is_err(),
        (_, Err(_)) => false,
        (Action::Create, Ok(_)) => true,
        (Action::Deploy(wanted), Ok(service)) => template(&service) == image(wanted),
        (Action::Split(percent), Ok(service)) => service.traffic.iter().any(|line| line.percent == *percent),
        (Action::Open, Ok(_)) => is_open(world).await,
        (Action::DeleteOldest, Ok(_)) => world.revisions(SERVICE).await.len() < revisions_before,
    }
}

async fn is_open(world: &World) -> bool {
    let request = iam::GetIamPolicyRequest { resource: format!("{PARENT}/services/{SERVICE}"), options: None };
    let policy = world.control.services_get_iam_policy(&ME, request).await;
    policy.is_ok_and(|policy| !policy.bindings.is_empty())
}

/// Everything that a client can see but for what is made by chance or by the clock, as text.
async fn told(world: &World) -> String {
    let mut text = format!("hosts {:?} book {}\n", world.hosts(), world.book_len());
    let Ok(service) = get(world).await else { return text + "no service\n" };
    let revisions = world.revisions(SERVICE).await;
    let image_of = |name: &str| {
        let found = revisions.iter().find(|revision| id(&revision.name) == id(name));
        found.map_or_else(|| "nothing".to_owned(), |revision| revision.containers[0].image.clone())
    };
    let states = |conditions: &[run::Condition]| -> Vec<String> {
        conditions.iter().map(|one| format!("{} {}", one.r#type, one.state)).collect()
    };
    text += &format!(
        "generation {} observed {} reconciling {} open {}\ncreated {} ready {}\n{:?} {:?}\n",
        service.generation,
        service.observed_generation,
        service.reconciling,
        is_open(world).await,
        image_of(&service.latest_created_revision),
        image_of(&service.latest_ready_revision),
        service.terminal_condition.as_ref().map(|one| one.state),
        states(&service.conditions),
    );
    let mut lines: Vec<String> = service
        .traffic_statuses
        .iter()
        .map(|line| format!("{}% {}\n", line.percent, image_of(&line.revision)))
        .collect();
    let revision = |one: &run::Revision| format!("{} {:?}\n", one.containers[0].image, states(&one.conditions));
    lines.extend(revisions.iter().map(revision));
    if let Some(route) = world.route(&host(&service.uri)) {
        let target = |target: &updraft_model::route::RouteTarget| {
            format!("route {}% {}\n", target.percent, image_of(&target.revision.revision))
        };
        lines.extend(route.targets.iter().map(target));
        lines.push(format!("{:?}\n", route.invoker));
    }
    lines.sort();
    text + &lines.concat()
}

/// Every operation has ended.
async fn assert_no_open_operation(store: &MemoryStore, when: &str) {
    let all = store.list(&Selection::of(Kind::Operation), &Page::default()).await.expect("in memory");
    for operation in all {
        assert!(!operation.status.is_empty(), "{when}: {} does not end", operation.key);
    }
}

/// A store with the same in it.
async fn copied(store: &MemoryStore) -> Arc<MemoryStore> {
    let copy = MemoryStore::new();
    for kind in ALL_KINDS {
        let all = store.list(&Selection::of(kind), &Page::default()).await.expect("in memory");
        let put = |envelope| Change::Put(Box::new(Envelope { resource_version: 0, ..envelope }));
        copy.commit(all.into_iter().map(put).collect()).await.expect("in memory");
    }
    Arc::new(copy)
}

/// A store that never dies.
fn immortal(inner: &Arc<MemoryStore>) -> Arc<Mortal> {
    Mortal::over(inner.clone(), usize::MAX, LastCommit::Lost)
}

/// The store after these actions, each carried out to its end.
async fn prepared(bed: &Bed, before: &[Action]) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let world = start(&immortal(&store), bed).await.expect("nothing dies");
    for action in before {
        act(&world, action).await.expect("is legal");
        settle(&world).await;
    }
    world.end().await;
    store
}

/// Kills the control plane at every step of `action` in turn, in both ways a commit can be cut off. The next one, and
/// the client if its answer was lost, must come to the end that there is without a crash. Says how many steps there
/// are.
async fn at_every_step(before: &[Action], action: &Action) -> usize {
    let bed = Bed::new();
    let template = prepared(&bed, before).await;
    let reference = copied(&template).await;
    let world = start(&immortal(&reference), &bed).await.expect("nothing dies");
    act(&world, action).await.expect("is legal");
    settle(&world).await;
    world.end().await;
    let world = start(&immortal(&reference), &bed).await.expect("nothing dies");
    rest(&world).await;
    let expected = told(&world).await;
    assert_no_open_operation(&reference, "without a crash").await;
    world.end().await;
    for step in 0.. {
        let mut outcome = Outcome::Survived;
        for last_commit in [LastCommit::Lost, LastCommit::Written] {
            let when = format!("{action:?}, killed at step {step}, the commit {last_commit:?}");
            let store = copied(&template).await;
            outcome = killed_once(&bed, &store, (step, last_commit), action).await;
            let world = start(&immortal(&store), &bed).await.expect("nothing dies");
            rest(&world).await;
            assert_eq!(told(&world).await, expected, "{when}");
            assert_no_open_operation(&store, &when).await;
            world.end().await;
            if outcome != Outcome::KilledCommitting {
                // Only a commit can be cut off in two ways.
                break;
            }
        }
        if outcome == Outcome::Survived {
            return step;
        }
    }
    unreachable!("there is no end of numbers")
}

/// One life that ends at `step`, and the client's next try.
async fn killed_once(
    bed: &Bed,
    store: &Arc<MemoryStore>,
    (step, last_commit): (usize, LastCommit),
    action: &Action,
) -> Outcome {
    let mortal = Mortal::over(store.clone(), step, last_commit);
    let mut acknowledged = false;
    let before = store.list(&Selection::of(Kind::Revision), &Page::default()).await.expect("in memory").len();
    if let Some(world) = start(&mortal, bed).await {
        acknowledged = act_while_it_lives(&mortal, &world, action).await.is_some_and(|done| done.is_ok());
        settle(&world).await;
        world.end().await;
    }
    let outcome = match (mortal.is_dead(), mortal.died_committing()) {
        (false, _) => Outcome::Survived,
        (true, true) => Outcome::KilledCommitting,
        (true, false) => Outcome::Killed,
    };
    if !acknowledged {
        let world = start(&immortal(store), bed).await.expect("nothing dies");
        settle(&world).await;
        if !is_done(&world, action, before).await {
            act(&world, action).await.expect("is legal");
        }
        world.end().await;
    }
    outcome
}

#[tokio::test]
async fn a_crash_between_any_two_steps_leads_to_the_same_end() {
    use Action::{Create, Delete, DeleteOldest, Deploy, Open, Split};
    let two = [Create, Deploy("app2")];
    let cases: [(&[Action], Action); 8] = [
        (&[], Create),
        (&[Create], Deploy("app2")),
        (&[Create], Deploy("bad")),
        (&two, Split(30)),
        (&[Create, Deploy("app2"), Split(30)], Deploy("app3")),
        (&two, Open),
        (&two, DeleteOldest),
        (&two, Delete),
    ];
    for (before, action) in cases {
        let steps = at_every_step(before, &action).await;
        assert!(steps > 3, "{action:?} has {steps} steps: nothing was shown");
    }
}

/// What a client that is not sure may see.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    exists: bool,
    image: String,
    percent: i32,
    open: bool,
}

// === impl Wanted ===

impl Wanted {
    fn after(&self, action: &Action) -> Self {
        let new = self.clone();
        match action {
            Action::Create => Self { exists: true, image: image("app"), percent: 0, open: false },
            Action::Deploy(name) => Self { image: image(name), ..new },
            Action::Split(percent) => Self { percent: *percent, ..new },
            Action::Open => Self { open: true, ..new },
            Action::DeleteOldest => new,
            Action::Delete => Self { exists: false, image: String::new(), percent: 0, open: false },
        }
    }

    async fn seen(world: &World) -> Self {
        let Ok(service) = get(world).await else {
            return Self { exists: false, image: String::new(), percent: 0, open: false };
        };
        let percent = service.traffic.iter().find(|line| line.tag == "old").map_or(0, |line| line.percent);
        let image = service.template.unwrap_or_default().containers[0].image.clone();
        Self { exists: true, image, percent, open: is_open(world).await }
    }
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).expect("small")
    }

    fn action(&mut self, exists: bool) -> Action {
        match (exists, self.below(12)) {
            (false, _) => Action::Create,
            (_, 0..=4) => Action::Deploy(["app", "app2", "app3", "bad"][self.below(4)]),
            (_, 5..=7) => Action::Split(i32::try_from(1 + self.below(99)).expect("small")),
            (_, 8) => Action::Open,
            (_, 9..=10) => Action::DeleteOldest,
            _ => Action::Delete,
        }
    }
}

/// One life after another over one store, each ended at some step; returns how many actions were acknowledged.
async fn lives(seed: u64) -> usize {
    let mut chance = Chance(seed);
    let bed = Bed::new();
    let store = Arc::new(MemoryStore::new());
    let mut wanted = vec![Wanted { exists: false, image: String::new(), percent: 0, open: false }];
    let mut acknowledged = 0;
    for life in 0..12 {
        let last_commit = if chance.below(2) == 0 { LastCommit::Lost } else { LastCommit::Written };
        let mortal = Mortal::over(store.clone(), chance.below(120), last_commit);
        let Some(world) = start(&mortal, &bed).await else { continue };
        while !mortal.is_dead() {
            let seen = Wanted::seen(&world).await;
            if mortal.is_dead() {
                break;
            }
            assert!(wanted.contains(&seen), "seed {seed}, life {life}: {seen:?} is none of {wanted:?}");
            let action = chance.action(seen.exists);
            wanted = vec![seen.clone(), seen.after(&action)];
            match act_while_it_lives(&mortal, &world, &action).await {
                None => break,
                Some(Ok(())) => {
                    acknowledged += 1;
                    wanted.remove(0);
                }
                // Such as the deletion of a revision that traffic goes to.
                Some(Err(error)) if error.kind() != ErrorKind::Internal => {
                    wanted.truncate(1);
                }
                Some(Err(error)) => panic!("seed {seed}, life {life}: {action:?}: {error} {:?}", error.cause()),
            }
            if chance.below(3) > 0 {
                settle(&world).await;
            }
        }
        world.end().await;
    }
    let world = start(&immortal(&store), &bed).await.expect("nothing dies");
    settle(&world).await;
    let seen = Wanted::seen(&world).await;
    assert!(wanted.contains(&seen), "seed {seed}, at the end: {seen:?} is none of {wanted:?}");
    assert_no_open_operation(&store, &format!("seed {seed}")).await;
    if let Ok(service) = get(&world).await {
        assert!(!service.reconciling, "seed {seed}: {service:?}");
    }
    world.end().await;
    acknowledged
}

#[tokio::test]
async fn any_number_of_crashes_loses_nothing_that_was_acknowledged() {
    let given = std::env::var("UPDRAFT_TEST_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let mut acknowledged = 0;
    for seed in given.map_or(0..40, |seed| seed..seed + 1) {
        acknowledged += lives(seed).await;
    }
    assert!(given.is_some() || acknowledged > 200, "{acknowledged} actions show little");
}
