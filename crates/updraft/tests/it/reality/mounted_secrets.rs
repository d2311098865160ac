//! Secrets of a service, from a version that is added to what a real container reads; and where no value is left.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Client;
use serde_json::{Value, json};

use super::{
    host::{Host, containers_run_here, eventually},
    images,
    sidecars::replace,
    traces::Traces,
};

const SECRETS: &str = "secretmanager/v1/projects/demo-project/secrets";
const RUNNER: &str = "runner@demo-project.iam.gserviceaccount.com";
/// Values that are nothing else.
const ONE: &str = "a-first-value-93f0b7";
const TWO: &str = "a-second-value-c2d418";

const MANIFEST: &str = "apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: keeper
  annotations: {run.googleapis.com/invoker-iam-disabled: 'true'}
spec:
  template:
    spec:
      serviceAccountName: runner@demo-project.iam.gserviceaccount.com
      containers:
      - image: localhost/witness:latest
        env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: db, key: latest}}}]
        volumeMounts: [{name: creds, mountPath: /secrets}]
      volumes:
      - name: creds
        secret: {secretName: db, items: [{key: latest, path: db/password}, {key: '1', path: first}]}
";

async fn post(host: &Host, path: &str, body: Value) {
    let request = Client::new().post(format!("http://{}/{path}", host.address));
    let answer = request.header("content-type", "application/json").body(body.to_string()).send().await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}: {}", answer.text().await.unwrap_or_default());
}

async fn add(host: &Host, value: &str) {
    let payload = json!({"payload": {"data": STANDARD.encode(value)}});
    post(host, &format!("{SECRETS}/db:addVersion"), payload).await;
}

fn holds(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    [ONE, TWO].iter().any(|value| text.contains(value) || text.contains(&STANDARD.encode(value)))
}

/// Neither a file of the server nor what anybody can see of its processes has a value.
fn assert_hidden(host: &Host) {
    fn walk(dir: &Path) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => walk(&entry.path()),
                Ok(kind) if kind.is_file() => {
                    let bytes = fs::read(entry.path()).unwrap_or_default();
                    assert!(!holds(&bytes), "in {}", entry.path().display());
                }
                _ => {}
            }
        }
    }
    walk(&host.data_dir());
    let launcher = fs::read_to_string(host.data_dir().join("run/launcher.lock")).expect("it is noted");
    for process in [host.pid().to_string(), launcher.trim().to_owned()] {
        for file in ["cmdline", "environ"] {
            let seen = fs::read(format!("/proc/{process}/{file}")).expect("it is there");
            assert!(!holds(&seen), "{file} of {process}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_reads_what_its_account_may_also_after_kill_9_and_no_value_is_left_anywhere() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    let traces = Traces::of(&host);
    host.load(&images::witness("witness"));
    post(&host, "v1/projects/demo-project/serviceAccounts", json!({"accountId": "runner"})).await;
    post(&host, &format!("{SECRETS}?secretId=db"), json!({"replication": {"automatic": {}}})).await;
    add(&host, ONE).await;
    let denied = replace(&host, MANIFEST);
    assert!(denied.code != 0 && denied.stderr.contains("Permission denied on secret"), "{denied:?}");
    let accessor =
        json!({"role": "roles/secretmanager.secretAccessor", "members": [format!("serviceAccount:{RUNNER}")]});
    post(&host, &format!("{SECRETS}/db:setIamPolicy"), json!({"policy": {"bindings": [accessor]}})).await;
    // What failed is failed; the next rollout looks again.
    let again = MANIFEST.replace(
        "    spec:\n      serviceAccountName",
        "    metadata: {annotations: {again: '1'}}\n    spec:\n      serviceAccountName",
    );
    let said = replace(&host, &again);
    assert_eq!(said.code, 0, "{said:?}");
    let (client, name) = (Client::new(), host.host_of("keeper", None));
    let body = async |host: &Host, client: &Client, path: &str| host.get(client, &name, path).await.1;
    assert_eq!(body(&host, &client, "/env/PASSWORD").await, ONE);
    assert_eq!(body(&host, &client, "/file/secrets/db/password").await, ONE);
    add(&host, TWO).await;
    eventually("the file follows", async || body(&host, &client, "/file/secrets/db/password").await == TWO).await;
    assert_eq!(body(&host, &client, "/file/secrets/first").await, ONE);
    assert_eq!(body(&host, &client, "/env/PASSWORD").await, ONE);
    assert_hidden(&host);

    let before = host.process(&client, &name).await;
    let host = Host::start_in(host.kill(), &[]);
    let client = Client::new();
    assert_eq!(host.process(&client, &name).await, before, "the same instance answers");
    add(&host, ONE).await;
    eventually("the file follows", async || body(&host, &client, "/file/secrets/db/password").await == ONE).await;
    assert_hidden(&host);
    let (code, _dir) = host.stop();
    assert_eq!((code, traces.left()), (0, Vec::new()));
}
