//! Sending a row, and reading what comes back.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use updraft_api::rpc;
use updraft_base::{OnFailure, Tasks};
use updraft_testkit::World;

use super::case::Ask;

/// What came back. Status 0: the connection ended without an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Got {
    pub(super) http: u16,
    /// The canonical code, when the answer is one of the API's.
    pub(super) code: String,
    /// The fields of the violations.
    pub(super) fields: Vec<String>,
    /// Their rules.
    pub(super) descriptions: Vec<String>,
    /// The message, or the whole body when the answer is none of the API's.
    pub(super) message: String,
}

/// Sends it.
pub(super) async fn send(world: &World, ask: &Ask) -> Got {
    match ask {
        Ask::Raw(bytes) => raw(world, bytes, End::Open).await,
        Ask::Cut(bytes) => raw(world, bytes, End::Closed).await,
        Ask::Rest { verb, target, headers, body } => {
            let mut request = format!("{verb} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
            for header in headers {
                request.push_str(header);
                request.push_str("\r\n");
            }
            if !body.is_empty() {
                request.push_str(&format!("content-length: {}\r\n", body.len()));
            }
            request.push_str("\r\n");
            raw(world, &[request.as_bytes(), body].concat(), End::Open).await
        }
        Ask::Grpc { path, headers, frames } => grpc(world, path, headers, frames).await,
    }
}

/// Does a client close its side of the connection after what it sent?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Closed,
}

/// Sends bytes, then nothing more, and reads to the end.
async fn raw(world: &World, bytes: &[u8], end: End) -> Got {
    let stream = TcpStream::connect(world.server.address).await.expect("it listens");
    let (mut reader, mut writer) = stream.into_split();
    let mut answer = Vec::new();
    let write = async {
        // A server that has seen enough closes.
        let _ = writer.write_all(bytes).await;
        if end == End::Closed {
            let _ = writer.shutdown().await;
        }
    };
    let read = async {
        // So a reset is an end as well.
        let _ = reader.read_to_end(&mut answer).await;
    };
    world.drive(async { tokio::join!(write, read) }).await;
    parse(&answer)
}

fn parse(answer: &[u8]) -> Got {
    let text = String::from_utf8_lossy(answer).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Got::default() };
    let http = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    let Ok(json) = serde_json::from_str::<Value>(body) else {
        return Got { http, message: body.to_owned(), ..Got::default() };
    };
    let error = &json["error"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let details = error["details"].as_array().cloned().unwrap_or_default();
    let violations: Vec<&Value> =
        details.iter().filter_map(|detail| detail["fieldViolations"].as_array()).flatten().collect();
    assert!(error["code"] == http || http == 200, "the body repeats the code: {body}");
    Got {
        http,
        code: text(&error["status"]),
        fields: violations.iter().map(|violation| text(&violation["field"])).collect(),
        descriptions: violations.iter().map(|violation| text(&violation["description"])).collect(),
        message: text(&error["message"]),
    }
}

async fn grpc(world: &World, path: &str, headers: &[(&str, &str)], frames: &[u8]) -> Got {
    let stream = TcpStream::connect(world.server.address).await.expect("it listens");
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("it speaks h2c");
    let tasks = Tasks::new();
    tasks.spawn("client", OnFailure::Log, async {
        let _ = connection.await;
    });
    let mut request = http::Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(frames))).expect("well formed");
    let answer = world.drive(sender.send_request(request)).await.expect("an answer");
    let http = answer.status().as_u16();
    let mut told = answer.headers().clone();
    let body = world.drive(answer.into_body().collect()).await.expect("it ends");
    told.extend(body.trailers().cloned().unwrap_or_default());
    drop(sender);
    let header = |name: &str| told.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let number = header("grpc-status").parse().unwrap_or(-1);
    let code = rpc::Code::try_from(number).map(|code| code.as_str_name().to_owned()).unwrap_or_default();
    let violations = violations(&header("grpc-status-details-bin"));
    Got {
        http,
        code,
        fields: violations.iter().map(|violation| violation.field.clone()).collect(),
        descriptions: violations.into_iter().map(|violation| violation.description).collect(),
        message: updraft_api::path::percent_decode(&header("grpc-message")),
    }
}

fn violations(details: &str) -> Vec<rpc::bad_request::FieldViolation> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&alphabet::STANDARD, config).decode(details).expect("base64");
    let status = rpc::Status::decode(&bytes[..]).expect("a status");
    let bad = status.details.iter().find_map(updraft_api::unpack::<rpc::BadRequest>);
    bad.map(|bad| bad.field_violations).unwrap_or_default()
}
