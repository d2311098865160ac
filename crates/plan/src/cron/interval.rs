//! `every N minutes` and `every N hours`: counted from the end of the last run, or from a time of the day.
//!
//! Source: "Define the cron job schedule" of App Engine's documentation.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use super::{bits::Bits, walk::moment};

/// So often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interval {
    /// In minutes, from 1.
    pub(super) minutes: u32,
    pub(super) from: From,
}

/// Counted from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum From {
    /// From the end of the last run, on these days of the week (0 is Sunday).
    End(Bits),
    /// From a minute of each day to another, which is on the next day where it is not later.
    Day(u16, u16),
}

// === impl Interval ===

impl Interval {
    pub(super) fn is_from_end(&self) -> bool {
        matches!(self.from, From::End(_))
    }

    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self.from {
            From::End(weekdays) => self.next_from_end(weekdays, after, zone),
            From::Day(from, to) => self.next_of_day(from, to, after, zone),
        }
    }

    fn step(&self) -> SignedDuration {
        SignedDuration::from_mins(self.minutes.into())
    }

    /// Whole minutes, as App Engine has it: seconds that a run took are not handed on to all that come.
    fn next_from_end(&self, weekdays: Bits, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let next = after.checked_add(self.step()).ok()?;
        let second = next.as_second();
        let next = Timestamp::from_second(second - second.rem_euclid(60)).ok()?;
        let is_on = |date: Date| weekdays.has(date.weekday().to_sunday_zero_offset().unsigned_abs());
        let mut date = zone.to_datetime(next).date();
        if is_on(date) {
            return Some(next);
        }
        for _ in 0..7 {
            date = date.tomorrow().ok()?;
            if is_on(date) {
                return moment(date.at(0, 0, 0, 0), zone);
            }
        }
        None
    }

    fn next_of_day(&self, from: u16, to: u16, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // The range of yesterday may go on, that of today may be over; a day may have been skipped by its zone.
        let mut date = zone.to_datetime(after).date().yesterday().ok()?;
        for _ in 0..5 {
            let tomorrow = date.tomorrow().ok()?;
            let start = at(date, from, zone)?;
            let end = at(if to < from { tomorrow } else { date }, to, zone)?;
            // What began a day later takes over.
            let until = at(tomorrow, from, zone)?;
            let passed = after.duration_since(start);
            let steps = if passed.is_negative() { 0 } else { passed.as_secs() / self.step().as_secs() + 1 };
            let next = start.checked_add(self.step().checked_mul(i32::try_from(steps).ok()?)?).ok()?;
            if next > after && next <= end && next < until {
                return Some(next);
            }
            date = tomorrow;
        }
        None
    }
}

/// The moment of a minute of a day.
fn at(date: Date, minute: u16, zone: &TimeZone) -> Option<Timestamp> {
    // Both are below 60.
    let (hour, minute) = ((minute / 60) as i8, (minute % 60) as i8);
    moment(date.at(hour, minute, 0, 0), zone)
}
