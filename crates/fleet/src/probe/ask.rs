//! What a probe says to an application, and what the application says back.

use bytes::Bytes;
use futures::future::{Either, select};
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use updraft_plan::diagnosis::Answer;

/// The most of a probe's answer that is read.
const ANSWER_MAX: usize = 64 << 10;

/// GET over HTTP/1.1; 2xx and 3xx pass.
pub(super) async fn http(stream: TcpStream, path: &str, headers: &[(String, String)]) -> Result<(), Answer> {
    let path = if path.is_empty() { "/" } else { path };
    let mut request =
        Request::get(path).header(header::USER_AGENT, "updraft-probe").header(header::CONNECTION, "close");
    let own_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    if !own_host {
        request = request.header(header::HOST, "localhost");
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let malformed = |error: http::Error| Answer::Broken(format!("the probe is malformed: {error}"));
    let request = request.body(Empty::<Bytes>::new()).map_err(malformed)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let exchange = std::pin::pin!(sender.send_request(request));
    let status = beside(exchange, std::pin::pin!(connection)).await.map_err(broken)?.status();
    match status {
        status if status.is_success() || status.is_redirection() => Ok(()),
        status => Err(Answer::Status(status.as_u16())),
    }
}

/// `grpc.health.v1.Health/Check` over h2c; `SERVING` passes.
pub(super) async fn grpc(stream: TcpStream, service: &str) -> Result<(), Answer> {
    const SERVING: &[u8] = &[8, 1];
    let request = Request::post("http://localhost/grpc.health.v1.Health/Check")
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(health_request(service)))
        .map_err(|error| Answer::Broken(format!("the probe is malformed: {error}")))?;
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let handshake = builder.max_header_list_size(64 << 10).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(broken)?;
    let exchange = std::pin::pin!(async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let head = response.headers().get("grpc-status").cloned();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|error| Answer::Broken(error.to_string()))?;
        let status = head.or_else(|| body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned()));
        Ok::<_, Answer>((status, body.to_bytes()))
    });
    let (status, message) = beside(exchange, std::pin::pin!(connection)).await?;
    match status.as_ref().map(|status| status.as_bytes()) {
        Some(b"0") if message.get(5..) == Some(SERVING) => Ok(()),
        Some(b"0") => Err(Answer::NotServing),
        Some(code) => Err(Answer::Grpc(String::from_utf8_lossy(code).into_owned())),
        None => Err(Answer::Broken("the answer has no status".to_owned())),
    }
}

/// `HealthCheckRequest { service }` in a gRPC frame.
fn health_request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or(0));
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.into()
}

/// An error of hyper with what caused it, which its own text leaves out.
fn broken(error: hyper::Error) -> Answer {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    Answer::Broken(text)
}

/// Runs an exchange and the connection it needs in one task.
async fn beside<E, C>(exchange: E, connection: C) -> E::Output
where
    E: Future + Unpin,
    C: Future + Unpin,
{
    match select(exchange, connection).await {
        Either::Left((output, _)) => output,
        // The connection is closed; what was read before is still there.
        Either::Right((_, exchange)) => exchange.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_request_is_a_grpc_frame() {
        assert_eq!(&health_request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&health_request("ab")[..], [0, 0, 0, 0, 4, 10, 2, b'a', b'b']);
        let long = health_request(&"x".repeat(200));
        assert_eq!((&long[5..8], long.len()), (&[10, 0xc8, 1][..], 5 + 3 + 200));
    }
}
