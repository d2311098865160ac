//! What each revision that has instances, or requests that wait for one, is doing, for Prometheus.
//!
//! Read when it is asked for, from what the revisions know anyway: a hundred thousand services at zero have no series. The
//! names are those of Cloud Run's metrics under `updraft_`, the labels those of its monitored resource.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use updraft_model::name::{Collection, RevisionName};

use crate::context::Revisions;

/// One revision, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Reading {
    /// Instances with requests, those on their way up, and all to which none are sent.
    pub(crate) active: u32,
    /// The others.
    pub(crate) idle: u32,
    /// Requests that wait for a place.
    pub(crate) pending: u32,
    /// The most requests that one instance had at a time since the last measurement but one.
    pub(crate) concurrency: u32,
    /// As of the last measurement.
    pub(crate) used: Used,
}

/// What the instances of a revision have used, and were given.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Used {
    /// CPU time, of all instances that there ever were.
    pub(crate) cpu: Duration,
    /// CPU time that they might have used.
    pub(crate) cpu_allocated: Duration,
    /// Memory that they use now, in bytes.
    pub(crate) memory: u64,
    /// Memory that they may use, in bytes.
    pub(crate) memory_allocated: u64,
}

/// Reads them.
pub(crate) struct Series(Weak<Revisions>);

/// Labels and their values.
type Whose = Vec<(&'static str, String)>;

#[derive(EncodeLabelSet)]
struct State {
    #[prometheus(flatten)]
    whose: Whose,
    state: &'static str,
}

/// A name, and what it means.
type Named = (&'static str, &'static str);

// === impl Series ===

impl Series {
    pub(crate) fn new(revisions: &Arc<Revisions>) -> Self {
        Self(Arc::downgrade(revisions))
    }

    fn read(&self) -> Vec<(Whose, Reading)> {
        let Some(revisions) = self.0.upgrade() else { return Vec::new() };
        let read = |name: &RevisionName| Some((whose(name), revisions.known(name)?.reading()));
        let mut names = revisions.with_instances();
        names.extend(revisions.waited_for());
        names.iter().filter_map(read).collect()
    }
}

impl Collector for Series {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let read = self.read();
        let states = read.iter().flat_map(|(whose, reading)| {
            let state = |state, count| (State { whose: whose.clone(), state }, i64::from(count));
            [state("active", reading.active), state("idle", reading.idle)]
        });
        let counted = ("updraft_container_instance_count", "Instances, by revision (container/instance_count)");
        gauges(&mut encoder, counted, states)?;
        let each =
            |value: fn(&Reading) -> i64| read.iter().map(move |(whose, reading)| (whose.clone(), value(reading)));
        let name = "updraft_pending_queue_pending_requests";
        let help = "Requests that wait for an instance, by revision (pending_queue/pending_requests)";
        gauges(&mut encoder, (name, help), each(|reading| reading.pending.into()))?;
        let name = "updraft_container_max_request_concurrencies";
        let help =
            "The most requests one instance had at a time in the last seconds (container/max_request_concurrencies)";
        gauges(&mut encoder, (name, help), each(|reading| reading.concurrency.into()))?;
        let name = "updraft_container_memory_usage_bytes";
        let help = "Memory that the instances use (container/memory/usage)";
        gauges(&mut encoder, (name, help), each(|reading| bytes(reading.used.memory)))?;
        let name = "updraft_container_memory_allocation_bytes";
        let help = "Memory that the instances may use; usage by this is container/memory/utilizations";
        gauges(&mut encoder, (name, help), each(|reading| bytes(reading.used.memory_allocated)))?;
        let each =
            |value: fn(&Reading) -> f64| read.iter().map(move |(whose, reading)| (whose.clone(), value(reading)));
        let name = "updraft_container_cpu_usage_seconds";
        let help = "CPU time that the instances used (container/cpu/usage)";
        counters(&mut encoder, (name, help), each(|reading| reading.used.cpu.as_secs_f64()))?;
        let name = "updraft_container_cpu_allocation_time_seconds";
        let help = "CPU time that the instances might have used (container/cpu/allocation_time); usage by this is \
                    container/cpu/utilizations";
        counters(&mut encoder, (name, help), each(|reading| reading.used.cpu_allocated.as_secs_f64()))
    }
}

fn bytes(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): Named,
    values: impl Iterator<Item = (L, i64)>,
) -> Result<(), fmt::Error> {
    let kind = ConstGauge::new(0i64).metric_type();
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): Named,
    values: impl Iterator<Item = (Whose, f64)>,
) -> Result<(), fmt::Error> {
    let kind = ConstCounter::new(0.0).metric_type();
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Series")
    }
}

/// The labels of a revision: a service and a worker pool of the same name are two.
fn whose(name: &RevisionName) -> Whose {
    let service = &name.service;
    let by = match service.collection {
        Collection::Services => "service_name",
        Collection::WorkerPools => "worker_pool_name",
        Collection::Jobs => "job_name",
    };
    vec![
        ("project_id", service.parent.project.clone()),
        ("location", service.parent.location.clone()),
        (by, service.service.clone()),
        ("revision_name", name.revision.clone()),
    ]
}
