//! Several containers in an instance, from a manifest to an answer.

use std::fs;

use tempfile::TempDir;

use super::{
    host::{Host, Said, containers_run_here, eventually, eventually_shown},
    images,
};

/// A proxy that takes the traffic in front of an application, which share a volume. The proxy ends when the application
/// does not listen when it starts; the application has so many seconds for that. It is the second, so that no place in
/// the list means anything.
fn manifest(app: &str, seconds: u32) -> String {
    format!(
        "apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: pair
  annotations: {{run.googleapis.com/invoker-iam-disabled: 'true'}}
spec:
  template:
    metadata:
      annotations: {{run.googleapis.com/container-dependencies: '{{\"proxy\": [\"app\"]}}'}}
    spec:
      containers:
      - name: app
        image: localhost/witness:latest
        args: {app}
        env: [{{name: ANSWER, value: from the app}}]
        startupProbe: {{tcpSocket: {{port: 9000}}, periodSeconds: 1, failureThreshold: {seconds}}}
        volumeMounts: [{{name: shared, mountPath: /data}}]
      - name: proxy
        image: localhost/witness:latest
        args: [proxy, 'app:9000']
        ports: [{{containerPort: 8080}}]
        volumeMounts: [{{name: shared, mountPath: /srv/shared}}]
      volumes:
      - name: shared
        emptyDir: {{medium: Memory, sizeLimit: 1Mi}}
"
    )
}

pub(super) fn replace(host: &Host, manifest: &str) -> Said {
    let dir = TempDir::new().expect("a temporary directory");
    let file = dir.path().join("service.yaml");
    fs::write(&file, manifest).expect("writable");
    host.updraft(&["services", "replace", &file.display().to_string(), "--quiet"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_serves_what_the_application_beside_it_says_and_they_live_and_die_together() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    host.load(&images::witness("witness"));
    let said = replace(&host, &manifest("[note, /data/note, written by the app, '9000']", 60));
    assert_eq!(said.code, 0, "{said:?}");
    let (client, name) = (reqwest::Client::new(), host.host_of("pair", None));
    let get = async |path: &str| host.get(&client, &name, path).await;
    assert_eq!(get("/").await, (200, "from the app".to_owned()));
    assert_eq!(get("/own/file/srv/shared/note").await, (200, "written by the app".to_owned()));
    assert_eq!(get("/own/connect/127.0.0.1:9000").await, (200, "yes".to_owned()));
    // Only the container that takes the traffic is told a port; both know whose they are.
    assert_eq!(get("/own/env/PORT").await, (200, "8080".to_owned()));
    assert_eq!(get("/env/PORT").await.0, 404);
    assert_eq!(get("/env/K_SERVICE").await, (200, "pair".to_owned()));
    let of_app = async || get("/slow/0").await.1.split_whitespace().nth(1).map(str::to_owned);
    let first = of_app().await.expect("a name");

    // The end of the application is the end of the proxy, too.
    assert_ne!(get("/exit/3").await.0, 200);
    eventually("another instance serves", || async { of_app().await.is_some_and(|name| name != first) }).await;
    eventually_shown("both are in the log, each by its name", async || {
        let log = host.ok(&["services", "logs", "read", "pair", "--limit", "200", "--format", "json"]);
        let parts = ["\"container_name\": \"app\"", "\"container_name\": \"proxy\"", "ended, and with it the instance"];
        if parts.iter().all(|part| log.contains(part)) { Ok(()) } else { Err(log) }
    })
    .await;
    let described = host.ok(&["services", "describe", "pair"]);
    assert!(described.contains("Container app") && described.contains("Container proxy"), "{described}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_does_not_start_fails_the_deploy_by_its_name() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    host.load(&images::witness("witness"));
    let start = "The user-provided container 'app' failed to start.";
    let probe = "The user-provided container 'app' failed the configured startup probe checks.";
    for (app, says) in [
        ("[exit, '7', no such table]", [start, "Container 'app': Container called exit(7).", "no such table"]),
        ("[read, /absent]", [start, "Container 'app': ", "/absent"]),
        (
            "[listen, '0.0.0.0:9001']",
            [probe, "It listens on 0.0.0.0:9001, and nothing listens on port 9000.", "listening"],
        ),
    ] {
        let said = replace(&host, &manifest(app, 3));
        assert_ne!(said.code, 0, "{said:?}");
        for part in says {
            assert!(said.stderr.contains(part), "{part}: {said:?}");
        }
    }
    let doctor = host.ok(&["services", "doctor", "pair"]);
    assert!(doctor.contains("Container 'app'"), "{doctor}");
}
