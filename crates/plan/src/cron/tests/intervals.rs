//! `every N minutes`.

use super::{schedule, times};
use crate::cron::CountsFrom;

#[test]
fn an_interval_counts_from_the_end_of_the_last_run_unless_a_time_of_the_day_is_named() {
    for (text, counts) in [
        ("every 5 minutes", CountsFrom::End),
        ("every minute", CountsFrom::End),
        ("every 48 hours", CountsFrom::End),
        ("every 60 minutes on mon,wed", CountsFrom::End),
        ("every 10 minutes from 10:00 to 14:00", CountsFrom::Clock),
        ("every 2 hours synchronized", CountsFrom::Clock),
        ("every day 10:00", CountsFrom::Clock),
        ("*/5 * * * *", CountsFrom::Clock),
    ] {
        assert_eq!(schedule(text).counts_from(), counts, "{text}");
    }
}

#[test]
fn intervals_mean_what_the_documentation_says() {
    for (text, after, expected) in [
        ("every 5 minutes", "2026-01-01T00:02:40", ["01-01 00:07", "01-01 00:12", "01-01 00:17"]),
        ("every minute", "2026-01-01T00:00:59", ["01-01 00:01", "01-01 00:02", "01-01 00:03"]),
        ("every 2 hours", "2026-01-01T00:30:00", ["01-01 02:30", "01-01 04:30", "01-01 06:30"]),
        ("every 48 hours", "2026-01-01T00:30:00", ["01-03 00:30", "01-05 00:30", "01-07 00:30"]),
        ("every 60 mins on mon,wed", "2026-01-05T22:30:00", ["01-05 23:30", "01-07 00:00", "01-07 01:00"]),
        ("every 10 minutes from 10:00 to 10:15", "2026-01-01T00:00:00", ["01-01 10:00", "01-01 10:10", "01-02 10:00"]),
        ("every 10 minutes from 10:00 to 10:20", "2026-01-01T10:05:00", ["01-01 10:10", "01-01 10:20", "01-02 10:00"]),
        ("every 2 hours from 22:00 to 02:00", "2026-01-01T00:00:00", ["01-01 02:00", "01-01 22:00", "01-02 00:00"]),
        ("every 5 minutes from 10:00 to 10:00", "2026-01-01T00:00:00", ["01-01 10:00", "01-02 10:00", "01-03 10:00"]),
        ("every 24 hours from 10:00 to 11:00", "2026-01-01T12:00:00", ["01-02 10:00", "01-03 10:00", "01-04 10:00"]),
        ("every 8 hours synchronized", "2026-01-01T00:00:00", ["01-01 08:00", "01-01 16:00", "01-02 00:00"]),
        ("every 1 hours synchronized", "2026-01-01T23:30:00", ["01-02 00:00", "01-02 01:00", "01-02 02:00"]),
    ] {
        let shown = times(text, "UTC", after, 3);
        assert_eq!(shown, expected.map(|time| format!("{time} +00:00")), "{text}");
    }
}

#[test]
fn an_interval_is_as_long_when_clocks_are_set_and_begins_anew_each_day() {
    for (text, after, expected) in [
        ("every 60 minutes", "2026-03-08T01:00:00", ["03-08 03:00 -04:00", "03-08 04:00 -04:00"]),
        ("every 60 minutes", "2026-11-01T01:00:00", ["11-01 01:00 -05:00", "11-01 02:00 -05:00"]),
        ("every 12 hours synchronized", "2026-11-01T00:00:00", ["11-01 11:00 -05:00", "11-01 23:00 -05:00"]),
        ("every 12 hours synchronized", "2026-11-01T23:00:00", ["11-02 00:00 -05:00", "11-02 12:00 -05:00"]),
        // The range begins when clocks are set, and ends by the clock.
        ("every 30 minutes from 02:15 to 04:00", "2026-03-07T12:00:00", ["03-08 03:00 -04:00", "03-08 03:30 -04:00"]),
        ("every 60 minutes from 00:30 to 02:00", "2026-11-01T01:30:00", ["11-01 01:30 -05:00", "11-02 00:30 -05:00"]),
    ] {
        assert_eq!(times(text, "America/New_York", after, 2), expected, "{text}");
    }
}
