//! A request to this server itself: over a connection in memory that comes in at the front door like one of an instance, with
//! the host that the URL says. Nothing leaves the machine, and nobody on the way could be the owner.

use bytes::Bytes;
use futures::future::{Either, select};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use updraft_model::schedule::{Endpoint, HttpTarget};

use super::{Doorway, Scheme, request};

/// Status and headers of the answer, once all of it has come.
///
/// # Errors
/// Why there is none.
pub(super) async fn send(
    (doorway, project): (&Doorway, &str),
    (endpoint, prefix): (&Endpoint, Option<&str>),
    target: &HttpTarget,
    headers: HeaderMap,
) -> Result<(StatusCode, HeaderMap), String> {
    let scheme = if endpoint.is_secure { Scheme::Https } else { Scheme::Http };
    let stream = doorway(scheme, project.to_owned()).await.ok_or("the server is ending")?;
    let path = match prefix {
        Some(prefix) => format!("/{prefix}{}", endpoint.path),
        None => endpoint.path.clone(),
    };
    let path = PathAndQuery::try_from(path).map_err(|_| "the path of the URL cannot be sent".to_owned())?;
    let host =
        HeaderValue::try_from(endpoint.authority()).map_err(|_| "the host of the URL cannot be sent".to_owned())?;
    let body = Full::new(Bytes::copy_from_slice(&target.body));
    let mut request =
        Request::builder().method(request::method(target.method)).uri(path.as_str()).body(body).map_err(told)?;
    *request.headers_mut() = headers;
    request.headers_mut().insert(header::HOST, host);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    let exchange = async move {
        let answer = sender.send_request(request).await.map_err(told)?;
        let (head, mut body) = answer.into_parts();
        while let Some(frame) = body.frame().await {
            frame.map_err(told)?;
        }
        Ok((head.status, head.headers))
    };
    match select(std::pin::pin!(exchange), std::pin::pin!(connection)).await {
        Either::Left((outcome, _)) => outcome,
        // The connection is over; the answer may have come before.
        Either::Right((_, exchange)) => exchange.await,
    }
}

fn told(error: impl std::fmt::Display) -> String {
    format!("the answer broke off: {error}")
}
