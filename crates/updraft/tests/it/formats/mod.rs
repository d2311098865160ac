//! Data directories of every format there was open for ever, and those of later ones are refused.
//!
//! `N.tar` holds a data directory of format N as a server of that time wrote it, on a host with other ports: two
//! revisions of the service `old`, the second tagged `next`, 25 % of the traffic pinned to it; everybody may call it.
//! The image runs `examples/tiny.rs`. `1.tar` was written by the server of commit 147581f.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::reality::host::{Host, UPDRAFT, containers_run_here, run};

const ALL: &[(u32, &[u8])] = &[(1, include_bytes!("1.tar"))];

fn unpacked(archive: &[u8]) -> TempDir {
    let dir = TempDir::with_prefix("updraft-it-").expect("a temporary directory");
    let mut archive = tar::Archive::new(archive);
    archive.set_preserve_permissions(true);
    archive.unpack(dir.path()).expect("the archive is whole");
    dir
}

/// What a server says that is to start on this directory and cannot: exit code, stdout, stderr.
fn refused(dir: &Path) -> (Option<i32>, String) {
    let mut serve = Command::new(UPDRAFT);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0", "--log", "error"]);
    let output =
        serve.arg("--data-dir").arg(dir.join("data")).stdin(Stdio::null()).output().expect("the binary starts");
    assert!(output.stdout.is_empty(), "it serves nothing");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_every_format_opens_and_its_service_answers() {
    if !containers_run_here() {
        return;
    }
    for (format, archive) in ALL {
        let host = Host::start_in(unpacked(archive), &[]);
        let described = host.describe("old");
        assert_eq!(described["metadata"]["generation"], 3, "format {format}: {described:#}");
        let traffic = described["status"]["traffic"].as_array().expect("a table");
        let shares: Vec<(&str, &Value)> = traffic
            .iter()
            .filter(|line| line["percent"].is_number())
            .map(|line| (line["revisionName"].as_str().unwrap_or_default(), &line["percent"]))
            .collect();
        assert_eq!(shares, [("old-00002-zod", &Value::from(25)), ("old-00002-zod", &Value::from(75))], "{described:#}");
        let client = reqwest::Client::new();
        let written = (200, "written long ago\n".to_owned());
        for tag in [None, Some("next")] {
            assert_eq!(host.get(&client, &host.host_of("old", tag), "/").await, written, "format {format}");
        }
        let revisions = host.ok(&["revisions", "list", "--service", "old"]);
        assert!(revisions.contains("old-00001-tut") && revisions.contains("old-00002-zod"), "{revisions}");
        assert!(host.ok(&["images", "list"]).contains("localhost/old:v1"));
        assert!(host.ok(&["services", "logs", "read", "old"]).contains("listening"));

        // What is written from now on stands beside what was.
        host.ok(&["deploy", "old", "--image", "localhost/old:v1", "--set-env-vars", "A=3", "--quiet"]);
        host.ok(&["services", "update-traffic", "old", "--to-revisions", "old-00001-tut=100", "--quiet"]);
        let host = Host::start_in(host.kill(), &[]);
        assert_eq!(host.describe("old")["metadata"]["generation"], 5);
        assert_eq!(host.get(&client, &host.host_of("old", None), "/").await, written);
        let (code, _dir) = host.stop();
        assert_eq!(code, 0);
    }
}

#[test]
fn a_later_format_is_refused_with_both_formats_and_the_way_out() {
    if !containers_run_here() {
        return;
    }
    let &(known, archive) = ALL.last().expect("there is one");
    let later = known + 1;
    let dir = unpacked(archive);
    let database = dir.path().join("data/state.db");
    let script = "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as db:\n    db.execute('PRAGMA journal_mode=DELETE')\n    db.execute('UPDATE store_format SET format = ?', (int(sys.argv[2]),))\n";
    run(Command::new("python3").args(["-c", script]).arg(&database).arg(later.to_string()));
    let before = fs::read(&database).expect("readable");
    let (code, said) = refused(dir.path());
    assert_eq!(code, Some(2), "{said}");
    let expected = format!(
        "error: the data directory {} is in format {later}, which a later version wrote; this one reads formats up to {known}\n\
         hint: start the version of Updraft that wrote it, or a later one; or choose another directory with --data-dir. \
         Nothing was changed\n",
        dir.path().join("data").display()
    );
    assert_eq!(said, expected);
    // But for how SQLite keeps its journal, which every version can read.
    let after = fs::read(&database).expect("readable");
    assert_eq!(after.len(), before.len());

    let dir = unpacked(archive);
    fs::write(dir.path().join("data/images/FORMAT"), "7\n").expect("writable");
    let (code, said) = refused(dir.path());
    assert_eq!(code, Some(2), "{said}");
    let expected = format!(
        "error: the images in {} are in layout 7, which a later version wrote; this one knows layouts up to 1\nhint: ",
        dir.path().join("data/images").display()
    );
    assert!(said.starts_with(&expected), "{said}");
    assert!(dir.path().join("data/images/layers").exists() && dir.path().join("data/images/uploads").exists());
}
