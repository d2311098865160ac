//! Worlds that chance makes: requests come and go while instances crash, start slowly, fail to start and get lost, and
//! the clock jumps. Whatever happens, in whatever order, what is promised holds.
//!
//! A seed that fails is told; `SIMULATION_SEED=N` runs it alone.

use std::{collections::HashMap, pin::Pin};

use futures::FutureExt as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use updraft_engine::EngineError;
use updraft_model::instance::Exit;

use super::*;
use crate::{Refusal, Slot};

const SEEDS: u64 = 10_000;
/// Things that happen in one world.
const EVENTS: u32 = 30;
/// How often other tasks are let run after each of them: a start takes about ten of their steps.
const TURNS: u32 = 12;
const IDLE: Duration = Duration::from_secs(60);

type Request = Pin<Box<dyn Future<Output = Result<Slot, Refusal>>>>;

struct Simulation {
    world: World,
    app: RevisionName,
    entry: BookEntry,
    /// The greatest maximum that the revision ever has.
    ceiling: u32,
    /// Is the revision in the book? And was it ever not?
    is_there: bool,
    was_removed: bool,
    chance: StdRng,
    waiting: Vec<Request>,
    held: Vec<Slot>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let config = FleetConfig { idle: IDLE, queue: 20, ..FleetConfig::default() };
        let world = World::with(config);
        let app = name("app-1");
        let entry = BookEntry {
            concurrency: chance.random_range(1..=4),
            max: chance.random_range(1..=4),
            min: chance.random_range(0..=1),
            check: if chance.random_bool(0.2) { Check::Wanted } else { Check::Done },
            ..entry(&app)
        };
        world.put(&app, entry.clone());
        let ceiling = entry.max;
        let (waiting, held) = (Vec::new(), Vec::new());
        Self { world, app, entry, ceiling, is_there: true, was_removed: false, chance, waiting, held }
    }

    fn below(&mut self, end: usize) -> usize {
        self.chance.random_range(0..end)
    }

    fn ask(&mut self) {
        let (fleet, app) = (self.world.fleet.clone(), self.app.clone());
        self.waiting.push(Box::pin(async move { fleet.admit(&app).await }));
    }

    /// Something happens.
    fn happen(&mut self) {
        match self.below(100) {
            0..30 => (0..=self.below(6)).for_each(|_| self.ask()),
            30..50 => {
                for _ in 0..self.below(self.held.len() + 1) {
                    let one = self.below(self.held.len());
                    drop(self.held.swap_remove(one));
                }
            }
            // A client leaves.
            50..55 if !self.waiting.is_empty() => {
                let one = self.below(self.waiting.len());
                drop(self.waiting.swap_remove(one));
            }
            // Somebody cannot connect.
            55..58 if !self.held.is_empty() => {
                let one = self.below(self.held.len());
                self.held.swap_remove(one).give_up();
            }
            58..70 => self.crash(),
            70..76 => {
                let scripts: [&[&str]; 4] = [&["serve"], &["wait=3000", "serve"], &["wait=500", "exit=1"], &["sleep"]];
                let script = scripts[self.below(scripts.len())];
                self.world.engine.script(IMAGE, script);
            }
            76..80 => {
                let fault = EngineError::Host { operation: "start".to_owned(), cause: "no memory".to_owned() };
                let fault = (self.below(2) == 0).then_some(fault);
                self.world.engine.fail_start(IMAGE, fault);
            }
            80..84 => self.advance(600_000, 20_000_000),
            84..88 => {
                self.entry.targets.concurrency = [0, 60, 95][self.below(3)];
                self.entry.min = u32::from(self.below(2) == 0);
                self.entry.max = self.chance.random_range(1..=self.ceiling);
                self.put();
            }
            88..91 if self.is_there => {
                (self.is_there, self.was_removed) = (false, true);
                self.world.remove(&self.app);
            }
            88..94 if !self.is_there => self.put(),
            _ => self.advance(0, 8000),
        }
    }

    fn put(&mut self) {
        self.is_there = true;
        self.world.put(&self.app, self.entry.clone());
    }

    /// One of all instances that ever were: mostly one that is not there any more, and then nothing happens.
    fn crash(&mut self) {
        let records = self.world.engine.records();
        if let Some(recent) = records.len().checked_sub(1) {
            let record = &records[recent - self.below(records.len().min(4))];
            let exits = [Exit::Code(1), Exit::Signal(9), Exit::Lost];
            let exit = exits[self.below(exits.len())].clone();
            self.world.engine.kill(&record.id, exit);
        }
    }

    fn advance(&mut self, from: usize, to: usize) {
        let time = from + self.below(to - from);
        self.world.hand.advance(Duration::from_millis(time as u64));
    }

    /// Lets everybody do what they can, and looks at what is promised at any moment.
    async fn settle(&mut self) {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
            let mut index = 0;
            while let Some(request) = self.waiting.get_mut(index) {
                match request.as_mut().now_or_never() {
                    Some(told) => {
                        drop(self.waiting.swap_remove(index));
                        self.told(told);
                    }
                    None => index += 1,
                }
            }
        }
        let mut loads: HashMap<_, u32> = HashMap::new();
        for slot in &self.held {
            *loads.entry(slot.instance().clone()).or_default() += 1;
        }
        let most = loads.values().copied().max().unwrap_or_default();
        assert!(most <= self.entry.concurrency, "an instance has {most} requests");
        let live = self.world.engine.peak_live();
        assert!(live <= self.ceiling as usize, "there were {live} instances");
    }

    fn told(&mut self, told: Result<Slot, Refusal>) {
        match told {
            Ok(slot) => {
                assert!(slot.timing().is_some(), "who is not ready has a request");
                self.held.push(slot);
            }
            Err(Refusal::QueueFull | Refusal::Overdue(_) | Refusal::StartFailed(_)) => {}
            Err(Refusal::Unavailable) if self.was_removed => {}
            Err(other) => panic!("there is no reason for it: {other}"),
        }
    }

    /// No more faults. Everybody is told something, the revision serves again, and in the end nothing is left.
    async fn recover(mut self) {
        self.world.engine.script(IMAGE, &["serve"]);
        self.world.engine.fail_start(IMAGE, None);
        self.entry.min = 0;
        self.put();
        self.wait_for("every request is told something", |this| this.waiting.is_empty()).await;
        self.ask();
        self.wait_for("it serves again", |this| {
            // A start that failed before may speak for this request; the next one has another.
            if this.waiting.is_empty() && this.held.is_empty() {
                this.ask();
            }
            !this.held.is_empty()
        })
        .await;
        self.held.clear();
        self.wait_for("nothing is left", |this| this.world.engine.live() + this.world.fleet.live_instances() == 0)
            .await;
        self.world.end().await;
    }

    /// Lets requests end and time go on until `done`, for at most an hour.
    async fn wait_for(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..1200 {
            self.settle().await;
            if done(self) {
                return;
            }
            self.held.clear();
            self.world.hand.advance(Duration::from_secs(3));
        }
        panic!("never happened: {what}");
    }
}

async fn simulate(seed: u64) {
    let mut simulation = Simulation::new(seed);
    for _ in 0..EVENTS {
        simulation.happen();
        simulation.settle().await;
    }
    simulation.recover().await;
}

#[test]
fn whatever_happens_bounds_hold_every_request_is_told_and_nothing_is_left() {
    updraft_engine::seeds::all_end_well(SEEDS, simulate);
}
