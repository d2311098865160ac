//! Which minutes of a calendar are meant, zones aside.

use jiff::civil::{Date, DateTime};

use super::bits::Bits;

/// So many years are searched: 29 February is a given day of the week every 28 years, and every 40 across a year such as
/// 2100 that has none.
const YEARS_SEARCHED: i16 = 50;
/// The minutes of a day.
const DAY: u16 = 24 * 60;

/// Minutes of days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// 0 to 59.
    pub(super) minutes: Bits,
    /// 0 to 23.
    pub(super) hours: Bits,
    /// 1 to 12.
    pub(super) months: Bits,
    /// Which days of those months.
    pub(super) days: Days,
    /// What happens in hours that clocks skip and repeat.
    pub(super) pace: Pace,
}

/// Which days of a month. Days of the week are 0 (Sunday) to 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Days {
    /// Those that are in both sets.
    Both(Bits, Bits),
    /// Those that are in one of the sets: of the month, or of the week.
    Either(Bits, Bits),
    /// The first to fifth of these days of the week in the month.
    Nth(Bits, Bits),
}

/// Is a rule about times of a day, or about how often something happens?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Minute and hour are named: once for each, also where clocks skip or repeat it.
    Fixed,
    /// Minute or hour begins with an asterisk: whenever a clock shows it.
    Flowing,
}

// === impl Pattern ===

impl Pattern {
    /// Is there a day at all?
    pub(super) fn happens(&self) -> bool {
        let longest = |month: u8| match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        match self.days {
            Days::Both(days, _) => {
                let first = days.at_least(1).unwrap_or(u8::MAX);
                (1..=12).any(|month| self.months.has(month) && first <= longest(month))
            }
            Days::Either(..) | Days::Nth(..) => true,
        }
    }

    /// The first minute that is meant, from `from` on (which may be it).
    pub(super) fn at_or_after(&self, from: DateTime) -> Option<DateTime> {
        let time = from.time();
        // A minute that has begun is over.
        let begun = time.second() != 0 || time.subsec_nanosecond() != 0;
        let minute =
            u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs()) + u16::from(begun);
        if self.is_on(from.date())
            && let Some(found) = self.at_or_after_minute(from.date(), minute)
        {
            return Some(found);
        }
        let mut date = from.date().tomorrow().ok()?;
        let end = date.year().saturating_add(YEARS_SEARCHED);
        while date.year() < end {
            if !self.months.has(date.month().unsigned_abs()) {
                date = date.last_of_month().tomorrow().ok()?;
            } else if self.is_on(date) {
                return self.at_or_after_minute(date, 0);
            } else {
                date = date.tomorrow().ok()?;
            }
        }
        None
    }

    fn is_on(&self, date: Date) -> bool {
        self.months.has(date.month().unsigned_abs()) && self.days.fits(date)
    }

    fn at_or_after_minute(&self, date: Date, minute: u16) -> Option<DateTime> {
        if minute >= DAY {
            return None;
        }
        // Both are below 64.
        let (hour, minute) = ((minute / 60) as u8, (minute % 60) as u8);
        let in_this_hour = Some(hour).filter(|hour| self.hours.has(*hour));
        let found = in_this_hour.and_then(|hour| Some((hour, self.minutes.at_least(minute)?)));
        let (hour, minute) = match found {
            Some(found) => found,
            None => (self.hours.at_least(hour + 1)?, self.minutes.at_least(0)?),
        };
        Some(date.at(hour.cast_signed(), minute.cast_signed(), 0, 0))
    }
}

// === impl Days ===

impl Days {
    fn fits(self, date: Date) -> bool {
        let day = date.day().unsigned_abs();
        let weekday = date.weekday().to_sunday_zero_offset().unsigned_abs();
        match self {
            Self::Both(days, weekdays) => days.has(day) && weekdays.has(weekday),
            Self::Either(days, weekdays) => days.has(day) || weekdays.has(weekday),
            Self::Nth(ordinals, weekdays) => ordinals.has((day - 1) / 7 + 1) && weekdays.has(weekday),
        }
    }
}
