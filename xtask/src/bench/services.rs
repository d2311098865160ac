//! Many services, made through the API.
//!
//! Nothing is started for any of them: they have no instances, and say that they are not to be checked before they are
//! ready, as the API lets them. A project has room for a thousand, counts what it has at each creation,
//! and takes so many writes in a minute: so there are many projects, with few services in each. A project exists as soon
//! as somebody names it.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{cold_start::clock::now, http::Connection, interrupt};
use crate::Error;

/// Services in each project.
const PER_PROJECT: usize = 100;
/// Creations under way at a time: as many as the server's reconcilers, more do not make it faster.
const CLIENTS: usize = 8;
/// How often one that is not ready is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long after the deadline for making them they may take until they are ready.
const GRACE: Duration = Duration::from_secs(60);

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The API.
    pub(super) api: SocketAddr,
    /// Of which image.
    pub(super) image: &'a str,
    /// When to make no more.
    pub(super) deadline: Instant,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Made {
    /// How many there are.
    pub(super) count: usize,
    /// Until the last one was accepted.
    pub(super) accepted: Duration,
    /// Until all of them were ready; `None` if that took too long.
    pub(super) ready: Option<Duration>,
}

/// Where a service is, by its number.
pub(super) fn path(number: usize) -> String {
    format!("{}/{}", parent(number), id(number))
}

fn parent(number: usize) -> String {
    format!("/v2/projects/bench-{:04}/locations/us-central1/services", number / PER_PROJECT)
}

fn id(number: usize) -> String {
    format!("at-zero-{number:06}")
}

/// What the API shows of a service.
pub(super) fn shown(api: &mut Connection, number: usize) -> Result<serde_json::Value, Error> {
    api.get("localhost", &path(number))?.json()
}

/// The host of a service.
pub(super) fn host(api: &mut Connection, number: usize) -> Result<String, Error> {
    let shown = shown(api, number)?;
    let uri = shown["uri"].as_str().ok_or("a service that is ready has no URL")?;
    Ok(uri.trim_start_matches("http://").split(['/', ':']).next().unwrap_or_default().to_owned())
}

/// Numbers spread evenly over so many services, the last among them.
pub(super) fn spread(count: usize, wanted: usize) -> Vec<usize> {
    let wanted = wanted.min(count);
    (1..=wanted).map(|nth| nth * count / wanted - 1).collect()
}

/// Makes services from number `from` to number `to`, this one not included, for as long as there is time.
pub(super) fn make(wanted: Wanted<'_>, from: usize, to: usize) -> Result<Made, Error> {
    let begun = now();
    let next = AtomicUsize::new(from);
    let work = || -> Result<(), Error> {
        let mut api = Connection::open(wanted.api)?;
        let service = json!({ "template": { "containers": [{ "image": wanted.image }], "healthCheckDisabled": true } });
        while now() < wanted.deadline {
            interrupt::check()?;
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= to {
                return Ok(());
            }
            let path = format!("{}?serviceId={}", parent(number), id(number));
            api.post("localhost", &path, &service)?.json()?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        clients.into_iter().try_for_each(|client| client.join().map_err(|_| "a client failed")?)
    })?;
    // Whoever took a number has made that service.
    let count = next.into_inner().min(to);
    let accepted = begun.elapsed();
    let ready = until_ready(wanted, from..count)?.then(|| begun.elapsed());
    Ok(Made { count, accepted, ready })
}

/// Waits until all of them are ready; says whether they were in time.
fn until_ready(wanted: Wanted<'_>, numbers: Range<usize>) -> Result<bool, Error> {
    let mut api = Connection::open(wanted.api)?;
    for number in numbers {
        loop {
            let shown = shown(&mut api, number)?;
            if shown["terminalCondition"]["state"] == "CONDITION_SUCCEEDED" {
                break;
            }
            interrupt::check()?;
            if now() >= wanted.deadline + GRACE {
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_up_to_the_last_and_none_comes_twice() {
        assert_eq!(spread(10, 5), [1, 3, 5, 7, 9]);
        assert_eq!(spread(3, 64), [0, 1, 2]);
        assert!(spread(0, 5).is_empty());
    }
}
