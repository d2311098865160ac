//! Liveness and readiness of a running container, for real.

use super::{
    host::{Host, containers_run_here, eventually},
    images,
    sidecars::replace,
};

const MANIFEST: &str = "apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: patient
  annotations: {run.googleapis.com/invoker-iam-disabled: 'true'}
spec:
  template:
    metadata:
      annotations: {autoscaling.knative.dev/maxScale: '1'}
    spec:
      containers:
      - name: app
        image: localhost/witness:latest
        livenessProbe: {httpGet: {path: /health/live}, periodSeconds: 1, failureThreshold: 2}
        readinessProbe: {httpGet: {path: /health/ready}, periodSeconds: 1, failureThreshold: 2, successThreshold: 3}
";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ready_gets_no_requests_until_it_is_and_what_is_not_alive_is_replaced() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&["--freeze-after", "never"]);
    host.load(&images::witness("witness"));
    let said = replace(&host, MANIFEST);
    assert_eq!(said.code, 0, "{said:?}");
    let (client, name) = (reqwest::Client::new(), host.host_of("patient", None));
    let has = |text: &str| host.ok(&["services", "logs", "read", "patient", "--limit", "200"]).contains(text);
    let unready = async || host.metric(&client, "updraft_unready_instances ").await;
    let first = host.process(&client, &name).await;

    // A request that it has goes on; one that comes waits until it is ready again, for there may be no other.
    assert_eq!(host.get(&client, &name, "/break/ready/8000").await.0, 200);
    let under_way = host.get(&client, &name, "/slow/4000");
    let new = async {
        eventually("it is not ready", || async { unready().await == 1.0 }).await;
        let process = host.process(&client, &name).await;
        (process, unready().await)
    };
    let ((status, body), (second, left)) = tokio::join!(under_way, new);
    assert_eq!((status, body.split_whitespace().nth(1)), (200, Some(&*first)));
    assert_eq!((second, left), (first.clone(), 0.0), "it was not restarted for it");
    let not_ready = "READINESS HTTP probe failed 2 times consecutively for container \"app\" on port 8080 path \
                     \"/health/ready\". The instance gets no new requests until it succeeds again. HTTP probe failed with \
                     status code 500.";
    let ready = "READINESS HTTP probe succeeded after ";
    eventually("both are in the log", || async { has(not_ready) && has(ready) }).await;

    // One that is not alive is killed with the request that it has.
    let under_way = host.get(&client, &name, "/slow/60000");
    let breaking = host.get(&client, &name, "/break/live");
    let ((status, _), (broken, _)) = tokio::join!(under_way, breaking);
    assert_eq!((status, broken), (503, 200));
    assert_ne!(host.process(&client, &name).await, first, "another one has come");
    let not_alive = "LIVENESS HTTP probe failed 2 times consecutively for container \"app\" on port 8080 path \
                     \"/health/live\". The instance has been shut down. HTTP probe failed with status code 500.";
    eventually("it is in the log", || async { has(not_alive) }).await;
    let killed = "updraft_completed_probes_total{kind=\"liveness\",result=\"failure\"}";
    assert_eq!(host.metric(&client, killed).await, 1.0);
    assert_eq!(host.stop().0, 0);
}
