//! A call on its way through a handler, whichever wire it came by.

use std::future::Future;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use prost_reflect::DynamicMessage;
use updraft_api::{Named, json::from_dynamic};
use updraft_model::Error;

use crate::{
    grpc,
    respond::{BoxBody, BoxError},
    rest::Format,
};

/// The body of a request.
pub(crate) trait AnyBody: Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static {}

impl<B> AnyBody for B
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
}

/// A call that found its method.
pub(crate) enum Call<B> {
    /// By gRPC; the request is still in the body.
    Grpc(Request<B>),
    /// By REST; the request is put together, and the answer has a form.
    Rest(DynamicMessage, Format),
}

// === impl Call ===

impl<B: AnyBody> Call<B> {
    /// Decodes the request, does the work, encodes the answer.
    pub(crate) async fn run<Q, A, F, W>(self, work: F) -> Response<BoxBody>
    where
        Q: Named + 'static,
        A: Named + 'static,
        F: FnOnce(Q) -> W + Send,
        W: Future<Output = Result<A, Error>> + Send + 'static,
    {
        match self {
            Self::Grpc(request) => grpc::unary(request, work).await,
            Self::Rest(request, format) => match from_dynamic(&request) {
                Ok(request) => format.answer(work(request).await),
                Err(error) => format.error(&error),
            },
        }
    }

    /// Answers with an error.
    pub(crate) fn refuse(self, error: &Error) -> Response<BoxBody> {
        match self {
            Self::Grpc(_) => grpc::refuse(error),
            Self::Rest(_, format) => format.error(error),
        }
    }
}
