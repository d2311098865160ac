//! A data directory without space.

use std::path::{Path, PathBuf};

use reqwest::{Client, StatusCode};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    host::{Host, containers_run_here, eventually},
    images,
};

/// A small file system, taken away with its directory.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir(at).expect("writable");
        let options = c"size=48m,mode=0700";
        mount("tmpfs", at, "tmpfs", MountFlags::NODEV, options).expect("root may mount");
        Self(at.to_owned())
    }

    /// Takes all the space there is.
    fn fill(&self) {
        let chunk = vec![0; 64 << 10];
        let mut file = std::fs::File::create(self.ballast()).expect("writable");
        while std::io::Write::write_all(&mut file, &chunk).is_ok() {}
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// Writes a description of the service; the status and what the server said.
async fn describe(client: &Client, host: &Host, text: &str) -> (StatusCode, Value) {
    let path = "v2/projects/demo-project/locations/us-central1/services/small?updateMask=description";
    let request = client.patch(format!("http://{}/{path}", host.address)).header("content-type", "application/json");
    let answer = request.body(json!({"description": text}).to_string()).send().await.expect("an answer");
    (answer.status(), serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_changes_are_refused_services_answer_and_space_mends_it() {
    if !containers_run_here() {
        return;
    }
    let dir = TempDir::with_prefix("updraft-it-").expect("a temporary directory");
    let small = Small::mount(&dir.path().join("data"));
    let host = Host::start_in(dir, &[]);
    host.load(&images::witness("small"));
    host.ok(&["deploy", "small", "--image", "localhost/small:latest", "--allow-unauthenticated", "--quiet"]);
    let name = host.host_of("small", None);
    let client = Client::new();
    small.fill();
    let mut refused = None;
    for round in 0..2000 {
        let (status, said) = describe(&client, &host, &format!("{round} {}", "x".repeat(400))).await;
        if status != StatusCode::OK {
            refused = Some((status, said));
            break;
        }
    }
    let (status, said) = refused.expect("the space is used up");
    assert_eq!((status, &said["error"]["status"]), (StatusCode::TOO_MANY_REQUESTS, &json!("RESOURCE_EXHAUSTED")));
    assert_eq!(said["error"]["message"], "The disk of the server is full: nothing was changed.");
    let before = host.describe("small");
    assert_eq!(host.get(&client, &name, "/").await.0, 200, "requests need no disk");
    assert_eq!(describe(&client, &host, "again").await.0, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(host.describe("small")["metadata"]["generation"], before["metadata"]["generation"]);

    let backup = host.updraft(&["backup", "-"]);
    assert_eq!((backup.code, backup.stdout.as_str()), (1, ""));
    assert_eq!(backup.stderr, "error: The disk of the server is full: no backup was taken.\n");

    std::fs::remove_file(small.ballast()).expect("there");
    eventually("changes are taken again", async || describe(&client, &host, "after all").await.0 == StatusCode::OK)
        .await;
    host.ok(&["deploy", "small", "--image", "localhost/small:latest", "--update-env-vars", "ANSWER=more", "--quiet"]);
    assert_eq!(host.get(&client, &name, "/").await, (200, "more".to_owned()));
    let dir = host.kill();
    let host = Host::start_in(dir, &[]);
    assert_eq!(host.get(&client, &name, "/").await, (200, "more".to_owned()));
    let (code, dir) = host.stop();
    assert_eq!(code, 0);
    drop(small);
    drop(dir);
}
