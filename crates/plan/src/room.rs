//! How many tasks of an execution may begin: the machine's memory is for services first, and executions share the rest.
//!
//! A task has its memory for as long as it runs, so more than there is of it is not promised. CPU is shared by weight, so
//! there may be more tasks than processors; beyond some number they only get in each other's way.

/// What there is on this machine for tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Memory that instances may be promised, in bytes.
    pub memory: u64,
    /// The most tasks that run at a time.
    pub tasks: u32,
}

/// What is taken of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// Memory promised to instances of services and worker pools, in bytes.
    pub services: u64,
    /// Memory promised to tasks, in bytes.
    pub memory: u64,
    /// Tasks that run.
    pub tasks: u32,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// How much memory each of its tasks is promised, in bytes.
    pub size: u64,
    /// How many of them run.
    pub running: u32,
    /// How many executions have more tasks than run, this one included; at least 1.
    pub askers: u32,
    /// How many of them have waited longer, have less than their part and could begin a task.
    pub ahead: u32,
}

/// How many more tasks of it may begin now.
///
/// Executions have equal parts of the tasks that may run; what one has beyond its part it keeps until they end. Where no
/// task runs one may, however large it is and however much services have: it is limited, not impossible.
///
/// A place that came free is for who has waited longest: where there are more executions than places, those that have one
/// would take it again and again. Of what there is memory for nobody is kept back.
pub fn room(machine: Machine, taken: Taken, asker: Asker) -> u32 {
    let Asker { size, running, askers, ahead } = asker;
    let free = machine.memory.saturating_sub(taken.services).saturating_sub(taken.memory);
    let by_memory = u32::try_from(free / size.max(1)).unwrap_or(u32::MAX);
    let by_count = machine.tasks.saturating_sub(taken.tasks).saturating_sub(ahead);
    let part = machine.tasks.div_ceil(askers.max(1)).max(1);
    let room = by_memory.min(by_count).min(part.saturating_sub(running));
    if taken.tasks == 0 && ahead == 0 { room.max(1) } else { room }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MACHINE: Machine = Machine { memory: 8 * GIB, tasks: 16 };

    fn alone(size: u64) -> Asker {
        Asker { size, running: 0, askers: 1, ahead: 0 }
    }

    #[test]
    fn memory_bounds_large_tasks_and_the_count_small_ones() {
        assert_eq!(room(MACHINE, Taken::default(), alone(2 * GIB)), 4);
        assert_eq!(room(MACHINE, Taken::default(), alone(GIB / 8)), 16);
    }

    #[test]
    fn what_services_have_is_not_promised_twice() {
        let taken = Taken { services: 5 * GIB, memory: GIB, tasks: 1 };
        assert_eq!(room(MACHINE, taken, Asker { running: 1, ..alone(GIB) }), 2);
        let full = Taken { services: 8 * GIB, ..taken };
        assert_eq!(room(MACHINE, full, alone(GIB)), 0);
    }

    #[test]
    fn executions_share_and_none_is_shut_out() {
        let taken = Taken { memory: 8 * GIB / 16, tasks: 8, ..Taken::default() };
        let asker = |running| Asker { size: GIB / 16, running, askers: 2, ahead: 0 };
        assert_eq!(room(MACHINE, taken, asker(8)), 0, "it has its half");
        assert_eq!(room(MACHINE, taken, asker(0)), 8);
        let crowd = Asker { askers: 100, ..asker(0) };
        assert_eq!(room(MACHINE, Taken { tasks: 15, ..taken }, crowd), 1);
    }

    #[test]
    fn a_place_is_for_who_has_waited_longer() {
        let taken = Taken { memory: GIB, tasks: 14, ..Taken::default() };
        let asker = |ahead| Asker { size: GIB / 16, running: 0, askers: 40, ahead };
        assert_eq!(room(MACHINE, taken, asker(0)), 1, "its part");
        assert_eq!(room(MACHINE, taken, asker(1)), 1, "the other place");
        assert_eq!(room(MACHINE, taken, asker(2)), 0);
        assert_eq!(room(MACHINE, Taken::default(), asker(16)), 0, "also where no task runs");
    }

    #[test]
    fn a_task_too_large_for_the_machine_runs_alone() {
        assert_eq!(room(MACHINE, Taken::default(), alone(64 * GIB)), 1);
        let taken = Taken { memory: 64 * GIB, tasks: 1, ..Taken::default() };
        assert_eq!(room(MACHINE, taken, Asker { running: 1, ..alone(64 * GIB) }), 0);
    }
}
