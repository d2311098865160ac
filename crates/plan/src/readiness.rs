//! What to do next so that a revision can serve.
//!
//! One step at a time: every pass looks at what is there and takes the first thing that is missing, so a
//! crash between any two steps is repaired by looking again.

use std::fmt;

use updraft_model::{
    channel::{Check, CheckOutcome, StartFailure},
    revision::lifecycle::{Activity, Failure, Phase},
};

/// What is known of a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// How far it had come when it was last written down.
    pub phase: Phase,
    /// What it asks for and cannot get: field paths.
    pub unsupported: Vec<String>,
    /// Did the engine get it ready since this process began?
    pub prepared: bool,
    /// Has it still to be seen whether it may read the secrets that it names?
    pub secrets_open: bool,
    /// May the fleet have been told of other values of them than there are?
    pub secrets_stale: bool,
    /// What the fleet was told of it, if anything.
    pub offered: Option<Check>,
    /// Is the check before ready left out on demand?
    pub check_skipped: bool,
    /// What the fleet says.
    pub health: CheckOutcome,
    /// Does traffic go to it?
    pub activity: Activity,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Resolve the tag of its image to a digest and write that down.
    Resolve,
    /// See whether it may read its secrets, and write down the numbers of their versions.
    CheckSecrets,
    /// Tell the fleet of the values that its secrets have now.
    Refresh(Check),
    /// Have the engine get it ready.
    Prepare,
    /// Tell the fleet of it.
    Offer(Check),
    /// Write down that it can serve.
    Pass,
    /// Write down that it cannot, and why.
    Fail(Failure),
    /// Nothing, until something changes.
    Rest,
}

/// Plans the next step.
pub fn next(revision: &Observed) -> Step {
    match &revision.phase {
        Phase::Failed(_) => Step::Rest,
        Phase::Resolving if !revision.unsupported.is_empty() => Step::Fail(Failure::unsupported(&revision.unsupported)),
        Phase::Resolving => Step::Resolve,
        Phase::Checking if revision.secrets_open => Step::CheckSecrets,
        Phase::Checking if !revision.prepared => Step::Prepare,
        Phase::Checking if revision.check_skipped => Step::Pass,
        Phase::Checking if revision.offered.is_none() => Step::Offer(Check::Wanted),
        Phase::Checking if revision.secrets_stale => Step::Refresh(Check::Wanted),
        Phase::Checking => match &revision.health {
            CheckOutcome::Pending => Step::Rest,
            CheckOutcome::Passed => Step::Pass,
            CheckOutcome::Failed(failure) => Step::Fail(Failure::from(failure as &StartFailure)),
        },
        Phase::Ready if revision.activity != Activity::Active => Step::Rest,
        Phase::Ready if !revision.prepared => Step::Prepare,
        Phase::Ready if revision.offered != Some(Check::Done) => Step::Offer(Check::Done),
        Phase::Ready if revision.secrets_stale => Step::Refresh(Check::Done),
        Phase::Ready => Step::Rest,
    }
}

// === impl Step ===

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve => f.write_str("resolve"),
            Self::CheckSecrets => f.write_str("check secrets"),
            Self::Refresh(_) => f.write_str("refresh secrets"),
            Self::Prepare => f.write_str("prepare"),
            Self::Offer(Check::Wanted) => f.write_str("offer for a check"),
            Self::Offer(Check::Done) => f.write_str("offer"),
            Self::Pass => f.write_str("pass"),
            Self::Fail(failure) => write!(f, "fail [{:?}] {}", failure.reason, failure.message),
            Self::Rest => f.write_str("rest"),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use updraft_model::{
        Reason,
        diagnosis::{Code, Diagnosis},
    };

    use super::*;

    fn fresh() -> Observed {
        Observed {
            phase: Phase::Resolving,
            unsupported: Vec::new(),
            prepared: false,
            secrets_open: false,
            secrets_stale: false,
            offered: None,
            check_skipped: false,
            health: CheckOutcome::Pending,
            activity: Activity::Retired,
        }
    }

    /// Carries out steps on paper until nothing is left to do.
    fn run(mut revision: Observed) -> String {
        let mut told = String::new();
        for _ in 0..10 {
            let step = next(&revision);
            told.push_str(&format!("{step}\n"));
            match step {
                Step::Resolve => revision.phase = Phase::Checking,
                Step::CheckSecrets => revision.secrets_open = false,
                Step::Refresh(_) => revision.secrets_stale = false,
                Step::Prepare => revision.prepared = true,
                Step::Offer(check) => revision.offered = Some(check),
                Step::Pass => revision.phase = Phase::Ready,
                Step::Fail(failure) => revision.phase = Phase::Failed(failure),
                Step::Rest => return told,
            }
        }
        panic!("never rests:\n{told}");
    }

    #[test]
    fn a_new_revision_is_resolved_prepared_and_checked() {
        let healthy = Observed { health: CheckOutcome::Passed, activity: Activity::Active, ..fresh() };
        expect![[r#"
            resolve
            prepare
            offer for a check
            pass
            offer
            rest
        "#]]
        .assert_eq(&run(healthy));
    }

    #[test]
    fn a_check_that_was_waived_is_not_made() {
        expect![[r#"
            resolve
            prepare
            pass
            rest
        "#]]
        .assert_eq(&run(Observed { check_skipped: true, ..fresh() }));
    }

    #[test]
    fn a_failed_check_is_final_and_says_why() {
        let failure = StartFailure {
            reason: Reason::HealthCheckContainerError,
            diagnosis: Diagnosis {
                code: Code::Exited,
                sentence: "It failed.".to_owned(),
                cause: "It exited.".to_owned(),
                advice: String::new(),
                facts: Vec::new(),
            },
            last_lines: vec!["boom".to_owned()],
        };
        expect![[r#"
            resolve
            prepare
            offer for a check
            fail [HealthCheckContainerError] It failed. It exited.
            Last lines of the container's output:
            boom
            rest
        "#]]
        .assert_eq(&run(Observed { health: CheckOutcome::Failed(failure), ..fresh() }));
    }

    #[test]
    fn secrets_are_checked_before_anything_is_made_of_them_and_what_is_offered_follows_them() {
        let secret = Observed { secrets_open: true, ..fresh() };
        let healthy = Observed { health: CheckOutcome::Passed, activity: Activity::Active, ..secret };
        expect![[r#"
            resolve
            check secrets
            prepare
            offer for a check
            refresh secrets
            pass
            offer
            rest
        "#]]
        .assert_eq(&run(Observed { secrets_stale: true, ..healthy }));
        let serving = Observed {
            phase: Phase::Ready,
            prepared: true,
            offered: Some(Check::Done),
            secrets_stale: true,
            activity: Activity::Active,
            ..fresh()
        };
        expect![[r#"
            refresh secrets
            rest
        "#]]
        .assert_eq(&run(serving));
    }

    #[test]
    fn what_cannot_be_given_is_named() {
        expect![[r#"
            fail [Internal] This version of Updraft does not support: volumes.
            rest
        "#]]
        .assert_eq(&run(Observed { unsupported: vec!["volumes".to_owned()], ..fresh() }));
    }

    #[test]
    fn after_a_restart_a_ready_revision_is_prepared_only_when_traffic_goes_to_it() {
        let ready = Observed { phase: Phase::Ready, ..fresh() };
        expect![[r#"
            rest
        "#]]
        .assert_eq(&run(ready.clone()));
        expect![[r#"
            prepare
            offer
            rest
        "#]]
        .assert_eq(&run(Observed { activity: Activity::Active, ..ready }));
    }
}
