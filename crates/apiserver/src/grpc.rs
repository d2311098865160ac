//! The gRPC wire: unary calls, reflection, health.

use std::{future::Future, pin::Pin};

use futures::FutureExt;
use http::{HeaderMap, Request, Response, header};
use http_body_util::BodyExt as _;
use tonic::{
    Code, Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
    server::{Grpc, UnaryService},
    service::Routes,
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_prost::ProstCodec;
use tower_service::Service;
use updraft_api::{
    Named,
    method::{self, Product},
    status,
};
use updraft_model::{Error, ErrorKind, iam::Principal};

use crate::{
    Api,
    body::{Allowance, BODY_MAX},
    call::{AnyBody, Call, Gate},
    methods,
    respond::{BoxBody, BoxError, boxed, note},
};

/// The largest message, in bytes.
const MESSAGE_MAX: usize = BODY_MAX as usize;
/// Where health is asked for; nobody has to say who they are.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// What is served beside the API: reflection (both versions that clients use) and health.
#[derive(Debug, Clone)]
pub(crate) struct Mixins(Routes);

/// Protobuf, whose decoder takes a message that cannot be read for what it is: a mistake of the caller's.
struct Protobuf<A, Q>(ProstCodec<A, Q>);

/// The decoder of [`Protobuf`].
struct Reader<D>(D);

/// Work for one call, as tonic wants it, and whose errors its errors are.
struct Once<F>(Option<F>, &'static str);

// === impl Mixins ===

impl Mixins {
    pub(crate) fn new() -> Result<Self, BoxError> {
        let served = method::services();
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_file_descriptor_set(updraft_api::reflection_set(&served))
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let reporter = HealthReporter::new();
        for service in &served {
            // Nobody else has the reporter yet, so this does not wait.
            reporter.set_service_status(service, ServingStatus::Serving).now_or_never();
        }
        let health = tonic_health::server::HealthService::from_health_reporter(reporter);
        let health = tonic_health::pb::health_server::HealthServer::new(health);
        let routes = Routes::new(reflection().build_v1()?).add_service(reflection().build_v1alpha()?);
        Ok(Self(routes.add_service(health).prepare()))
    }

    pub(crate) async fn serve<B: AnyBody>(&self, request: Request<B>) -> Response<BoxBody> {
        match self.0.clone().call(request).await {
            Ok(answer) => answer.map(boxed),
            Err(never) => match never {},
        }
    }
}

/// Is it a call by gRPC?
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes()).unwrap_or_default();
    // `application/grpc-web` is another protocol.
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Does it ask for the health of the server?
pub(crate) fn is_health<B>(request: &Request<B>) -> bool {
    request.uri().path().starts_with(HEALTH)
}

/// Answers a call by gRPC.
pub(crate) async fn serve<B: AnyBody>(api: &Api, caller: Principal, request: Request<B>) -> Response<BoxBody> {
    let path = request.uri().path();
    match method::find(path.trim_start_matches('/')) {
        Some(method) => {
            let gate = Gate { api: api.clone(), caller: caller.clone(), method };
            // Room for the frame's head; what the message itself may be, the decoder checks.
            let allowance = Allowance { size: BODY_MAX + 1024, ..Allowance::REQUEST };
            let bound = |body| api.bound(body, allowance).map_err(|error| to_status(&error.to_error()));
            let call = Call::Grpc(Box::new(request.map(bound)), gate);
            methods::serve(api.deps().control.clone(), caller, method, call).await
        }
        // Reflection, or the answer that there is no such method.
        None => api.mixins.serve(request).await,
    }
}

/// Decodes the request, does the work, encodes the answer. `domain` is whose errors its errors are.
pub(crate) async fn unary<B, Q, A, F, W>(request: Request<B>, domain: &'static str, work: F) -> Response<BoxBody>
where
    B: AnyBody,
    Q: Named + 'static,
    A: Named + 'static,
    F: FnOnce(Q) -> W + Send,
    W: Future<Output = Result<A, Error>> + Send + 'static,
{
    let mut grpc = Grpc::new(Protobuf(ProstCodec::<A, Q>::default())).max_decoding_message_size(MESSAGE_MAX);
    grpc.unary(Once(Some(work), domain), request).await.map(boxed)
}

/// An answer that is nothing but an error.
pub(crate) fn refuse(error: &Error) -> Response<BoxBody> {
    to_status(error).into_http::<tonic::body::Body>().map(boxed)
}

// === impl Protobuf ===

impl<A: Named + 'static, Q: Named + 'static> Codec for Protobuf<A, Q> {
    type Encode = A;
    type Decode = Q;
    type Encoder = <ProstCodec<A, Q> as Codec>::Encoder;
    type Decoder = Reader<<ProstCodec<A, Q> as Codec>::Decoder>;

    fn encoder(&mut self) -> Self::Encoder {
        self.0.encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Reader(self.0.decoder())
    }
}

impl<D: Decoder<Error = Status>> Decoder for Reader<D> {
    type Item = D::Item;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D::Item>, Status> {
        self.0.decode(buffer).map_err(|status| to_status(&Error::new(ErrorKind::InvalidArgument, status.message())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

// === impl Once ===

impl<Q, A, F, W> UnaryService<Q> for Once<F>
where
    A: Named + 'static,
    F: FnOnce(Q) -> W,
    W: Future<Output = Result<A, Error>> + Send + 'static,
{
    type Response = A;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<A>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        let domain = self.1;
        match self.0.take() {
            Some(work) => {
                let work = work(request.into_inner());
                Box::pin(async move { work.await.map(tonic::Response::new).map_err(|error| status_of(domain, &error)) })
            }
            None => Box::pin(std::future::ready(Err(to_status(&Error::internal("called twice"))))),
        }
    }
}

fn to_status(error: &Error) -> Status {
    status_of(Product::Run.domain(), error)
}

fn status_of(domain: &str, error: &Error) -> Status {
    note(error);
    let code = Code::from_i32(status::grpc_code(error.kind()));
    let details = status::grpc_details_of(domain, error);
    let mut status = Status::with_details(code, error.message(), details.into());
    if error.kind() == ErrorKind::Unauthenticated {
        status.metadata_mut().insert("www-authenticate", tonic::metadata::MetadataValue::from_static("Bearer"));
    }
    status
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use prost::Message;
    use updraft_api::{rpc, run};

    use super::*;

    fn with_type(kind: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
    }

    #[test]
    fn the_content_type_tells_grpc_apart() {
        for kind in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
            assert!(is_grpc(&with_type(kind)), "{kind}");
        }
        for kind in ["application/json", "application/grpc-web", "application/grpcx"] {
            assert!(!is_grpc(&with_type(kind)), "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_unary_call_is_decoded_and_encoded() {
        let asked = run::GetServiceRequest { name: "n".to_owned() }.encode_to_vec();
        let mut frame = vec![0, 0, 0, 0, u8::try_from(asked.len()).expect("short")];
        frame.extend(asked);
        let body = http_body_util::Full::new(bytes::Bytes::from(frame));
        let request = Request::post("/").header(header::CONTENT_TYPE, "application/grpc").body(body).expect("valid");
        let answer = unary(request, "run.googleapis.com", |asked: run::GetServiceRequest| async move {
            Ok(run::Service { name: asked.name, ..run::Service::default() })
        });
        let body = answer.await.into_body().collect().await.expect("whole");
        assert_eq!(body.trailers().and_then(|trailers| trailers.get("grpc-status")).expect("given"), "0");
        let service = run::Service::decode(&body.to_bytes()[5..]).expect("a service");
        assert_eq!(service.name, "n");
    }

    #[test]
    fn an_error_carries_its_details() {
        let answer = refuse(&Error::invalid_field("service.template", "must be set"));
        let status = Status::from_header_map(answer.headers()).expect("a status");
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "service.template: must be set"));
        let details = rpc::Status::decode(status.details()).expect("details");
        let request: rpc::BadRequest = updraft_api::unpack(&details.details[0]).expect("violations");
        assert_eq!(request.field_violations[0].field, "service.template");
    }

    #[tokio::test]
    async fn reflection_and_health_are_there() {
        let mixins = Mixins::new().expect("the descriptors are sound");
        for path in ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] {
            let body = http_body_util::Full::new(bytes::Bytes::from_static(&[0, 0, 0, 0, 0]));
            let request =
                Request::post(path).header(header::CONTENT_TYPE, "application/grpc").body(body).expect("valid");
            let answer = mixins.serve(request).await;
            let status = answer.headers().get("grpc-status").cloned();
            let body = answer.into_body().collect().await.expect("whole");
            let status = status.or_else(|| body.trailers().and_then(|t| t.get("grpc-status").cloned()));
            // An empty reflection request is invalid (3), not unimplemented (12).
            assert!(status.as_ref().is_some_and(|status| status != "12"), "{path}: {status:?}");
        }
    }
}
