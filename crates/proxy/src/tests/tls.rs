//! The door over TLS.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs::default_provider, pki_types::ServerName},
};
use updraft_base::{Clock, OnFailure, Tasks};
use updraft_identity::{Certificate, Tls, certificate_names};

use super::{APP, App, DOMAIN, World};

/// Connects to the TLS port under `name`, with a client that trusts only the server's own authority.
async fn connect(world: &World, name: &'static str, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
    use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let secure = world.secure.as_ref().expect("the world speaks TLS");
    let pem = secure.authority.as_bytes();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem).expect("PEM")).expect("an authority");
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(secure.address).await.expect("it listens");
    let name = ServerName::try_from(name).expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("the handshake succeeds")
}

#[tokio::test]
async fn services_and_the_api_are_behind_the_tls_port_too() {
    let world = World::secured().await;
    let app = App::default();
    world.serve(&app, &[(app.revision(1), 100)]);
    // By the name of a service, of the API, and by address.
    for (name, host, expected) in [
        (APP, APP, "x-forwarded-proto: https"),
        ("localhost", "localhost", "API /head"),
        ("127.0.0.1", "127.0.0.1", "API"),
    ] {
        let stream = connect(&world, name, &[b"http/1.1"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let tasks = Tasks::new();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tasks.spawn("client", OnFailure::Log, async move { drop(connection.await) });
        let request = Request::get("/head").header("host", host).body(Empty::<Bytes>::new()).expect("valid");
        let answer = sender.send_request(request).await.expect("an answer");
        let body = answer.into_body().collect().await.expect("whole").to_bytes();
        assert!(String::from_utf8_lossy(&body).contains(expected), "{name}: {body:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn http2_is_what_a_client_gets_that_offers_it() {
    let world = World::secured().await;
    let stream = connect(&world, "us-central1-run.localhost", &[b"h2", b"http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let tasks = Tasks::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tasks.spawn("client", OnFailure::Log, async move { drop(connection.await) });
    let request =
        Request::get("https://us-central1-run.localhost/y").version(Version::HTTP_2).body(Empty::<Bytes>::new());
    let answer = sender.send_request(request.expect("valid")).await.expect("an answer");
    let body = answer.into_body().collect().await.expect("whole").to_bytes();
    assert_eq!(body, "API /y");
    world.end().await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_handshake_does_not_hold_up_the_end() {
    let world = World::secured().await;
    let address = world.secure.as_ref().expect("secured").address;
    let silent = TcpStream::connect(address).await.expect("it listens");
    world.end().await;
    drop(silent);
}

/// The server side of these tests: certificates of an authority made for them. Real time, as the client has it.
pub(super) fn certificates() -> (tempfile::TempDir, Tls) {
    let dir = tempfile::tempdir().expect("a directory");
    let names = certificate_names(DOMAIN, &["us-central1".to_owned()], std::net::Ipv4Addr::LOCALHOST.into(), &[]);
    let tls = Tls::open(dir.path(), Certificate::Own(names), Clock::system()).expect("TLS");
    (dir, tls)
}
