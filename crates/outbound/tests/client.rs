//! The client against servers: what is reached, what is not, and what is shown to whom.

mod peers;

use std::time::Duration;

use peers::{Internet, always, ok, redirects};
use updraft_outbound::{Client, FetchError, Proxy, Request, Side};

const PUBLIC: &str = "11.0.0.1";
const OTHER: &str = "11.0.0.2";

async fn get(client: &Client, url: &str) -> Result<String, FetchError> {
    let response = client.send(Request::get(url)).await?;
    assert_eq!(response.status(), 200);
    let body = response.read(1 << 10).await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

async fn refusal(client: &Client, url: &str) -> String {
    match get(client, url).await {
        Err(FetchError::Refused(refusal)) => refusal.to_string(),
        other => panic!("{url}: {other:?}"),
    }
}

#[tokio::test]
async fn a_public_host_is_reached_by_https_and_by_the_one_lookup_that_was_checked() {
    let net = Internet::new();
    let heads = net.host("a.example", PUBLIC, always("hello")).await;
    // A second lookup would lead to this machine.
    net.name("a.example", "127.0.0.1");
    let client = net.client("");
    assert_eq!(get(&client, "https://a.example/x?y=z").await.expect("reached"), "hello");
    assert_eq!((net.lookups("a.example"), heads.count()), (1, 1));
    assert!(heads.last().starts_with("get /x?y=z http/1.1\r\n") && heads.last().contains("host: a.example\r\n"));
    let said = refusal(&client, "https://a.example/").await;
    assert!(said.contains("leads to an address of the server itself"), "{said}");
    assert_eq!((net.lookups("a.example"), heads.count()), (2, 1));
}

#[tokio::test]
async fn an_address_in_whatever_spelling_is_refused_before_anything_is_sent() {
    let net = Internet::new();
    let (place, heads) = net.plain(always("secret")).await;
    let client = net.client("");
    let port = place.port();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "017700000001",
        "0x7f.1",
        "%31%32%37.0.0.1",
        "127.0.0.1.",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
    ] {
        for scheme in ["http", "https"] {
            let said = refusal(&client, &format!("{scheme}://{host}:{port}/latest/meta-data")).await;
            assert!(said.contains("an address of the server itself"), "{host}: {said}");
        }
    }
    for host in ["0.0.0.0", "0", "[::]", "224.0.0.1", "255.255.255.255"] {
        let said = refusal(&client, &format!("http://{host}:{port}/")).await;
        assert!(said.contains("never reached"), "{host}: {said}");
    }
    for url in ["file:///etc/passwd", "gopher://127.0.0.1:1/", "https://u:p@a.example/", "https://[fe80::1%25lo]/", "x"]
    {
        refusal(&client, url).await;
    }
    assert_eq!(heads.count(), 0);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_whatever_else_it_leads_to() {
    let net = Internet::new();
    let heads = net.secure("mixed.example", PUBLIC, always("x")).await;
    net.name("mixed.example", &format!("{PUBLIC} 10.0.0.5"));
    net.name("loopback.example", "127.0.0.1")
        .name("private.example", "10.0.0.5")
        .name("meta.example", "169.254.169.254");
    net.name("long.example", "::1")
        .name("mapped.example", "::ffff:169.254.169.254")
        .name("translated.example", "64:ff9b::a00:5");
    net.name("last.example", &format!("{PUBLIC} {OTHER} fd00:ec2::254")).name("own.example", OTHER).own(OTHER);
    let client = net.client("");
    for name in ["mixed", "loopback", "private", "meta", "long", "mapped", "translated", "last", "own"] {
        let said = refusal(&client, &format!("https://{name}.example/")).await;
        assert!(said.contains("setting outbound-allow"), "{name}: {said}");
        assert!(!said.contains("10.0.0.5"), "where a name leads is not told: {said}");
    }
    assert_eq!(heads.count(), 0);
    let error = get(&client, "https://nowhere.example/").await.expect_err("no such name").to_string();
    assert!(error.contains("look up 'nowhere.example': no such name"), "{error}");
    net.name("empty.example", "");
    let error = get(&client, "https://empty.example/").await.expect_err("no address").to_string();
    assert!(error.contains("it has no address"), "{error}");
}

#[tokio::test]
async fn what_the_setting_names_is_reached_and_its_neighbours_are_not() {
    let net = Internet::new();
    let (place, heads) = net.plain(always("mine")).await;
    let (other, untouched) = net.plain(always("not mine")).await;
    net.name("localhost", "127.0.0.1");
    let client = net.client(&format!("{place}, localhost:{}, registry.lan", place.port()));
    assert_eq!(get(&client, &format!("http://{place}/")).await.expect("allowed"), "mine");
    assert_eq!(get(&client, &format!("http://localhost:{}/", place.port())).await.expect("allowed"), "mine");
    refusal(&client, &format!("http://{other}/")).await;
    refusal(&client, &format!("http://localhost:{}/", other.port())).await;
    assert_eq!((heads.count(), untouched.count()), (2, 0));

    let private = net.host("registry.lan", "10.0.0.5", always("private")).await;
    let answer = client.send(Request::get("https://registry.lan/")).await.expect("allowed");
    assert_eq!((answer.peer().side(), answer.peer().is_secure(), private.count()), (Side::Private, true, 1));
    net.host("db.lan", "10.0.0.5", always("private")).await;
    refusal(&client, "https://db.lan/").await;
}

#[tokio::test]
async fn a_redirect_is_a_hop_like_any_other() {
    let net = Internet::new();
    let (place, secret) = net.plain(always("secret")).await;
    net.host("cdn.example", OTHER, always("blob")).await;
    net.name("inside.example", "10.0.0.5").name("rebound.example", "127.0.0.1");
    // Allowed to users, and to nobody on the internet.
    let client = net.client("loopback, private");
    assert_eq!(get(&client, &format!("http://{place}/")).await.expect("allowed"), "secret");
    for (location, word) in [
        ("https://cdn.example/blob".to_owned(), ""),
        ("//cdn.example/blob".to_owned(), ""),
        (format!("https://{place}/"), "nobody on the internet"),
        ("https://inside.example/".to_owned(), "nobody on the internet"),
        ("https://rebound.example/".to_owned(), "nobody on the internet"),
        ("https://169.254.169.254/latest/".to_owned(), "nobody on the internet"),
        ("https://[::ffff:a00:5]/".to_owned(), "nobody on the internet"),
        ("https://0x0a000005/".to_owned(), "nobody on the internet"),
        (format!("http://{place}/"), "not reached by https"),
        ("http://cdn.example/blob".to_owned(), "not reached by https"),
        ("http://metadata.google.internal/".to_owned(), "not reached by https"),
        ("file:///etc/passwd".to_owned(), "neither https nor http"),
        ("https://u:p@cdn.example/".to_owned(), "user name"),
    ] {
        net.host("a.example", PUBLIC, redirects(location.clone())).await;
        net.name("metadata.google.internal", "169.254.169.254");
        let outcome = get(&net.client("loopback, private"), "https://a.example/").await;
        match (outcome, word) {
            (Ok(body), "") => assert_eq!(body, "blob"),
            (Err(FetchError::Refused(refusal)), word) => assert!(refusal.to_string().contains(word), "{refusal}"),
            (other, _) => panic!("{location}: {other:?}"),
        }
    }
    assert_eq!(secret.count(), 1, "only the user was let in");
}

#[tokio::test]
async fn credentials_stay_with_the_origin_they_are_for() {
    let net = Internet::new();
    let other = net.host("cdn.example", OTHER, always("blob")).await;
    let same = Box::new(|head: &str| match head.starts_with("GET /moved ") {
        true => ok("", "moved"),
        false => "HTTP/1.1 301 Go\r\nlocation: /moved\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
    });
    let first = net.host("a.example", PUBLIC, same).await;
    net.host("b.example", "11.0.0.3", redirects("https://cdn.example/blob")).await;
    let client = net.client("");
    let ask = |url: &'static str| {
        let secret = reqwest::header::HeaderValue::from_static("Bearer sesame");
        let range = reqwest::header::HeaderValue::from_static("bytes=5-");
        let request = Request::get(url).header(reqwest::header::AUTHORIZATION, secret);
        client.send(request.header(reqwest::header::RANGE, range))
    };
    ask("https://a.example/").await.expect("an answer");
    assert!(first.last().starts_with("get /moved ") && first.last().contains("sesame"), "{}", first.last());
    ask("https://b.example/").await.expect("an answer");
    assert!(other.last().contains("range: bytes=5-") && !other.last().contains("sesame"), "{}", other.last());
}

#[tokio::test]
async fn redirects_come_to_an_end() {
    let net = Internet::new();
    let heads = net.host("a.example", PUBLIC, redirects("/again")).await;
    let error = get(&net.client(""), "https://a.example/").await.expect_err("no end").to_string();
    assert_eq!((error.as_str(), heads.count()), ("more than 5 redirects", 6));
}

#[tokio::test]
async fn a_host_has_to_show_its_certificate() {
    let net = Internet::new();
    let heads = net.secure("other.example", PUBLIC, always("x")).await;
    net.name("a.example", PUBLIC);
    let error = get(&net.client(""), "https://a.example/").await.expect_err("another's certificate").to_string();
    assert!(error.contains("certificate") && heads.count() == 0, "{error}");
}

#[tokio::test]
async fn through_a_proxy_names_are_left_to_it_and_addresses_are_not() {
    let net = Internet::new();
    let (place, asked) = net.plain(Box::new(|_| "HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n".to_owned())).await;
    let proxy = Proxy::new(&place.to_string(), "direct.example").expect("a proxy");
    let client = net.client_by("", Some(proxy));
    net.name("direct.example", "10.0.0.5");
    get(&client, "https://a.example/").await.expect_err("the proxy says no");
    assert!(asked.last().starts_with("connect a.example:443 http/1.1"), "{}", asked.last());
    assert_eq!(net.lookups("a.example"), 0);
    for url in [
        "https://127.0.0.1/",
        "https://169.254.169.254/",
        "https://10.0.0.1/",
        "https://direct.example/",
        "http://a.example/",
    ] {
        net.name("a.example", PUBLIC);
        refusal(&client, url).await;
    }
    assert_eq!(asked.count(), 1);
}

#[tokio::test]
async fn a_document_comes_with_how_long_it_may_be_kept() {
    let net = Internet::new();
    let answer = |head: &str| match head.split(' ').nth(1) {
        Some("/jwks") => ok("cache-control: public, max-age=600\r\nage: 60\r\n", r#"{"keys":[1,2]}"#),
        Some("/large") => ok("", &format!("{:>2000}", "1")),
        Some("/words") => ok("", "sorry, the password is hunter2"),
        _ => "HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
    };
    net.host("issuer.example", PUBLIC, Box::new(answer)).await;
    let client = net.client("");
    let ask = |path: &str| {
        let (client, url) = (client.clone(), format!("https://issuer.example{path}"));
        async move { client.get_json::<serde_json::Value>(Request::get(url), 1000).await }
    };
    let document = ask("/jwks").await.expect("a document");
    assert_eq!((document.value["keys"][1].as_u64(), document.max_age), (Some(2), Some(Duration::from_secs(540))));
    assert!(matches!(ask("/large").await, Err(FetchError::TooLarge(1000))));
    assert!(matches!(ask("/other").await, Err(FetchError::Status { status, .. }) if status == 500));
    let error = ask("/words").await.expect_err("no JSON").to_string();
    assert!(error.contains("https://issuer.example did not answer") && !error.contains("hunter2"), "{error}");
}
