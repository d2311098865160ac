//! What an execution looks like while it runs: pure, from counts and states to lines.

use std::time::Duration;

use super::state::{Counts, TaskState};

/// Lines that the tasks of an execution may take.
const ROWS: usize = 4;
/// What stands before each line.
const INDENT: &str = "  ";
/// States in the order in which they fill a bar, with their marks.
const MARKS: [(TaskState, char); 5] = [
    (TaskState::Succeeded, '■'),
    (TaskState::Failed, '✗'),
    (TaskState::Cancelled, '-'),
    (TaskState::Running, '▸'),
    (TaskState::Pending, '·'),
];

/// What is known of an execution at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment<'a> {
    /// How many tasks stand how.
    pub(crate) counts: Counts,
    /// How each task stands, by index; empty when that was not asked for.
    pub(crate) states: &'a [TaskState],
    /// How long it has been watched.
    pub(crate) elapsed: Duration,
}

/// The lines of a moment, none wider than `width`: the tasks, the counts, the times.
pub(crate) fn lines(moment: &Moment<'_>, width: usize) -> Vec<String> {
    let room = width.saturating_sub(INDENT.len() + 1).max(MARKS.len());
    let cells = match moment.states {
        [] => bar(moment.counts, room.min(60)),
        states => grid(states, room * ROWS),
    };
    let cells: Vec<char> = cells.chars().collect();
    let rows = cells.chunks(room).map(|row| row.iter().collect());
    let mut lines: Vec<String> = rows.collect();
    lines.push(told(moment.counts));
    lines.push(times(moment.counts, moment.elapsed));
    let fit = |line: String| INDENT.chars().chain(line.chars()).take(width.max(1)).collect();
    lines.into_iter().map(fit).collect()
}

/// How much longer it will take; `None` while there is nothing to go by, and at the end.
///
/// Tasks that run are taken to be half done, on average. From the first task that has ended, the pace until now is that of
/// what is left.
pub(crate) fn eta(counts: Counts, elapsed: Duration) -> Option<Duration> {
    let (ended, running, pending) = (counts.ended(), counts.running, counts.pending());
    if ended == 0 || running + pending == 0 {
        return None;
    }
    let (done, left) = (f64::from(ended) + f64::from(running) / 2.0, f64::from(pending) + f64::from(running) / 2.0);
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * left / done).ok()
}

/// How many tasks stand how, in words: those of which there are none are left out.
pub(crate) fn told(counts: Counts) -> String {
    let shown = MARKS.iter().map(|&(state, mark)| (mark, number(counts, state), state.word().to_lowercase()));
    let mut parts: Vec<String> = shown
        .filter(|(_, number, _)| *number > 0)
        .map(|(mark, number, word)| format!("{mark} {number} {word}"))
        .collect();
    if counts.retried > 0 {
        parts.push(format!("{} retried", counts.retried));
    }
    parts.join("  ")
}

/// A time as gcloud writes it where it is short: `1h2m3s`; of less than a second, `0s`.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 86_400, 'd'), (seconds / 3600 % 24, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let shown: String =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect();
    if shown.is_empty() { "0s".to_owned() } else { shown }
}

fn times(counts: Counts, elapsed: Duration) -> String {
    match eta(counts, elapsed) {
        Some(left) => format!("{}, about {} left", short(elapsed), short(rounded(left))),
        None => short(elapsed),
    }
}

/// A guess without digits that it has no right to: from a minute on in steps of ten seconds, from an hour on of minutes.
fn rounded(guess: Duration) -> Duration {
    let seconds = guess.as_secs_f64().ceil();
    let step = match guess.as_secs() {
        0..60 => 1.0,
        60..3600 => 10.0,
        _ => 60.0,
    };
    Duration::try_from_secs_f64((seconds / step).ceil() * step).unwrap_or(guess)
}

fn number(counts: Counts, state: TaskState) -> u32 {
    match state {
        TaskState::Pending => counts.pending(),
        TaskState::Running => counts.running,
        TaskState::Succeeded => counts.succeeded,
        TaskState::Failed => counts.failed,
        TaskState::Cancelled | TaskState::Abandoned => counts.cancelled,
    }
}

/// A bar in which every state has its share of `width` cells, and at least one when there is a task in it: of ten thousand
/// tasks the one that failed is what somebody looks for.
fn bar(counts: Counts, width: usize) -> String {
    let of = |state| usize::try_from(number(counts, state)).unwrap_or(usize::MAX);
    let tasks = MARKS.iter().map(|(state, _)| of(*state)).sum::<usize>();
    if tasks == 0 {
        return String::new();
    }
    let mut cells = MARKS.map(|(state, mark)| (mark, of(state), (of(state) * width / tasks).max(of(state).min(1))));
    loop {
        let taken: usize = cells.iter().map(|(_, _, cells)| cells).sum();
        // Who has most of them notices one more or less the least.
        let Some(widest) = cells.iter_mut().filter(|(_, tasks, _)| *tasks > 0).max_by_key(|(_, tasks, _)| *tasks)
        else {
            break;
        };
        match taken.cmp(&width) {
            std::cmp::Ordering::Less => widest.2 += 1,
            std::cmp::Ordering::Greater if widest.2 > 1 => widest.2 -= 1,
            _ => break,
        }
    }
    cells.iter().flat_map(|&(mark, _, cells)| std::iter::repeat_n(mark, cells)).collect()
}

/// A cell for each task by its index; when they are more than `room`, for as many neighbours as it takes. A cell of several
/// shows what is furthest from well: one that failed, else one that was cancelled, runs, or has not started.
fn grid(states: &[TaskState], room: usize) -> String {
    let mark = |state: TaskState| {
        let shown = if state == TaskState::Abandoned { TaskState::Cancelled } else { state };
        MARKS.iter().find(|(other, _)| *other == shown).map_or(' ', |(_, mark)| *mark)
    };
    let ranked = |state: &TaskState| match state {
        TaskState::Succeeded => 0,
        TaskState::Pending => 1,
        TaskState::Running => 2,
        TaskState::Cancelled | TaskState::Abandoned => 3,
        TaskState::Failed => 4,
    };
    let bucket = states.len().div_ceil(room.max(1)).max(1);
    states.chunks(bucket).filter_map(|tasks| tasks.iter().copied().max_by_key(ranked)).map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(tasks: u32, running: u32, succeeded: u32, failed: u32) -> Counts {
        Counts { tasks, running, succeeded, failed, ..Counts::default() }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_left_goes_on_at_the_pace_until_now() {
        for (counts, elapsed, expected) in [
            // Nothing to go by, or nothing left.
            (counts(10, 10, 0, 0), 60, None),
            (counts(10, 0, 10, 0), 60, None),
            (counts(10, 0, 9, 1), 60, None),
            (counts(0, 0, 0, 0), 60, None),
            // One after the other: five of ten are done in a minute.
            (counts(10, 0, 5, 0), 60, Some(60)),
            (counts(10, 0, 4, 1), 60, Some(60)),
            // Tasks that run are half done: 2 + 1 of 10.
            (counts(10, 2, 2, 0), 30, Some(70)),
            // The last one.
            (counts(100, 1, 99, 0), 199, Some(1)),
            (counts(10_000, 100, 50, 0), 100, Some(9900)),
        ] {
            let left = eta(counts, seconds(elapsed)).map(|left| left.as_secs_f64().round() as u64);
            assert_eq!(left, expected, "{counts:?} after {elapsed} s");
        }
        assert_eq!(eta(counts(10, 0, 1, 0), Duration::MAX), None, "no guess is better than one that is no time");
    }

    #[test]
    fn more_that_has_ended_never_makes_the_guess_longer() {
        for running in 0..=20 {
            let guesses = (1..=80).filter_map(|ended| eta(counts(100, running, ended, 0), seconds(100)));
            assert!(guesses.collect::<Vec<_>>().is_sorted_by(|before, after| before >= after), "{running} running");
        }
    }

    #[test]
    fn a_bar_gives_every_state_its_share_and_at_least_one_cell() {
        for (counts, expected) in [
            (counts(10, 2, 5, 1), "■■■■■✗▸▸··"),
            (counts(10_000, 0, 9_999, 1), "■■■■■■■■■✗"),
            (counts(10_000, 1, 0, 1), "✗▸········"),
            (counts(3, 1, 1, 1), "■■■✗✗✗▸▸▸▸"),
            (counts(1, 0, 0, 0), "··········"),
            (counts(0, 0, 0, 0), ""),
        ] {
            assert_eq!(bar(counts, 10), expected, "{counts:?}");
        }
    }

    #[test]
    fn a_bar_is_as_wide_as_it_should_be() {
        for tasks in [1, 2, 3, 7, 99, 100, 101, 10_000] {
            for (running, succeeded) in [(0, 0), (1, 0), (0, 1), (tasks / 3, tasks / 2), (0, tasks)] {
                let counts = counts(tasks, running, succeeded.min(tasks - running), 0);
                for width in [5, 10, 60] {
                    assert_eq!(bar(counts, width).chars().count(), width, "{counts:?} in {width}");
                }
            }
        }
    }

    #[test]
    fn a_cell_is_a_task_or_the_worst_of_its_neighbours() {
        use TaskState::{Abandoned, Cancelled, Failed, Pending, Running, Succeeded};
        assert_eq!(grid(&[Abandoned, Succeeded], 2), "-■");
        let states = [Succeeded, Failed, Running, Pending, Cancelled];
        assert_eq!(grid(&states, 10), "■✗▸·-");
        assert_eq!(grid(&states, 3), "✗▸-");
        assert_eq!(grid(&[Succeeded, Succeeded, Succeeded, Pending], 2), "■·", "a cell is done when all of it is");
        assert_eq!(grid(&states, 1), "✗");
        assert_eq!(grid(&[], 10), "");
    }

    #[test]
    fn lines_fit_the_terminal() {
        let counts =
            Counts { tasks: 10_000, running: 4_000, succeeded: 3_000, failed: 1_000, cancelled: 1_000, retried: 999 };
        let states = [TaskState::Running; 400];
        for width in [1, 10, 40, 80, 200] {
            for states in [&states[..], &[]] {
                let shown = lines(&Moment { counts, states, elapsed: seconds(100_000) }, width);
                assert!(shown.iter().all(|line| line.chars().count() <= width), "{width}: {shown:?}");
                assert!(shown.len() <= ROWS + 2, "{width}: {shown:?}");
            }
        }
    }

    #[test]
    fn a_moment_is_told_in_cells_counts_and_times() {
        let counts = Counts { retried: 2, ..counts(8, 2, 3, 1) };
        use TaskState::{Failed, Pending, Running, Succeeded};
        let states = [Succeeded, Succeeded, Failed, Succeeded, Running, Running, Pending, Pending];
        let shown = lines(&Moment { counts, states: &states, elapsed: seconds(75) }, 80);
        assert_eq!(
            shown,
            [
                "  ■■✗■▸▸··",
                "  ■ 3 succeeded  ✗ 1 failed  ▸ 2 running  · 2 pending  2 retried",
                "  1m15s, about 45s left"
            ]
        );
    }

    #[test]
    fn times_are_short() {
        for (time, expected) in [(0, "0s"), (59, "59s"), (60, "1m"), (3723, "1h2m3s"), (90_000, "1d1h")] {
            assert_eq!(short(seconds(time)), expected);
        }
        for (guess, expected) in [(1, 1), (59, 59), (61, 70), (3599, 3600), (3601, 3660)] {
            assert_eq!(rounded(seconds(guess)), seconds(expected));
        }
    }
}
