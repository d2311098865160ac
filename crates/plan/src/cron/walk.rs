//! From minutes of a calendar to moments, through nights when clocks are set.
//!
//! Cloud Scheduler "runs on wall clock time" and leaves open what that means when a time is skipped or comes twice. Vixie
//! cron says it, and so it is done here:
//!
//! * minute and hour are named: a time that is skipped is made up for at the moment of the change, once, however many are
//!   skipped; one that comes twice is meant the first time;
//! * minute or hour begins with an asterisk: whenever a clock shows it, so not at all in a skipped hour, and again in a
//!   repeated one.
//!
//! Between two changes of a zone the two kinds of time differ by a constant, so the calendar is asked once for each
//! stretch.

use jiff::{
    SignedDuration, Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, Offset, TimeZone},
};

use super::pattern::{Pace, Pattern};

/// The least difference of two moments.
const TICK: SignedDuration = SignedDuration::from_nanos(1);
/// More changes than any zone has in the years that a pattern is looked for.
const STRETCHES_MAX: usize = 1000;

/// A time without changes of the offset.
#[derive(Debug)]
struct Stretch {
    offset: Offset,
    /// The change that it began with: when, and the offset before.
    began: Option<(Timestamp, Offset)>,
    /// The next change.
    end: Option<Timestamp>,
}

/// The first moment after `after` that the pattern means.
pub(super) fn next(pattern: &Pattern, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let first = after.checked_add(TICK).ok()?;
    let mut from = first;
    for _ in 0..STRETCHES_MAX {
        let stretch = Stretch::of(from, zone);
        let mut civil = stretch.offset.to_datetime(from);
        if pattern.pace == Pace::Fixed
            && let Some((began, before)) = stretch.began
        {
            let (was, is) = (before.to_datetime(began), stretch.offset.to_datetime(began));
            let is_skipped = |minute: DateTime| minute < is;
            if began >= first && was < is && pattern.at_or_after(was).is_some_and(is_skipped) {
                return Some(began);
            }
            // Clocks went back: what they show until `was` they showed before.
            if is < was {
                civil = civil.max(was);
            }
        }
        let found = stretch.offset.to_timestamp(pattern.at_or_after(civil)?).ok()?;
        match stretch.end {
            Some(end) if found >= end => from = end,
            _ => return Some(found),
        }
    }
    None
}

/// The moment of a time of a calendar: the first of two, and the change that skips it.
pub(super) fn moment(civil: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(civil).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(civil).ok(),
        AmbiguousOffset::Gap { after, .. } => {
            // By the offset to come it is just before the change.
            let before = after.to_timestamp(civil).ok()?;
            zone.following(before).next().map(|change| change.timestamp())
        }
    }
}

// === impl Stretch ===

impl Stretch {
    fn of(moment: Timestamp, zone: &TimeZone) -> Self {
        let change = moment.checked_add(TICK).ok().and_then(|after| Some(zone.preceding(after).next()?.timestamp()));
        let began = change.and_then(|began| Some((began, zone.to_offset(began.checked_sub(TICK).ok()?))));
        let end = zone.following(moment).next().map(|change| change.timestamp());
        Self { offset: zone.to_offset(moment), began, end }
    }
}
