//! What executions and tasks say of themselves.

use expect_test::{Expect, expect};

use super::*;
use crate::{
    job::TaskTemplate,
    revision::{Container, Probe, ProbeKind, Volume, VolumeKind},
};

fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

fn times(started: Option<u64>, completed: Option<u64>) -> Times {
    Times { created: at(0), started: started.map(at), completed: completed.map(at) }
}

fn lines(conditions: &[Condition]) -> String {
    let since = |condition: &Condition| condition.since.duration_since(at(0)).expect("later").as_millis();
    conditions.iter().map(|condition| format!("{condition} @{}\n", since(condition))).collect()
}

fn check(phase: &ExecutionPhase, times: &Times, expected: Expect) {
    expected.assert_eq(&lines(&execution_conditions("nightly-bcdfg", phase, times, at(9_000_000))));
}

fn check_task(phase: TaskPhase, last: Option<AttemptEnd>, times: &Times, expected: Expect) {
    expected.assert_eq(&lines(&task_conditions(phase, last.as_ref(), times, at(9_000_000))));
}

#[test]
fn an_execution_gets_its_resources_then_starts_then_completes() {
    let before = times(None, None);
    check(
        &ExecutionPhase::Preparing,
        &before,
        expect![[r#"
            ResourcesAvailable: reconciling @9000000
            Started: pending @9000000
            Completed: pending @9000000
        "#]],
    );
    check(
        &ExecutionPhase::Waiting { message: "Waits for room.".to_owned() },
        &before,
        expect![[r#"
            ResourcesAvailable: reconciling Waits for room. @9000000
            Started: pending @9000000
            Completed: pending @9000000
        "#]],
    );
    check(
        &ExecutionPhase::Running,
        &times(Some(1870), None),
        expect![[r#"
            ResourcesAvailable: succeeded Provisioned imported containers. @1870
            Started: succeeded Started deployed execution in 1.87s. @1870
            Completed: reconciling @9000000
        "#]],
    );
    check(
        &ExecutionPhase::Ended(Outcome::Succeeded),
        &times(Some(1870), Some(3_723_470)),
        expect![[r#"
            ResourcesAvailable: succeeded Provisioned imported containers. @1870
            Started: succeeded Started deployed execution in 1.87s. @1870
            Completed: succeeded Execution completed successfully in 1h2m1.6s. @3723470
        "#]],
    );
}

#[test]
fn a_failed_execution_says_which_task_failed_of_what_and_which_others_did() {
    let failed = |indexes: Vec<u32>, count| {
        let end = AttemptEnd::OutOfMemory { limit: 512 << 20, used: 511 << 20 };
        ExecutionPhase::Ended(Outcome::Failed(FailedTasks { indexes, count, end }))
    };
    let said = |phase: &ExecutionPhase| {
        let conditions = execution_conditions("nightly-bcdfg", phase, &times(Some(1000), Some(2000)), at(0));
        format!("{}\n", conditions[2])
    };
    expect![[r#"
        Completed: failed [NonZeroExitCode] Task nightly-bcdfg-task3 failed with message: The container exited with an error. Memory limit of 512 MiB exceeded with 512 MiB used. Consider increasing the memory limit, see https://cloud.google.com/run/docs/configuring/memory-limits
    "#]]
    .assert_eq(&said(&failed(vec![3], 1)));
    let exited = FailedTasks { indexes: vec![0, 4, 7], count: 3, end: AttemptEnd::Exited(2) };
    expect![[r#"
        Completed: failed [NonZeroExitCode] Task nightly-bcdfg-task0 failed with message: The container exited with an error. Its exit code was 2. 3 tasks failed: 0, 4, 7.
    "#]]
    .assert_eq(&said(&ExecutionPhase::Ended(Outcome::Failed(exited))));
    let very_many = said(&failed((0..20).collect(), 9_999));
    assert!(very_many.ends_with("9999 tasks failed: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 9989 more.\n"), "{very_many}");
}

#[test]
fn a_cancelled_execution_says_so_and_what_was_never_tried_stays_open() {
    check(
        &ExecutionPhase::Cancelling,
        &times(Some(1000), None),
        expect![[r#"
            ResourcesAvailable: succeeded Provisioned imported containers. @1000
            Started: succeeded Started deployed execution in 1s. @1000
            Completed: reconciling [Cancelling] Execution is being cancelled. @9000000
        "#]],
    );
    check(
        &ExecutionPhase::Ended(Outcome::Cancelled),
        &times(None, Some(2000)),
        expect![[r#"
            ResourcesAvailable: pending @9000000
            Started: pending @9000000
            Completed: failed [Cancelled] Execution was cancelled. @2000
        "#]],
    );
}

#[test]
fn an_execution_that_cannot_begin_says_why() {
    check(
        &ExecutionPhase::Unable(Failure::new(Reason::ContainerMissing, "Image 'x' not found.")),
        &times(None, Some(500)),
        expect![[r#"
            ResourcesAvailable: failed [ContainerMissing] Image 'x' not found. @500
            Started: pending @9000000
            Completed: failed [ContainerMissing] Image 'x' not found. @500
        "#]],
    );
}

#[test]
fn a_task_tells_its_last_attempt() {
    check_task(
        TaskPhase::Pending,
        None,
        &times(None, None),
        expect![[r#"
            Started: pending @9000000
            Completed: pending @9000000
        "#]],
    );
    check_task(
        TaskPhase::Pending,
        Some(AttemptEnd::Signalled(11)),
        &times(Some(60_000), None),
        expect![[r#"
            Started: succeeded Started deployed task in 1m0s. @60000
            Completed: reconciling [PostponedRetry] System will retry after a failed attempt: The container exited with an error. Container terminated on signal 11. @9000000
        "#]],
    );
    check_task(
        TaskPhase::Succeeded,
        Some(AttemptEnd::Succeeded),
        &times(Some(1000), Some(1010)),
        expect![[r#"
            Started: succeeded Started deployed task in 1s. @1000
            Completed: succeeded Task completed successfully in 0.01s. @1010
        "#]],
    );
    check_task(
        TaskPhase::Failed,
        Some(AttemptEnd::TimedOut),
        &times(Some(1000), Some(601_000)),
        expect![[r#"
            Started: succeeded Started deployed task in 1s. @1000
            Completed: failed [ProgressDeadlineExceeded] The configured timeout was reached. @601000
        "#]],
    );
    check_task(
        TaskPhase::Cancelled,
        Some(AttemptEnd::Exited(1)),
        &times(Some(1000), Some(2000)),
        expect![[r#"
            Started: succeeded Started deployed task in 1s. @1000
            Completed: failed [Cancelled] The task was cancelled. @2000
        "#]],
    );
    check_task(
        TaskPhase::Abandoned,
        None,
        &times(None, Some(2000)),
        expect![[r#"
            Started: pending @9000000
            Completed: failed [Cancelled] The task had not started when its execution ended. @2000
        "#]],
    );
}

#[test]
fn an_attempt_has_an_exit_code_or_a_signal_and_never_both() {
    let not_started = AttemptEnd::NotStarted { reason: Reason::ContainerMissing, message: "Gone.".to_owned() };
    for (end, code, signal, status) in [
        (AttemptEnd::Succeeded, Some(0), None, 0),
        (AttemptEnd::Exited(7), Some(7), None, 2),
        (AttemptEnd::Signalled(4), None, Some(4), 2),
        (AttemptEnd::OutOfMemory { limit: 1, used: 1 }, None, Some(9), 8),
        (not_started, None, None, 9),
        (AttemptEnd::TimedOut, None, Some(15), 4),
        (AttemptEnd::Cancelled, None, Some(15), 1),
        (AttemptEnd::Lost, None, None, 14),
    ] {
        assert_eq!((end.exit_code(), end.term_signal(), end.status_code()), (code, signal, status), "{end}");
        assert_eq!(end.reason().is_none(), end.is_success(), "{end}: no reason on success, and one otherwise");
        assert_eq!(end.message().is_empty(), end.is_success(), "{end}");
    }
}

#[test]
fn what_the_engine_says_of_an_instance_is_said_of_the_attempt() {
    let not_started = |cause| Exit::NotStarted { cause };
    for (exit, want) in [
        (Exit::Code(0), "succeeded"),
        (Exit::Code(255), "exited 255"),
        (Exit::Signal(9), "signal 9"),
        (Exit::OutOfMemory { limit: 8, used: 0 }, "out of memory (0 of 8 bytes)"),
        (Exit::OutOfProcesses { limit: 10, status: 1 }, "exited 1"),
        (Exit::OutOfProcesses { limit: 10, status: 134 }, "signal 6"),
        (not_started(StartFault::Settings("no such user".to_owned())), "not started (NonZeroExitCode)"),
        (not_started(StartFault::Sandbox("clone failed".to_owned())), "not started (Internal)"),
        (Exit::Lost, "lost"),
    ] {
        assert_eq!(AttemptEnd::from(&exit).to_string(), want, "{exit:?}");
    }
    let end = AttemptEnd::from(&not_started(StartFault::Settings("no such user".to_owned())));
    assert_eq!(end.message(), "The container failed to start: no such user");
}

#[test]
fn words_of_phases_are_read_back_and_counts_leave_the_rest_pending() {
    for phase in TaskPhase::ALL {
        assert_eq!(TaskPhase::from_word(phase.as_str()), Some(phase));
    }
    assert_eq!(TaskPhase::from_word("pending"), None);
    let counts = Counts { running: 1, succeeded: 2, failed: 3, cancelled: 4, abandoned: 5, retried: 6 };
    assert_eq!((counts.over(), counts.pending(20)), (14, 5));
}

#[test]
fn what_this_version_cannot_give_a_task_is_named() {
    let probe = Probe { initial_delay: 0, timeout: 1, period: 10, failure_threshold: 3, kind: ProbeKind::Unset };
    let container =
        Container { startup_probe: Some(probe.clone()), liveness_probe: Some(probe), ..Container::default() };
    let volume = Volume { name: "data".to_owned(), kind: VolumeKind::Gcs };
    let template = TaskTemplate {
        containers: vec![container],
        volumes: vec![volume],
        unsupported: vec!["vpc_access".to_owned()],
        ..TaskTemplate::default()
    };
    let fields = unsupported(&ExecutionTemplate { template, ..ExecutionTemplate::default() });
    assert_eq!(fields, ["vpc_access", "volumes[0].gcs", "containers[0].liveness_probe"]);
}
