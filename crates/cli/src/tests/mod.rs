//! Commands as a whole: what is typed, what is asked of the server, what is printed.

mod backup;
mod deploy;
mod doctor;
mod executions;
pub(crate) mod fake;
mod gcloud;
mod iam;
mod images;
mod jobs;
mod policy;
mod pools;
mod scheduler;
mod secret_flags;
mod secrets;
mod show;
mod terminal;

use std::fmt::Write as _;

use clap::Parser;
use expect_test::Expect;
use serde_json::{Value, json};
use updraft_base::Clock;

use crate::{
    Command, Console, Globals, Terminal,
    run::run,
    tests::fake::{Answer, Fake},
};

#[derive(Debug, Parser)]
#[command(name = "updraft")]
struct Line {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// A command to try.
struct Try<'a> {
    words: Vec<&'a str>,
    answers: Vec<Answer>,
    /// What the user types; there is a terminal then.
    input: Option<&'a str>,
}

// === impl Try ===

impl<'a> Try<'a> {
    fn new(line: &'a str, answers: Vec<Answer>) -> Self {
        Self { words: line.split_whitespace().collect(), answers, input: None }
    }

    fn with(mut self, words: &[&'a str]) -> Self {
        self.words.extend(words);
        self
    }

    fn typing(self, input: &'a str) -> Self {
        Self { input: Some(input), ..self }
    }

    /// Runs the command; compares its exit, its data and its talk, and gives back what the server saw.
    async fn check(self, expected: Expect) -> Fake {
        self.check_path("no path", expected).await
    }

    /// The same, with a path of this run called PATH.
    async fn check_path(self, path: &str, expected: Expect) -> Fake {
        let (text, fake) = self.run().await;
        expected.assert_eq(&text.replace(path, "PATH"));
        fake
    }

    /// Runs the command; gives its exit, its data and its talk as one text, and what the server saw.
    async fn run(self) -> (String, Fake) {
        let count = self.answers.len();
        let fake = Fake::new(self.answers);
        let line = Line::try_parse_from(std::iter::once("updraft").chain(self.words)).unwrap_or_else(|e| panic!("{e}"));
        let globals = Globals { endpoint: fake.endpoint.clone(), ..line.globals };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let terminal = if self.input.is_some() { Terminal::Interactive } else { Terminal::Plain };
        let console = Console::new(&mut out, &mut err, self.input.unwrap_or_default().as_bytes(), terminal);
        let exit = run(line.command, globals, console, Clock::system()).await;
        let (out, err) = (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap());
        let mut text = format!("exit: {exit:?}\n");
        for (title, stream) in [("out", out), ("err", err)] {
            if !stream.is_empty() {
                write!(text, "{title}:\n{stream}").unwrap();
            }
        }
        assert_eq!(fake.seen().len(), count, "requests that the server got");
        (text.replace(&fake.endpoint, "ENDPOINT").replace("\r\x1b[2K", "{redraw}"), fake)
    }
}

fn ok(request: &'static str, body: &Value) -> Answer {
    Answer(request, 200, body.to_string())
}

fn refused(request: &'static str, code: u16, status: &str, message: &str) -> Answer {
    Answer(request, code, json!({ "error": { "code": code, "status": status, "message": message } }).to_string())
}

const NAME: &str = "projects/demo-project/locations/us-central1/services/hello";

/// A service whose revision of that number is ready, as the server gives it.
fn service(number: u32) -> Value {
    let revision = format!("{NAME}/revisions/hello-0000{number}-abc");
    let condition = |kind: &str| json!({ "type": kind, "state": "CONDITION_SUCCEEDED", "lastTransitionTime": "2026-11-21T08:36:59.956712Z" });
    json!({
        "name": NAME,
        "uid": "48f050dd-40ec-4612-acc9-9f13fac2d571",
        "generation": number.to_string(),
        "observedGeneration": number.to_string(),
        "etag": format!("\"e{number}\""),
        "createTime": "2026-11-21T08:36:59.956485Z",
        "updateTime": "2026-11-21T08:36:59.956485Z",
        "creator": "local@updraft.local",
        "lastModifier": "local@updraft.local",
        "labels": { "team": "a" },
        "ingress": "INGRESS_TRAFFIC_ALL",
        "template": {
            "timeout": "300s",
            "serviceAccount": "1-compute@developer.gserviceaccount.com",
            "maxInstanceRequestConcurrency": 80,
            "scaling": { "maxInstanceCount": 100 },
            "labels": { "team": "a" },
            "containers": [{
                "name": "hello-1",
                "image": "localhost:5000/hello",
                "env": [{ "name": "GREETING", "value": "hi" }],
                "resources": { "limits": { "cpu": "1000m", "memory": "512Mi" }, "cpuIdle": true },
                "ports": [{ "name": "http1", "containerPort": 8080 }],
                "startupProbe": {
                    "timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1, "tcpSocket": { "port": 8080 }
                }
            }]
        },
        "traffic": [{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100 }],
        "trafficStatuses": [
            { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "revision": format!("hello-0000{number}-abc"), "percent": 100 }
        ],
        "terminalCondition": condition("Ready"),
        "conditions": [condition("ConfigurationsReady"), condition("RoutesReady")],
        "latestReadyRevision": revision,
        "latestCreatedRevision": revision,
        "urls": ["http://hello-123.us-central1.run.localhost:8080"],
        "uri": "http://hello-123.us-central1.run.localhost:8080"
    })
}

/// `value` with the fields of `changes` in their place.
fn with(mut value: Value, changes: Value) -> Value {
    let fields = value.as_object_mut().unwrap();
    if let Value::Object(changes) = changes {
        fields.extend(changes);
    }
    value
}

fn any(kind: &str, message: Value) -> Value {
    with(message, json!({ "@type": format!("type.googleapis.com/google.cloud.run.v2.{kind}") }))
}

/// An operation on `metadata` that goes on.
fn running(metadata: Value) -> Value {
    json!({ "name": OPERATION, "metadata": any("Service", metadata) })
}

/// An operation that has ended well.
fn done(service: Value) -> Value {
    let service = any("Service", service);
    json!({ "name": OPERATION, "metadata": service, "done": true, "response": service })
}

const OPERATION: &str = "projects/demo-project/locations/us-central1/operations/op-1";
const WAIT: &str = "POST /operations/op-1:wait";

/// Where the v1 object of a service is read.
const GET_OBJECT: &str = "GET /v1/projects/demo-project/locations/us-central1/services/hello";

/// The v1 object of a service, as the server answers it.
fn object(service: &Value) -> Value {
    let message = updraft_api::json::from_json(service, "").unwrap();
    updraft_api::v1::service_json(&updraft_api::v1::Stored::of(message))
}
