//! Five fields: `minute hour day-of-month month day-of-week`.
//!
//! A field is a list; an entry is `*`, a number, a name, or a range, the last two of which may have a step. `L`, `W`, `#`,
//! `?`, seconds, years and `@daily` are none of it. Source: "Cron job format" of Cloud Scheduler's documentation.
//!
//! Day of the month and day of the week are an OR when both are restricted. A field that begins with an asterisk is not
//! restricted, also with a step, as in Vixie cron: `*/2` and `MON` are the Mondays among odd days.

use super::{
    ScheduleError,
    bits::Bits,
    pattern::{Days, Pace, Pattern},
};

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// What a field may have.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: &'static str,
    first: u8,
    /// What an asterisk goes up to.
    last: u8,
    /// The largest number, which for Sunday is one more.
    most: u8,
    /// Names, in the order of numbers.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", first: 0, last: 59, most: 59, names: &[] },
    Field { name: "hour", first: 0, last: 23, most: 23, names: &[] },
    Field { name: "day of the month", first: 1, last: 31, most: 31, names: &[] },
    Field { name: "month", first: 1, last: 12, most: 12, names: MONTHS },
    Field { name: "day of the week", first: 0, last: 6, most: 7, names: WEEKDAYS },
];

/// Reads the fields.
pub(super) fn parse(words: &[&str], text: &str) -> Result<Pattern, ScheduleError> {
    let &[minute, hour, day, month, weekday] = words else {
        let rule = format!(
            "must have the five fields of unix-cron, or a form such as 'every 5 minutes' or '1st monday of month 09:00'; \
             it has {}",
            words.len()
        );
        return Err(ScheduleError { field: "schedule", rule, value: text.to_owned() });
    };
    let [minutes, hours, days, months, weekdays] = FIELDS;
    let mut days_of_week = weekdays.parse(weekday)?;
    if days_of_week.has(7) {
        days_of_week.remove(7);
        days_of_week.insert(0);
    }
    let days_of_month = days.parse(day)?;
    let pace = if is_unrestricted(minute) || is_unrestricted(hour) { Pace::Flowing } else { Pace::Fixed };
    Ok(Pattern {
        minutes: minutes.parse(minute)?,
        hours: hours.parse(hour)?,
        months: months.parse(month)?,
        days: if is_unrestricted(day) || is_unrestricted(weekday) {
            Days::Both(days_of_month, days_of_week)
        } else {
            Days::Either(days_of_month, days_of_week)
        },
        pace,
    })
}

fn is_unrestricted(field: &str) -> bool {
    field.starts_with('*')
}

// === impl Field ===

impl Field {
    fn parse(self, text: &str) -> Result<Bits, ScheduleError> {
        text.split(',').try_fold(Bits::default(), |bits, entry| Ok(bits.union(self.entry(entry)?)))
    }

    fn entry(self, entry: &str) -> Result<Bits, ScheduleError> {
        let (range, step) = match entry.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (entry, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.first, self.last),
            Some((first, last)) => {
                let (first, last) = (self.value(first)?, self.value(last)?);
                if first >= last {
                    return Err(self.refused("must have ranges whose first value is less than the second", range));
                }
                (first, last)
            }
            None if step.is_some() => {
                return Err(self.refused("may have a step after '*' or a range only", entry));
            }
            None => {
                let value = self.value(range)?;
                (value, value)
            }
        };
        let step = step.map_or(Ok(1), |step| {
            let most = self.most;
            number(step)
                .filter(|step| (1..=most).contains(step))
                .ok_or_else(|| self.refused(&format!("must have a step between 1 and {most}"), step))
        })?;
        Ok(Bits::range(first, last, step))
    }

    fn value(self, text: &str) -> Result<u8, ScheduleError> {
        if let Some(index) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            // At most twelve names.
            return Ok(self.first + index as u8);
        }
        number(text).filter(|value| (self.first..=self.most).contains(value)).ok_or_else(|| {
            let names = match (self.names.first(), self.names.last()) {
                (Some(first), Some(last)) => format!(", or {first} to {last}"),
                _ => String::new(),
            };
            self.refused(&format!("must be between {} and {}{names}", self.first, self.most), text)
        })
    }

    fn refused(self, rule: &str, value: &str) -> ScheduleError {
        ScheduleError { field: self.name, rule: rule.to_owned(), value: value.to_owned() }
    }
}

/// Digits and nothing else; `parse` alone would take a sign.
fn number(text: &str) -> Option<u8> {
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
