//! A call on its way through a handler, whichever wire it came by.

use std::future::Future;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use prost_reflect::DynamicMessage;
use updraft_api::{Named, json::from_dynamic, method::Method};
use updraft_model::{Error, iam::Principal};

use crate::{
    Api, grpc,
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
    /// By gRPC; the request is still in the body, and whether it may go on shows when it is read.
    Grpc(Box<Request<B>>, Gate),
    /// By REST; the request is put together, and the answer has a form.
    Rest(DynamicMessage, Format),
}

/// Who calls what, for the count of calls.
pub(crate) struct Gate {
    pub(crate) api: Api,
    pub(crate) caller: Principal,
    pub(crate) method: &'static Method,
}

// === impl Gate ===

impl Gate {
    fn admit<Q: Named>(&self, request: &Q) -> Result<(), Error> {
        self.api.buckets().admit(&self.caller, self.method.access, &self.method.resource(request))
    }
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
            Self::Grpc(request, gate) => {
                let domain = gate.method.product().domain();
                let admitted = move |request: Q| {
                    let work = gate.admit(&request).map(|()| work(request));
                    async move { work?.await }
                };
                grpc::unary(*request, domain, admitted).await
            }
            Self::Rest(request, format) => match from_dynamic(&request) {
                Ok(request) => format.answer(work(request).await),
                Err(error) => format.error(&error),
            },
        }
    }

    /// Answers with an error.
    pub(crate) fn refuse(self, error: &Error) -> Response<BoxBody> {
        match self {
            Self::Grpc(..) => grpc::refuse(error),
            Self::Rest(_, format) => format.error(error),
        }
    }
}
