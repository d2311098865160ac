//! The request that runs a job, with a field of ours: how many tasks run at the same time.
//!
//! Google's message lets a run choose how many tasks there are and not how many of them run at once, although the
//! template of an execution has both. The field has a number of the range that protobuf leaves to organisations
//! (50000 to 99999), so that no field of Google's ever has it, and stands in the table of descriptors
//! (`own.txt`): JSON, gRPC and reflection know it as every other field. Google's clients neither send nor miss it.
//!
//! The messages are Google's but for that field, byte for byte.

use prost_types::Duration;

use crate::run::run_job_request::overrides::ContainerOverride;

/// `google.cloud.run.v2.RunJobRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RunJobRequest {
    /// The job: `projects/{project}/locations/{location}/jobs/{job}`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Check only, and run nothing.
    #[prost(bool, tag = "2")]
    pub validate_only: bool,
    /// The version of the job that the client knows; empty when it does not mind.
    #[prost(string, tag = "3")]
    pub etag: String,
    /// What this execution has otherwise than the job's template.
    #[prost(message, optional, tag = "4")]
    pub overrides: Option<Overrides>,
}

/// `google.cloud.run.v2.RunJobRequest.Overrides`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Overrides {
    /// What containers have otherwise.
    #[prost(message, repeated, tag = "1")]
    pub container_overrides: Vec<ContainerOverride>,
    /// How many tasks there are; 0 leaves it to the template.
    #[prost(int32, tag = "2")]
    pub task_count: i32,
    /// How long an attempt of a task may take; nothing leaves it to the template.
    #[prost(message, optional, tag = "4")]
    pub timeout: Option<Duration>,
    /// How many tasks run at the same time; 0 is as many as there is room for, nothing leaves it to the template. Not in
    /// Google's API.
    #[prost(int32, optional, tag = "50000")]
    pub parallelism: Option<i32>,
}

// === impl RunJobRequest ===

impl RunJobRequest {
    /// What is to be otherwise, if anything is: then the caller needs `run.jobs.runWithOverrides`, too.
    pub fn overrides(&self) -> Option<&Overrides> {
        self.overrides.as_ref().filter(|overrides| **overrides != Overrides::default())
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use serde_json::json;

    use super::*;
    use crate::{
        json::{EnumEncoding, from_json, to_json},
        run,
    };

    #[test]
    fn a_run_says_how_many_tasks_run_at_the_same_time() {
        let sent = json!({"overrides": {"taskCount": 6, "parallelism": 2, "timeout": "90s"}});
        let read: RunJobRequest = from_json(&sent, "").expect("well formed");
        let overrides = read.overrides().expect("there are some");
        assert_eq!((overrides.task_count, overrides.parallelism), (6, Some(2)));
        assert_eq!(to_json(&read, EnumEncoding::Names).expect("fits"), sent);
        let all: RunJobRequest = from_json(&json!({"overrides": {"parallelism": 0}}), "").expect("well formed");
        assert_eq!(all.overrides().and_then(|overrides| overrides.parallelism), Some(0), "0 is a number");
    }

    #[test]
    fn what_googles_clients_send_is_read_whole_and_the_field_of_ours_is_not_in_their_way() {
        let container = ContainerOverride { args: vec!["a".to_owned()], clear_args: true, ..Default::default() };
        let theirs = run::RunJobRequest {
            name: "projects/p/locations/l/jobs/j".to_owned(),
            validate_only: true,
            etag: "e".to_owned(),
            overrides: Some(run::run_job_request::Overrides {
                container_overrides: vec![container],
                task_count: 3,
                timeout: Some(Duration { seconds: 5, nanos: 0 }),
            }),
        };
        let mut ours = RunJobRequest::decode(&*theirs.encode_to_vec()).expect("the same bytes");
        assert_eq!(ours.encode_to_vec(), theirs.encode_to_vec());
        ours.overrides.get_or_insert_default().parallelism = Some(2);
        assert_eq!(run::RunJobRequest::decode(&*ours.encode_to_vec()).expect("skipped"), theirs);
    }

    #[test]
    fn overrides_that_say_nothing_are_none() {
        assert_eq!(RunJobRequest::default().overrides(), None);
        let empty = RunJobRequest { overrides: Some(Overrides::default()), ..RunJobRequest::default() };
        assert_eq!(empty.overrides(), None);
    }
}
