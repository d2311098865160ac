//! Deploys that fail, and what is said about it.

use serde_json::Value;

use super::{
    host::{Host, containers_run_here},
    images,
};

const SENTENCE: &str = "failed to start and listen on the port defined provided by the PORT=8080 environment variable";

/// A service that works, so that there is something to lose.
async fn working(host: &Host, service: &str) -> String {
    host.load(&images::witness(service));
    let image = format!("localhost/{service}:latest");
    host.ok(&["deploy", service, "--image", &image, "--allow-unauthenticated", "--quiet"]);
    let name = host.host_of(service, None);
    assert_eq!(host.get(&reqwest::Client::new(), &name, "/").await.0, 200);
    name
}

/// The operation of the last deploy, as the API tells it.
async fn last_failed_operation(host: &Host) -> Value {
    let url = format!("http://{}/v2/projects/demo-project/locations/us-central1/operations", host.address);
    let listed = reqwest::get(url).await.expect("an answer").text().await.expect("a body");
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let operations = listed["operations"].as_array().expect("operations").clone();
    operations.into_iter().find(|operation| operation["error"].is_object()).expect("a failed operation")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_exits_is_told_with_its_last_lines_and_the_old_revision_goes_on() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    let name = working(&host, "fragile").await;
    let before = host.describe("fragile")["status"]["latestReadyRevisionName"].clone();
    host.load(&images::witness_with("broken", &["exit", "7", "first line", "cannot open /etc/fragile.conf"]));
    let said = host.updraft(&["deploy", "fragile", "--image", "localhost/broken:latest", "--quiet"]);

    assert_ne!(said.code, 0, "{said:?}");
    let sentence = said.stderr.find(SENTENCE).unwrap_or_else(|| panic!("{said:?}"));
    let exit = said.stderr.find("exit(7)").unwrap_or_else(|| panic!("{said:?}"));
    let last = said.stderr.find("cannot open /etc/fragile.conf").unwrap_or_else(|| panic!("{said:?}"));
    assert!(sentence < last && sentence < exit, "Cloud Run's sentence comes first: {}", said.stderr);

    let described = host.describe("fragile");
    let conditions = described["status"]["conditions"].as_array().expect("conditions");
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").expect("Ready");
    assert_eq!(ready["status"], "False", "{described:#}");
    let message = ready["message"].as_str().expect("a message");
    assert!(message.contains(SENTENCE) && message.contains("cannot open /etc/fragile.conf"), "{message}");
    let operation = last_failed_operation(&host).await;
    assert_eq!(operation["error"]["code"], 9, "{operation:#}");
    assert!(operation["error"]["message"].as_str().is_some_and(|text| text.contains(SENTENCE)), "{operation:#}");

    assert_eq!(described["status"]["latestReadyRevisionName"], before);
    assert_eq!(host.get(&reqwest::Client::new(), &name, "/").await, (200, "ok".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_never_listens_is_told_once_its_probe_has_waited() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    let name = working(&host, "patient").await;
    host.load(&images::witness_with("deaf", &["deaf"]));
    let probe = "tcpSocket.port=8080,timeoutSeconds=1,periodSeconds=1,failureThreshold=2";
    let said =
        host.updraft(&["deploy", "patient", "--image", "localhost/deaf:latest", "--startup-probe", probe, "--quiet"]);
    assert_ne!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains(SENTENCE) && said.stderr.contains("I do not listen"), "{said:?}");
    assert_eq!(host.get(&reqwest::Client::new(), &name, "/").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_there_is_called_missing() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    let said = host.updraft(&["deploy", "ghost", "--image", "localhost/ghost:latest", "--quiet"]);
    assert_ne!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("localhost/ghost:latest") && said.stderr.contains("not found"), "{said:?}");
    let conditions = host.describe("ghost")["status"]["conditions"].to_string();
    assert!(conditions.contains("ContainerMissing") || conditions.contains("RevisionFailed"), "{conditions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_service_shows_cloud_runs_page() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    host.load(&images::witness("private"));
    host.ok(&["deploy", "private", "--image", "localhost/private:latest", "--no-allow-unauthenticated", "--quiet"]);
    let name = host.host_of("private", None);
    let (status, page) = host.get(&reqwest::Client::new(), &name, "/").await;
    assert_eq!(status, 403);
    assert!(page.contains("<h1>Error: Forbidden</h1>"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_takes_too_much_memory_ends_with_500_and_the_next_is_answered() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    let name = working(&host, "hungry").await;
    let client = reqwest::Client::new();
    let (status, page) = host.get(&client, &name, "/eat/700").await;
    assert_eq!(status, 500, "{page}");
    assert!(page.contains("using too much memory"), "{page}");
    assert_eq!(host.get(&client, &name, "/").await, (200, "ok".to_owned()));
    let log = host.ok(&["services", "logs", "read", "hungry"]);
    assert!(log.contains("Memory limit of 512 MiB exceeded with"), "{log}");
}
