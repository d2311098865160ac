//! Image names of the server's own machine: asked where a setting says so, and nowhere else.

use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    net::TcpListener,
};

use super::host::{Host, containers_run_here};

#[test]
fn an_image_name_is_no_way_to_what_the_server_keeps_to_itself() {
    if !containers_run_here() {
        return;
    }
    let kept = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = kept.local_addr().expect("it is bound").port();
    kept.set_nonblocking(true).expect("a socket");
    let untouched = || kept.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);

    let host = Host::start(&["--outbound-allow", "registry.lan, 10.0.0.0/8"]);
    let deploy = |host: &Host, image: &str| {
        host.updraft(&["deploy", "hello", "--image", image, "--no-allow-unauthenticated", "--quiet"])
    };
    for registry in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"] {
        let said = deploy(&host, &format!("{registry}:{port}/x"));
        assert_eq!(said.code, 1, "{}", said.stderr);
        assert!(said.stderr.contains("was not fetched") && said.stderr.contains("outbound-allow"), "{}", said.stderr);
    }
    let diagnosis = host.ok(&["services", "doctor", "hello", "--format", "json"]);
    assert!(diagnosis.contains("image-forbidden"), "{diagnosis}");
    assert!(untouched(), "somebody connected");
    // Its own registry is not reached over the network, so no setting speaks of it.
    let said = deploy(&host, &format!("{}/nobody:v1", host.registry));
    assert!(said.stderr.contains("image-missing") || said.stderr.contains("not found"), "{}", said.stderr);
    let (_, data) = host.stop();

    kept.set_nonblocking(false).expect("a socket");
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = kept.accept().expect("the server");
        let line = BufReader::new(&stream).lines().next().expect("a line").expect("text");
        stream.write_all(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").expect("answered");
        line
    });
    let host = Host::start_in(data, &["--outbound-allow", &format!("127.0.0.1:{port}")]);
    let said = deploy(&host, &format!("127.0.0.1:{port}/x"));
    assert!(said.code == 1 && said.stderr.contains("answered 401"), "{}", said.stderr);
    assert_eq!(asked.join().expect("asked"), "HEAD /v2/x/manifests/latest HTTP/1.1");
    host.stop();
}
