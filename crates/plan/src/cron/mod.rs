//! When a schedule is due: `(expression, time zone, time) → the next time`.
//!
//! An expression is five fields of unix-cron ([`unix`]) or the English-like form ([`english`]). Nothing here asks a clock,
//! and no loop is without a bound: what never happens, such as 30 February, is refused when it is read.
//!
//! Sources: "Cron job format and time zone" and "Define the cron job schedule" of Google's documentation. Where they are
//! silent on nights when clocks are set, Vixie cron decides ([`walk`]).

mod bits;
mod english;
mod interval;
mod pattern;
#[cfg(test)]
mod tests;
mod unix;
mod walk;

use std::{fmt, sync::LazyLock};

use jiff::{
    Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};

use interval::Interval;
use pattern::Pattern;

/// What the API says of a schedule or a zone that it cannot read; the violation has the rule.
pub const SENTENCE: &str = "Schedule or time zone is invalid.";
/// The longest expression, in bytes: more than one that names every value of every field.
pub const LENGTH_MAX: usize = 1000;
/// So many times that passed are counted, and no more: what is told after a year is not worth what it takes to count.
pub const DROPPED_MAX: u32 = 1000;
/// The longest name of a zone, in bytes; the database's own have at most 32.
const ZONE_LENGTH_MAX: usize = 64;

/// When something is to happen, again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// As it was written, with single spaces.
    text: String,
    rule: Rule,
}

/// From where the next time is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountsFrom {
    /// From nothing: times are those of a clock on the wall.
    Clock,
    /// From the end of the last run: `every 5 minutes` leaves five minutes between runs, however long one takes.
    End,
}

/// What is wrong with an expression or a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleError {
    /// The part, such as `minute`.
    pub field: &'static str,
    /// What must hold of it.
    pub rule: String,
    /// What was written; empty when nothing was.
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Pattern(Pattern),
    Interval(Interval),
}

/// The zone of this name in the tz database that is built in: the host's may be another, or none.
///
/// # Errors
/// When there is no such zone.
pub fn zone(name: &str) -> Result<TimeZone, ScheduleError> {
    static BUNDLED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
    let refused = |rule: &str| ScheduleError { field: "time zone", rule: rule.to_owned(), value: name.to_owned() };
    if name.len() > ZONE_LENGTH_MAX {
        return Err(refused(&format!("must have at most {ZONE_LENGTH_MAX} bytes")));
    }
    BUNDLED.get(name).map_err(|_| refused("must be a name of the tz database, such as Europe/Berlin"))
}

// === impl Schedule ===

impl Schedule {
    /// Reads an expression of either form. Case does not matter, nor how many spaces there are.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        if text.len() > LENGTH_MAX {
            let rule = format!("must have at most {LENGTH_MAX} bytes");
            return Err(ScheduleError { field: "schedule", rule, value: text.len().to_string() });
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ");
        let rule = if is_english(&words) {
            english::parse(&text.to_ascii_lowercase())?
        } else {
            Rule::Pattern(unix::parse(&words, &text)?)
        };
        if let Rule::Pattern(pattern) = &rule
            && !pattern.happens()
        {
            let rule = "must have a day that some month has: this never happens".to_owned();
            return Err(ScheduleError { field: "schedule", rule, value: text });
        }
        Ok(Self { text, rule })
    }

    /// The first time after `after`; `None` when the calendar (year 9999) ends before. For a schedule that counts from
    /// the end of the last run, `after` is that end.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match &self.rule {
            Rule::Pattern(pattern) => walk::next(pattern, after, zone),
            Rule::Interval(interval) => interval.next(after, zone),
        }
    }

    /// From where the next time is counted.
    pub fn counts_from(&self) -> CountsFrom {
        match &self.rule {
            Rule::Interval(interval) if interval.is_from_end() => CountsFrom::End,
            _ => CountsFrom::Clock,
        }
    }

    /// How many times after `due` have passed at `now`, too; at most [`DROPPED_MAX`]. Where times count from the end of a run
    /// none have.
    ///
    /// After a downtime there is one run, at once, for the time that was due first; the others are dropped. Source: "any
    /// job that failed to run in the interim runs immediately"; and "will never allow two simultaneously outstanding
    /// executions".
    pub fn dropped(&self, due: Timestamp, now: Timestamp, zone: &TimeZone) -> u32 {
        if self.counts_from() == CountsFrom::End {
            return 0;
        }
        let (mut at, mut dropped) = (due, 0);
        while dropped < DROPPED_MAX
            && let Some(next) = self.next(at, zone).filter(|next| *next <= now)
        {
            (at, dropped) = (next, dropped + 1);
        }
        dropped
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === impl ScheduleError ===

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, got ", self.field, self.rule)?;
        match self.value.as_str() {
            "" => f.write_str("nothing"),
            value => write!(f, "'{value}'"),
        }
    }
}

impl std::error::Error for ScheduleError {}

/// Is it meant as English? Fields of cron never have these words or a colon, and English never has an asterisk.
fn is_english(words: &[&str]) -> bool {
    let begins_with_letter = words.first().is_some_and(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()));
    let is_english = |word: &&str| word.eq_ignore_ascii_case("of") || word.contains(':');
    !words.iter().any(|word| word.contains('*')) && (begins_with_letter || words.iter().any(is_english))
}
