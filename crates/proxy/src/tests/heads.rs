//! Heads on the way: what is added, what is refused, which paths the front door keeps.

use http::HeaderMap;

use super::*;
use crate::ReservedPaths;

/// `head` as an answer of a container, for the fake application's `/raw`.
pub(super) fn raw_path(answer: &str) -> String {
    let digits: String = answer.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("/raw/{digits}")
}

impl World {
    /// The head of the answer to a GET.
    pub(super) async fn head_of(&self, path: &str) -> (StatusCode, HeaderMap) {
        let request = Request::get(format!("http://{}{path}", self.address)).header("host", APP).body(Empty::new());
        let answer = self.client().client.request(request.expect("well formed")).await.expect("it is answered");
        let (parts, _) = answer.into_parts();
        (parts.status, parts.headers)
    }
}

#[tokio::test]
async fn a_client_that_came_by_other_proxies_is_added_to_what_they_wrote() {
    let world = World::with(App::default()).await;
    let request = Request::get(format!("http://{}/head", world.address))
        .header("host", APP)
        .header("x-forwarded-for", "198.51.100.1")
        .header("x-forwarded-proto", "https")
        .header("forwarded", "for=198.51.100.1;proto=https")
        .header("forwarded", "for=_hidden");
    let (_, head) = world.client().send(request).await;
    for line in [
        "x-forwarded-for: 198.51.100.1, 127.0.0.1",
        "x-forwarded-proto: http",
        "forwarded: for=198.51.100.1;proto=https, for=_hidden, for=\"127.0.0.1\";proto=http",
    ] {
        assert_eq!(head.lines().filter(|found| *found == line).count(), 1, "{line} in {head}");
    }
    for name in ["x-forwarded-for: ", "x-forwarded-proto: ", "forwarded: "] {
        assert_eq!(head.lines().filter(|line| line.starts_with(name)).count(), 1, "{name} in {head}");
    }
    world.end().await;
}

#[tokio::test]
async fn an_answer_is_signed_and_tells_its_trace() {
    let world = World::with(App::default()).await;
    let raw = raw_path(
        "HTTP/1.1 200 OK\r\nserver: secret/1.2\r\nx-cloud-trace-context: mine\r\nset-cookie: a=b\r\n\
         cache-control: public, max-age=60\r\ncontent-length: 0\r\n\r\n",
    );
    let trace = "0af7651916cd43dd8448eb211c80319c/10;o=1";
    let request = Request::get(format!("http://{}{raw}", world.address))
        .header("host", APP)
        .header("x-cloud-trace-context", trace)
        .body(Empty::new());
    let answer = world.client().client.request(request.expect("well formed")).await.expect("it is answered");
    let all = |name: &str| {
        answer.headers().get_all(name).iter().map(|value| value.to_str().expect("ASCII")).collect::<Vec<_>>()
    };
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!((all("server"), all("x-cloud-trace-context")), (vec!["Updraft"], vec![trace]));
    assert_eq!((all("set-cookie"), all("cache-control")), (vec!["a=b"], vec!["private"]));
    world.end().await;
}

#[tokio::test]
async fn a_refusal_is_signed_and_tells_its_trace_if_it_has_one() {
    let world = World::with(App::default()).await;
    let (status, head) = world.head_of("/exit/1").await;
    assert_eq!((status, &head["server"]), (StatusCode::SERVICE_UNAVAILABLE, &"Updraft".parse().expect("ok")));
    assert!(head.contains_key("x-cloud-trace-context"), "{head:?}");
    let (status, head) = world.head_of("/healthz").await;
    assert_eq!((status, &head["server"]), (StatusCode::NOT_FOUND, &"Updraft".parse().expect("ok")));
    world.end().await;
}

#[tokio::test]
async fn reserved_paths_are_answered_by_the_front_door_and_start_nothing() {
    let mut world = World::with(App::default()).await;
    for path in ["/healthz", "/healthz?q=1", "/eventlog", "/_ah/", "/_ah/warmup"] {
        let (status, page) = world.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(page.contains("<title>404 Page not found</title>"), "{page}");
        let record = world.logged().await;
        assert!(record.status == 404 && record.note.expect("a reason").contains("reserved"), "{record:?}");
    }
    assert!(world.engine.records().is_empty());
    for path in ["/readyz", "/healthz/", "/a/healthz", "/_ahead"] {
        assert_eq!(world.get(path).await.0, StatusCode::OK, "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn reserved_paths_reach_the_container_where_that_is_set() {
    let config = ProxyConfig { reserved_paths: ReservedPaths::PassedOn, ..ProxyConfig::default() };
    let world = World::configured(config).await;
    let app = App::default();
    world.serve(&app, &[(app.revision(1), 100)]);
    for path in ["/healthz", "/eventlog", "/_ah/warmup"] {
        assert_eq!(world.get(path).await, (StatusCode::OK, "app-1".to_owned()), "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_path_reaches_the_container_as_it_was_sent() {
    let world = World::with(App::default()).await;
    // `/head` alone is answered with the head, so the rest stands in the query.
    let (_, head) = world.get("/head?%41%2f..%2f%2e//;x=%zz").await;
    assert!(head.starts_with("GET /head?%41%2f..%2f%2e//;x=%zz HTTP/1.1\n"), "{head}");
    let answer = world.get("/%68ealthz").await;
    assert_eq!(answer, (StatusCode::OK, "app-1".to_owned()), "not decoded: it is no reserved path");
    world.end().await;
}

#[tokio::test]
async fn a_header_value_outside_visible_ascii_is_refused_over_both_protocols() {
    let mut world = World::with(App::default()).await;
    let value = http::HeaderValue::from_bytes("für".as_bytes()).expect("HTTP allows it");
    let request = || Request::get(format!("http://{APP}/")).header("x-name", &value).header("host", APP);
    let first = world.http1().await.send_request(request().body(Empty::<Bytes>::new()).expect("well formed")).await;
    let second = world.h2c().await.send_request(request().body(Empty::<Bytes>::new()).expect("well formed")).await;
    for answer in [first, second] {
        assert_eq!(answer.expect("it is answered").status(), StatusCode::BAD_REQUEST);
        let record = world.logged().await;
        assert!(record.status == 400 && record.note.expect("a reason").contains("visible ASCII"), "{record:?}");
    }
    assert!(world.engine.records().is_empty());
    let (_, head) = world
        .client()
        .send(Request::get(format!("http://{}/head", world.address)).header("host", APP).header("x-fine", "a \t~!"))
        .await;
    assert!(head.contains("x-fine: a \t~!"), "{head}");
    world.end().await;
}

#[tokio::test]
async fn a_header_name_that_is_no_token_is_refused() {
    let world = World::with(App::default()).await;
    for name in ["x name", "x\u{fc}", "x(y)", "", "x\tname"] {
        let answer =
            world.raw(&format!("GET / HTTP/1.1\r\nhost: {APP}\r\n{name}: 1\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{name:?}: {answer}");
    }
    assert!(world.engine.records().is_empty());
    world.end().await;
}
