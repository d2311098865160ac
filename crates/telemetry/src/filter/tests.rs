use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn entry() -> Value {
    json!({
        "logName": "projects/demo-project/logs/run.googleapis.com%2Fstdout",
        "resource": {"type": "cloud_run_revision", "labels": {
            "service_name": "hello", "revision_name": "hello-00001-abc", "location": "us-central1",
            "project_id": "demo-project", "configuration_name": "hello",
        }},
        "timestamp": "2026-11-21T08:14:40.772839Z",
        "receiveTimestamp": "2026-11-21T08:14:41Z",
        "severity": "WARNING",
        "insertId": "a1",
        "labels": {"instanceId": "00c0ffee", "k8s-pod/app.name": "web"},
        "jsonPayload": {"message": "No such Table: users", "count": 3, "ok": false, "none": null,
            "nested": {"a_b": "x", "list": [{"id": 1}, {"id": 22}]}, "size": "900"},
        "httpRequest": {"requestMethod": "GET", "requestUrl": "https://h/x?y=1", "status": 503,
            "requestSize": "1024", "latency": "0.250s", "remoteIp": "10.1.2.3"},
        "trace": "projects/demo-project/traces/0af7",
    })
}

fn matches(text: &str) -> bool {
    Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).matches(&entry())
}

#[test]
fn comparisons_are_cloud_loggings() {
    for (text, expected) in [
        ("", true),
        ("-- only a comment", true),
        // Strings ignore case.
        ("resource.type = cloud_run_revision", true),
        ("resource.type = CLOUD_RUN_REVISION", true),
        ("resource.type=\"cloud_run_job\"", false),
        ("resource.type != cloud_run_job", true),
        ("resource.labels.service_name = hello", true),
        ("resource.labels.\"service_name\"='hello'", true),
        // Severities have an order, by name or number.
        ("severity = warning", true),
        ("severity >= DEFAULT", true),
        ("severity >= ERROR", false),
        ("severity < ERROR", true),
        ("severity >= 400", true),
        ("severity > 400", false),
        ("severity=(ERROR OR WARNING)", true),
        ("severity!=(ERROR OR WARNING)", false),
        // Times.
        ("timestamp>=\"2026-11-20T08:14:40.576741Z\"", true),
        ("timestamp>=\"2026-11-21T09:14:40.772839+01:00\"", true),
        ("timestamp>\"2026-11-21T08:14:40.772839Z\"", false),
        ("timestamp<\"2026-11-21\"", false),
        ("timestamp>=2026-11-21 timestamp<2026-11-22", true),
        ("receive_timestamp>\"2026-11-21T08:14:40.9Z\"", true),
        // Numbers, also those that JSON carries as text; booleans; null.
        ("httpRequest.status>=500", true),
        ("httpRequest.status = 503.0", true),
        ("http_request.status<500", false),
        ("httpRequest.requestSize>900", true),
        ("httpRequest.requestSize>=10000", false),
        ("jsonPayload.count > -5", true),
        ("jsonPayload.count = three", false),
        ("jsonPayload.ok = FALSE", true),
        ("jsonPayload.ok = true", false),
        ("jsonPayload.none = NULL_VALUE", true),
        ("httpRequest.latency > 0.2s AND httpRequest.latency<300ms", true),
        // `has`.
        ("jsonPayload.message:table", true),
        ("jsonPayload.message:\"such table\"", true),
        ("jsonPayload.message:tables", false),
        ("httpRequest.status:50", true),
        ("jsonPayload:count", true),
        ("labels:instanceId", true),
        ("labels:*", true),
        ("spanId:*", false),
        ("NOT spanId:*", true),
        ("logName:stdout", true),
        // Regular expressions see case, and find anywhere.
        ("jsonPayload.message =~ \"^No such \\w+\"", true),
        ("jsonPayload.message =~ \"^no\"", false),
        ("jsonPayload.message !~ \"^no\"", true),
        ("jsonPayload.message =~ (\"zzz\" OR \"users$\")", true),
        ("httpRequest.status =~ \"^5\\d\\d$\"", true),
        // Names with dots and slashes, lists, either spelling of a field.
        ("labels.\"k8s-pod/app.name\" = web", true),
        ("labels.k8s-pod/app = web", false),
        ("jsonPayload.nested.list.id = 22", true),
        ("jsonPayload.nested.list.id = 3", false),
        ("jsonPayload.nested.a_b = X", true),
        ("jsonPayload.nested.aB = x", false),
        ("json_payload.message:users", true),
        // What is not there has no value: only a negation matches it.
        ("jsonPayload.missing = x", false),
        ("jsonPayload.missing != x", true),
        ("NOT jsonPayload.missing = x", true),
        ("-jsonPayload.missing:x", true),
        ("jsonPayload.missing < x", false),
        ("textPayload !~ x", true),
    ] {
        assert_eq!(matches(text), expected, "{text}");
    }
}

#[test]
fn not_binds_before_or_and_or_before_and() {
    let (yes, no) = ("severity=WARNING", "severity=ERROR");
    for (text, expected) in [
        (format!("{yes} OR {yes} AND {no}"), false),
        (format!("{no} AND {yes} OR {yes}"), false),
        (format!("{yes} AND {no} OR {yes}"), true),
        (format!("NOT {no} OR {no}"), true),
        (format!("NOT {yes} OR {no}"), false),
        (format!("NOT ({no} OR {no})"), true),
        (format!("{yes} {yes}\n {yes}"), true),
        (format!("{yes} {no}"), false),
        (format!("-{no} -({no})"), true),
        (format!("NOT NOT {yes}"), true),
        (format!("({yes}) ({yes} OR {no})"), true),
    ] {
        assert_eq!(matches(&text), expected, "{text}");
    }
}

#[test]
fn text_without_a_field_is_looked_for_everywhere() {
    for (text, expected) in [
        ("users", true),
        ("\"such table\"", true),
        ("us-central1", true),
        ("c0ffee 503", true),
        ("users AND nobody", false),
        ("users OR nobody", true),
        ("NOT nobody", true),
        // Only capitals are operators.
        ("users and", false),
        ("https", true),
    ] {
        assert_eq!(matches(text), expected, "{text}");
    }
}

#[test]
fn functions_do_what_they_are_named_for() {
    for (text, expected) in [
        ("log_id(\"run.googleapis.com/stdout\")", true),
        ("log_id(\"run.googleapis.com%2Fstdout\")", true),
        ("log_id(\"run.googleapis.com/stderr\")", false),
        ("SEARCH(\"table users\")", true),
        ("SEARCH(jsonPayload.message, \"users no\")", true),
        ("SEARCH(jsonPayload.message, \"user\")", false),
        ("ip_in_net(httpRequest.remoteIp, \"10.0.0.0/8\")", true),
        ("ip_in_net(httpRequest.remoteIp, \"10.1.2.0/31\")", false),
        ("ip_in_net(httpRequest.remoteIp, \"0.0.0.0/0\")", true),
        ("ip_in_net(httpRequest.remoteIp, \"::/0\")", false),
        ("sample(insertId, 1)", true),
        ("sample(insertId, 0)", false),
        ("NOT log_id(\"x\") AND severity=WARNING", true),
    ] {
        assert_eq!(matches(text), expected, "{text}");
    }
}

#[test]
fn a_sample_takes_about_its_share() {
    let filter = Filter::parse("sample(insertId, 0.25)").expect("sound");
    let taken = (0..4000).filter(|id| filter.matches(&json!({"insertId": format!("{id:016x}")}))).count();
    assert!((800..1200).contains(&taken), "{taken}");
}

#[test]
fn what_is_no_filter_is_refused_with_its_place() {
    for (text, part) in [
        ("severity >= LOUD", "invalid value 'LOUD' for severity at line 1, column 13"),
        ("timestamp > yesterday", "invalid timestamp 'yesterday'"),
        ("a = 1\nb = (", "at line 2, column 6"),
        ("a =", "a value is missing at line 1, column 4"),
        ("= b", "syntax error at line 1, column 1, token '='"),
        ("a AND", "syntax error at line 1, column 6"),
        ("OR a", "syntax error at line 1, column 1, token 'OR'"),
        ("(a", "')' is missing"),
        ("a)", "syntax error at line 1, column 2, token ')'"),
        ("a = \"b", "a quote is not closed"),
        ("a =~ \"(\"", "invalid regular expression"),
        ("a..b = c", "no name of a field"),
        ("a.\"b\"c = d", "no name of a field"),
        ("nothing(\"x\")", "there is no function 'nothing'"),
        ("log_id(a, b)", "log_id does not take 2 arguments"),
        ("sample(insertId, 2)", "the share must be 0 to 1"),
        ("ip_in_net(a, \"10.0.0.0/33\")", "the network must be like"),
        ("httpRequest.latency > soon", "invalid duration 'soon'"),
        ("a ! b", "syntax error"),
    ] {
        let error = Filter::parse(text).expect_err(text).to_string();
        assert!(error.starts_with("Unparseable filter: ") && error.contains(part), "{text}: {error}");
    }
    let deep = format!("{}a{}", "(".repeat(60), ")".repeat(60));
    assert!(Filter::parse(&deep).expect_err("too deep").to_string().contains("nested deeper"));
    assert!(Filter::parse(&"a ".repeat(FILTER_MAX)).expect_err("too long").to_string().contains("bytes"));
    assert!(Filter::parse("x =~ \"(a{1000}){1000}\"").is_err(), "a pattern that would fill the memory");
    let many = |count| vec!["x=~\"\\w{9}\""; count].join(" OR ");
    assert!(Filter::parse(&many(20)).is_ok());
    assert!(Filter::parse(&many(21)).expect_err("together they would").to_string().contains("more than 20 regular"));
}

#[test]
fn the_filter_that_gcloud_sends_is_narrowed_to_its_service_and_time() {
    let text = "resource.type = cloud_run_revision \n AND resource.labels.service_name = demo \n AND \
                resource.labels.location = us-central1 \n AND severity >= DEFAULT \n AND \
                timestamp>=\"2026-11-20T08:14:40.576741Z\"";
    let scope = Filter::parse(text).expect("sound").scope();
    assert_eq!((scope.service.as_deref(), scope.location.as_deref()), (Some("demo"), Some("us-central1")));
    assert!(scope.since.is_some() && scope.until.is_none());
    let open = Filter::parse("resource.labels.service_name=a OR severity=ERROR").expect("sound").scope();
    assert_eq!(open, Scope::default());
    assert_eq!(Filter::parse("NOT resource.labels.service_name=a").expect("sound").scope(), Scope::default());
}

fn operand_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9]{1,6}", "[ -~]{0,12}", "\\PC{0,8}"]
}

fn expr() -> impl Strategy<Value = Expr> {
    let path = prop::collection::vec(prop_oneof!["[a-zA-Z_]{1,8}", "[ -~]{1,8}"], 1..4).prop_map(Path);
    let op = prop::sample::select(vec![Op::Equal, Op::Less, Op::GreaterOrEqual, Op::Contains]);
    // Fields whose values are read in a way of their own are in the tables above.
    let compare = (path.clone(), op, operand_text()).prop_filter_map("special", |(path, op, text)| {
        let is_special = matches!(path.0[0].as_str(), "severity" | "timestamp");
        (!is_special).then_some(Expr::Compare { path, op, operand: Operand::Text(text) })
    });
    let leaf = prop_oneof![
        4 => compare,
        1 => path.clone().prop_map(Expr::Has),
        1 => operand_text().prop_map(Expr::Anywhere),
        1 => operand_text().prop_map(|id| Expr::Call(Call::LogId(id))),
        1 => (path, operand_text()).prop_map(|(path, words)| Expr::Call(Call::Search(Some(path), words))),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::Or),
            inner.prop_map(|part| Expr::Not(Box::new(part))),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_what_was_printed(expr in expr()) {
        let filter = Filter { expr: Some(expr) };
        prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
    }

    #[test]
    fn no_text_and_no_entry_is_too_much(text in "\\PC{0,60}", noise in "[a-zA-Z0-9().\":=!<>~ \\-,\\\\]{0,80}") {
        for text in [text, noise] {
            if let Ok(filter) = Filter::parse(&text) {
                filter.matches(&entry());
                prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
            }
        }
    }

    #[test]
    fn negation_and_the_laws_of_de_morgan_hold(a in expr(), b in expr()) {
        let value = |expr: Expr| expr.matches(&entry());
        let not = |expr: &Expr| Expr::Not(Box::new(expr.clone()));
        prop_assert_eq!(value(not(&a)), !value(a.clone()));
        let (and, or) = (Expr::And(vec![a.clone(), b.clone()]), Expr::Or(vec![not(&a), not(&b)]));
        prop_assert_eq!(value(not(&and)), value(or));
    }

    #[test]
    fn whatever_matches_is_within_the_scope(since in 0u64..4_000_000_000, until in 0u64..4_000_000_000) {
        let at = |seconds: u64| Timestamp::from_second(seconds as i64).expect("in range");
        let text = format!("timestamp>=\"{}\" AND timestamp<\"{}\"", at(since), at(until));
        let filter = Filter::parse(&text).expect("sound");
        let scope = filter.scope();
        if filter.matches(&entry()) {
            let time: SystemTime = "2026-11-21T08:14:40.772839Z".parse::<Timestamp>().expect("sound").into();
            prop_assert!(scope.since <= Some(time) && scope.until >= Some(time));
        }
    }
}
