//! What an expression means, without nights when clocks are set.

use super::{at, named, schedule, times};
use crate::cron::{DROPPED_MAX, zone};

#[test]
fn fields_mean_what_the_documentation_says() {
    for (text, after, expected) in [
        ("* * * * *", "2026-01-01T00:00:00", ["01-01 00:01", "01-01 00:02", "01-01 00:03"]),
        ("*/25 * * * *", "2026-01-01T00:00:00", ["01-01 00:25", "01-01 00:50", "01-01 01:00"]),
        ("0 0,12 * * *", "2026-01-01T00:00:00", ["01-01 12:00", "01-02 00:00", "01-02 12:00"]),
        ("0-5/5,30-35/5 * * * *", "2026-01-01T00:00:00", ["01-01 00:05", "01-01 00:30", "01-01 00:35"]),
        ("0 0-12/6 * * *", "2026-01-01T00:00:00", ["01-01 06:00", "01-01 12:00", "01-02 00:00"]),
        ("0 0 * * MON-FRI", "2026-01-02T00:00:00", ["01-05 00:00", "01-06 00:00", "01-07 00:00"]),
        ("0 0 * * 7", "2026-01-01T00:00:00", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("0 0 * * 5-7", "2026-01-01T00:00:00", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        ("0 0 * * sun", "2026-01-01T00:00:00", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("0 0 1 JAN,apr,7,OCT *", "2026-01-01T00:00:00", ["04-01 00:00", "07-01 00:00", "10-01 00:00"]),
        ("59 23 31 12 *", "2026-01-01T00:00:00", ["12-31 23:59", "12-31 23:59", "12-31 23:59"]),
        ("  5   4  * *   *  ", "2026-01-01T00:00:00", ["01-01 04:05", "01-02 04:05", "01-03 04:05"]),
        // Both days are restricted: one of them is enough.
        ("0 0 1 * SAT", "2026-01-01T00:00:00", ["01-03 00:00", "01-10 00:00", "01-17 00:00"]),
        ("0 0 1 2 SAT", "2026-01-25T00:00:00", ["02-01 00:00", "02-07 00:00", "02-14 00:00"]),
        // An asterisk with a step restricts, and yet is none of the two: Mondays among odd days.
        ("0 0 */2 * MON", "2026-01-01T00:00:00", ["01-05 00:00", "01-19 00:00", "02-09 00:00"]),
        ("0 0 13 * */5", "2026-01-01T00:00:00", ["02-13 00:00", "03-13 00:00", "09-13 00:00"]),
        // Ends of months, leap days.
        ("0 0 31 * *", "2026-01-31T00:00:00", ["03-31 00:00", "05-31 00:00", "07-31 00:00"]),
        ("0 0 29,30 2,4 *", "2026-01-31T00:00:00", ["04-29 00:00", "04-30 00:00", "04-29 00:00"]),
        ("0 0 29 2 *", "2026-01-31T00:00:00", ["02-29 00:00", "02-29 00:00", "02-29 00:00"]),
    ] {
        let shown = times(text, "UTC", after, 3);
        assert_eq!(shown, expected.map(|time| format!("{time} +00:00")), "{text}");
    }
}

#[test]
fn leap_days_are_found_across_a_century_without_one_and_on_a_day_of_the_week() {
    let utc = named("UTC");
    let next = |text, after| schedule(text).next(at(after), &utc).map(|next| next.to_string());
    assert_eq!(next("0 0 29 2 *", "2096-02-29T00:00:00Z").as_deref(), Some("2104-02-29T00:00:00Z"));
    // On a Sunday: it was one in 2088, and 2116 is the 28 years later that 2100 breaks.
    assert_eq!(next("0 0 29 2 */7", "2060-01-01T00:00:00Z").as_deref(), Some("2060-02-29T00:00:00Z"));
    assert_eq!(next("0 0 29 2 */7", "2088-02-29T00:00:00Z").as_deref(), Some("2128-02-29T00:00:00Z"));
    assert_eq!(next("5th monday of feb 00:00", "2084-01-01T00:00:00Z").as_deref(), Some("2112-02-29T00:00:00Z"));
    assert_eq!(next("* * * * *", "9999-12-30T22:00:00Z"), None, "the calendar ends");
}

#[test]
fn english_means_what_the_documentation_says() {
    for (text, after, expected) in [
        ("every day 09:30", "2026-01-01T00:00:00", ["01-01 09:30", "01-02 09:30", "01-03 09:30"]),
        ("every monday 09:00", "2026-01-01T00:00:00", ["01-05 09:00", "01-12 09:00", "01-19 09:00"]),
        ("every sun,tue,thu 9:00", "2026-01-01T10:00:00", ["01-04 09:00", "01-06 09:00", "01-08 09:00"]),
        ("every wed of december 00:00", "2026-01-01T00:00:00", ["12-02 00:00", "12-09 00:00", "12-16 00:00"]),
        ("1st,third monday of jan 10:00", "2026-01-01T00:00:00", ["01-05 10:00", "01-19 10:00", "01-04 10:00"]),
        ("first sunday of month 12:00", "2026-01-05T00:00:00", ["02-01 12:00", "03-01 12:00", "04-05 12:00"]),
        ("2nd,3rd tue,wed of feb,aug 13:50", "2026-01-01T00:00:00", ["02-10 13:50", "02-11 13:50", "02-17 13:50"]),
        ("1st friday of quarter 9:00", "2026-01-01T00:00:00", ["01-02 09:00", "04-03 09:00", "07-03 09:00"]),
        (
            "second,4th tue of 3rd month of quarter 18:30",
            "2026-01-01T00:00:00",
            ["03-10 18:30", "03-24 18:30", "06-09 18:30"],
        ),
        ("1,3,29 of jan,feb 12:34", "2026-01-03T13:00:00", ["01-29 12:34", "02-01 12:34", "02-03 12:34"]),
        ("03 of month 12:34", "2026-01-01T00:00:00", ["01-03 12:34", "02-03 12:34", "03-03 12:34"]),
        ("2nd day of month 01:00", "2026-01-03T00:00:00", ["02-02 01:00", "03-02 01:00", "04-02 01:00"]),
        ("5th friday 01:00", "2026-01-03T00:00:00", ["01-30 01:00", "05-29 01:00", "07-31 01:00"]),
        ("EVERY  Day  00:00", "2026-01-01T00:00:00", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
    ] {
        let shown = times(text, "UTC", after, 3);
        assert_eq!(shown, expected.map(|time| format!("{time} +00:00")), "{text}");
    }
}

#[test]
fn what_is_printed_reads_the_same_again() {
    for text in ["*/5  * * * MON", " every 10 minutes from  10:00 to 14:00", "1st , third monday of jan 10:00"] {
        let first = schedule(text);
        assert_eq!(schedule(&first.to_string()), first);
        assert!(!first.to_string().contains("  "));
    }
}

#[test]
fn the_times_that_passed_after_one_that_is_due_are_counted() {
    let dropped = |text, due, now| schedule(text).dropped(at(due), at(now), &named("UTC"));
    let due = "2026-01-01T01:00:00Z";
    for (now, count) in [(due, 0), ("2026-01-01T01:59:00Z", 0), ("2026-01-01T05:00:00Z", 4)] {
        assert_eq!(dropped("0 * * * *", due, now), count, "{now}");
    }
    // The next is due when the one before ended, so nothing else passed.
    assert_eq!(dropped("every 5 minutes", due, "2026-01-09T00:00:00Z"), 0);
    // Of years not each minute is counted.
    assert_eq!(dropped("* * * * *", "2016-01-01T00:00:00Z", due), DROPPED_MAX);
    // A clock that was set back makes nothing pass.
    assert_eq!(dropped("* * * * *", due, "2025-01-01T00:00:00Z"), 0);
}

#[test]
fn zones_are_those_of_the_database_that_is_built_in() {
    for name in ["UTC", "Etc/UTC", "Europe/Berlin", "america/new_york", "Australia/NSW"] {
        assert!(zone(name).is_ok(), "{name}");
    }
    for name in ["", "Mars/Base", "+02:00", "EST5EDT,M3.2.0,M11.1.0", "../etc/passwd", "Europe/Berlin\0", " UTC"] {
        let error = zone(name).expect_err(name);
        assert_eq!((error.field, error.value.as_str()), ("time zone", name));
    }
    let error = zone(&"x".repeat(65)).expect_err("long");
    assert!(error.to_string().starts_with("time zone must have at most 64 bytes, got 'x"), "{error}");
}
