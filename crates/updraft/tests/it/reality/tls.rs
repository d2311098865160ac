//! The TLS port of the binary, as a client that trusts its authority finds it.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt as _};

use updraft_base::Clock;

use super::{
    host::{Host, PATIENCE, containers_run_here},
    images,
};

#[tokio::test]
async fn a_client_that_trusts_the_authority_reaches_api_and_services_and_the_log_tells_of_it() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    let pem = host.ok(&["ca"]);
    let key = host.data_dir().join("tls/ca.key");
    assert_eq!(std::fs::metadata(key).expect("a key").permissions().mode() & 0o777, 0o600);
    host.load(&images::witness("hello"));
    host.ok(&["deploy", "hello", "--image", "localhost/hello:latest", "--allow-unauthenticated"]);
    let name = host.host_of("hello", None);

    let tls: SocketAddr = host.tls.parse().expect("a TLS port");
    let authority = reqwest::Certificate::from_pem(pem.as_bytes()).expect("PEM");
    // Nobody else is trusted, and a name that leads nowhere is led here.
    let client = reqwest::Client::builder().tls_certs_only([authority]).resolve(&name, tls).no_proxy();
    let client = client.build().expect("a client");
    let info = client.get(format!("https://{tls}/updraft/v1/info")).send().await.expect("the API answers");
    let info: serde_json::Value = serde_json::from_str(&info.text().await.expect("text")).expect("JSON");
    assert_eq!(info["tls"], host.tls);
    let asked = format!("https://{name}:{}/?x=1", tls.port());
    let answer = client.get(&asked).send().await.expect("the service answers");
    assert_eq!(answer.status(), 200);

    // The entry is written a moment after the answer.
    let clock = Clock::system();
    let deadline = clock.instant() + PATIENCE;
    while !host.ok(&["services", "logs", "hello"]).contains(&format!("GET 200 {asked}")) {
        assert!(clock.instant() < deadline, "the request is not in the log");
    }
    let stranger = reqwest::Client::builder().no_proxy().build().expect("a client");
    assert!(stranger.get(format!("https://{tls}/healthz")).send().await.is_err(), "nobody else trusts it");
    let file = host.data_dir().join("tls/ca.pem");
    let trusting = ["--ca-file", file.to_str().expect("UTF-8"), "services", "list"];
    let list = Host::updraft_at(&format!("https://{tls}"), &trusting);
    assert_eq!(list.code, 0, "{}", list.stderr);
}
