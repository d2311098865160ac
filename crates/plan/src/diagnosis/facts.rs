//! What was seen, a line each, whether or not it mattered.

use updraft_model::instance::{Inspection, ProcessState};

use super::{Evidence, Happened, MIB, NotReady, seconds};

/// Processes that are named.
const PROCESSES: usize = 5;

pub(super) fn of(evidence: &Evidence) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(ran_for) = evidence.ran_for {
        facts.push(match &evidence.happened {
            Happened::NotReady(_) => format!("It had run for {}.", seconds(ran_for)),
            _ => format!("It ended {} after its start.", seconds(ran_for)),
        });
    }
    if let Happened::NotReady(found) = &evidence.happened {
        not_ready(found, &mut facts);
    }
    if let Some((usage, limits)) = evidence.usage() {
        facts.push(format!(
            "Memory: {} MiB of {} MiB, at most {} MiB.",
            usage.memory_bytes / MIB,
            limits.memory_bytes / MIB,
            usage.memory_peak_bytes / MIB
        ));
    }
    facts
}

fn not_ready(found: &NotReady, facts: &mut Vec<String>) {
    facts.push(found.probe.log.clone());
    for (at, outcome) in &found.probe.transcript {
        facts.push(format!("Probe after {}: {outcome}", seconds(*at)));
    }
    let Some(seen) = &found.seen else {
        facts.push("The instance had gone when it was looked at.".to_owned());
        return;
    };
    facts.push(match &seen.listeners {
        None => "What listens in it could not be seen.".to_owned(),
        Some(none) if none.is_empty() => "Listens on: nothing.".to_owned(),
        Some(some) => {
            format!("Listens on: {}.", some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
    });
    if !seen.connecting.is_empty() {
        let peers: Vec<String> = seen.connecting.iter().map(ToString::to_string).collect();
        facts.push(format!("Tries to connect to: {}.", peers.join(", ")));
    }
    processes(seen, facts);
    let mut cpu = format!("CPU: {} in all", seconds(seen.usage.cpu));
    if let Some(recent) = &found.recent {
        cpu.push_str(&format!(
            ", {} % of its limit in the last {}",
            recent.percent(&found.limits),
            seconds(recent.within)
        ));
    }
    facts.push(cpu + ".");
    if seen.forks_refused > 0 {
        facts.push(format!("It was refused a process or thread {} times.", seen.forks_refused));
    }
    if seen.memory_kills > 0 {
        facts.push(format!("Processes that the kernel killed for memory: {}.", seen.memory_kills));
    }
}

fn processes(seen: &Inspection, facts: &mut Vec<String>) {
    let name = |process: &updraft_model::instance::Process| {
        let state = match process.state {
            ProcessState::Running => "running",
            ProcessState::Sleeping => "sleeping",
            ProcessState::Blocked => "blocked",
            ProcessState::Stopped => "stopped",
            ProcessState::Zombie => "ended",
        };
        match process.threads {
            0 | 1 => format!("{} ({state})", process.name),
            threads => format!("{} ({state}, {threads} threads)", process.name),
        }
    };
    let mut names: Vec<String> = seen.processes.iter().take(PROCESSES).map(name).collect();
    if seen.processes.len() > PROCESSES {
        names.push(format!("{} more", seen.processes.len() - PROCESSES));
    }
    if !names.is_empty() {
        facts.push(format!("Processes: {}.", names.join(", ")));
    }
}
