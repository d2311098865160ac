//! Attempts at tasks, from the book to the end that is told.

use updraft_model::{
    channel::{Begun, TaskEntry, Wish},
    instance::Exit,
    job::{AttemptEnd, AttemptName},
};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn attempt(index: u32) -> AttemptName {
    Parent::new("demo-project", "us-central1").job("import").execution("import-bcdfg").task(index).attempt(0)
}

fn task(name: &AttemptName, steps: &[&str]) -> TaskEntry {
    let mut runs = BookEntry { startup_probe: None, ..entry(&super::name("unused")) };
    let spec = Arc::get_mut(&mut runs.spec).expect("ours alone");
    (spec.owner, spec.port) = (name.clone().into(), 0);
    spec.ingress.args = steps.iter().map(|step| (*step).to_owned()).collect();
    TaskEntry { runs: Arc::new(runs), begun: Begun::Now, wish: Wish::Run }
}

// === impl World ===

impl World {
    fn put_task(&self, name: &AttemptName, entry: TaskEntry) {
        self.task_book.send_modify(|book| {
            Arc::make_mut(book).entries.insert(Arc::new(name.clone()), Arc::new(entry));
        });
    }

    fn remove_task(&self, name: &AttemptName) {
        self.task_book.send_modify(|book| {
            Arc::make_mut(book).entries.remove(name);
        });
    }

    /// Which attempt ended, and how.
    async fn next_end(&mut self) -> (AttemptName, AttemptEnd) {
        let end = Clock::system().timeout(DEADLINE, self.ends.recv()).await;
        let end = end.expect("an attempt ends in time").expect("the fleet tells");
        (end.name, end.end)
    }
}

#[tokio::test]
async fn an_attempt_runs_once_and_its_end_is_told_with_what_it_was() {
    let mut world = World::new();
    for (index, steps, expected) in
        [(0, &["print=done"][..], AttemptEnd::Succeeded), (1, &["exit=7"], AttemptEnd::Exited(7))]
    {
        world.put_task(&attempt(index), task(&attempt(index), steps));
        assert_eq!(world.next_end().await, (attempt(index), expected));
    }
    // It stays in the book until that is written down, and is not begun again for it.
    world.put_task(&attempt(2), task(&attempt(2), &["exit=0"]));
    assert_eq!(world.next_end().await.0, attempt(2));
    assert_eq!((world.engine.records().len(), world.fleet.live_instances()), (3, 0));
    assert!(world.lines().contains("stdout: done\n"));
    world.end().await;
}

#[tokio::test]
async fn what_the_book_says_of_one_that_has_ended_begins_nothing() {
    let mut world = World::new();
    let entry = task(&attempt(0), &["exit=0"]);
    world.put_task(&attempt(0), entry.clone());
    assert_eq!(world.next_end().await, (attempt(0), AttemptEnd::Succeeded));
    // Who cancels it has not taken in yet that it had succeeded.
    world.put_task(&attempt(0), TaskEntry { wish: Wish::Cancel, ..entry });
    world.put_task(&attempt(1), task(&attempt(1), &["exit=0"]));
    assert_eq!(world.next_end().await.0, attempt(1));
    assert_eq!(world.engine.records().len(), 2, "the first ran once");
    world.end().await;
}

#[tokio::test]
async fn what_a_signal_or_the_kernel_ends_says_so() {
    let mut world = World::new();
    for (index, exit, expected) in [
        (0, Exit::Signal(11), AttemptEnd::Signalled(11)),
        (1, Exit::OutOfMemory { limit: 10, used: 9 }, AttemptEnd::OutOfMemory { limit: 10, used: 9 }),
        (2, Exit::Lost, AttemptEnd::Lost),
    ] {
        world.put_task(&attempt(index), task(&attempt(index), &["sleep"]));
        until("it runs", || world.engine.live() == 1).await;
        let id = world.engine.records()[index as usize].id.clone();
        assert!(world.workload(&id).is_some(), "it is known as whom it acts");
        assert!(world.engine.kill(&id, exit));
        assert_eq!(world.next_end().await, (attempt(index), expected));
        assert_eq!(world.workload(&id), None);
    }
    world.end().await;
}

#[tokio::test]
async fn one_that_takes_too_long_is_asked_to_end_and_then_made_to() {
    let mut world = World::new();
    let entry = task(&attempt(0), &["ignore-term", "sleep"]);
    world.put_task(&attempt(0), entry.clone());
    until("it runs", || world.engine.live() == 1).await;
    world.put_task(&attempt(0), TaskEntry { wish: Wish::TimeOut, ..entry });
    world.pass(Duration::from_secs(9), Duration::from_secs(1)).await;
    assert_eq!(world.engine.live(), 1, "it has its grace");
    world.pass(Duration::from_secs(2), Duration::from_secs(1)).await;
    assert_eq!(world.next_end().await, (attempt(0), AttemptEnd::TimedOut));
    assert!(world.lines().contains("maximum timeout"));
    world.end().await;
}

#[tokio::test]
async fn one_that_is_cancelled_is_told_as_cancelled_whatever_it_exits_with() {
    let mut world = World::new();
    let entry = task(&attempt(0), &["sleep"]);
    world.put_task(&attempt(0), entry.clone());
    until("it runs", || world.engine.live() == 1).await;
    world.put_task(&attempt(0), TaskEntry { wish: Wish::Cancel, ..entry });
    assert_eq!(world.next_end().await, (attempt(0), AttemptEnd::Cancelled));
    world.end().await;
}

#[tokio::test]
async fn one_that_leaves_the_book_is_ended_and_nobody_is_told() {
    let mut world = World::new();
    world.put_task(&attempt(0), task(&attempt(0), &["sleep"]));
    until("it runs", || world.engine.live() == 1).await;
    world.remove_task(&attempt(0));
    until("it is gone", || world.engine.live() == 0).await;
    assert!(world.ends.try_recv().is_err());
    world.end().await;
}

#[tokio::test]
async fn an_image_that_cannot_be_started_fails_the_attempt_with_its_cause() {
    let mut world = World::new();
    let entry = task(&attempt(0), &["sleep"]);
    let mut runs = BookEntry::clone(&entry.runs);
    Arc::make_mut(&mut runs.spec).ingress.command = vec![updraft_engine::script::NO_SUCH_PROGRAM.to_owned()];
    world.put_task(&attempt(0), TaskEntry { runs: Arc::new(runs), ..entry });
    let (_, end) = world.next_end().await;
    let AttemptEnd::NotStarted { message, .. } = &end else { panic!("{end}") };
    assert!(message.contains(updraft_engine::script::NO_SUCH_PROGRAM), "{message}");
    world.end().await;
}

#[tokio::test]
async fn after_a_kill_what_runs_goes_on_what_ended_is_told_and_what_is_gone_is_lost() {
    let world = World::new();
    let long = task(&attempt(0), &["sleep"]);
    world.put_task(&attempt(0), long.clone());
    until("it runs", || world.engine.live() == 1).await;
    world.put_task(&attempt(1), task(&attempt(1), &["exit=3"]));
    until("it was started", || world.engine.records().len() == 2).await;
    until("it has ended", || world.engine.live() == 1).await;
    let mut world = world.succeed(FleetConfig::default()).await;
    // What was there is told whether or not the server before this one had heard of it.
    let before = |entry: TaskEntry| TaskEntry { begun: Begun::Before, ..entry };
    world.put_task(&attempt(1), before(task(&attempt(1), &["exit=3"])));
    assert_eq!(world.next_end().await, (attempt(1), AttemptEnd::Exited(3)));
    world.put_task(&attempt(2), before(task(&attempt(2), &["sleep"])));
    assert_eq!(world.next_end().await, (attempt(2), AttemptEnd::Lost));
    world.put_task(&attempt(0), before(long.clone()));
    world.pass(2 * MINUTE, Duration::from_secs(10)).await;
    assert_eq!(world.engine.live(), 1, "it goes on");
    world.put_task(&attempt(0), before(TaskEntry { wish: Wish::Cancel, ..long }));
    assert_eq!(world.next_end().await, (attempt(0), AttemptEnd::Cancelled));
    assert_eq!(world.engine.records().len(), 2, "nothing was started anew");
    world.end().await;
}

#[tokio::test]
async fn what_ended_by_itself_before_it_is_told_to_counts_as_it_ended_and_when_it_did() {
    let world = World::new();
    let mut ended = Vec::new();
    for (index, steps) in [(0, ["exit=0"]), (1, ["exit=7"])] {
        world.put_task(&attempt(index), task(&attempt(index), &steps));
        until("it was started", || world.engine.records().len() as u32 == index + 1).await;
        until("it has ended", || world.engine.live() == 0).await;
        ended.push(world.clock.now());
        world.pass(MINUTE, Duration::from_secs(10)).await;
    }
    let mut world = world.succeed(FleetConfig::default()).await;
    for (index, expected) in [(0, AttemptEnd::Succeeded), (1, AttemptEnd::Exited(7))] {
        let late = TaskEntry { begun: Begun::Before, wish: Wish::TimeOut, ..task(&attempt(index), &["exit=0"]) };
        world.put_task(&attempt(index), late);
        let told = Clock::system().timeout(DEADLINE, world.ends.recv()).await;
        let told = told.expect("in time").expect("the fleet tells");
        assert_eq!((&told.name, &told.end, told.time), (&attempt(index), &expected, ended[index as usize]));
    }
    world.end().await;
}

#[tokio::test]
async fn what_runs_for_a_task_that_nobody_names_after_a_kill_is_ended() {
    let world = World::new();
    world.put_task(&attempt(0), task(&attempt(0), &["sleep"]));
    until("it runs", || world.engine.live() == 1).await;
    let world = world.succeed(FleetConfig::default()).await;
    world.pass(2 * MINUTE, Duration::from_secs(5)).await;
    until("it is gone", || world.engine.live() == 0).await;
    world.end().await;
}

#[tokio::test]
async fn at_the_end_of_the_server_only_a_success_is_told() {
    let mut world = World::new();
    // The one exits with 0 when it is asked to end, the other is made to.
    for (index, steps) in [(0, &["sleep"][..]), (1, &["ignore-term", "sleep"])] {
        world.put_task(&attempt(index), task(&attempt(index), steps));
    }
    until("both run", || world.engine.live() == 2).await;
    tokio::join!(world.fleet.drain(), world.pass(Duration::from_secs(15), Duration::from_secs(1)));
    assert_eq!(world.next_end().await, (attempt(0), AttemptEnd::Succeeded));
    assert!(world.ends.try_recv().is_err(), "the next server decides what becomes of its task");
    world.end().await;
}
