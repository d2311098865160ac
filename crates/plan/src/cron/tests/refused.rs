//! What is no schedule, and what is said of it.

use crate::cron::{LENGTH_MAX, Schedule};

#[test]
fn fields_that_are_none_are_refused_with_the_part_the_rule_and_the_value() {
    says(&[
        (
            "",
            "schedule must have the five fields of unix-cron, or a form such as 'every 5 minutes' or '1st monday of month 09:00'; it has 0, got nothing",
        ),
        (
            "* * * *",
            "schedule must have the five fields of unix-cron, or a form such as 'every 5 minutes' or '1st monday of month 09:00'; it has 4, got '* * * *'",
        ),
        (
            "0 * * * * *",
            "schedule must have the five fields of unix-cron, or a form such as 'every 5 minutes' or '1st monday of month 09:00'; it has 6, got '0 * * * * *'",
        ),
        (
            "@hourly",
            "schedule must have the five fields of unix-cron, or a form such as 'every 5 minutes' or '1st monday of month 09:00'; it has 1, got '@hourly'",
        ),
        ("60 * * * *", "minute must be between 0 and 59, got '60'"),
        ("-1 * * * *", "minute must be between 0 and 59, got nothing"),
        ("+1 * * * *", "minute must be between 0 and 59, got '+1'"),
        ("1.5 * * * *", "minute must be between 0 and 59, got '1.5'"),
        ("005 * * * *", "minute must be between 0 and 59, got '005'"),
        ("1,,2 * * * *", "minute must be between 0 and 59, got nothing"),
        ("1, * * * *", "minute must be between 0 and 59, got nothing"),
        ("* 24 * * *", "hour must be between 0 and 23, got '24'"),
        ("* MON * * *", "hour must be between 0 and 23, got 'MON'"),
        ("* * 0 * *", "day of the month must be between 1 and 31, got '0'"),
        ("* * 32 * *", "day of the month must be between 1 and 31, got '32'"),
        ("* * L * *", "day of the month must be between 1 and 31, got 'L'"),
        ("* * ? * *", "day of the month must be between 1 and 31, got '?'"),
        ("* * 15W * *", "day of the month must be between 1 and 31, got '15W'"),
        ("* * * 0 *", "month must be between 1 and 12, or JAN to DEC, got '0'"),
        ("* * * 13 *", "month must be between 1 and 12, or JAN to DEC, got '13'"),
        ("* * * JANUARY *", "month must be between 1 and 12, or JAN to DEC, got 'JANUARY'"),
        ("* * * * 8", "day of the week must be between 0 and 7, or SUN to SAT, got '8'"),
        ("* * * * MON#1", "day of the week must be between 0 and 7, or SUN to SAT, got 'MON#1'"),
        ("5-1 * * * *", "minute must have ranges whose first value is less than the second, got '5-1'"),
        ("5-5 * * * *", "minute must have ranges whose first value is less than the second, got '5-5'"),
        (
            "* * * * FRI-SUN",
            "day of the week must have ranges whose first value is less than the second, got 'FRI-SUN'",
        ),
        ("* * * OCT-FEB *", "month must have ranges whose first value is less than the second, got 'OCT-FEB'"),
        ("1-2-3 * * * *", "minute must be between 0 and 59, got '2-3'"),
        ("*/0 * * * *", "minute must have a step between 1 and 59, got '0'"),
        ("*/60 * * * *", "minute must have a step between 1 and 59, got '60'"),
        ("* */24 * * *", "hour must have a step between 1 and 23, got '24'"),
        ("*/ * * * *", "minute must have a step between 1 and 59, got nothing"),
        ("*/2/2 * * * *", "minute must have a step between 1 and 59, got '2/2'"),
        ("5/10 * * * *", "minute may have a step after '*' or a range only, got '5/10'"),
        ("** * * * *", "minute must be between 0 and 59, got '**'"),
        ("0 0 30 2 *", "schedule must have a day that some month has: this never happens, got '0 0 30 2 *'"),
        (
            "0 0 31 2,4,6,9,11 *",
            "schedule must have a day that some month has: this never happens, got '0 0 31 2,4,6,9,11 *'",
        ),
        ("30 of feb 10:00", "schedule must have a day that some month has: this never happens, got '30 of feb 10:00'"),
    ]);
    let error = Schedule::parse(&"1,".repeat(LENGTH_MAX)).expect_err("long");
    assert_eq!(error.to_string(), "schedule must have at most 1000 bytes, got '2000'");
}

#[test]
fn english_that_is_none_is_refused_with_the_part_the_rule_and_the_value() {
    says(&[
        (
            "monday 10:00",
            "schedule must begin with 'every', an ordinal such as '1st', or days of a month, or be the five fields of unix-cron, got 'monday'",
        ),
        ("every", "day must be 'day' or a day of the week such as 'mon', got nothing"),
        ("every fortnight 10:00", "day must be 'day' or a day of the week such as 'mon', got 'fortnight'"),
        ("every day", "time must be between 0:00 and 23:59, such as 09:30, got nothing"),
        ("every day 24:00", "time must be between 0:00 and 23:59, such as 09:30, got '24:00'"),
        ("every day 9:5", "time must be between 0:00 and 23:59, such as 09:30, got '9:5'"),
        ("every day 09:30 UTC", "schedule must end after that, got 'utc'"),
        ("every 0 minutes", "interval must be a number between 1 and 99999, got '0'"),
        ("every 100000 minutes", "interval must be a number between 1 and 99999, got '100000'"),
        ("every 5 seconds", "interval must be of 'minutes' or 'hours', got 'seconds'"),
        ("every 5", "interval must be of 'minutes' or 'hours', got nothing"),
        ("every 7 hours synchronized", "interval must divide 24 hours evenly with 'synchronized', got '7 hours'"),
        ("every 48 hours synchronized", "interval must divide 24 hours evenly with 'synchronized', got '48 hours'"),
        ("every 25 hours from 10:00 to 12:00", "interval must be at most 24 hours with 'from', got '25 hours'"),
        ("every 5 minutes from 10:00", "interval must have 'to' and a time after 'from', got nothing"),
        ("every 5 minutes from 10 to 12", "time must be between 0:00 and 23:59, such as 09:30, got '10'"),
        ("6th monday of month 10:00", "day must be a day of a month between 1 and 31, got '6th'"),
        ("1st of month 10:00", "day must be 'day' or a day of the week such as 'mon', got 'of'"),
        ("32 of month 10:00", "day must be a day of a month between 1 and 31, got '32'"),
        ("3 10:00", "schedule must have 'of' and months after days of a month, got '10:00'"),
        ("1st monday of year 10:00", "month must be 'month', 'quarter' or a name such as 'jan', got 'year'"),
        ("1st monday of 4th month of quarter 10:00", "month must be the 1st, 2nd or 3rd of a quarter, got '4th'"),
        ("1st monday of 2nd month 10:00", "month must have 'month of quarter' after an ordinal, got '10:00'"),
    ]);
}

fn says(refused: &[(&str, &str)]) {
    for (text, sentence) in refused {
        let error = Schedule::parse(text).expect_err(text);
        assert_eq!(error.to_string(), *sentence, "{text}");
    }
}

#[test]
fn no_text_makes_the_parser_panic() {
    let pieces =
        ["every", "1st", "5", "day", ",", "mon", "of", "jan", "quarter", "10:00", "from", "to", "*", "/", "-", "é:0"];
    let mut state: u64 = 7;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..7 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let random = state >> 33;
            text.push_str(pieces[random as usize % pieces.len()]);
            if !random.is_multiple_of(3) {
                text.push(' ');
            }
        }
        if let Ok(schedule) = Schedule::parse(&text) {
            assert_eq!(Schedule::parse(&schedule.to_string()), Ok(schedule));
        }
    }
}
