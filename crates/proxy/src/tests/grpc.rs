//! Refusals that a client of gRPC can read.

use http_body_util::Full;
use updraft_model::route::RouteTable;

use super::{connections::read, *};

/// What a client of gRPC sees of a call, and the status that the log has.
struct Refused {
    code: String,
    message: String,
    logged: Option<u16>,
}

impl World {
    /// A call to `host` that is refused.
    async fn refused(&mut self, host: &str) -> Refused {
        let mut client = self.h2c().await;
        let request = Request::post(format!("http://{host}/pkg.Service/Method"))
            .header("content-type", "application/grpc+proto")
            .header("te", "trailers")
            .body(Full::new(Bytes::from_static(b"\0\0\0\0\0")))
            .expect("well formed");
        let response = client.send_request(request).await.expect("it is answered");
        assert_eq!(response.status(), StatusCode::OK, "gRPC knows no other");
        assert_eq!(response.headers()["content-type"], "application/grpc");
        let header = |name: &str| response.headers()[name].to_str().expect("ASCII").to_owned();
        let (code, message) = (header("grpc-status"), header("grpc-message"));
        assert!(http_body::Body::is_end_stream(response.body()), "the head is all there is");
        assert_eq!(read(response.into_body()).await, (Bytes::new(), None));
        drop(client);
        let logged = self.requests.try_recv().ok().map(|record| record.status);
        Refused { code, message, logged }
    }
}

#[tokio::test]
async fn a_grpc_call_that_is_refused_gets_a_code_of_grpc_and_the_log_keeps_the_true_status() {
    let mut world = World::with(App { protocol: Protocol::H2c, ..App::default() }).await;
    let nobody = world.refused("nobody.run.localhost").await;
    assert_eq!((&*nobody.code, nobody.logged), ("12", None));
    assert_eq!(nobody.message, "The requested URL was not found on this server.");

    let app = App { protocol: Protocol::H2c, invokers: Some(&[]), ..App::default() };
    world.serve(&app, &[(app.revision(1), 100)]);
    let forbidden = world.refused(APP).await;
    assert_eq!((&*forbidden.code, forbidden.logged), ("7", Some(403)));
    assert!(forbidden.message.contains("/pkg.Service/Method"), "{}", forbidden.message);

    world.serve(&App { protocol: Protocol::H2c, ..App::default() }, &[]);
    let unavailable = world.refused(APP).await;
    assert_eq!((&*unavailable.code, unavailable.logged), ("14", Some(503)));
    assert_eq!(unavailable.message, "The request was aborted because there was no available instance.");
    assert_eq!(world.metric("updraft_requests_total{response_code_class=\"2xx\"}"), 0);
    world.end().await;
}

#[tokio::test]
async fn a_grpc_call_that_takes_too_long_has_exceeded_its_deadline() {
    let app = App { protocol: Protocol::H2c, timeout: Duration::from_secs(5), ..App::default() };
    let mut world = World::with(app).await;
    let mut client = world.h2c().await;
    let call = connections::grpc("/hold").body(Full::new(Bytes::new())).expect("well formed");
    let (answer, ()) = tokio::join!(client.send_request(call), async {
        until("it has arrived", || world.engine.records().iter().any(|record| record.in_flight() == 1)).await;
        world.hand.advance(Duration::from_secs(5));
    });
    let answer = answer.expect("it is answered");
    assert_eq!((answer.status(), &answer.headers()["grpc-status"]), (StatusCode::OK, &"4".parse().expect("ok")));
    let record = world.logged().await;
    assert_eq!(record.status, 504);
    assert!(record.note.expect("a reason").contains("maximum request timeout"));
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn a_grpc_call_to_a_dead_instance_is_unavailable() {
    let mut world = World::with(App { protocol: Protocol::H2c, ..App::default() }).await;
    let mut client = world.h2c().await;
    let call = connections::grpc("/exit/7").body(Full::new(Bytes::new())).expect("well formed");
    let answer = client.send_request(call).await.expect("it is answered");
    assert_eq!((answer.status(), &answer.headers()["grpc-status"]), (StatusCode::OK, &"14".parse().expect("ok")));
    assert_eq!(world.logged().await.status, 503);
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn a_grpc_call_with_two_hosts_is_refused_in_its_own_words() {
    let world = World::new().await;
    world.routes.send_replace(Arc::new(RouteTable { is_whole: true, ..RouteTable::default() }));
    let mut client = world.h2c().await;
    let call = connections::grpc("/x").header("host", "other.test").body(Full::new(Bytes::new())).expect("well formed");
    let answer = client.send_request(call).await.expect("it is answered");
    assert_eq!((answer.status(), &answer.headers()["grpc-status"]), (StatusCode::OK, &"13".parse().expect("ok")));
    drop(client);
    world.end().await;
}
