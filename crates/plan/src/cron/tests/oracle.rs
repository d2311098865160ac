//! Against a reckoning that shares nothing with the product: go through every minute, look at the clock, keep a list.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp, ToSpan as _, civil::DateTime, tz::TimeZone};
use proptest::prelude::*;

use super::{named, schedule};
use crate::cron::Schedule;

/// Zones with changes of an hour and of half of one, at midnight, several in a year, a skipped day, and none.
const ZONES: &[&str] = &[
    "America/New_York",
    "Europe/Berlin",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "America/Santiago",
    "America/St_Johns",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "Etc/UTC",
];
/// How far is looked, in minutes.
const WINDOW: i64 = 3 * 24 * 60;
/// How far back what clocks showed is remembered.
const BEFORE: i64 = 2 * 24 * 60;

/// A field as somebody may write it, and the numbers that it means.
#[derive(Debug, Clone)]
struct Field {
    text: String,
    means: Vec<i8>,
}

fn field(first: i8, last: i8) -> impl Strategy<Value = Field> {
    let all = move |step: i8| (first..=last).step_by(step.unsigned_abs().into()).collect::<Vec<_>>();
    prop_oneof![
        4 => Just(Field { text: "*".to_owned(), means: all(1) }),
        1 => (1..=last).prop_map(move |step| Field { text: format!("*/{step}"), means: all(step) }),
        4 => prop::collection::vec(first..=last, 1..4).prop_map(|means| {
            let text = means.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            Field { text, means }
        }),
        2 => (first..last, 1..=last).prop_flat_map(move |(from, step)| (Just(from), from + 1..=last, Just(step))).prop_map(
            |(from, to, step)| Field {
                text: format!("{from}-{to}/{step}"),
                means: (from..=to).filter(|value| (value - from) % step == 0).collect(),
            }
        ),
    ]
}

fn fits(fields: &[Field; 5], time: DateTime) -> bool {
    let [minute, hour, day, month, weekday] = fields;
    let on_day = day.means.contains(&time.day());
    let on_weekday = weekday.means.contains(&time.weekday().to_sunday_zero_offset());
    let is_open = day.text.starts_with('*') || weekday.text.starts_with('*');
    let on_date = if is_open { on_day && on_weekday } else { on_day || on_weekday };
    minute.means.contains(&time.minute())
        && hour.means.contains(&time.hour())
        && month.means.contains(&time.month())
        && on_date
}

/// The first time after `after`, if it is in the window.
fn reckoned(fields: &[Field; 5], after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let flows = fields[0].text.starts_with('*') || fields[1].text.starts_with('*');
    let minute = SignedDuration::from_mins(1);
    let start = Timestamp::from_second(after.as_second().div_euclid(60) * 60 - BEFORE * 60).expect("in the calendar");
    let (mut moment, mut shown): (Timestamp, HashSet<DateTime>) = (start, HashSet::new());
    let mut latest = zone.to_datetime(start - minute);
    for _ in 0..BEFORE + WINDOW {
        let clock = zone.to_datetime(moment);
        let mut is_due = fits(fields, clock) && (flows || !shown.contains(&clock));
        if !flows {
            // What no clock showed.
            let mut skipped = latest + 1.minute();
            while skipped < clock {
                is_due |= fits(fields, skipped);
                skipped += 1.minute();
            }
        }
        if is_due && moment > after {
            return Some(moment);
        }
        shown.insert(clock);
        latest = clock;
        moment += minute;
    }
    None
}

/// Minutes, or hours of the night, as most write them.
fn few(last: i8) -> impl Strategy<Value = Field> {
    prop::collection::vec(0..=last, 1..4).prop_map(|means| {
        let text = means.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        Field { text, means }
    })
}

fn agrees(fields: &[Field; 5], after: Timestamp, zone: &TimeZone) -> Result<(), TestCaseError> {
    let text = fields.iter().map(|field| field.text.as_str()).collect::<Vec<_>>().join(" ");
    // What never happens is refused, which has a test of its own.
    let Ok(schedule) = Schedule::parse(&text) else { return Ok(()) };
    let found = schedule.next(after, zone);
    let window = SignedDuration::from_mins(WINDOW - 1);
    match reckoned(fields, after, zone) {
        Some(expected) => {
            prop_assert_eq!(found, Some(expected), "{} after {} in {:?}", text, after, zone.iana_name());
        }
        None => prop_assert!(
            found.is_none_or(|found| found > after + window),
            "{} after {} in {:?}: {:?}",
            text,
            after,
            zone.iana_name(),
            found
        ),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_next_time_is_the_one_that_who_watches_the_clock_would_say(
        fields in (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)),
        zone in prop::sample::select(ZONES),
        second in 946_684_800_i64..2_051_222_400,
    ) {
        let after = Timestamp::from_second(second).expect("in the calendar");
        agrees(&[fields.0, fields.1, fields.2, fields.3, fields.4], after, &named(zone))?;
    }

    #[test]
    fn nor_does_it_differ_in_a_night_when_clocks_are_set(
        (minute, hour) in (prop_oneof![3 => few(59), 1 => field(0, 59)], prop_oneof![3 => few(3), 1 => field(0, 23)]),
        day in prop_oneof![3 => Just(Field { text: "*".to_owned(), means: (1..=31).collect() }), 1 => field(1, 31)],
        weekday in prop_oneof![3 => Just(Field { text: "*".to_owned(), means: (0..=6).collect() }), 1 => field(0, 6)],
        zone in prop::sample::select(&ZONES[..8]),
        second in 946_684_800_i64..1_300_000_000,
        near in -240_i64 * 60..240 * 60,
    ) {
        let (zone, anywhere) = (named(zone), Timestamp::from_second(second).expect("in the calendar"));
        let change = zone.following(anywhere).next().map_or(anywhere, |change| change.timestamp());
        let month = Field { text: "*".to_owned(), means: (1..=12).collect() };
        agrees(&[minute, hour, day, month, weekday], change + SignedDuration::from_secs(near), &zone)?;
    }
}

#[test]
fn the_oracle_itself_sees_skipped_and_repeated_times() {
    let parse = |text: &str| {
        let all = |first, last| (first..=last).collect::<Vec<i8>>();
        let [minute, hour] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
        let read = |text: &str, last| match text.parse() {
            Ok(number) => Field { text: text.to_owned(), means: vec![number] },
            Err(_) => Field { text: "*".to_owned(), means: all(0, last) },
        };
        let star = |first, last| Field { text: "*".to_owned(), means: all(first, last) };
        [read(minute, 59), read(hour, 23), star(1, 31), star(1, 12), star(0, 6)]
    };
    let zone = named("America/New_York");
    for (text, after, expected) in [
        ("30 2", "2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z"),
        ("30 1", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"),
        ("30 *", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"),
    ] {
        let (after, expected) = (super::at(after), super::at(expected));
        assert_eq!(reckoned(&parse(text), after, &zone), Some(expected), "{text}");
        assert_eq!(schedule(&format!("{text} * * *")).next(after, &zone), Some(expected), "{text}");
    }
}
