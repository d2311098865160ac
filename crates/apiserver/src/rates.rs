//! How often a caller may call. What is decided is decided by `updraft_plan::rate`.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use http::Method as Verb;
use updraft_api::method::Access;
use updraft_base::Clock;
use updraft_model::{Error, ErrorKind, iam::Principal};
use updraft_plan::rate::{Bucket, Rate};

/// The most buckets that are kept: a full one is forgotten, and when none is full, whoever is new shares one.
const BUCKETS_MAX: usize = 4096;
/// The refused calls of one caller that the audit log has, and those of everybody whom nobody knows.
const REFUSALS: Rate = Rate::per_minute(600);
const REFUSALS_OF_NOBODY: Rate = Rate::per_minute(60);

/// How often one caller may call in one project and location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallRates {
    /// Methods that change something.
    pub writes: Rate,
    /// All others.
    pub reads: Rate,
}

/// The buckets of all callers.
#[derive(Debug)]
pub(crate) struct Buckets {
    rates: CallRates,
    clock: Clock,
    buckets: Mutex<HashMap<Owner, Bucket>>,
}

/// Whose bucket it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Owner {
    caller: Principal,
    project: String,
    location: String,
    kind: Kind,
}

/// What a call does, as far as rates are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// It changes something.
    Write,
    /// It does not.
    Read,
    /// It was refused, and the audit log is to have that.
    Refusal,
}

// === impl CallRates ===

impl Default for CallRates {
    /// 1200 writes and 6000 reads per minute. Google has such limits per minute and region; its numbers are not known.
    fn default() -> Self {
        Self { writes: Rate::per_minute(1200), reads: Rate::per_minute(6000) }
    }
}

// === impl Buckets ===

impl Buckets {
    pub(crate) fn new(rates: CallRates, clock: Clock) -> Self {
        Self { rates, clock, buckets: Mutex::default() }
    }

    /// Lets a call of a method that needs `access` on `resource` go on.
    ///
    /// # Errors
    /// `ResourceExhausted`, with the time after which it would.
    pub(crate) fn admit(&self, caller: &Principal, access: Access, resource: &str) -> Result<(), Error> {
        self.take(caller, if access.is_write() { Kind::Write } else { Kind::Read }, resource)
    }

    /// The same for a call of ours, which is of no project.
    ///
    /// # Errors
    /// As [`Buckets::admit`].
    pub(crate) fn admit_own(&self, caller: &Principal, verb: &Verb) -> Result<(), Error> {
        self.take(caller, if *verb == Verb::GET { Kind::Read } else { Kind::Write }, "")
    }

    /// Is there room in the audit log for one more refused call of this caller? Who may nothing must not fill it.
    pub(crate) fn admit_refusal(&self, caller: &Principal) -> bool {
        self.take(caller, Kind::Refusal, "").is_ok()
    }

    fn take(&self, caller: &Principal, kind: Kind, resource: &str) -> Result<(), Error> {
        let (rate, what) = match kind {
            Kind::Write => (self.rates.writes, "Write requests"),
            Kind::Read => (self.rates.reads, "Read requests"),
            Kind::Refusal if *caller == Principal::Anonymous => (REFUSALS_OF_NOBODY, "Refusals"),
            Kind::Refusal => (REFUSALS, "Refusals"),
        };
        let mut owner = Owner::of(caller, resource, kind);
        let now = self.clock.instant();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&owner) {
            buckets.retain(|_, bucket| !bucket.is_full(now));
            if buckets.len() >= BUCKETS_MAX {
                owner = Owner::of(caller, "", kind);
            }
        }
        let bucket = buckets.get(&owner).copied().unwrap_or_else(|| Bucket::new(now));
        match bucket.take(rate, now) {
            Ok(after) => {
                buckets.insert(owner, after);
                Ok(())
            }
            Err(wait) => {
                let message =
                    format!("Quota exceeded for quota metric '{what}' and limit '{what} per minute per region'.");
                Err(Error::new(ErrorKind::ResourceExhausted, message).retry_after(wait))
            }
        }
    }
}

// === impl Owner ===

impl Owner {
    /// By the resource's name as it was sent: whoever names a project by id and by number has two buckets.
    fn of(caller: &Principal, resource: &str, kind: Kind) -> Self {
        let part = |name: &str| {
            let mut segments = resource.split('/');
            segments.by_ref().find(|segment| *segment == name);
            segments.next().unwrap_or_default().chars().take(64).collect()
        };
        Self { caller: caller.clone(), project: part("projects"), location: part("locations"), kind }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use updraft_api::method;

    use super::*;

    const NAME: &str = "projects/p/locations/l/services/s";

    fn buckets() -> (Buckets, std::sync::Arc<updraft_base::VirtualClock>) {
        let (clock, hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH);
        let rates = CallRates { writes: Rate::per_minute(2), reads: Rate::per_minute(3) };
        (Buckets::new(rates, clock), hand)
    }

    fn method(name: &str) -> Access {
        method::find(&format!("google.cloud.run.v2.Services/{name}")).expect("it is served").access
    }

    #[test]
    fn each_caller_has_a_bucket_for_each_place_and_kind() {
        let (buckets, hand) = buckets();
        let (read, write) = (method("GetService"), method("DeleteService"));
        let (me, you) = (Principal::Local, Principal::AdminToken);
        for _ in 0..2 {
            buckets.admit(&me, write, NAME).expect("within the burst");
        }
        let refused = buckets.admit(&me, write, NAME).expect_err("one too many");
        assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
        assert_eq!(refused.retry_delay(), Some(Duration::from_secs(30)));
        for (caller, method, name) in [
            (&you, write, NAME),
            (&me, read, NAME),
            (&me, write, "projects/q/locations/l"),
            (&me, write, "projects/p/locations/m"),
        ] {
            buckets.admit(caller, method, name).expect("another bucket");
        }
        hand.advance(Duration::from_secs(30));
        buckets.admit(&me, write, NAME).expect("one token came");
        assert!(buckets.admit(&me, write, NAME).is_err());
    }

    #[test]
    fn made_up_projects_take_no_more_memory_than_there_is() {
        let (buckets, hand) = buckets();
        let write = method("DeleteService");
        let call = |n: usize| buckets.admit(&Principal::Local, write, &format!("projects/p{n}/locations/l"));
        for n in 0..BUCKETS_MAX {
            call(n).expect("a bucket of its own");
        }
        let shared = (0..10).filter(|n| call(BUCKETS_MAX + n).is_ok()).count();
        assert_eq!(shared, 2, "newcomers share one bucket");
        assert!(buckets.buckets.lock().expect("not poisoned").len() <= BUCKETS_MAX + 1);
        hand.advance(Duration::from_secs(60));
        call(2 * BUCKETS_MAX).expect("the full ones were forgotten");
        assert!(buckets.buckets.lock().expect("not poisoned").len() < 10);
    }
}
