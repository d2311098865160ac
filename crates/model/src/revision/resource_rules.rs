//! The table of CPU and memory.
//!
//! Source: Cloud Run, "Configure CPU limits" and "Configure memory limits".

use super::{Container, defaults};
use crate::{error::Violation, quantity};

const MIB: u64 = 1 << 20;

/// Up to so many thousandths of a CPU: the least and the most memory, in MiB.
const MEMORY_BY_CPU: [(u32, u64, u64); 7] = [
    (499, 128, 512),
    (999, 128, 1024),
    (1000, 128, 4096),
    (2000, 128, 8192),
    (4000, 2048, 16_384),
    (6000, 4096, 24_576),
    (u32::MAX, 4096, 32_768),
];

/// Checks the limits of one container at `path`.
pub(super) fn check(path: &str, container: &Container, found: &mut Vec<Violation>) {
    let limits = &container.resources.limits;
    for (key, value) in limits {
        let field = format!("{path}.limits[{key}]");
        match key.as_str() {
            "cpu" if !quantity::cpu_millis(value).is_some_and(is_cpu) => {
                let rule = format!("must be 0.08 to 1 in steps of 0.001, or 1, 2, 4, 6 or 8, got '{value}'");
                found.push(Violation::new(field, rule));
            }
            "memory" if quantity::memory_bytes(value).is_none() => {
                found.push(Violation::new(field, format!("must be a quantity such as 512Mi or 1Gi, got '{value}'")));
            }
            "nvidia.com/gpu" if value != "1" => {
                found.push(Violation::new(field, format!("must be 1, got '{value}'")));
            }
            "cpu" | "memory" | "nvidia.com/gpu" => {}
            other => {
                let rule = format!("only cpu, memory and nvidia.com/gpu can be limited, got '{other}'");
                found.push(Violation::new(field, rule));
            }
        }
    }
}

/// Checks that a container at `path` with less than a CPU has it only while requests are in flight.
pub(super) fn check_idle(path: &str, container: &Container, found: &mut Vec<Violation>) {
    let limits = &container.resources.limits;
    let small =
        limits.get("cpu").and_then(|cpu| quantity::cpu_millis(cpu)).is_some_and(|cpu| is_cpu(cpu) && cpu < 1000);
    if small && !container.resources.cpu_idle {
        found.push(Violation::new(format!("{path}.cpu_idle"), "must be true when less than 1 CPU is set, got false"));
    }
}

/// Checks what all containers have together; says nothing if one of them cannot be read.
pub(super) fn check_total(path: &str, containers: &[Container], found: &mut Vec<Violation>) {
    let memory =
        |container: &Container| container.resources.limits.get("memory").and_then(|text| quantity::memory_bytes(text));
    let total = containers.iter().map(memory).try_fold(0u64, |sum, bytes| sum.checked_add(bytes?));
    let (Some(memory), Some(cpu)) = (total, defaults::total_cpu_millis(containers)) else { return };
    let readable = |container: &Container| {
        container.resources.limits.get("cpu").and_then(|cpu| quantity::cpu_millis(cpu)).is_some_and(is_cpu)
    };
    if containers.is_empty() || !containers.iter().all(readable) {
        return;
    }
    let row = MEMORY_BY_CPU.iter().find(|(up_to, ..)| cpu <= *up_to);
    if let Some(&(_, least, most)) = row
        && !(least * MIB..=most * MIB).contains(&memory)
    {
        let rule = format!(
            "with a total of {cpu}m CPU, memory must be between {least}Mi and {most}Mi, got {}Mi",
            memory.div_ceil(MIB)
        );
        found.push(Violation::new(path, rule));
    }
}

fn is_cpu(millis: u32) -> bool {
    (80..=1000).contains(&millis) || [2000, 4000, 6000, 8000].contains(&millis)
}
