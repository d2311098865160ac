//! The English-like form of App Engine: `every 5 minutes`, `every day 09:30`, `1st,third monday of jan 10:00`.
//!
//! ```text
//! schedule = "every" [number] period [range | "synchronized" | "on" weekdays]
//!          | (("every" | ordinals) ("day" | weekdays) ["of" months] | numbers "of" months) time
//! range    = "from" time "to" time
//! months   = "month" | names | "quarter" | ordinals "month of quarter"
//! ```
//!
//! Source: the grammar in App Engine's documentation of `cron.yaml`; `every minute` and `on` from Cloud Scheduler's.

use super::{
    Rule, ScheduleError,
    bits::Bits,
    interval::{From, Interval},
    pattern::{Days, Pace, Pattern},
};

/// Names by number, the first of which is 1.
const ORDINALS: &[&[&str]] =
    &[&["1st", "first"], &["2nd", "second"], &["3rd", "third"], &["4th", "fourth"], &["5th", "fifth"]];
/// The first is Sunday, 0.
const WEEKDAYS: &[&[&str]] = &[
    &["sun", "sunday"],
    &["mon", "monday"],
    &["tue", "tuesday"],
    &["wed", "wednesday"],
    &["thu", "thursday"],
    &["fri", "friday"],
    &["sat", "saturday"],
];
/// The first is 1.
const MONTHS: &[&[&str]] = &[
    &["jan", "january"],
    &["feb", "february"],
    &["mar", "march"],
    &["apr", "april"],
    &["may"],
    &["jun", "june"],
    &["jul", "july"],
    &["aug", "august"],
    &["sep", "september"],
    &["oct", "october"],
    &["nov", "november"],
    &["dec", "december"],
];
/// The most digits of an interval.
const DIGITS_MAX: usize = 5;
/// The minutes of a day.
const DAY: u32 = 24 * 60;

/// Words and commas.
struct Parser<'a> {
    tokens: Vec<&'a str>,
    at: usize,
}

/// Reads the form, in lower case.
pub(super) fn parse(text: &str) -> Result<Rule, ScheduleError> {
    let mut tokens = Vec::new();
    for word in text.split_whitespace() {
        for (index, part) in word.split(',').enumerate() {
            if index > 0 {
                tokens.push(",");
            }
            if !part.is_empty() {
                tokens.push(part);
            }
        }
    }
    let mut parser = Parser { tokens, at: 0 };
    let rule = parser.schedule()?;
    match parser.peek() {
        "" => Ok(rule),
        rest => Err(refused("schedule", "must end after that", rest)),
    }
}

// === impl Parser ===

impl<'a> Parser<'a> {
    /// The next token; empty at the end.
    fn peek(&self) -> &'a str {
        self.tokens.get(self.at).copied().unwrap_or_default()
    }

    fn take(&mut self) -> &'a str {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn takes(&mut self, word: &str) -> bool {
        let is_it = self.peek() == word;
        self.at += usize::from(is_it);
        is_it
    }

    fn schedule(&mut self) -> Result<Rule, ScheduleError> {
        if self.takes("every") {
            let counted = self.peek().starts_with(|c: char| c.is_ascii_digit());
            return match counted || minutes_of(self.peek()).is_some() {
                true => self.interval().map(Rule::Interval),
                false => self.days_of_week(Bits::range(1, 5, 1)).and_then(|days| self.pattern(days)),
            };
        }
        if ordinal(self.peek()).is_some() {
            let ordinals = self.list("day", "must be 1st to 5th, or first to fifth", ordinal)?;
            let days = match self.takes("day") {
                // The second day of a month, not the days of its second week.
                true => Days::Both(ordinals, Bits::range(0, 6, 1)),
                false => self.days_of_week(ordinals)?,
            };
            return self.pattern(days);
        }
        if self.peek().starts_with(|c: char| c.is_ascii_digit()) {
            let days = self.list("day", "must be a day of a month between 1 and 31", day_of_month)?;
            if self.peek() != "of" {
                return Err(refused("schedule", "must have 'of' and months after days of a month", self.peek()));
            }
            return self.pattern(Days::Both(days, Bits::range(0, 6, 1)));
        }
        let rule = "must begin with 'every', an ordinal such as '1st', or days of a month, or be the five fields of \
                    unix-cron";
        Err(refused("schedule", rule, self.peek()))
    }

    fn interval(&mut self) -> Result<Interval, ScheduleError> {
        let count = match self.peek().starts_with(|c: char| c.is_ascii_digit()) {
            true => count(self.take())?,
            false => 1,
        };
        let period = self.take();
        let unit = minutes_of(period).ok_or_else(|| refused("interval", "must be of 'minutes' or 'hours'", period))?;
        let minutes = count * unit;
        let from = match self.peek() {
            "from" => {
                self.take();
                let from = self.time()?;
                if !self.takes("to") {
                    return Err(refused("interval", "must have 'to' and a time after 'from'", self.peek()));
                }
                let to = self.time()?;
                if minutes > DAY {
                    return Err(refused(
                        "interval",
                        "must be at most 24 hours with 'from'",
                        &format!("{count} {period}"),
                    ));
                }
                From::Day(from, to)
            }
            "synchronized" => {
                self.take();
                if !DAY.is_multiple_of(minutes) {
                    let rule = "must divide 24 hours evenly with 'synchronized'";
                    return Err(refused("interval", rule, &format!("{count} {period}")));
                }
                // From midnight, to the last minute before it.
                From::Day(0, 24 * 60 - 1)
            }
            "on" => {
                self.take();
                From::End(self.list("day", WEEKDAY_RULE, weekday)?)
            }
            _ => From::End(Bits::range(0, 6, 1)),
        };
        Ok(Interval { minutes, from })
    }

    /// Days of the week, the `ordinals` of each month.
    fn days_of_week(&mut self, ordinals: Bits) -> Result<Days, ScheduleError> {
        if self.takes("day") {
            return Ok(Days::Both(Bits::range(1, 31, 1), Bits::range(0, 6, 1)));
        }
        Ok(Days::Nth(ordinals, self.list("day", WEEKDAY_RULE, weekday)?))
    }

    /// What comes after the days.
    fn pattern(&mut self, days: Days) -> Result<Rule, ScheduleError> {
        let months = if self.takes("of") { self.months()? } else { Bits::range(1, 12, 1) };
        let minute = self.time()?;
        // Both are below 60.
        let (hour, minute) = ((minute / 60) as u8, (minute % 60) as u8);
        let (minutes, hours) = (Bits::from_iter([minute]), Bits::from_iter([hour]));
        Ok(Rule::Pattern(Pattern { minutes, hours, months, days, pace: Pace::Fixed }))
    }

    fn months(&mut self) -> Result<Bits, ScheduleError> {
        if self.takes("month") {
            return Ok(Bits::range(1, 12, 1));
        }
        if self.takes("quarter") {
            return Ok(Bits::range(1, 12, 3));
        }
        if ordinal(self.peek()).is_some() {
            let rule = "must be the 1st, 2nd or 3rd of a quarter";
            let ordinals = self.list("month", rule, |word| ordinal(word).filter(|ordinal| *ordinal <= 3))?;
            for word in ["month", "of", "quarter"] {
                if !self.takes(word) {
                    return Err(refused("month", "must have 'month of quarter' after an ordinal", self.peek()));
                }
            }
            return Ok((1..=12).filter(|month| ordinals.has((month - 1) % 3 + 1)).collect());
        }
        self.list("month", "must be 'month', 'quarter' or a name such as 'jan'", |word| {
            index(MONTHS, word).map(|at| at + 1)
        })
    }

    /// One or more, with commas between.
    fn list(
        &mut self,
        field: &'static str,
        rule: &str,
        read: impl Fn(&str) -> Option<u8>,
    ) -> Result<Bits, ScheduleError> {
        let mut bits = Bits::default();
        loop {
            let word = self.take();
            bits.insert(read(word).ok_or_else(|| refused(field, rule, word))?);
            if !self.takes(",") {
                return Ok(bits);
            }
        }
    }

    /// A time of the day, as its minute.
    fn time(&mut self) -> Result<u16, ScheduleError> {
        let word = self.take();
        let read = || {
            let (hour, minute) = word.split_once(':')?;
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            let fits = (1..=2).contains(&hour.len()) && minute.len() == 2 && digits(hour) && digits(minute);
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            (fits && hour < 24 && minute < 60).then_some(hour * 60 + minute)
        };
        read().ok_or_else(|| refused("time", "must be between 0:00 and 23:59, such as 09:30", word))
    }
}

const WEEKDAY_RULE: &str = "must be 'day' or a day of the week such as 'mon'";

fn refused(field: &'static str, rule: &str, value: &str) -> ScheduleError {
    ScheduleError { field, rule: rule.to_owned(), value: value.to_owned() }
}

fn index(names: &[&[&str]], word: &str) -> Option<u8> {
    // At most twelve names.
    names.iter().position(|names| names.contains(&word)).map(|at| at as u8)
}

fn ordinal(word: &str) -> Option<u8> {
    index(ORDINALS, word).map(|at| at + 1)
}

fn weekday(word: &str) -> Option<u8> {
    index(WEEKDAYS, word)
}

fn day_of_month(word: &str) -> Option<u8> {
    let is_number = word.len() <= 2 && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|day| is_number && (1..=31).contains(day))
}

/// How many minutes a period has.
fn minutes_of(period: &str) -> Option<u32> {
    match period {
        "minute" | "minutes" | "min" | "mins" => Some(1),
        "hour" | "hours" => Some(60),
        _ => None,
    }
}

fn count(word: &str) -> Result<u32, ScheduleError> {
    let is_number = word.len() <= DIGITS_MAX && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse()
        .ok()
        .filter(|count| is_number && *count > 0)
        .ok_or_else(|| refused("interval", "must be a number between 1 and 99999", word))
}
