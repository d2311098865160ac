//! Both wires against the real control plane: what a client sends, and what it reads.

#[path = "wire/access.rs"]
mod access;
#[path = "wire/around.rs"]
mod around;
#[path = "wire/audit.rs"]
mod audit;
#[path = "wire/logs.rs"]
mod logs;
#[path = "wire/made.rs"]
mod made;
#[path = "wire/scheduler.rs"]
mod scheduler;
#[path = "wire/secrets.rs"]
mod secrets;
#[path = "wire/tokens.rs"]
mod tokens;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use googleapis_tonic_google_cloud_run_v2::google::cloud::run::v2 as run;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use prost::Message;
use serde_json::{Value, json};
use tokio::sync::watch;
use updraft_apiserver::{Api, ApiDeps, CallRates, ServerInfo};
use updraft_base::{Clock, OnFailure, Tasks};
use updraft_control::{Control, ControlConfig, ControlDeps};
use updraft_engine::FakeEngine;
use updraft_identity::{AuthMode, Authenticator, KeySource, Sealing, Tokens};
use updraft_model::{
    Parent,
    channel::{LogLine, LogSource},
    instance::Stream,
};
use updraft_oci::{ImageStore, ImageStoreConfig};
use updraft_plan::rate::Rate;
use updraft_store::MemoryStore;
use updraft_telemetry::{LogConfig, LogStore, Metrics};

const SERVICES: &str = "/v2/projects/demo-project/locations/us-central1/services";

/// A server without a fleet and without a proxy: the API alone.
struct Server {
    api: Api,
    tasks: Tasks,
    logs: LogStore,
    dir: tempfile::TempDir,
    // The other ends of the control plane's channels.
    _ends: Box<dyn Send + Sync>,
}

impl Server {
    async fn start(mode: AuthMode) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), mode).await
    }

    async fn start_in(dir: tempfile::TempDir, mode: AuthMode) -> Self {
        Self::start_at(Clock::system(), dir, mode).await
    }

    async fn start_at(clock: Clock, dir: tempfile::TempDir, mode: AuthMode) -> Self {
        let tasks = Tasks::new();
        let images = ImageStore::open(ImageStoreConfig::new(dir.path().join("images")), clock.clone()).expect("opens");
        let (book, health, routes) =
            (watch::channel(Arc::default()), watch::channel(Arc::default()), watch::channel(Arc::default()));
        let accounts = watch::channel(Arc::default());
        let control = Control::start(ControlDeps {
            store: Arc::new(MemoryStore::new()),
            images: images.clone(),
            engine: FakeEngine::new(clock.clone()),
            sealer: Arc::new(Sealing::open_or_make(KeySource::default_of(dir.path())).expect("is made")),
            clock: clock.clone(),
            tasks: tasks.clone(),
            config: ControlConfig::default(),
            book: book.0,
            health: health.1,
            routes: routes.0,
            accounts: accounts.0,
            schedules: watch::channel(Arc::default()).0,
            task_book: watch::channel(Arc::default()).0,
            task_ends: tokio::sync::mpsc::channel(16).1,
            deleted: tokio::sync::mpsc::channel(16).0,
        })
        .await
        .expect("starts");
        let mut metrics = Metrics::new(&clock);
        let logs =
            LogStore::open(&dir.path().join("logs"), LogConfig::default(), &mut metrics, clock.clone()).expect("opens");
        let rates = CallRates { writes: Rate::per_minute(60), ..CallRates::default() };
        let tokens = Tokens::open(dir.path(), "http://127.0.0.1:8080", accounts.1, clock.clone()).expect("opens");
        let deps = ApiDeps {
            control,
            auth: Authenticator::open(mode, dir.path()).expect("opens").with_tokens(tokens.clone()),
            tokens,
            logs: logs.clone(),
            images,
            info: ServerInfo {
                version: "1".to_owned(),
                default_project: "demo-project".to_owned(),
                default_location: "us-central1".to_owned(),
                registry: None,
                tls: None,
                service_domain: "run.localhost".to_owned(),
            },
            metrics: Arc::new(metrics),
            backups: None,
            scratch: dir.path().to_owned(),
            authority: None,
            clock: clock.clone(),
            shutdown: tasks.shutdown().clone(),
        };
        let api = Api::with_rates(deps, rates).expect("the descriptors are sound");
        Self { api, tasks, logs, dir, _ends: Box::new((book.1, health.0, routes.1)) }
    }

    /// Lines of the service `hello`, a millisecond apart.
    async fn write_logs(&self, lines: &[&str]) {
        let (sender, receiver) = tokio::sync::mpsc::channel(lines.len());
        let now = Clock::system().now();
        for (index, text) in lines.iter().enumerate() {
            let line = LogLine {
                time: now + Duration::from_millis(index as u64),
                owner: Parent::new("demo-project", "us-central1").service("hello").revision("hello-00001-abc").into(),
                instance: None,
                container: None,
                source: LogSource::Container(Stream::Stdout),
                text: (*text).to_owned(),
                receipt: updraft_model::receipt::Receipt::default(),
            };
            sender.send(line).await.expect("room");
        }
        drop(sender);
        self.logs.clone().run(receiver).await;
    }

    /// For a call that needs no body; the answer's status and message.
    async fn refusal(&self, method: Method, path: &str) -> (StatusCode, String) {
        let (status, body) = self.ask(method, path, Value::Null).await;
        (status, body["error"]["message"].as_str().unwrap_or_default().to_owned())
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> (StatusCode, Value) {
        let answer = self.api.call(request).await;
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("whole").to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        (status, serde_json::from_slice(&body).unwrap_or(Value::String(text)))
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() { Full::default() } else { Full::from(body.to_string()) };
        self.send(Request::builder().method(method).uri(path).body(body).expect("valid")).await
    }

    /// Listens on loopback, for clients that want a connection.
    async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let (api, tasks) = (self.api.clone(), self.tasks.clone());
        self.tasks.spawn("listener", OnFailure::Log, async move {
            loop {
                let connection = tokio::select! {
                    accepted = listener.accept() => accepted.expect("accepts").0,
                    () = tasks.shutdown().asked() => return,
                };
                let (api, shutdown) = (api.clone(), tasks.shutdown().clone());
                tasks.spawn("connection", OnFailure::Log, async move {
                    let service = hyper::service::service_fn(move |request| {
                        let api = api.clone();
                        async move { Ok::<_, std::convert::Infallible>(api.call(request).await) }
                    });
                    let builder = Builder::new(TokioExecutor::new());
                    tokio::select! {
                        _ = builder.serve_connection(TokioIo::new(connection), service) => {}
                        () = shutdown.asked() => {}
                    }
                });
            }
        });
        address
    }
}

fn of_image() -> Value {
    json!({"template": {"containers": [{"image": "localhost/hello:v1"}]}})
}

#[tokio::test]
async fn a_service_is_created_read_listed_and_deleted_by_rest() {
    let server = Server::start(AuthMode::None).await;
    let (status, operation) = server.ask(Method::POST, &format!("{SERVICES}?serviceId=hello"), of_image()).await;
    assert_eq!(status, StatusCode::OK, "{operation:#}");
    assert!(
        operation["name"]
            .as_str()
            .expect("a name")
            .starts_with("projects/demo-project/locations/us-central1/operations/")
    );
    assert_eq!(operation["metadata"]["@type"], "type.googleapis.com/google.cloud.run.v2.Service");

    let (status, service) = server.ask(Method::GET, &format!("/run{SERVICES}/hello"), Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{service:#}");
    assert_eq!(service["ingress"], "INGRESS_TRAFFIC_ALL");
    assert_eq!(service["template"]["timeout"], "300s");
    assert_eq!(service["generation"], "1");

    let query = "$alt=json%3Benum-encoding%3Dint&pageSize=5";
    let (_, list) = server.ask(Method::GET, &format!("{SERVICES}?{query}"), Value::Null).await;
    assert_eq!(list["services"][0]["ingress"], 1);

    let path = format!("/v2/{}", operation["name"].as_str().expect("a name"));
    let (status, again) = server.ask(Method::GET, &path, Value::Null).await;
    assert_eq!((status, &again["name"]), (StatusCode::OK, &operation["name"]));
    let (status, waited) = server.ask(Method::POST, &format!("{path}:wait"), json!({"timeout": "0.01s"})).await;
    assert_eq!((status, &waited["name"]), (StatusCode::OK, &operation["name"]));

    let (status, deleted) = server.ask(Method::DELETE, &format!("{SERVICES}/hello"), Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{deleted:#}");
}

#[tokio::test]
async fn both_wires_reach_the_same_service() {
    let server = Server::start(AuthMode::None).await;
    let address = server.listen().await;
    let channel =
        tonic::transport::Channel::from_shared(address).expect("an address").connect().await.expect("connects");
    let mut client = run::services_client::ServicesClient::new(channel);
    let container = run::Container { image: "localhost/hello:v1".to_owned(), ..run::Container::default() };
    let template = run::RevisionTemplate { containers: vec![container], ..run::RevisionTemplate::default() };
    let request = run::CreateServiceRequest {
        parent: "projects/demo-project/locations/us-central1".to_owned(),
        service_id: "hello".to_owned(),
        service: Some(run::Service { template: Some(template), ..run::Service::default() }),
        validate_only: false,
    };
    let operation = client.create_service(request).await.expect("created").into_inner();
    let metadata = operation.metadata.expect("given");
    assert_eq!(metadata.type_url, "type.googleapis.com/google.cloud.run.v2.Service");
    let made = run::Service::decode(&metadata.value[..]).expect("a service");
    let (_, read) = server.ask(Method::GET, &format!("{SERVICES}/hello"), Value::Null).await;
    assert_eq!(read["uid"], made.uid);

    let name = "projects/demo-project/locations/us-central1/services/nobody".to_owned();
    let status = client.get_service(run::GetServiceRequest { name }).await.expect_err("missing");
    assert_eq!(status.code(), tonic::Code::NotFound);
    let details = updraft_api::rpc::Status::decode(status.details()).expect("details");
    assert_eq!(details.message, status.message());
    server.tasks.shutdown().ask();
}

#[tokio::test]
async fn what_is_wrong_is_named_with_its_field() {
    let server = Server::start(AuthMode::None).await;
    let (status, answer) = server
        .ask(Method::POST, &format!("{SERVICES}?serviceId=hello"), json!({"template": {"containers": [{"imag": "x"}]}}))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["error"]["status"], "INVALID_ARGUMENT");
    assert_eq!(answer["error"]["details"][0]["fieldViolations"][0]["field"], "service.template.containers[0]");
    let (status, answer) = server.ask(Method::POST, &format!("{SERVICES}?serviceId=Hello"), of_image()).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(400)));
    let (status, answer) = server.ask(Method::GET, &format!("{SERVICES}/nobody"), Value::Null).await;
    assert_eq!((status, &answer["error"]["status"]), (StatusCode::NOT_FOUND, &json!("NOT_FOUND")));
    let (status, _) = server.ask(Method::PUT, &format!("{SERVICES}/nobody"), Value::Null).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    let (status, answer) = server.ask(Method::GET, "/v2/nowhere", Value::Null).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::NOT_FOUND, &json!(404)));
}

#[tokio::test]
async fn locations_and_policies_are_there() {
    let server = Server::start(AuthMode::None).await;
    for version in ["v1", "v2"] {
        let (status, answer) =
            server.ask(Method::GET, &format!("/{version}/projects/demo-project/locations"), Value::Null).await;
        assert_eq!(
            (status, &answer["locations"][0]["locationId"]),
            (StatusCode::OK, &json!("us-central1")),
            "{answer:#}"
        );
    }
    server.ask(Method::POST, &format!("{SERVICES}?serviceId=hello"), of_image()).await;
    let policy = json!({"policy": {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}});
    let (status, set) = server.ask(Method::POST, &format!("{SERVICES}/hello:setIamPolicy"), policy).await;
    assert_eq!(status, StatusCode::OK, "{set:#}");
    let path = format!("{SERVICES}/hello:getIamPolicy?options.requestedPolicyVersion=3");
    let (_, got) = server.ask(Method::GET, &path, Value::Null).await;
    assert_eq!(got["bindings"][0]["members"], json!(["allUsers"]));
}

#[tokio::test]
async fn with_a_token_nobody_gets_in_without_it() {
    let server = Server::start(AuthMode::Token).await;
    for path in [&format!("{SERVICES}/hello"), "/updraft/v1/info", "/metrics"] {
        let (status, answer) = server.ask(Method::GET, path, Value::Null).await;
        assert_eq!(
            (status, &answer["error"]["status"]),
            (StatusCode::UNAUTHORIZED, &json!("UNAUTHENTICATED")),
            "{path}"
        );
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.ask(Method::GET, path, Value::Null).await, (StatusCode::OK, json!("ok\n")), "{path}");
    }
    let token = std::fs::read_to_string(updraft_identity::token_path(server.dir.path())).expect("written");
    let request = Request::get("/updraft/v1/info").header(header::AUTHORIZATION, format!("Bearer {}", token.trim()));
    let (status, info) = server.send(request.body(Full::default()).expect("valid")).await;
    assert_eq!((status, &info["serviceDomain"]), (StatusCode::OK, &json!("run.localhost")));
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_over_either_version_of_http() {
    let server = Server::start(AuthMode::None).await;
    let with_origin = |uri: &str, origin: &str| {
        Request::get(uri).header(header::ORIGIN, origin).body(Full::default()).expect("valid")
    };
    let (status, _) = server.send(with_origin("http://localhost:8080/updraft/v1/info", "http://evil.example")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    // As HTTP/2 has it: an authority and no `Host`.
    let (status, _) = server.send(with_origin("http://localhost:8080/updraft/v1/info", "http://localhost:8080")).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn logs_and_images_say_what_they_need() {
    let server = Server::start(AuthMode::None).await;
    let (status, answer) = server.ask(Method::GET, "/updraft/v1/logs", Value::Null).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["error"]["details"][0]["fieldViolations"][0]["field"], "service");
    for (query, field) in [
        ("service=Hello", "service"),
        ("service=hello&limit=0", "limit"),
        ("service=hello&limit=many", "limit"),
        ("service=hello&follow=perhaps", "follow"),
        ("service=hello&location=..%2F..", "location"),
        ("service=hello&project=..%2F..:demo-project", "project"),
    ] {
        let (status, answer) = server.ask(Method::GET, &format!("/updraft/v1/logs?{query}"), Value::Null).await;
        let named = &answer["error"]["details"][0]["fieldViolations"][0]["field"];
        assert_eq!((status, named), (StatusCode::BAD_REQUEST, &json!(field)), "{query}");
    }
    let (status, answer) = server.ask(Method::GET, "/updraft/v1/logs?service=hello&limit=5", Value::Null).await;
    assert_eq!((status, answer), (StatusCode::OK, json!("")));
    let (status, answer) = server.ask(Method::GET, "/updraft/v1/images", Value::Null).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"images": []})));
    let (status, _) = server.ask(Method::DELETE, "/updraft/v1/images?name=localhost/nobody:v1", Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, answer) = server.ask(Method::POST, "/updraft/v1/images:load?name=x:v1", json!("no archive")).await;
    assert_eq!(
        (status, &answer["error"]["status"]),
        (StatusCode::BAD_REQUEST, &json!("INVALID_ARGUMENT")),
        "{answer:#}"
    );
    let left = std::fs::read_dir(server.dir.path()).expect("readable").filter_map(Result::ok);
    assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().starts_with("upload-")));
}

#[tokio::test]
async fn uploads_that_a_crash_left_behind_are_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["upload-abc.tar", "upload.txt"] {
        std::fs::write(dir.path().join(name), "x").expect("writes");
    }
    let server = Server::start_in(dir, AuthMode::None).await;
    assert!(!server.dir.path().join("upload-abc.tar").exists());
    assert!(server.dir.path().join("upload.txt").exists());
}

#[tokio::test]
async fn who_writes_too_often_is_told_when_to_try_again_by_either_wire() {
    let server = Server::start(AuthMode::None).await;
    let mut told = (StatusCode::OK, Value::Null);
    for _ in 0..200 {
        told = server.ask(Method::DELETE, &format!("{SERVICES}/nobody"), Value::Null).await;
        if told.0 != StatusCode::NOT_FOUND {
            break;
        }
    }
    let (status, answer) = told;
    assert_eq!((status, &answer["error"]["status"]), (StatusCode::TOO_MANY_REQUESTS, &json!("RESOURCE_EXHAUSTED")));
    assert!(answer.to_string().contains("google.rpc.RetryInfo"), "{answer:#}");
    let (status, _) = server.ask(Method::GET, &format!("{SERVICES}/nobody"), Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "reads have a bucket of their own");

    let channel = tonic::transport::Channel::from_shared(server.listen().await).expect("an address");
    let mut client = run::services_client::ServicesClient::new(channel.connect().await.expect("connects"));
    let name = "projects/demo-project/locations/us-central1/services/nobody".to_owned();
    let request = run::DeleteServiceRequest { name, ..run::DeleteServiceRequest::default() };
    let mut codes = std::collections::HashSet::new();
    for _ in 0..200 {
        codes.insert(client.delete_service(request.clone()).await.expect_err("there is none").code());
    }
    assert!(codes.contains(&tonic::Code::ResourceExhausted), "{codes:?}");
    server.tasks.shutdown().ask();
}

#[tokio::test]
async fn a_backup_is_for_who_is_known_and_only_where_there_are_files() {
    let closed = Server::start(AuthMode::Token).await;
    assert_eq!(closed.refusal(Method::GET, "/updraft/v1/backup").await.0, StatusCode::UNAUTHORIZED);
    let server = Server::start(AuthMode::None).await;
    let (status, message) = server.refusal(Method::GET, "/updraft/v1/backup?logs=perhaps").await;
    assert!(status == StatusCode::BAD_REQUEST && message.contains("logs"), "{status} {message}");
    assert_eq!(server.refusal(Method::POST, "/updraft/v1/backup").await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(server.refusal(Method::GET, "/updraft/v1/backup").await.0, StatusCode::NOT_IMPLEMENTED);
}

#[tokio::test]
async fn paths_of_ours_have_the_rates_of_the_api() {
    let server = Server::start(AuthMode::None).await;
    let mut last = StatusCode::OK;
    for _ in 0..300 {
        (last, _) = server.ask(Method::DELETE, "/updraft/v1/images?name=localhost/nobody:v1", Value::Null).await;
        if last != StatusCode::NOT_FOUND {
            break;
        }
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS, "60 a minute");
    let (status, _) = server.ask(Method::GET, "/updraft/v1/images", Value::Null).await;
    assert_eq!(status, StatusCode::OK, "reads have a bucket of their own");
}

/// A body of which nothing comes.
struct Silent;

impl http_body::Body for Silent {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn few_archives_are_loaded_at_a_time() {
    let server = Server::start(AuthMode::None).await;
    let load = || {
        let request = http::Request::post("/updraft/v1/images:load?name=x:v1").body(Silent).expect("sound");
        Box::pin(server.api.call(request))
    };
    let mut under_way: Vec<_> = (0..4).map(|_| load()).collect();
    for call in &mut under_way {
        assert!(futures::poll!(call.as_mut()).is_pending());
    }
    // More than one look: the record of the refusal is written first.
    let refused = || async {
        let refused = Clock::system().timeout(Duration::from_secs(10), load()).await.expect("it is not taken as well");
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    };
    refused().await;
    // Each that ends makes room, for one.
    drop(under_way.pop());
    let mut next = load();
    assert!(futures::poll!(next.as_mut()).is_pending());
    refused().await;
    assert!(futures::poll!(next.as_mut()).is_pending(), "it was taken: a refusal would be written by now");
}
