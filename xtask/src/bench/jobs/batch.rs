//! Executions of one job, as the API runs and shows them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    Error,
    bench::{
        cold_start::{clock::now, cpu},
        http::{Answer, Connection},
        interrupt,
        server::Server,
    },
};

/// A job.
pub(super) struct Batch<'a> {
    server: &'a Server,
    api: Connection,
}

/// What was run in a turn.
#[derive(Debug)]
pub(super) struct Ran {
    /// How many.
    pub(super) count: u32,
    /// How long it took altogether.
    pub(super) time: Duration,
    /// CPU time of all processes that had to do with it.
    pub(super) cpu: Duration,
    /// The server's own part of that, without its launcher and what that started; nothing where there is no server.
    pub(super) own_cpu: Duration,
    /// The execution's name, if it was one.
    pub(super) execution: Option<String>,
}

const PARENT: &str = "/v2/projects/bench-jobs/locations/us-central1/jobs";
const JOB: &str = "batch";
/// How often it is looked whether an execution is over: it takes a thousand times as long.
const LOOK: Duration = Duration::from_millis(20);
/// How long an execution may take.
const WITHIN: Duration = Duration::from_secs(600);
/// Tasks on a page.
const PAGE: u32 = 1_000;

// === impl Batch ===

impl<'a> Batch<'a> {
    /// Makes the job.
    pub(super) fn new(server: &'a Server, image: &str) -> Result<Self, Error> {
        let mut api = Connection::open(server.address)?;
        let job = json!({ "template": { "template": { "maxRetries": 0, "containers": [{
            "image": image,
            "command": ["/witness"],
            "resources": { "limits": { "memory": "128Mi" } },
        }] } } });
        api.post("localhost", &format!("{PARENT}?jobId={JOB}"), &job)?.json()?;
        Ok(Self { server, api })
    }

    /// Runs so many tasks with these arguments, until all have succeeded.
    pub(super) fn run(&mut self, arguments: &[&str], count: u32) -> Result<Ran, Error> {
        let overrides = json!({ "overrides": { "taskCount": count, "containerOverrides": [{ "args": arguments }] } });
        let pid = self.server.pid();
        let (all, own) = (cpu::of_tree(pid), cpu::of_one(pid));
        let begun = now();
        let operation = self.api.post("localhost", &format!("{PARENT}/{JOB}:run"), &overrides)?.json()?;
        let name =
            operation["metadata"]["name"].as_str().ok_or("the operation does not name its execution")?.to_owned();
        self.succeeded(&name, count)?;
        let time = begun.elapsed();
        Ok(Ran {
            count,
            time,
            cpu: cpu::of_tree(pid).saturating_sub(all),
            own_cpu: cpu::of_one(pid).saturating_sub(own),
            execution: Some(name),
        })
    }

    fn succeeded(&mut self, name: &str, count: u32) -> Result<(), Error> {
        let deadline = now() + WITHIN;
        loop {
            interrupt::check()?;
            let shown = self.get(name)?.json()?;
            if shown["completionTime"].is_string() {
                return match shown["succeededCount"].as_u64() {
                    Some(succeeded) if succeeded == u64::from(count) => Ok(()),
                    _ => Err(format!("not every task succeeded: {shown}").into()),
                };
            }
            if now() > deadline {
                return Err(format!("{name} is not over after {WITHIN:?}: {shown}").into());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Of each task, how long it took from its begin to its end, as the API tells.
    pub(super) fn taken(&mut self, ran: &Ran) -> Result<Vec<Duration>, Error> {
        let name = ran.execution.as_deref().ok_or("no execution")?;
        let (mut taken, mut token) = (Vec::new(), String::new());
        loop {
            let shown = self.get(&format!("{name}/tasks?pageSize={PAGE}&pageToken={token}"))?.json()?;
            for task in shown["tasks"].as_array().into_iter().flatten() {
                let [begun, ended] = ["startTime", "completionTime"].map(|time| moment(&task[time]));
                taken.push(ended?.saturating_sub(begun?));
            }
            match shown["nextPageToken"].as_str() {
                Some(next) if !next.is_empty() => token = next.to_owned(),
                _ => break,
            }
        }
        match taken.len() == ran.count as usize {
            true => Ok(taken),
            false => Err(format!("{} tasks are listed of {}", taken.len(), ran.count).into()),
        }
    }

    fn get(&mut self, name: &str) -> Result<Answer, Error> {
        self.api.get("localhost", &format!("/v2/{name}"))
    }
}

/// The time of the day that a timestamp tells.
fn moment(timestamp: &Value) -> Result<Duration, Error> {
    let text = timestamp.as_str().ok_or("a task that has ended does not tell when")?;
    read(text).ok_or_else(|| format!("'{text}' is no time").into())
}

fn read(text: &str) -> Option<Duration> {
    let mut parts = text.split_once('T')?.1.strip_suffix('Z')?.split(':');
    let (hours, minutes): (u64, u64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let seconds: f64 = parts.next()?.parse().ok()?;
    Some(Duration::from_secs(hours * 3600 + minutes * 60) + Duration::try_from_secs_f64(seconds).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_day_is_read_with_its_fractions() {
        assert_eq!(read("2026-11-28T01:02:03.250Z"), Some(Duration::from_millis(3_723_250)));
        assert_eq!(read("2026-11-28T00:00:00Z"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }
}
