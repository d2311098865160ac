//! Verbs, headers, content types, queries, sizes: everything around the JSON.

use super::{
    SERVICES,
    case::{
        Ask, Case, Expected,
        Source::{self, Reference as R, Unconfirmed as U},
        ask, get,
    },
};

const GOOD: &str = r#"{"template": {"containers": [{"image": "hello"}]}}"#;
const TABLE: &str = "admin-api-v2.md §2 method table: the verbs of each path";
const JSON: &str = "admin-api-v2.md §1 JSON: proto3 JSON";

fn raw(name: &'static str, bytes: impl Into<Vec<u8>>, http: u16, says: &'static str) -> Case {
    let expected = Expected { http, code: "", field: String::new(), says };
    Case { name, ask: Ask::Raw(bytes.into()), expected, source: U }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = verbs();
    cases.extend(forms());
    cases.extend(queries());
    cases.extend(heads());
    cases.extend(sizes());
    cases
}

fn verbs() -> Vec<Case> {
    let hello = format!("{SERVICES}/hello");
    let wrong = |name, verb, target: &str| {
        ask(name, (verb, target), "", ("", "is not allowed at"), R(TABLE)).gets(405, "UNIMPLEMENTED")
    };
    vec![
        wrong("PUT on a service", "PUT", &hello),
        wrong("POST on a service", "POST", &hello),
        wrong("DELETE on the services", "DELETE", SERVICES),
        wrong("PATCH on the services", "PATCH", SERVICES),
        wrong("OPTIONS on a service", "OPTIONS", &hello),
        wrong("a verb that there is not", "FLY", &hello),
        wrong("GET of a method that is POST", "GET", &format!("{hello}:setIamPolicy")),
        wrong("POST of a method that is GET", "POST", &format!("{hello}:getIamPolicy")),
        wrong("POST on a revision", "POST", &format!("{hello}/revisions/hello-v1")),
        wrong("PATCH on a location", "PATCH", "/v2/projects/demo-project/locations/us-central1"),
        Case { source: U, ..wrong("an override to a verb that does not fit", "POST", &hello) }
            .headers(&["x-http-method-override: PUT"]),
    ]
}

fn forms() -> Vec<Case> {
    let create = format!("{SERVICES}?serviceId=bad");
    let kind = |name, line: &'static str, field| {
        ask(name, ("POST", &create), GOOD, (field, "got '"), U).headers(&[line]).gets(415, "INVALID_ARGUMENT")
    };
    vec![
        kind("JSON that says it is text", "content-type: text/plain", "Content-Type"),
        kind("JSON that says it is a form", "content-type: application/x-www-form-urlencoded", "Content-Type"),
        kind("JSON that says it is XML", "content-type: application/xml", "Content-Type"),
        kind("JSON that says it has parts", "content-type: multipart/form-data; boundary=x", "Content-Type"),
        kind("JSON in another character set", "content-type: application/json; charset=iso-8859-1", "Content-Type"),
        kind("JSON in UTF-16", "content-type: application/json; charset=utf-16", "Content-Type"),
        kind("gRPC for the web", "content-type: application/grpc-web", "Content-Type"),
        kind("a body that says it is compressed", "content-encoding: gzip", "Content-Encoding"),
        kind("a body that says it is compressed otherwise", "content-encoding: br", "Content-Encoding"),
        ask("a body with a GET", ("GET", SERVICES), GOOD, ("", "GET takes no body"), U),
        ask("a body with a DELETE", ("DELETE", &format!("{SERVICES}/hello")), GOOD, ("", "DELETE takes no body"), U),
    ]
}

fn queries() -> Vec<Case> {
    let of = |name, query: &str, field: &str, says, source: Source| {
        get(name, &format!("{SERVICES}?{query}"), (field, says), source)
    };
    let list = "admin-api-v2.md §2 ListServices: pageSize, pageToken, showDeleted";
    let mask = "admin-api-v2.md §1 update_mask query: comma list";
    vec![
        of(
            "a parameter that there is not",
            "colour=red",
            "",
            "Unknown name \"colour\": Cannot bind query parameter",
            R(list),
        ),
        of("a parameter in another case", "PageSize=1", "", "Unknown name \"PageSize\"", R(list)),
        of("a parameter of another method", "serviceId=x", "", "Unknown name \"serviceId\"", R(list)),
        of(
            "a page size that is no number",
            "pageSize=many",
            "pageSize",
            "Invalid value at 'pageSize' (TYPE_INT32)",
            R(list),
        ),
        of("a page size with a fraction", "pageSize=1.5", "pageSize", "(TYPE_INT32)", R(list)),
        of("a page size beyond 32 bits", "pageSize=4294967296", "pageSize", "(TYPE_INT32)", R(list)),
        of("a switch that is neither", "showDeleted=maybe", "showDeleted", "(TYPE_BOOL)", R(list)),
        of("a parameter inside a text", "pageToken.x=1", "", "pageToken.x", U),
        of("a parameter that is no text", "pageToken=%FF", "", "not UTF-8", U),
        of("an answer as protobuf", "alt=proto", "alt", "only JSON is served", U),
        of("an answer as media", "$alt=media", "alt", "only JSON is served", U),
        of(
            "enums as something else",
            "$alt=json;enum-encoding=roman",
            "alt",
            "only JSON is served",
            R("admin-api-v2.md §1 JSON encoding switch: $alt=json;enum-encoding=int"),
        ),
        ask(
            "a mask that names no field",
            ("PATCH", &format!("{SERVICES}/hello?updateMask=colour")),
            "{}",
            ("update_mask", "'colour' is not a field of Service"),
            R(mask),
        ),
    ]
}

fn heads() -> Vec<Case> {
    let target = format!("{SERVICES}/hello");
    let two = |first: &str, second: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: {first}\r\nhost: {second}\r\nconnection: close\r\n\r\n")
    };
    let own = "hello-813766736138.us-central1.run.localhost";
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = "y".repeat(600 << 10);
    vec![
        raw("two hosts, the API first", two("localhost", own), 400, "malformed or illegal"),
        raw("two hosts, the service first", two(own, "localhost"), 400, "malformed or illegal"),
        raw("the same host twice", two("localhost", "localhost"), 400, "malformed or illegal"),
        raw("no host", format!("GET {target} HTTP/1.1\r\nconnection: close\r\n\r\n"), 400, "malformed or illegal"),
        raw(
            "a list of hosts",
            format!("GET {target} HTTP/1.1\r\nhost: localhost, x\r\nconnection: close\r\n\r\n"),
            400,
            "malformed",
        ),
        raw(
            "a host with a user",
            format!("GET {target} HTTP/1.1\r\nhost: me@localhost\r\nconnection: close\r\n\r\n"),
            400,
            "malformed",
        ),
        raw("no HTTP at all", "hello, is this the API?\r\n\r\n", 400, ""),
        raw("a version that there is not", "GET / HTTP/9.9\r\nhost: localhost\r\n\r\n", 400, ""),
        raw("a space in a header's name", "GET / HTTP/1.1\r\nho st: localhost\r\n\r\n", 400, ""),
        raw(
            "a control character in a header",
            b"GET / HTTP/1.1\r\nhost: localhost\r\nx: a\x00b\r\n\r\n".to_vec(),
            400,
            "",
        ),
        raw("too many headers", format!("GET / HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"), 431, ""),
        raw("a header that is too large", format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n"), 431, ""),
        get("a page of another site", &target, ("", "web pages of other origins"), U)
            .headers(&["origin: http://evil.example"])
            .gets(403, "PERMISSION_DENIED"),
    ]
}

fn sizes() -> Vec<Case> {
    let post = format!("POST {SERVICES}?serviceId=bad HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    let large = [GOOD.as_bytes(), &vec![b' '; 10 << 20]].concat();
    let declared = format!("{post}content-length: 99999999999\r\n\r\n{{");
    let expected =
        Expected { http: 413, code: "INVALID_ARGUMENT", field: String::new(), says: "larger than 10485760 bytes" };
    let mut chunked = format!("{post}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..11 {
        chunked.extend(format!("{:x}\r\n", 1 << 20).into_bytes());
        chunked.extend(vec![b' '; 1 << 20]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let cut = |name, body: &str, (http, code, says)| Case {
        name,
        ask: Ask::Cut(format!("{post}{body}").into_bytes()),
        expected: Expected { http, code, field: String::new(), says },
        source: U,
    };
    let broken = (400, "INVALID_ARGUMENT", "Request body could not be read");
    vec![
        ask(
            "a body of more than 10 MiB",
            ("POST", &format!("{SERVICES}?serviceId=bad")),
            large,
            ("", "larger than"),
            U,
        )
        .gets(413, "INVALID_ARGUMENT"),
        Case { expected: expected.clone(), ..raw("a body that will be larger", declared, 413, "") },
        Case { expected, ..raw("a body that turns out larger", chunked, 413, "") },
        raw("a length that is no number", format!("{post}content-length: ten\r\n\r\n"), 400, ""),
        raw("a length below zero", format!("{post}content-length: -1\r\n\r\n"), 400, ""),
        raw("two lengths", format!("{post}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}"), 400, ""),
        cut(
            "a body that breaks off",
            "content-type: application/json\r\ncontent-length: 100\r\n\r\n{\"template\"",
            broken,
        ),
        cut(
            "a chunk that breaks off",
            "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n40\r\n{\"templ",
            broken,
        ),
        cut(
            "a chunk whose size is none",
            "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            broken,
        ),
        // There was no request yet, so there is no answer.
        cut("a head that breaks off", "content-type: appl", (0, "", "")),
        Case {
            source: R(JSON),
            ..ask(
                "nothing where a service should be",
                ("POST", &format!("{SERVICES}?serviceId=bad")),
                "",
                ("service", "must be set"),
                U,
            )
        },
    ]
}
