//! Who is not answered by an instance, and what they get.

use updraft_model::instance::Exit;

use super::*;

fn title(answer: &(StatusCode, String)) -> String {
    let text = &answer.1;
    let title = text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).map(|(title, _)| title);
    format!("{}: {}", answer.0.as_u16(), title.unwrap_or(text))
}

#[tokio::test]
async fn hosts_tell_services_and_the_api_apart() {
    let world = World::with(App::default()).await;
    let client = world.client();
    let of = |host: &str| Request::get(format!("http://{}/v2/x", world.address)).header("host", host);
    assert_eq!(client.send(of("App-1.us-central1.RUN.localhost:8080")).await, (StatusCode::OK, "app-1".to_owned()));
    assert_eq!(client.send(of("localhost:8080")).await, (StatusCode::OK, "API /v2/x".to_owned()));
    assert_eq!(client.send(of("127.0.0.1")).await, (StatusCode::OK, "API /v2/x".to_owned()));
    assert_eq!(title(&client.send(of("other.run.localhost")).await), "404: 404 Page not found");
    assert_eq!(title(&client.send(of("run.localhost")).await), "404: 404 Page not found");
    world.end().await;
}

#[tokio::test]
async fn a_host_that_may_not_be_known_yet_is_waited_for_and_no_longer_than_until_it_is() {
    for is_whole in [true, false] {
        let world = World::new().await;
        let early = world.get("/");
        let table = async {
            // Until the request has come to wait.
            while world.routes.receiver_count() < 2 {
                tokio::task::yield_now().await;
            }
            let app = App::default();
            world.serve(&app, &[(app.revision(1), 100)]);
            // Others may be missing still.
            world.routes.send_modify(|table| {
                *table = Arc::new(RouteTable { hosts: table.hosts.clone(), is_whole, ..RouteTable::default() })
            });
        };
        let (answer, ()) = tokio::join!(early, table);
        assert_eq!(answer, (StatusCode::OK, "app-1".to_owned()));
        world.end().await;
    }
}

#[tokio::test]
async fn who_may_not_call_starts_nothing() {
    let world = World::with(App { invokers: Some(&[]), ..App::default() }).await;
    assert_eq!(title(&world.get("/x").await), "403: 403 Forbidden");
    let client = world.client();
    for name in ["authorization", "x-serverless-authorization"] {
        let request = Request::get(format!("http://{}/", world.address)).header("host", APP);
        assert_eq!(title(&client.send(request.header(name, "bearer abc")).await), "401: 401 Unauthorized");
    }
    for ingress in [Ingress::Internal, Ingress::InternalAndLoadBalancing, Ingress::None] {
        let app = App { ingress, ..App::default() };
        world.serve(&app, &[(app.revision(1), 100)]);
        assert_eq!(title(&world.get("/").await), "404: 404 Page not found");
    }
    assert!(world.engine.records().is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_request_with_two_hosts_or_none_reaches_nobody() {
    let world = World::with(App::default()).await;
    for head in [
        format!("GET /v2/x HTTP/1.1\r\nhost: {APP}\r\nhost: localhost\r\n"),
        format!("GET /v2/x HTTP/1.1\r\nhost: localhost\r\nhost: {APP}\r\n"),
        format!("GET / HTTP/1.1\r\nhost: {APP}, localhost\r\n"),
        "GET / HTTP/1.1\r\n".to_owned(),
    ] {
        let answer = world.raw(&format!("{head}connection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request"), "{head}: {answer}");
    }
    assert!(world.engine.records().is_empty());
    world.end().await;
}

#[tokio::test]
async fn the_holder_of_the_token_may_call_what_is_private_and_the_container_never_sees_the_token() {
    let private = App { invokers: Some(&[]), ..App::default() };
    let world = World::with(private).await;
    let bearer = format!("Bearer {TOKEN}");
    let ask = |shown: &[(&str, &str)]| {
        let request = Request::get(format!("http://{}/head", world.address)).header("host", APP);
        let request = shown.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let client = world.client();
        async move { client.send(request).await }
    };
    for shown in [
        &[("authorization", &*bearer)][..],
        &[("x-serverless-authorization", &bearer)],
        &[("x-serverless-authorization", &bearer), ("authorization", "Bearer the-application's")],
        &[("x-serverless-authorization", &bearer), ("authorization", &bearer)],
    ] {
        let (status, head) = ask(shown).await;
        assert_eq!(status, StatusCode::OK, "{shown:?}: {head}");
        assert!(!head.contains(TOKEN), "{shown:?}: {head}");
        let own = shown.iter().any(|(_, value)| value.contains("application"));
        assert_eq!(head.contains("the-application's"), own, "{shown:?}: {head}");
    }
    // The first header counts, as at Cloud Run.
    let (status, _) = ask(&[("x-serverless-authorization", "Bearer wrong"), ("authorization", &bearer)]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let app = App::default();
    world.serve(&app, &[(app.revision(1), 100)]);
    let (status, head) = ask(&[("authorization", &bearer)]).await;
    assert!(status == StatusCode::OK && !head.contains(TOKEN), "sent by mistake to what is open: {head}");
    world.end().await;
}

#[tokio::test]
async fn trace_is_refused() {
    let world = World::with(App::default()).await;
    let request = Request::builder().method("TRACE").uri(format!("http://{}/", world.address)).header("host", APP);
    assert_eq!(title(&world.client().send(request).await), "405: 405 Method Not Allowed");
    world.end().await;
}

#[tokio::test]
async fn a_service_without_a_revision_is_unavailable() {
    let world = World::new().await;
    world.serve(&App::default(), &[]);
    assert_eq!(title(&world.get("/").await), "503: 503 Service Unavailable");
    world.end().await;
}

#[tokio::test]
async fn a_container_that_does_not_start_is_500() {
    let world = World::with(App { script: &["exit=1"], ..App::default() }).await;
    let (answer, ()) = tokio::join!(world.get("/"), async {
        until("the first start fails", || world.engine.records().len() == 1 && world.engine.live() == 0).await;
        let clock = Clock::system();
        for _ in 0..20 {
            world.hand.advance(Duration::from_millis(50));
            clock.sleep(Duration::from_millis(2)).await;
        }
    });
    assert_eq!(title(&answer), "500: 500 Server Error");
    assert!(answer.1.contains("The request failed because the instance could not start successfully."));
    world.end().await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_504_wherever_it_is() {
    let app = App { concurrency: 1, max: 1, timeout: Duration::from_secs(5), ..App::default() };
    let world = World::with(app).await;
    let (first, second, ()) = tokio::join!(world.get("/hold"), world.get("/"), async {
        until("one is served and one waits", || {
            world.engine.live() == 1 && world.metric("updraft_pending_requests") == 1
        })
        .await;
        until("it has arrived", || world.engine.records()[0].in_flight() == 1).await;
        world.hand.advance(Duration::from_secs(5));
    });
    assert_eq!(title(&first), "504: upstream request timeout");
    assert_eq!(title(&second), "504: upstream request timeout");
    assert_eq!(world.metric("updraft_pending_requests"), 0);
    assert_eq!(world.metric("updraft_requests_total{response_code_class=\"5xx\"}"), 2);
    // The place is free again, whatever the handler goes on doing.
    assert_eq!(world.get("/").await.0, StatusCode::OK);
    world.end().await;
}

#[tokio::test]
async fn an_instance_that_dies_under_a_request_is_503() {
    let world = World::with(App::default()).await;
    let answer = world.get("/exit/7").await;
    assert_eq!(title(&answer), "503: 503 Service Unavailable");
    assert!(answer.1.contains("either the HTTP response was malformed or connection to the instance had an error."));
    world.end().await;
}

#[tokio::test]
async fn who_finds_all_instances_busy_and_the_queue_full_is_429_also_in_grpc() {
    let front = Front::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let fleet = FleetConfig { queue: 1, ..FleetConfig::default() };
    let mut world = World::behind(front, (ProxyConfig::default(), fleet), None).await;
    let app = App { concurrency: 1, max: 1, ..App::default() };
    world.serve(&app, &[(app.revision(1), 100)]);
    let clients = [world.client(), world.client()];
    let [mut first, mut second] = clients.each_ref().map(|client| Box::pin(client.get("/hold")));
    tokio::select! {
        _ = &mut first => panic!("it is held"),
        () = until("it has arrived", || world.engine.records().iter().any(|record| record.in_flight() == 1)) => {}
    }
    tokio::select! {
        _ = &mut second => panic!("it waits"),
        () = until("it waits", || world.metric("updraft_pending_requests") == 1) => {}
    }
    assert_eq!(world.get("/").await, (StatusCode::TOO_MANY_REQUESTS, "Rate exceeded.".to_owned()));
    let url = format!("http://{}/a.B/C", world.address);
    let call = Request::post(url).header("host", APP).header("content-type", "application/grpc");
    let answer = world.client().client.request(call.body(Empty::new()).expect("well formed")).await.expect("an answer");
    assert_eq!((answer.status(), &answer.headers()["grpc-status"]), (StatusCode::OK, &"8".parse().expect("ok")));
    for _ in 0..2 {
        let record = world.logged().await;
        assert_eq!((record.status, record.instance), (429, None));
        assert_eq!(record.note, Some("The request was aborted because there was no available instance."));
    }
    world.engine.open_gate();
    assert_eq!((first.await.0, second.await.0), (StatusCode::OK, StatusCode::OK));
    world.end().await;
}

#[tokio::test]
async fn an_instance_that_is_ended_for_its_memory_is_500_and_the_log_says_so() {
    let mut world = World::with(App::default()).await;
    let client = world.client();
    let (answer, ()) = tokio::join!(client.get("/hold"), async {
        until("it has arrived", || world.engine.records().iter().any(|record| record.in_flight() == 1)).await;
        world.engine.kill(&world.engine.records()[0].id, Exit::OutOfMemory { limit: 512 << 20, used: 0 });
    });
    assert_eq!(title(&answer), "500: 500 Server Error");
    let record = world.logged().await;
    assert!(record.status == 500 && record.note.expect("a reason").contains("too much memory"), "{record:?}");
    world.end().await;
}
