//! Values of flags, in gcloud's notation.

use std::str::FromStr;

use clap::builder::TypedValueParser;

/// `A,B,C`, or `^;^A;B;C` with a separator of one's own choice. Empty is the empty list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List(pub Vec<String>);

/// A [`List`] of `KEY=VALUE`, in order; of a key given twice the later counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs(pub Vec<(String, String)>);

/// A [`List`] of `NAME=PERCENT`, 0 to 100.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shares(pub Vec<(String, i32)>);

/// A number, or `default`: whatever the server chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub Option<i32>);

/// A port, or `default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port(pub Option<u16>);

/// Whole seconds, 1 to 3600.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duration(pub i64);

/// Whole seconds, from none on: `90`, `10m5s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub i64);
/// How long one attempt at a task may take: whole seconds, 1 second to 7 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskTimeout(pub i64);

/// How many tasks may run at a time; none: as many as there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallelism(pub Option<i32>);

// === impl List ===

impl FromStr for List {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (separator, rest) = match text.strip_prefix('^').and_then(|rest| rest.split_once('^')) {
            Some(("", _)) => return Err("the separator between '^' and '^' is empty".to_owned()),
            Some((separator, rest)) => (separator, rest),
            None => (",", text),
        };
        if rest.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self(rest.split(separator).map(str::to_owned).collect()))
    }
}

// === impl Pairs ===

impl FromStr for Pairs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = |item: &String| match item.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(format!("'{item}' is not KEY=VALUE; for values with commas, write '^;^KEY=A,B;KEY2=C'")),
        };
        Ok(Self(text.parse::<List>()?.0.iter().map(pair).collect::<Result<_, _>>()?))
    }
}

impl Pairs {
    /// All pairs of a flag that may be given several times.
    pub(crate) fn all(given: &[Self]) -> impl Iterator<Item = (&str, &str)> {
        given.iter().flat_map(|pairs| &pairs.0).map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

// === impl Shares ===

impl FromStr for Shares {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = |(name, percent): (String, String)| match percent.parse() {
            Ok(percent @ 0..=100) => Ok((name, percent)),
            _ => Err(format!("the share of '{name}' must be a whole number from 0 to 100, got '{percent}'")),
        };
        Ok(Self(text.parse::<Pairs>()?.0.into_iter().map(share).collect::<Result<_, _>>()?))
    }
}

// === impl Count ===

impl Count {
    /// Parses a number from `least` to `most`, or `default`.
    pub(crate) fn parser(least: i32, most: i32) -> impl TypedValueParser<Value = Self> {
        clap::builder::NonEmptyStringValueParser::new().try_map(move |text| {
            if text == "default" {
                return Ok(Self(None));
            }
            match text.parse() {
                Ok(number) if (least..=most).contains(&number) => Ok(Self(Some(number))),
                _ if most == i32::MAX => Err(format!("must be a whole number from {least}, or 'default'")),
                _ => Err(format!("must be a whole number from {least} to {most}, or 'default'")),
            }
        })
    }

    /// The number; 0, which is what the API takes for "not said", for `default`.
    pub(crate) fn or_unset(self) -> i32 {
        self.0.unwrap_or(0)
    }
}

// === impl Port ===

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "default" => Ok(Self(None)),
            Ok(port @ 1..) => Ok(Self(Some(port))),
            _ => Err("must be a number from 1 to 65535, or 'default'".to_owned()),
        }
    }
}

// === impl Span ===

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match seconds(text) {
            Some(seconds @ 0..) => Ok(Self(seconds)),
            _ => Err("must be a number of seconds, or such as '10m5s'".to_owned()),
        }
    }
}

// === impl Duration ===

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match seconds(text) {
            Some(seconds @ 1..=3600) => Ok(Self(seconds)),
            _ => Err("must be 1 second to 1 hour: a number of seconds, or such as '10m5s'".to_owned()),
        }
    }
}

// === impl TaskTimeout ===

impl FromStr for TaskTimeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match seconds(text) {
            Some(seconds @ 1..=TASK_TIMEOUT_MAX) => Ok(Self(seconds)),
            _ => Err("must be 1 second to 7 days: a number of seconds, or such as '10m5s'".to_owned()),
        }
    }
}

/// Seven days in seconds: Cloud Run's limit.
const TASK_TIMEOUT_MAX: i64 = 7 * 24 * 3600;

// === impl Parallelism ===

impl FromStr for Parallelism {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "none" => Ok(Self(None)),
            Ok(0) => Ok(Self(None)),
            Ok(tasks @ 1..) => Ok(Self(Some(tasks))),
            _ => Err("must be a whole number from 1, or 'none' (or 0) for as many as there are tasks".to_owned()),
        }
    }
}

impl Parallelism {
    /// The number; 0, which is what the API takes for "no limit", for none.
    pub(crate) fn or_unset(self) -> i32 {
        self.0.unwrap_or(0)
    }
}

/// `300`, `300s`, `5m`, `1h`, `1m30s`, `7d`.
fn seconds(text: &str) -> Option<i64> {
    if let Ok(plain) = text.parse() {
        return Some(plain);
    }
    let mut sum: i64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let unit = match after.chars().next()? {
            'd' => 24 * 3600,
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        sum = sum.checked_add(number.parse::<i64>().ok()?.checked_mul(unit)?)?;
        rest = &after[1..];
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> List {
        List(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[test]
    fn lists_are_split_at_commas_or_at_what_stands_between_circumflexes() {
        for (text, expected) in [
            ("", words(&[])),
            ("a", words(&["a"])),
            ("a,b c,", words(&["a", "b c", ""])),
            ("^;^a,b;c", words(&["a,b", "c"])),
            ("^--^a--b-c", words(&["a", "b-c"])),
            ("^;^", words(&[])),
            ("^a", words(&["^a"])),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert!("^^a".parse::<List>().is_err());
    }

    #[test]
    fn pairs_keep_what_follows_the_first_equals_sign() {
        let pairs: Pairs = "A=1,B=x=y,C=".parse().unwrap();
        assert_eq!(Pairs::all(&[pairs]).collect::<Vec<_>>(), [("A", "1"), ("B", "x=y"), ("C", "")]);
        assert!("A".parse::<Pairs>().unwrap_err().contains("^;^"));
        assert!("=1".parse::<Pairs>().is_err());
    }

    #[test]
    fn shares_are_whole_percents() {
        assert_eq!("a=10,LATEST=90".parse::<Shares>().unwrap().0.len(), 2);
        for bad in ["a=101", "a=-1", "a=1.5", "a=x", "a"] {
            assert!(bad.parse::<Shares>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_seconds_or_have_units() {
        for (text, expected) in [
            ("300", Some(300)),
            ("45s", Some(45)),
            ("5m", Some(300)),
            ("1h", Some(3600)),
            ("1m30s", Some(90)),
            ("3601", None),
            ("0", None),
            ("", None),
            ("m", None),
            ("5", Some(5)),
            ("5d", None),
            ("-5", None),
            ("1h1s", None),
            ("9999999999999999999h", None),
        ] {
            assert_eq!(text.parse().ok(), expected.map(Duration), "{text:?}");
        }
    }

    #[test]
    fn a_task_may_take_up_to_seven_days() {
        for (text, expected) in [
            ("600", Some(600)),
            ("168h", Some(604_800)),
            ("7d", Some(604_800)),
            ("7d1s", None),
            ("0", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected.map(TaskTimeout), "{text:?}");
        }
    }

    #[test]
    fn parallelism_is_a_number_or_none() {
        for (text, expected) in
            [("3", Some(Some(3))), ("none", Some(None)), ("0", Some(None)), ("-1", None), ("x", None)]
        {
            assert_eq!(text.parse().ok(), expected.map(Parallelism), "{text:?}");
        }
    }
}
