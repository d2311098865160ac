//! The registry of metrics, and the metrics of the process itself.

use std::{fmt, fs, time::SystemTime};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use updraft_base::Clock;

/// Everything that is measured. Every part registers what it measures at the start.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

/// The content type of what [`Metrics::encode`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Reads the process's own numbers when they are asked for.
#[derive(Debug)]
struct Process {
    /// Seconds since 1970.
    start: f64,
}

/// The unit of times in `/proc/self/stat`: `USER_HZ`, the same on every Linux that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

// === impl Metrics ===

impl Metrics {
    /// A registry with the metrics of the process, which starts now.
    pub fn new(clock: &Clock) -> Self {
        let start = clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process { start }));
        Self { registry }
    }

    /// Where metrics are registered.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// All metrics as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut output = String::new();
        if text::encode(&mut output, &self.registry).is_err() {
            // Writing to memory does not fail; a collector that gave up would.
            tracing::error!("metrics cannot be encoded");
        }
        output
    }
}

// === impl Process ===

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        gauge(&mut encoder, ("process_start_time_seconds", "When the process started"), self.start)?;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kibibytes) = status_field(&status, "VmRSS:") {
            let bytes = kibibytes * 1024.0;
            gauge(&mut encoder, ("process_resident_memory_bytes", "Memory of the process in RAM"), bytes)?;
        }
        if let Some(threads) = status_field(&status, "Threads:") {
            gauge(&mut encoder, ("process_threads", "Threads of the process"), threads)?;
        }
        if let Ok(fds) = fs::read_dir("/proc/self/fd") {
            // The descriptor that reads the directory is one of them.
            let count = fds.count().saturating_sub(1);
            gauge(&mut encoder, ("process_open_fds", "Open file descriptors"), count as f64)?;
        }
        if let Some(most) = fs::read_to_string("/proc/self/limits").ok().and_then(|limits| fds_max(&limits)) {
            gauge(&mut encoder, ("process_max_fds", "File descriptors that may be open"), most)?;
        }
        if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat)) {
            let counter = ConstCounter::new(seconds);
            let help = "CPU time of the process, user and system";
            let metric = encoder.encode_descriptor("process_cpu_seconds", help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, (name, help): (&str, &str), value: f64) -> Result<(), fmt::Error> {
    let gauge = ConstGauge::new(value);
    let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(metric)
}

/// The first number of a line of `/proc/self/status`.
fn status_field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The soft limit in `/proc/self/limits`; none when it is unlimited.
fn fds_max(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The 14th and 15th field of `/proc/self/stat`; the second one, the name, may hold spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn the_process_and_what_is_registered_are_printed() {
        let mut metrics = Metrics::new(&Clock::system());
        let counter: Counter = Counter::default();
        metrics.registry().register("updraft_things", "Things", counter.clone());
        counter.inc_by(3);
        let text = metrics.encode();
        for line in ["updraft_things_total 3", "# TYPE process_cpu_seconds counter", "# EOF"] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        for name in ["process_start_time_seconds", "process_resident_memory_bytes", "process_open_fds"] {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            assert!(value.is_some_and(|value| value > 0.0), "{name} in\n{text}");
        }
    }

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "12 (a b) c) S 1 1 1 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_seconds(stat), Some(3.0));
    }
}
