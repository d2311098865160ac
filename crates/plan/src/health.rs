//! What a running container's probe means: `(rules, results so far, now) → verdict, and when to ask again`.
//!
//! Source of the rules: Cloud Run's "Container health checks". A liveness probe that fails `failureThreshold` times in a
//! row ends the instance. A readiness probe that does keeps new requests away, and nothing else, until it has succeeded
//! `successThreshold` times in a row; an instance gets requests before it was asked for the first time.
//!
//! Time here is the instance's own: that in which it was frozen does not count. What cannot run can neither answer nor
//! be late, and a probe that fell due meanwhile must not fail it.

use std::{fmt, time::Duration};

/// What a probe decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Whether the instance lives on.
    Liveness,
    /// Whether it gets new requests.
    Readiness,
}

/// How one container is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// What it decides.
    pub kind: Kind,
    /// From the instance's being up to the first attempt.
    pub delay: Duration,
    /// From the beginning of one attempt to that of the next; at least a second.
    pub period: Duration,
    /// Failures in a row that decide; at least 1.
    pub failures: u32,
    /// Successes in a row, after that, that decide the other way; at least 1. Of readiness only.
    pub successes: u32,
}

/// How an attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The container said that it is well.
    Passed,
    /// It said that it is not, or nothing.
    Failed,
}

/// The results so far, as far as they matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History {
    standing: Standing,
    /// The last attempt: when it began, how it went, and how often in a row it has gone so.
    last: Option<(Duration, Outcome, u32)>,
    /// Attempts since the last verdict.
    attempts: u32,
}

/// What the last verdict was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Standing {
    /// There was none.
    #[default]
    Unknown,
    Well,
    Ill,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What the results mean, if that is news.
    pub verdict: Option<Verdict>,
    /// When to ask next; nothing is asked of an instance that is to end.
    pub again_in: Option<Duration>,
}

/// What the results mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is well, which was not known before. Nothing is to be done.
    Well {
        /// Attempts that it took.
        attempts: u32,
    },
    /// It is well again: it gets new requests.
    Restore {
        /// Attempts that it took, those that failed since it was ill counted in.
        attempts: u32,
    },
    /// It is ill: it gets no new requests, and keeps those it has.
    Withhold {
        /// Failures in a row.
        failures: u32,
    },
    /// It is ill: the instance is to be ended at once.
    Kill {
        /// Failures in a row.
        failures: u32,
    },
}

/// Decides for one probe of one container, `now` being for how long its instance has been up and not frozen.
pub fn plan(rules: &Rules, history: &History, now: Duration) -> Plan {
    let verdict = verdict(rules, history);
    if matches!(verdict, Some(Verdict::Kill { .. })) {
        return Plan { verdict, again_in: None };
    }
    let due = history.last.map_or(rules.delay, |(begun, ..)| begun + rules.period);
    Plan { verdict, again_in: Some(due.saturating_sub(now)) }
}

fn verdict(rules: &Rules, history: &History) -> Option<Verdict> {
    let (_, outcome, times) = history.last?;
    let attempts = history.attempts;
    match (outcome, history.standing) {
        (Outcome::Passed, Standing::Unknown) => Some(Verdict::Well { attempts }),
        (Outcome::Passed, Standing::Ill) if times >= rules.successes => Some(Verdict::Restore { attempts }),
        (Outcome::Failed, Standing::Unknown | Standing::Well) if times >= rules.failures => Some(match rules.kind {
            Kind::Liveness => Verdict::Kill { failures: times },
            Kind::Readiness => Verdict::Withhold { failures: times },
        }),
        _ => None,
    }
}

// === impl History ===

impl History {
    /// One more attempt, that began at `begun` of the instance's own time.
    pub fn note(&mut self, begun: Duration, outcome: Outcome) {
        let times = match self.last {
            Some((_, before, times)) if before == outcome => times.saturating_add(1),
            _ => 1,
        };
        self.last = Some((begun, outcome, times));
        self.attempts = self.attempts.saturating_add(1);
    }

    /// The verdict was followed: it is no news any more.
    pub fn follow(&mut self, verdict: Verdict) {
        self.attempts = 0;
        self.standing = match verdict {
            Verdict::Well { .. } | Verdict::Restore { .. } => Standing::Well,
            Verdict::Withhold { .. } | Verdict::Kill { .. } => Standing::Ill,
        };
    }
}

// === printing ===

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(verdict) = self.verdict {
            writeln!(f, "{verdict}")?;
        }
        match self.again_in {
            Some(again) => writeln!(f, "ask in {again:?}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_a_row =
            |times: u32| if times == 1 { "1 failure".to_owned() } else { format!("{times} failures in a row") };
        match *self {
            Self::Well { attempts } => write!(f, "well: attempt {attempts} passed"),
            Self::Restore { attempts } => write!(f, "give it requests again: attempt {attempts} since it was ill"),
            Self::Withhold { failures } => write!(f, "no new requests: {}", in_a_row(failures)),
            Self::Kill { failures } => write!(f, "kill: {}", in_a_row(failures)),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// A story in a line: rules as `liveness` or `readiness`, `delay=5`, `period=10`, `failures=3`, `successes=2`; then
    /// attempts as `ok@10` and `no@20`, at that second, and `at@25`, a look in between. Every verdict is followed.
    fn check(story: &str, expected: Expect) {
        let mut rules = Rules {
            kind: Kind::Liveness,
            delay: Duration::ZERO,
            period: Duration::from_secs(10),
            failures: 3,
            successes: 2,
        };
        let mut history = History::default();
        let mut told = String::new();
        for word in story.split_whitespace() {
            let (key, value) = word.split_once(['=', '@']).unwrap_or((word, "0"));
            let number: u32 = value.parse().expect("a number");
            let at = Duration::from_secs(number.into());
            match key {
                "liveness" => rules.kind = Kind::Liveness,
                "readiness" => rules.kind = Kind::Readiness,
                "delay" => rules.delay = at,
                "period" => rules.period = at,
                "failures" => rules.failures = number,
                "successes" => rules.successes = number,
                "ok" => history.note(at, Outcome::Passed),
                "no" => history.note(at, Outcome::Failed),
                "at" => {}
                _ => panic!("unknown word {word}"),
            }
            if !word.contains('@') {
                continue;
            }
            let plan = plan(&rules, &history, at);
            told.push_str(&format!("{word}: {}\n", plan.to_string().trim_end().replace('\n', ", ")));
            if let Some(verdict) = plan.verdict {
                history.follow(verdict);
            }
        }
        expected.assert_eq(&told);
    }

    #[test]
    fn the_first_attempt_waits_for_the_delay_and_the_others_for_the_period() {
        check(
            "liveness delay=5 at@0 at@4 at@7 ok@7 at@11 at@30",
            expect![[r#"
                at@0: ask in 5s
                at@4: ask in 1s
                at@7: ask in 0ns
                ok@7: well: attempt 1 passed, ask in 10s
                at@11: ask in 6s
                at@30: ask in 0ns
            "#]],
        );
    }

    #[test]
    fn liveness_kills_after_so_many_failures_in_a_row_and_a_success_between_them_begins_anew() {
        check(
            "liveness ok@0 no@10 no@20 ok@30 no@40 no@50 no@60",
            expect![[r#"
                ok@0: well: attempt 1 passed, ask in 10s
                no@10: ask in 10s
                no@20: ask in 10s
                ok@30: ask in 10s
                no@40: ask in 10s
                no@50: ask in 10s
                no@60: kill: 3 failures in a row
            "#]],
        );
    }

    #[test]
    fn what_was_never_well_is_killed_all_the_same() {
        check(
            "liveness failures=1 no@0",
            expect![[r#"
                no@0: kill: 1 failure
            "#]],
        );
    }

    #[test]
    fn readiness_keeps_requests_away_once_and_lets_them_in_after_successes_in_a_row() {
        check(
            "readiness failures=2 period=5 no@0 no@5 no@10 ok@15 no@20 ok@25 ok@30 ok@35 no@40 no@45",
            expect![[r#"
                no@0: ask in 5s
                no@5: no new requests: 2 failures in a row, ask in 5s
                no@10: ask in 5s
                ok@15: ask in 5s
                no@20: ask in 5s
                ok@25: ask in 5s
                ok@30: give it requests again: attempt 5 since it was ill, ask in 5s
                ok@35: ask in 5s
                no@40: ask in 5s
                no@45: no new requests: 2 failures in a row, ask in 5s
            "#]],
        );
    }

    #[test]
    fn one_success_is_enough_where_that_was_said() {
        check(
            "readiness failures=1 successes=1 no@0 ok@10",
            expect![[r#"
                no@0: no new requests: 1 failure, ask in 10s
                ok@10: give it requests again: attempt 1 since it was ill, ask in 10s
            "#]],
        );
    }

    #[test]
    fn the_first_success_is_told_with_the_attempts_it_took() {
        check(
            "readiness no@0 no@10 ok@20 ok@30",
            expect![[r#"
                no@0: ask in 10s
                no@10: ask in 10s
                ok@20: well: attempt 3 passed, ask in 10s
                ok@30: ask in 10s
            "#]],
        );
    }
}
