use std::time::SystemTime;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use updraft_base::{Clock, OnFailure, Tasks};
use updraft_outbound::{Allow, Config, Policy};

use super::*;
use crate::{Digest, ImageError, manifest::MAX_MANIFEST, remote::Remote};
use bytes::Bytes;

/// A registry that answers each path, on a connection of its own, by `answer`: the head, and whether
/// bytes without end follow it.
async fn registry(tasks: &Tasks, answer: fn(&str, &str) -> (String, Rest)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let shutdown = tasks.shutdown().clone();
    let host = address.clone();
    tasks.spawn("registry", OnFailure::Log, async move {
        let serve = async {
            loop {
                let (stream, _) = listener.accept().await.expect("a client");
                // The client hangs up when it has enough.
                let _ = converse(stream, &host, answer).await;
            }
        };
        tokio::select! {
            () = serve => {}
            () = shutdown.asked() => {}
        }
    });
    address
}

#[derive(Clone, Copy)]
enum Rest {
    Nothing,
    Endless,
}

async fn converse(mut stream: TcpStream, host: &str, answer: fn(&str, &str) -> (String, Rest)) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let (answer, rest) = answer(&String::from_utf8_lossy(&head), host);
    stream.write_all(answer.as_bytes()).await?;
    match rest {
        Rest::Nothing => stream.shutdown().await,
        Rest::Endless => loop {
            stream.write_all(&[b' '; 64 << 10]).await?;
        },
    }
}

/// A client that may ask registries of this machine.
fn on_loopback() -> Client {
    Client::new(Config { policy: Policy { allow: vec![Allow::loopback()], ..Policy::default() }, ..Config::default() })
}

async fn manifest_of(answer: fn(&str, &str) -> (String, Rest)) -> Result<Bytes, ImageError> {
    let tasks = Tasks::new();
    let host = registry(&tasks, answer).await;
    let (clock, _hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH);
    let remote = Remote::new(on_loopback(), None, clock);
    let reference: Reference = format!("{host}/app").parse().expect("a reference");
    let outcome = remote.session(&reference).expect("a session").manifest(&Digest::of(b"{}")).await;
    tasks.shutdown().ask();
    tasks.drain().await;
    outcome
}

fn unauthorized(host: &str) -> (String, Rest) {
    let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"test\"");
    (format!("HTTP/1.1 401 No\r\nwww-authenticate: {challenge}\r\ncontent-length: 0\r\n\r\n"), Rest::Nothing)
}

#[tokio::test]
async fn a_manifest_without_end_is_cut_off_at_the_limit() {
    let error = manifest_of(|_, _| ("HTTP/1.1 200 OK\r\n\r\n".to_owned(), Rest::Endless)).await.unwrap_err();
    assert!(error.to_string().contains(&format!("larger than {MAX_MANIFEST} bytes")), "{error}");
}

#[tokio::test]
async fn a_token_without_end_is_cut_off_at_the_limit() {
    let error = manifest_of(|head, host| match head.starts_with("GET /token?") {
        true => ("HTTP/1.1 200 OK\r\n\r\n".to_owned(), Rest::Endless),
        false => unauthorized(host),
    });
    let error = error.await.unwrap_err();
    assert!(error.to_string().contains(&format!("larger than {MAX_TOKEN} bytes")), "{error}");
}

#[tokio::test]
async fn a_token_is_fetched_where_the_registry_says_and_shown() {
    let manifest = manifest_of(|head, host| {
        let body = match head {
            _ if head.starts_with("GET /token?scope=repository%3Aapp%3Apull&service=test ") => r#"{"token":"sesame"}"#,
            _ if head.to_ascii_lowercase().contains("authorization: bearer sesame\r\n") => "{}",
            _ => return unauthorized(host),
        };
        (format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()), Rest::Nothing)
    });
    assert_eq!(manifest.await.expect("a manifest"), "{}");
}

#[tokio::test]
async fn a_registry_that_does_not_come_to_an_end_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let (clock, hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH);
    let remote = Remote::new(on_loopback(), None, clock);
    let image = format!("{}/app", listener.local_addr().expect("it is bound"));
    let reference: Reference = image.parse().expect("a reference");
    let session = remote.session(&reference).expect("a session");
    let digest = Digest::of(b"{}");
    let mut outcome = Box::pin(session.manifest(&digest));
    // Nobody ever answers; whenever something is waited for in virtual time, that time is over.
    let error = loop {
        tokio::select! {
            biased;
            outcome = &mut outcome => break outcome.unwrap_err(),
            () = tokio::task::yield_now() => hand.advance(hand.next_timer().unwrap_or_default()),
        }
    };
    assert!(error.to_string().contains("longer than 60 s"), "{error}");
}

#[test]
fn challenges_are_read_as_registries_write_them() {
    let bearer = |realm: &str, service: Option<&str>| {
        Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
    };
    for (text, expected) in [
        ("Basic realm=\"x\"", Some(Challenge::Basic)),
        (
            "Bearer realm=\"https://a.io/t\",service=\"r.io\",scope=\"a:b:pull,push\"",
            bearer("https://a.io/t", Some("r.io")),
        ),
        ("bearer service=r.io, realm=https://a.io/t", bearer("https://a.io/t", Some("r.io"))),
        ("Bearer service=\"r.io\"", None),
        ("Bearer realm=\"open", None),
        ("Negotiate", None),
    ] {
        assert_eq!(Challenge::parse(text), expected, "{text}");
    }
}
