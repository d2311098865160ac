//! Views between the wire (v2 messages) and `model`.
//!
//! Reading (`to_model`) interprets a message; what the model does not name stays in the message, which is
//! what is stored. Writing (`write_defaults`, `from_…`) puts what was decided back into the message. No
//! rule is decided here: only what the model's types cannot hold (a negative count, an unknown enum
//! number) is refused, as a violation that names the field.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use googleapis_tonic_google_api::google::api::LaunchStage;
use updraft_model::Violation;

pub mod condition;
mod container;
pub mod enums;
pub mod job;
pub mod policy;
pub mod revision;
pub mod secret;
pub mod service;
pub mod traffic;

/// The time of a protobuf timestamp; `None` when it lies outside what the machine can hold.
pub fn time(stamp: &prost_types::Timestamp) -> Option<SystemTime> {
    let nanos = Duration::from_nanos(u64::try_from(stamp.nanos).ok()?);
    let whole = Duration::from_secs(stamp.seconds.unsigned_abs());
    let base = if stamp.seconds < 0 { UNIX_EPOCH.checked_sub(whole)? } else { UNIX_EPOCH.checked_add(whole)? };
    base.checked_add(nanos)
}

/// The protobuf timestamp of a time.
pub fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    prost_types::Timestamp::from(time)
}

/// The protobuf duration of a duration; durations beyond protobuf's range become its end.
pub fn proto_duration(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default() }
}

/// A launch stage that Google does not take as input.
fn stage_violation(root: &str, number: i32) -> Option<Violation> {
    let stage = LaunchStage::try_from(number).ok()?;
    let refused = matches!(
        stage,
        LaunchStage::Unimplemented | LaunchStage::Prelaunch | LaunchStage::EarlyAccess | LaunchStage::Deprecated
    );
    let rule = format!("must be ALPHA, BETA or GA, got {}", stage.as_str_name());
    refused.then(|| Violation::new(format!("{root}.launch_stage"), rule))
}

/// Collects what a message says that the model's types cannot hold.
#[derive(Debug, Default)]
struct Issues(Vec<Violation>);

// === impl Issues ===

impl Issues {
    fn add(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.0.push(Violation::new(field, rule));
    }

    /// A count that must not be negative.
    fn count(&mut self, field: &str, value: i32) -> u32 {
        u32::try_from(value).unwrap_or_else(|_| {
            self.add(field, format!("must be greater than or equal to 0, got {value}"));
            0
        })
    }

    /// A duration that must not be negative.
    fn duration(&mut self, field: &str, value: &prost_types::Duration) -> Option<Duration> {
        let whole = u64::try_from(value.seconds).ok().map(Duration::from_secs);
        let part = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
        let part = part.map(|nanos| Duration::from_nanos(nanos.into()));
        let sum = whole.zip(part).and_then(|(whole, part)| whole.checked_add(part));
        if sum.is_none() {
            self.add(field, "must be a duration that is not negative, with less than a second of nanos");
        }
        sum
    }

    /// The value of an enum; an unknown number is an issue and reads as the zero value.
    fn enumeration<E: TryFrom<i32> + Default>(&mut self, field: &str, number: i32) -> E {
        E::try_from(number).unwrap_or_else(|_| {
            self.add(field, format!("has no value with the number {number}"));
            E::default()
        })
    }

    fn finish<T>(self, value: T) -> Result<T, updraft_model::Error> {
        if self.0.is_empty() { Ok(value) } else { Err(updraft_model::Error::invalid(self.0)) }
    }
}
