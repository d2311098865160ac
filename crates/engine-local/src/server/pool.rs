//! Sandboxes that are made before they are needed.
//!
//! Making one takes the kernel a few tenths of a millisecond of work and, with control groups of version 1 on a quiet
//! machine, ten milliseconds of waiting: none of it is to be on the way of a request. What is in the pool holds nothing
//! of anybody and is used once. When it is empty, a start makes its own.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, oneshot};
use updraft_base::Backoff;

use super::{
    engine::{Shared, chain},
    prepare,
};
use crate::{
    net::Attachment,
    protocol::{Ahead, Request},
    sandbox::cgroups::Limits,
};

/// A sandbox that waits for a container.
#[derive(Debug)]
pub(super) struct Shell {
    /// What it and its control groups are called. No instance is called so.
    pub(super) name: String,
    /// Its network.
    pub(super) attachment: Attachment,
}

/// The sandboxes that wait.
#[derive(Debug)]
pub(super) struct Pool {
    /// How many there are to be.
    size: usize,
    stock: Mutex<Stock>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Stock {
    ready: VecDeque<Shell>,
    /// The one that is being made, and who waits for it.
    making: Option<(Shell, oneshot::Sender<()>)>,
    /// How many have been made.
    made: u64,
    /// When one was last asked for.
    asked: Option<Instant>,
    /// What the next container will probably be limited to: as the last one was.
    limits: Option<Limits>,
}

/// What the names of sandboxes that wait begin with, before a dot: no instance is called so.
pub(super) const SHELL: &str = "shell";
/// How long after a start the stock is left as it is, so that the program that starts has the machine to itself. A
/// stock that is half empty waits for nothing.
const CALM: Duration = Duration::from_millis(20);
/// How long the making of one may take.
const MADE_WITHIN: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(10);

// === impl Pool ===

impl Pool {
    /// An empty one that is to hold `size`.
    pub(super) fn new(size: usize) -> Self {
        Self { size, stock: Mutex::default(), changed: Notify::new() }
    }

    /// Names up to this number are, or may be, in use already.
    pub(super) fn skip(&self, made: u64) {
        self.stock().made = made;
    }

    /// Takes the one that has waited longest.
    pub(super) fn take(&self, now: Instant) -> Option<Shell> {
        let mut stock = self.stock();
        stock.asked = Some(now);
        let taken = stock.ready.pop_front();
        drop(stock);
        self.changed.notify_one();
        taken
    }

    /// Containers with these limits are to be expected.
    pub(super) fn expect(&self, limits: Limits) {
        self.stock().limits = Some(limits);
    }

    /// How many wait.
    pub(super) fn ready(&self) -> usize {
        self.stock().ready.len()
    }

    /// Takes back one that was not used.
    pub(super) fn put_back(&self, shell: Shell) {
        self.stock().ready.push_front(shell);
    }

    /// The one called `name` is made.
    pub(super) fn stocked(&self, name: &str) {
        let mut stock = self.stock();
        if let Some((shell, made)) = stock.making.take_if(|(shell, _)| shell.name == name) {
            stock.ready.push_back(shell);
            // Who waited may have given up; then it is there all the same.
            let _ = made.send(());
        }
    }

    /// The one called `name` has ended, or could not be made. False if none that waits is called so.
    pub(super) fn lost(&self, name: &str) -> bool {
        let mut stock = self.stock();
        let before = stock.there();
        stock.ready.retain(|shell| shell.name != name);
        drop(stock.making.take_if(|(shell, _)| shell.name == name));
        let lost = stock.there() < before;
        drop(stock);
        self.changed.notify_one();
        lost
    }

    /// All of them have ended, with their launcher.
    pub(super) fn clear(&self) {
        let mut stock = self.stock();
        stock.ready.clear();
        stock.making = None;
        drop(stock);
        self.changed.notify_one();
    }

    fn pause(&self, now: Instant) -> Option<Duration> {
        let stock = self.stock();
        pause(stock.there(), self.size, stock.asked.map(|asked| now.saturating_duration_since(asked)))
    }

    /// Lets the keeper look again.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Stock ===

impl Stock {
    fn there(&self) -> usize {
        self.ready.len() + usize::from(self.making.is_some())
    }

    fn next_name(&mut self) -> String {
        self.made += 1;
        format!("{SHELL}.{}", self.made)
    }
}

/// The number in a name, if it is that of a sandbox that was made ahead.
pub(super) fn number(name: &str) -> Option<u64> {
    name.strip_prefix(SHELL)?.strip_prefix('.')?.parse().ok()
}

/// How long to wait before the next one is made, when `there` are of `size` and one was last asked for so long ago;
/// `None` when there are enough.
fn pause(there: usize, size: usize, asked: Option<Duration>) -> Option<Duration> {
    if there >= size {
        return None;
    }
    let is_short = there * 2 < size;
    Some(if is_short { Duration::ZERO } else { CALM.saturating_sub(asked.unwrap_or(CALM)) })
}

/// Keeps the pool full until the engine is shut down.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    while !shared.is_down() {
        let pool = &shared.pool;
        match pool.pause(shared.clock.instant()) {
            None => pool.changed.notified().await,
            Some(Duration::ZERO) => match make(&shared).await {
                Ok(()) => backoff.reset(),
                Err(cause) => {
                    tracing::debug!(cause, "no sandbox could be made ahead");
                    shared.clock.sleep(backoff.next_delay()).await;
                }
            },
            // Another start may make it later.
            Some(pause) => shared.clock.sleep(pause).await,
        }
    }
}

/// Makes one, and waits until it is made.
async fn make(shared: &Shared) -> Result<(), String> {
    let (Some(network), pool) = (&shared.network, &shared.pool) else { return Err("there is no network".to_owned()) };
    let attachment = network.attach().await.map_err(|error| chain(&error))?;
    let netns = attachment.netns.try_clone().map_err(|error| error.to_string())?;
    let etc = prepare::etc_of_all(attachment.resolv_conf());
    let (sender, made) = oneshot::channel();
    let (name, limits) = {
        let mut stock = pool.stock();
        let name = stock.next_name();
        stock.making = Some((Shell { name: name.clone(), attachment }, sender));
        (name, stock.limits)
    };
    shared.send(&Request::Stock { shell: name.clone(), ahead: Ahead { limits, etc } }, vec![netns]).inspect_err(
        |_| {
            pool.lost(&name);
        },
    )?;
    match shared.clock.timeout(MADE_WITHIN, made).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err("it has ended".to_owned()),
        Err(_) => {
            pool.lost(&name);
            shared.request(&Request::Kill { id: name });
            Err("it was not made in time".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pool_makes_none_and_one_of_no_size_never_does() {
        assert_eq!(pause(4, 4, None), None);
        assert_eq!(pause(0, 0, Some(Duration::ZERO)), None);
    }

    #[test]
    fn what_was_just_asked_for_starts_undisturbed_unless_the_pool_runs_short() {
        assert_eq!(pause(3, 4, Some(Duration::ZERO)), Some(CALM));
        assert_eq!(pause(2, 4, Some(CALM / 2)), Some(CALM / 2));
        assert_eq!(pause(2, 4, Some(CALM * 2)), Some(Duration::ZERO));
        assert_eq!(pause(1, 4, Some(Duration::ZERO)), Some(Duration::ZERO));
        assert_eq!(pause(0, 1, Some(Duration::ZERO)), Some(Duration::ZERO));
    }
}
