//! Secrets over the binary: what is on the disk, a change of keys under load and over kill -9, a backup, a wrong key.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::host::{Host, UPDRAFT, run};

/// Nothing here runs a container, so nothing here needs root.
const FLAGS: [&str; 4] = ["--isolation", "none", "--sandboxes", "0"];
/// How many secrets a change of keys has to do with.
const SECRETS: usize = 12;
/// How often it is cut off.
const KILLS: usize = 6;

fn start_in(dir: TempDir) -> Host {
    Host::start_in(dir, &FLAGS)
}

/// Writes a value to a file and adds it to a secret.
fn add(host: &Host, secret: &str, value: &str) {
    let file = host.data_dir().with_file_name(format!("{secret}.value"));
    fs::write(&file, value).expect("writable");
    host.ok(&["secrets", "versions", "add", secret, "--data-file", file.to_str().expect("UTF-8")]);
    fs::remove_file(&file).expect("ours");
}

fn access(host: &Host, secret: &str) -> String {
    host.ok(&["secrets", "versions", "access", "latest", "--secret", secret])
}

/// The files below `dir` that have one of `needles` in them.
fn having(dir: &Path, needles: &[&str], found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("readable").map(|entry| entry.expect("readable")) {
        let kind = entry.file_type().expect("known");
        if kind.is_dir() {
            having(&entry.path(), needles, found);
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            let has = |needle: &&str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            if needles.iter().any(has) {
                found.push(entry.path().display().to_string());
            }
        }
    }
}

fn key_file(data: &Path) -> std::path::PathBuf {
    data.join("keys/installation.key")
}

/// What a server says that cannot start on this directory.
fn refused(dir: &Path) -> (Option<i32>, String) {
    let mut serve = Command::new(UPDRAFT);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0", "--log", "error"]).args(FLAGS);
    let output = serve.arg("--data-dir").arg(dir).stdin(Stdio::null()).output().expect("the binary starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_data_directory_has_no_value_in_it_and_nothing_opens_without_the_key() {
    let host = Host::start(&FLAGS);
    host.ok(&["secrets", "create", "db"]);
    let value = format!("hunter2-{}", "x".repeat(5000));
    add(&host, "db", &value);
    assert_eq!(access(&host, "db"), value);
    host.ok(&["secrets", "versions", "disable", "1", "--secret", "db"]);
    host.ok(&["secrets", "versions", "enable", "1", "--secret", "db"]);
    // While it runs, its log of writes included, and after it was killed. In base64 it would begin like the second.
    let needles = ["hunter2", "aHVudGVyMi"];
    let look = |data: &Path| {
        let mut found = Vec::new();
        having(data, &needles, &mut found);
        assert!(found.is_empty(), "the value is in {found:?}");
    };
    assert!(host.data_dir().join("state.db-wal").exists(), "writes are in it first");
    look(&host.data_dir());
    let dir = host.kill();
    let data = dir.path().join("data");
    look(&data);
    let key = fs::read(key_file(&data)).expect("the key is beside it");
    fs::remove_file(key_file(&data)).expect("ours");
    let (code, said) = refused(&data);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.starts_with("error: cannot read the installation key ") && said.contains("hint: put the file back"),
        "{said}"
    );
    assert!(!key_file(&data).exists(), "no other key is made in its place");
    // Another key is no key.
    let other = Host::start(&FLAGS);
    fs::copy(key_file(&other.data_dir()), key_file(&data)).expect("copied");
    let (code, said) = refused(&data);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("1 stored values of secrets are sealed with the key ") && !said.contains("hunter2"),
        "{said}"
    );
    fs::write(key_file(&data), key).expect("ours");
    let host = start_in(dir);
    assert_eq!(access(&host, "db"), value);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_keys_under_load_fails_no_reader_and_survives_kill_9_at_any_moment() {
    let mut host = Host::start(&FLAGS);
    let names: Vec<String> = (0..SECRETS).map(|number| format!("s{number}")).collect();
    for name in &names {
        host.ok(&["secrets", "create", name]);
        for version in 0..3 {
            add(&host, name, &format!("{name}-{version}"));
        }
    }
    let client = reqwest::Client::new();
    for kill in 0..KILLS {
        let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let url = format!("http://{}/v1/projects/demo-project/secrets/s{kill}/versions/latest:access", host.address);
        let (mut reader, mut rotation) = (JoinSet::new(), JoinSet::new());
        {
            let (stop, reads, client) = (stop.clone(), reads.clone(), client.clone());
            reader.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    // Only that the server is gone is no failure.
                    let Ok(answer) = client.get(&url).send().await else { return };
                    let status = answer.status();
                    let Ok(text) = answer.text().await else { return };
                    assert!(status.is_success(), "{text}");
                    reads.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        rotation.spawn(client.post(format!("http://{}/updraft/v1/secrets:rotateKey", host.address)).send());
        // The first goes to its end, each of the others is cut off a little later than the one before.
        if kill == 0 {
            let answer = rotation.join_next().await.expect("there is one").expect("no panic").expect("an answer");
            let done: Value = answer.json().await.expect("JSON");
            assert_eq!((&done["values"], &done["resealed"]), (&Value::from(36), &Value::from(36)), "{done:#}");
            assert!(reads.load(Ordering::SeqCst) > 0, "somebody read meanwhile");
            stop.store(true, Ordering::SeqCst);
        } else {
            let written = key_file(&host.data_dir());
            let clock = updraft_base::Clock::system();
            let deadline = clock.instant() + super::host::PATIENCE;
            while fs::read_to_string(&written).expect("always whole").lines().count() <= kill {
                assert!(clock.instant() < deadline, "no new key is written");
                clock.sleep(std::time::Duration::from_millis(1)).await;
            }
            clock.sleep(std::time::Duration::from_millis(2 * kill as u64)).await;
            host = start_in(host.kill());
        }
        reader.join_next().await.expect("there is one").expect("no reader was refused");
        for name in &names {
            assert_eq!(access(&host, name), format!("{name}-2"), "after {kill} kills");
        }
    }
    let done: Value = client
        .post(format!("http://{}/updraft/v1/secrets:rotateKey", host.address))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(done["values"], 36, "{done:#}");
    // Every value has the newest key by now: with that alone the server starts.
    let (code, dir) = host.stop();
    assert_eq!(code, 0);
    let key = key_file(&dir.path().join("data"));
    let keys = fs::read_to_string(&key).expect("readable");
    fs::write(&key, keys.lines().next().expect("the newest")).expect("ours");
    let host = start_in(dir);
    for name in &names {
        assert_eq!(access(&host, name), format!("{name}-2"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_has_the_secrets_and_not_the_key() {
    let host = Host::start(&FLAGS);
    host.ok(&["secrets", "create", "db"]);
    add(&host, "db", "hunter2-hunter2");
    let folder = TempDir::with_prefix("updraft-it-").expect("a directory");
    let backup = folder.path().join("backup");
    host.ok(&["backup", backup.to_str().expect("UTF-8")]);
    let new = TempDir::with_prefix("updraft-it-").expect("a directory");
    let data = new.path().join("data");
    run(Command::new(UPDRAFT).arg("restore").arg(&backup).arg("--data-dir").arg(&data));
    assert!(!key_file(&data).exists());
    let (code, said) = refused(&data);
    assert!(code == Some(2) && said.contains("hint: put the file back"), "{said}");
    fs::create_dir(data.join("keys")).expect("writable");
    fs::copy(key_file(&host.data_dir()), key_file(&data)).expect("copied");
    drop(host);
    assert_eq!(access(&start_in(new), "db"), "hunter2-hunter2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_from_a_variable_or_a_credential_seals_and_is_not_ours_to_change() {
    let folder = TempDir::with_prefix("updraft-it-").expect("a directory");
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    fs::write(folder.path().join("updraft-key"), key).expect("writable");
    let credentials = ("CREDENTIALS_DIRECTORY", folder.path().to_str().expect("UTF-8").to_owned());
    for (source, variable) in
        [("env:UPDRAFT_TEST_KEY", ("UPDRAFT_TEST_KEY", key.to_owned())), ("credential:updraft-key", credentials)]
    {
        let flags = [&FLAGS[..], &["--installation-key", source]].concat();
        let dir = TempDir::with_prefix("updraft-it-").expect("a directory");
        let host = Host::start_with(dir, &flags, std::slice::from_ref(&variable));
        host.ok(&["secrets", "create", "db"]);
        add(&host, "db", "hunter2");
        assert!(!host.data_dir().join("keys").exists(), "{source}");
        let said = host.updraft(&["secrets", "rotate-key"]);
        assert!(said.code == 1 && said.stderr.contains("not the server's to write"), "{said:?}");
        let host = Host::start_with(host.kill(), &flags, &[variable]);
        assert_eq!(access(&host, "db"), "hunter2");
    }
}
