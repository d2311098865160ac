mod expressions;
mod intervals;
mod nights;
mod oracle;
mod refused;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::{Schedule, zone};

fn schedule(text: &str) -> Schedule {
    Schedule::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn named(name: &str) -> TimeZone {
    zone(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The next `count` times after a time of the zone's calendar, as its clocks show them with their offset.
fn times(text: &str, zone_name: &str, after: &str, count: usize) -> Vec<String> {
    let (schedule, zone) = (schedule(text), named(zone_name));
    let civil: DateTime = after.parse().unwrap_or_else(|error| panic!("{after}: {error}"));
    let mut moment = zone.to_timestamp(civil).expect("a time of the calendar");
    let mut shown = Vec::new();
    for _ in 0..count {
        moment = schedule.next(moment, &zone).unwrap_or_else(|| panic!("{text} has no next time"));
        shown.push(moment.to_zoned(zone.clone()).strftime("%m-%d %H:%M %:z").to_string());
    }
    shown
}
