//! How many instances a revision needs by what was measured over the last minute.
//!
//! Source: "About instance autoscaling" of Cloud Run's documentation. CPU: what was used, on average over a minute,
//! by what an instance may use of its own; requests: how many there were at a time, on average over a minute, by how
//! many an instance is to have. Both targets are 60 % unless they are set, and the larger answer holds. The shape of
//! the second formula is inferred from the first, which is documented.
//!
//! A minute is a minute: before a revision has been up for one, what was before counts as nothing. Otherwise the work
//! of a start, which many programs do with all the CPU there is, would look like load.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

pub use updraft_model::revision::ScalingTargets as Targets;

/// Over so long a time is averaged.
pub const WINDOW: Duration = Duration::from_secs(60);
/// So often is measured, and the number of instances thought over though nothing happened.
pub const TICK: Duration = Duration::from_secs(5);

/// What a revision had to do on average over the last minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Requests at a time, in thousandths: those that wait and those that are answered.
    pub requests_milli: u64,
    /// CPU that all of its instances used together, in thousandths of a CPU.
    pub cpu_milli: u64,
}

/// What one instance has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Places for requests.
    pub concurrency: u32,
    /// CPU, in thousandths; 0: it is not limited.
    pub cpu_milli: u32,
}

/// What speaks for a number of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Driver {
    /// Requests at a time, in thousandths, and how many an instance is to have.
    Concurrency {
        /// On average.
        requests_milli: u64,
        /// Places of an instance.
        places: u32,
        /// Of them are to be taken, in percent.
        target: u32,
    },
    /// CPU used, in thousandths, and how much an instance is to use.
    Cpu {
        /// On average.
        used_milli: u64,
        /// CPU of an instance, in thousandths.
        given_milli: u32,
        /// Of it is to be used, in percent.
        target: u32,
    },
}

/// So many instances, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recommendation {
    /// How many; the bounds of the revision are not looked at.
    pub instances: u32,
    /// What speaks for it.
    pub driver: Driver,
}

/// The measurements of the last minute.
#[derive(Debug, Clone, Default)]
pub struct Minute {
    parts: VecDeque<Part>,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    until: Instant,
    requests: Duration,
    cpu: Duration,
}

/// How many instances `load` needs; `None` when it needs none, or nothing is to be driven by it.
pub fn recommend(load: Load, capacity: Capacity, targets: Targets) -> Option<Recommendation> {
    let Load { requests_milli, cpu_milli } = load;
    let Capacity { concurrency: places, cpu_milli: given_milli } = capacity;
    let by_requests = needed(requests_milli, u64::from(places) * 1000, targets.concurrency).map(|instances| {
        let driver = Driver::Concurrency { requests_milli, places, target: targets.concurrency };
        Recommendation { instances, driver }
    });
    let by_cpu = needed(cpu_milli, given_milli.into(), targets.cpu).map(|instances| {
        let driver = Driver::Cpu { used_milli: cpu_milli, given_milli, target: targets.cpu };
        Recommendation { instances, driver }
    });
    // CPU that is used while nobody asks anything holds no last instance.
    let by_cpu = by_cpu.filter(|found| found.instances > 1 || requests_milli > 0);
    match (by_requests, by_cpu) {
        (Some(requests), Some(cpu)) if cpu.instances > requests.instances => Some(cpu),
        (requests, cpu) => requests.or(cpu),
    }
}

/// How many of something it takes, when each has so much and `target` percent of it are to be used.
fn needed(used: u64, each: u64, target: u32) -> Option<u32> {
    let useful = each.checked_mul(target.into()).filter(|useful| *useful > 0)?;
    let instances = used.saturating_mul(100).div_ceil(useful);
    Some(u32::try_from(instances).unwrap_or(u32::MAX)).filter(|instances| *instances > 0)
}

// === impl Minute ===

impl Minute {
    /// Notes what was measured from the last time until `now`: how long requests took together, and CPU time.
    pub fn note(&mut self, now: Instant, requests: Duration, cpu: Duration) {
        self.forget(now);
        if requests + cpu > Duration::ZERO {
            self.parts.push_back(Part { until: now, requests, cpu });
        }
    }

    /// The average of the minute before `now`.
    pub fn load(&mut self, now: Instant) -> Load {
        self.forget(now);
        let average = |of: fn(&Part) -> Duration| {
            let sum: Duration = self.parts.iter().map(of).sum();
            u64::try_from(sum.as_micros() * 1000 / WINDOW.as_micros()).unwrap_or(u64::MAX)
        };
        Load { requests_milli: average(|part| part.requests), cpu_milli: average(|part| part.cpu) }
    }

    /// Is there anything that a later average would still be made of?
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    fn forget(&mut self, now: Instant) {
        let is_old = |part: &Part| now.saturating_duration_since(part.until) >= WINDOW;
        while self.parts.front().is_some_and(is_old) {
            self.parts.pop_front();
        }
    }
}

// === printing ===

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Concurrency { requests_milli, places, target } => {
                let each = u64::from(places) * u64::from(target) * 10;
                let (now, each) = (Milli(requests_milli), Milli(each));
                write!(f, "{now} requests at a time over a minute, target {each} = {places} × {target} %")
            }
            Self::Cpu { used_milli, given_milli, target } => {
                let (now, given) = (Milli(used_milli), Milli(given_milli.into()));
                let each = Milli(u64::from(given_milli) * u64::from(target) / 100);
                write!(f, "CPU {now} over a minute, target {each} = {given} × {target} %")
            }
        }
    }
}

/// A number in thousandths, with as many places as it takes, at most two.
struct Milli(u64);

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = self.0.div_ceil(10);
        let (whole, rest) = (hundredths / 100, hundredths % 100);
        match rest {
            0 => write!(f, "{whole}"),
            rest if rest % 10 == 0 => write!(f, "{whole}.{}", rest / 10),
            rest => write!(f, "{whole}.{rest:02}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Capacity = Capacity { concurrency: 80, cpu_milli: 1000 };

    #[expect(clippy::disallowed_methods, reason = "an arbitrary origin for readings that only differences are made of")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn text(requests: u64, cpu_milli: u64, capacity: Capacity, targets: Targets) -> String {
        let load = Load { requests_milli: requests * 1000, cpu_milli };
        recommend(load, capacity, targets)
            .map_or_else(|| "none".to_owned(), |found| format!("{}: {}", found.instances, found.driver))
    }

    #[test]
    fn the_larger_of_both_answers_holds() {
        let targets = Targets::default();
        let shown = |requests, cpu| text(requests, cpu, USUAL, targets);
        assert_eq!(shown(83, 710), "2: 83 requests at a time over a minute, target 48 = 80 × 60 %");
        assert_eq!(shown(96, 3000), "5: CPU 3 over a minute, target 0.6 = 1 × 60 %");
        assert_eq!(shown(48, 600), "1: 48 requests at a time over a minute, target 48 = 80 × 60 %");
        assert_eq!(shown(49, 0), "2: 49 requests at a time over a minute, target 48 = 80 × 60 %");
        assert_eq!(shown(0, 0), "none");
    }

    #[test]
    fn a_target_of_zero_drives_nothing() {
        let cpu_only = Targets { concurrency: 0, ..Targets::default() };
        let requests_only = Targets { cpu: 0, ..Targets::default() };
        assert_eq!(text(500, 1300, USUAL, cpu_only), "3: CPU 1.3 over a minute, target 0.6 = 1 × 60 %");
        assert!(text(500, 13_000, USUAL, requests_only).starts_with("11: 500 requests"));
        assert_eq!(text(500, 1300, Capacity { cpu_milli: 0, ..USUAL }, cpu_only), "none", "its CPU is not limited");
    }

    #[test]
    fn cpu_without_requests_holds_several_but_not_the_last() {
        assert_eq!(text(0, 500, USUAL, Targets::default()), "none");
        assert!(text(0, 700, USUAL, Targets::default()).starts_with("2: CPU 0.7"));
    }

    #[test]
    fn a_minute_is_averaged_over_and_what_is_older_forgotten() {
        let begun = origin();
        let mut minute = Minute::default();
        let at = |seconds| begun + Duration::from_secs(seconds);
        for tick in 1..=12 {
            minute.note(at(tick * 5), Duration::from_secs(50), Duration::from_secs(5));
        }
        assert_eq!(minute.load(at(60)), Load { requests_milli: 10_000, cpu_milli: 1000 });
        assert_eq!(minute.load(at(90)), Load { requests_milli: 5000, cpu_milli: 500 });
        minute.note(at(91), Duration::ZERO, Duration::ZERO);
        assert_eq!(minute.load(at(120)), Load::default());
        assert!(minute.is_empty());
    }

    #[test]
    fn the_work_of_a_start_is_no_load() {
        let mut minute = Minute::default();
        let now = origin();
        minute.note(now, Duration::from_secs(5), Duration::from_secs(10));
        let found = recommend(minute.load(now), USUAL, Targets::default());
        assert_eq!(found.map(|found| found.instances), Some(1), "two CPUs for five seconds");
    }

    #[test]
    fn no_number_is_too_large() {
        let huge = Load { requests_milli: u64::MAX, cpu_milli: u64::MAX };
        let found = recommend(huge, Capacity { concurrency: 1, cpu_milli: 1 }, Targets { cpu: 1, concurrency: 1 });
        assert!(found.is_some_and(|found| found.instances > 1_000_000));
    }
}
