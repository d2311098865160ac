//! Google's own clients.

use std::{path::PathBuf, process::Command};

use super::{
    host::{Host, containers_run_here, here, run, skip},
    images,
};

/// The Python that has Google's libraries in it.
pub(super) fn python() -> Option<PathBuf> {
    let python = std::env::var_os("UPDRAFT_TEST_PYTHON").map(PathBuf::from);
    let made = python.or_else(|| Some(here().ancestors().nth(5)?.join("target/python/bin/python")));
    let found = made.filter(|python| python.is_file());
    if found.is_none() {
        skip("Google's libraries for Python are not installed; `cargo xtask test` installs it");
    }
    found
}

/// The folder that has Node and Google's libraries for it in it.
pub(super) fn node() -> Option<PathBuf> {
    let folder = std::env::var_os("UPDRAFT_TEST_NODE").map(PathBuf::from);
    let made = folder.or_else(|| Some(here().ancestors().nth(5)?.join("target/node")));
    let found = made.filter(|folder| folder.join("node_modules/google-auth-library").is_dir());
    if found.is_none() {
        skip("Node with google-auth-library is not installed; `cargo xtask test` installs it");
    }
    found
}

fn walk_through(transport: &str) {
    if !containers_run_here() {
        return;
    }
    let Some(python) = python() else { return };
    let host = Host::start(&[]);
    host.load(&images::witness("first"));
    host.load(&images::witness_with("second", &["serve"]));
    let images = ["localhost/first:latest", "localhost/second:latest"];
    let mut client = Command::new(python);
    client.arg(here().join("google_client.py")).args([transport, &host.address]).args(images);
    let told = run(&mut client);
    assert!(told.ends_with("all steps passed\n"), "{told}");
}

#[test]
fn googles_python_client_walks_through_over_rest() {
    walk_through("rest");
}

#[test]
fn googles_python_client_walks_through_over_grpc() {
    walk_through("grpc");
}
