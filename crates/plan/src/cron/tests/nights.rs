//! Nights when clocks are set, by the rule of Vixie cron.

use super::{at, named, schedule, times};

#[test]
fn a_time_that_is_skipped_is_made_up_for_when_clocks_are_set_and_the_next_night_is_as_ever() {
    for (zone, text, after, expected) in [
        // 02:00 → 03:00.
        ("America/New_York", "30 2 * * *", "2026-03-07T12:00:00", ["03-08 03:00 -04:00", "03-09 02:30 -04:00"]),
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00:00", ["03-29 03:00 +02:00", "03-30 02:30 +02:00"]),
        ("Australia/Sydney", "0 2 * * *", "2026-10-03T12:00:00", ["10-04 03:00 +11:00", "10-05 02:00 +11:00"]),
        // 02:00 → 02:30.
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00:00", ["10-04 02:30 +11:00", "10-05 02:15 +11:00"]),
        ("Australia/Lord_Howe", "45 2 * * *", "2026-10-03T12:00:00", ["10-04 02:45 +11:00", "10-05 02:45 +11:00"]),
        // Two that are skipped are one, also with one that is due at that moment.
        ("America/New_York", "0,30 2,3 * * *", "2026-03-07T12:00:00", ["03-08 03:00 -04:00", "03-08 03:30 -04:00"]),
        ("America/New_York", "every day 02:30", "2026-03-07T12:00:00", ["03-08 03:00 -04:00", "03-09 02:30 -04:00"]),
        // Only what is meant on that day.
        ("America/New_York", "30 2 * * MON", "2026-03-07T12:00:00", ["03-09 02:30 -04:00", "03-16 02:30 -04:00"]),
        // Midnight itself is skipped.
        ("America/Santiago", "0 0 * * *", "2026-09-05T12:00:00", ["09-06 01:00 -03:00", "09-07 00:00 -03:00"]),
        // A whole day is.
        ("Pacific/Apia", "0 9 * * *", "2011-12-29T12:00:00", ["12-31 00:00 +14:00", "12-31 09:00 +14:00"]),
    ] {
        assert_eq!(times(text, zone, after, 2), expected, "{text} in {zone}");
    }
}

#[test]
fn a_time_that_comes_twice_is_meant_the_first_time() {
    for (zone, text, after, expected) in [
        ("America/New_York", "30 1 * * *", "2026-10-31T12:00:00", ["11-01 01:30 -04:00", "11-02 01:30 -05:00"]),
        ("Europe/Berlin", "0 2 * * *", "2026-10-24T12:00:00", ["10-25 02:00 +02:00", "10-26 02:00 +01:00"]),
        ("Europe/Berlin", "0 3 * * *", "2026-10-24T12:00:00", ["10-25 03:00 +01:00", "10-26 03:00 +01:00"]),
        ("Australia/Sydney", "59 2 * * *", "2026-04-04T12:00:00", ["04-05 02:59 +11:00", "04-06 02:59 +10:00"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12:00:00", ["04-05 01:45 +11:00", "04-06 01:45 +10:30"]),
        ("America/New_York", "0,30 1,2 * * *", "2026-11-01T01:00:00", ["11-01 01:30 -04:00", "11-01 02:00 -05:00"]),
        (
            "America/New_York",
            "1st sunday of nov 01:30",
            "2026-10-31T12:00:00",
            ["11-01 01:30 -04:00", "11-07 01:30 -04:00"],
        ),
    ] {
        assert_eq!(times(text, zone, after, 2), expected, "{text} in {zone}");
    }
}

#[test]
fn what_begins_with_an_asterisk_goes_by_what_clocks_show() {
    for (zone, text, after, expected) in [
        ("America/New_York", "*/30 * * * *", "2026-03-08T01:00:00", ["03-08 01:30 -05:00", "03-08 03:00 -04:00"]),
        ("America/New_York", "*/30 2 * * *", "2026-03-07T12:00:00", ["03-09 02:00 -04:00", "03-09 02:30 -04:00"]),
        ("America/New_York", "45 * * * *", "2026-11-01T00:50:00", ["11-01 01:45 -04:00", "11-01 01:45 -05:00"]),
        ("America/New_York", "*/30 1 * * *", "2026-11-01T01:00:00", ["11-01 01:30 -04:00", "11-01 01:00 -05:00"]),
        ("Australia/Lord_Howe", "*/20 * * * *", "2026-04-05T01:30:00", ["04-05 01:40 +11:00", "04-05 01:40 +10:30"]),
    ] {
        assert_eq!(times(text, zone, after, 2), expected, "{text} in {zone}");
    }
}

#[test]
fn whoever_asks_between_two_same_times_gets_neither_again() {
    let (zone, daily) = (named("America/New_York"), schedule("30 1 * * *"));
    // 01:10 for the second time.
    let next = daily.next(at("2026-11-01T06:10:00Z"), &zone).expect("tomorrow");
    assert_eq!(next, at("2026-11-02T06:30:00Z"));
    let (at_change, before) = (at("2026-03-08T07:00:00Z"), at("2026-03-08T06:59:59.999999999Z"));
    let daily = schedule("30 2 * * *");
    assert_eq!(daily.next(before, &zone), Some(at_change));
    assert_eq!(daily.next(at_change, &zone), Some(at("2026-03-09T06:30:00Z")));
}
