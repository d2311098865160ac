//! What is written down of tasks.

use std::{collections::HashMap, time::SystemTime};

use updraft_model::job::TaskPhase;
use updraft_store::{Change, Envelope, Kind};

use super::{Ended, Subject};
use crate::{
    executions::{Live, Row},
    jobs::{keys, view},
    record::{self, TaskRecord},
};

/// The rows of the tasks that are otherwise than at the last call.
pub(super) fn changes(subject: &Subject, live: &mut Live, ended: &[Ended], now: SystemTime) -> Vec<Change> {
    let places = live.progress.take_changed();
    let ended: HashMap<u32, SystemTime> = ended.iter().map(|one| (one.place, one.time)).collect();
    let times = |place| (now, ended.get(&place).copied().unwrap_or(now));
    places.into_iter().filter_map(|place| change(subject, live, place, times(place))).collect()
}

fn change(subject: &Subject, live: &Live, place: u32, (now, ended): (SystemTime, SystemTime)) -> Option<Change> {
    let task = live.progress.task(place)?;
    let row = live.rows.get(&place);
    if row.is_none() && task.phase == TaskPhase::Abandoned {
        // Its execution says so: it was never begun, and never will be.
        return None;
    }
    let started = row.map_or(now, |row| row.started);
    let index = subject.record.index_at(place);
    let record = TaskRecord {
        started: Some(started),
        completed: task.phase.is_terminal().then_some(ended.clamp(started.min(now), now)),
        ..TaskRecord::of(index, &task)
    };
    let key = keys::task(&subject.name.task(index));
    let fresh = record::envelope(key, &subject.name.execution, row.map_or(now, |row| row.created));
    Some(Change::Put(Box::new(Envelope {
        uid: view::uid(&subject.envelope, place),
        resource_version: row.map_or(0, |row| row.version),
        updated: now,
        internal: record::write(&record),
        ..fresh
    })))
}

/// Notes which versions what was written has.
pub(super) fn stored(subject: &mut Subject, live: &mut Live, stored: Vec<Envelope>) {
    let count = live.progress.terms().task_count;
    for envelope in stored {
        match envelope.key.kind {
            Kind::Task => note(subject, live, &envelope, count),
            Kind::Execution => subject.envelope = envelope,
            _ => {}
        }
    }
}

fn note(subject: &Subject, live: &mut Live, envelope: &Envelope, count: u32) {
    let index = envelope.key.name.rsplit_once("-task").and_then(|(_, index)| index.parse().ok());
    let Some(place) = index.and_then(|index| subject.record.place_of(index, count)) else { return };
    if live.progress.task(place).is_some_and(|task| task.phase.is_terminal()) {
        // It is never written again.
        live.rows.remove(&place);
        return;
    }
    let started = live.rows.get(&place).map_or(envelope.created, |row| row.started);
    live.rows.insert(place, Row { version: envelope.resource_version, created: envelope.created, started });
}
