use std::time::Duration;

use expect_test::expect;
use proptest::prelude::*;

use super::*;

/// A Saturday, 01:00 in Berlin: 2023-11-25T00:00:00Z.
const NOW: u64 = 1_700_870_400;

fn asked(expression: &str) -> String {
    let target = Target {
        name: "projects/demo/locations/us-central1/services/acme-shop".to_owned(),
        kind: "run.googleapis.com/Service",
        service: "run.googleapis.com",
    };
    let question = Question {
        principal: &Principal::Anonymous,
        permission: "run.services.get",
        target: &target,
        now: UNIX_EPOCH + Duration::from_secs(NOW),
        modified_roles: &["roles/run.invoker".to_owned(), "roles/run.viewer".to_owned()],
    };
    let mut condition = Condition { expression: expression.to_owned(), ..Condition::default() };
    let at_once = Facts::of(&question).holds(&condition);
    prepare(&mut condition);
    let ahead = Facts::of(&question).holds(&condition);
    assert_eq!(at_once, ahead, "{expression}");
    match ahead {
        Ok(outcome) => outcome.to_string(),
        Err(why) => format!("error: {why}"),
    }
}

#[test]
fn conditions_see_time_and_resource() {
    for (expression, outcome) in [
        ("true", "true"),
        ("request.time < timestamp('2023-11-25T00:00:01Z')", "true"),
        ("request.time < timestamp('2023-11-25T00:00:00Z')", "false"),
        ("request.time.getHours('Europe/Berlin') == 1", "true"),
        ("request.time.getDayOfWeek('UTC') in [1, 2, 3, 4, 5]", "false"),
        ("request.time.getDayOfWeek() == 6 && request.time.getFullYear() == 2023", "true"),
        ("request.time - timestamp('2023-11-24T00:00:00Z') <= duration('86400s')", "true"),
        ("resource.type == 'run.googleapis.com/Service'", "true"),
        ("resource.service == 'run.googleapis.com' || resource.type == 'x'", "true"),
        ("resource.name.startsWith('projects/demo/locations/us-central1/')", "true"),
        ("!resource.name.endsWith('-shop')", "false"),
        ("resource.name.contains('/acme-')", "true"),
        ("size(resource.name) > 10 ? resource.type != '' : false", "true"),
        ("resource.name.extract('locations/{l}/') == 'us-central1'", "true"),
        ("resource.name.extract('services/{name}') == 'acme-shop'", "true"),
        ("api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly(['roles/run.invoker'])", "false"),
        (
            "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', [])\
             .hasOnly(['roles/run.viewer', 'roles/run.invoker'])",
            "true",
        ),
        ("api.getAttribute('storage.googleapis.com/objectListPrefix', 'none') == 'none'", "true"),
    ] {
        assert_eq!(asked(expression), outcome, "{expression}");
        assert_eq!(check(expression), Ok(()), "{expression}");
    }
}

#[test]
fn what_cannot_be_evaluated_says_why_and_holds_for_nobody() {
    let wrong = [
        "",
        "resource.name ==",
        "resource.name",
        "resource.owner == 'me'",
        "resource == resource",
        "request.auth.claims.email == 'me'",
        "user == 'me'",
        "google",
        "[1, 2].all(x, x > 0)",
        "[1].map(x, x)",
        "resource.name.matches('a+')",
        "has(resource.name)",
        "{'a': 1}.a == 1",
        "getAttribute('x', 1) == 1",
        "api.extract('x')",
        "resource.name.extract('no part') == ''",
        "request.time < 5",
        "timestamp('yesterday') < request.time",
        "1 + true == 2",
        "now() < request.time",
    ];
    let shown: String = wrong.iter().map(|expression| format!("{expression} → {}\n", asked(expression))).collect();
    expect![[r#"
         → error: must be set, got nothing
        resource.name == → error: 1:17: Syntax error: mismatched input '<EOF>' expecting expression
        resource.name → error: must be true or false, is of type string
        resource.owner == 'me' → error: undeclared reference to 'resource.owner'
        resource == resource → error: 'resource' alone has no value; its fields have
        request.auth.claims.email == 'me' → error: undefined field 'email'
        user == 'me' → error: undeclared reference to 'user'
        google → error: undeclared reference to 'google'
        [1, 2].all(x, x > 0) → error: maps, messages and loops are not part of conditions
        [1].map(x, x) → error: maps, messages and loops are not part of conditions
        resource.name.matches('a+') → error: undeclared reference to 'matches'
        has(resource.name) → error: undeclared reference to 'has'
        {'a': 1}.a == 1 → error: undefined field 'a'
        getAttribute('x', 1) == 1 → error: undeclared reference to 'getAttribute'
        api.extract('x') → error: undeclared reference to 'extract'
        resource.name.extract('no part') == '' → error: Error executing function 'extract': the template must have one {part} to extract, got 'no part'
        request.time < 5 → error: found no matching overload for '_<_' applied to '(google.protobuf.Timestamp, int)'
        timestamp('yesterday') < request.time → error: Error executing function 'timestamp': premature end of input
        1 + true == 2 → error: Unsupported binary operator 'add': Int(1), Bool(true)
        now() < request.time → error: undeclared reference to 'now'
    "#]].assert_eq(&shown);
    assert!(wrong.iter().all(|expression| check(expression).is_err()));
}

#[test]
fn what_makes_sense_for_one_kind_of_thing_or_at_some_time_is_taken() {
    for expression in [
        "1000 % request.time.getMilliseconds() > 1",
        "resource.name.extract('secrets/{name}/versions') == 'db' && 1 % size(resource.name.extract('secrets/{name}/versions')) < 1",
        "int(resource.name.extract('versions/{number}')) > 3",
    ] {
        assert_eq!(check(expression), Ok(()), "{expression}");
    }
    assert!(check("int(resource.name) > 3").is_err(), "of nothing");
}

#[test]
fn expressions_have_bounds() {
    let long = format!("resource.name == '{}'", "x".repeat(EXPRESSION_BYTES_MAX));
    assert_eq!(check(&long).unwrap_err(), format!("must have at most 4096 bytes, got {}", long.len()));
    let ands = |count: usize| vec!["true"; count + 1].join(" && ");
    assert_eq!(check(&ands(12)), Ok(()));
    assert_eq!(check(&ands(13)).unwrap_err(), "must have at most 12 logical operators, got 13");
    assert_eq!(check(&vec!["1 == 1"; 600].join(" == ")).unwrap_err(), "must have at most 4096 bytes, got 5996");
    for deep in [
        format!("{}true{} == true", "[".repeat(900), "]".repeat(900)),
        format!("{}1{} == 1", "int(".repeat(400), ")".repeat(400)),
        format!("resource.name{} == ''", ".extract('{a}')".repeat(200)),
        format!("1{} == 1", " + 1".repeat(900)),
        format!("[true]{}", "[0]".repeat(900)),
        "true ? ".repeat(200) + "true" + &" : true".repeat(200),
    ] {
        assert!(check(&deep).is_err(), "{}", &deep[..20]);
    }
}

#[test]
fn the_deepest_expression_leaves_most_of_a_threads_stack() {
    let levels = usize::from(NESTING_MAX);
    let deepest = |text: &dyn Fn(usize) -> String| {
        let allowed = (0..levels).rev().map(text).find(|text| parse(text).is_ok());
        allowed.expect("some depth is allowed")
    };
    let texts = [
        deepest(&|n| format!("resource.name{} == ''", ".extract('{a}')".repeat(n))),
        deepest(&|n| format!("1{} == 1", " + 1".repeat(n))),
        deepest(&|n| format!("{}1{} == [1]", "[".repeat(n), "]".repeat(n))),
        deepest(&|n| format!("{}1{} == 1", "int(".repeat(n), ")".repeat(n))),
        deepest(&|n| "true ? true : ".repeat(n) + "true"),
        "!".repeat(4000) + "true",
        "(".repeat(2000) + "true" + &")".repeat(2000),
    ];
    // Tokio's threads have 2 MiB; without optimisation a level takes more than ten times what it takes with it.
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let work = move || texts.iter().map(|text| check(text).is_ok()).collect::<Vec<_>>();
    assert_eq!(small.spawn(work).unwrap().join().unwrap().len(), 7);
}

#[test]
fn parts_of_names_are_extracted_as_documented() {
    let name = "projects/_/buckets/acme-orders-aaa/objects/data_lake/orders/order_date=2019-11-03/aef87g87ae0876";
    for (template, part) in [
        ("/order_date={date}/", "2019-11-03"),
        ("buckets/{name}/", "acme-orders-aaa"),
        ("/orders/{empty}order_date", ""),
        ("{start}/objects/data_lake", "projects/_/buckets/acme-orders-aaa"),
        ("orders/{end}", "order_date=2019-11-03/aef87g87ae0876"),
        ("{all}", name),
        ("/orders/{none}/order_date=", ""),
        ("/orders/order_date=2019-11-03/{id}/data_lake", ""),
        ("nowhere/{x}", ""),
    ] {
        let expression = format!("'{name}'.extract('{template}') == '{part}'");
        assert_eq!(asked(&expression), "true", "{template}");
    }
}

#[test]
fn extremes_are_answered() {
    for expression in [
        "-(-9223372036854775808) == 0",
        "-9223372036854775808 % -1 == 0",
        "9223372036854775807 + 1 == 0",
        "-9223372036854775808 - 1 == 0",
        "1 % 0 == 0",
        "1u - 2u == 0u",
        "int('9223372036854775808') == 0",
        "int(1e300) == 0",
        "int(9223372036854775808.0) == 0",
        "request.time + duration('9223372036s') > request.time",
        "request.time + duration('315576000000s') > request.time",
        "request.time - duration('315576000000s') > request.time",
        "duration('315576000000s') + duration('315576000000s') == duration('1s')",
        "-duration('-315576000000s') == duration('1s')",
        "duration('9999999999999999999h') == duration('1s')",
        "duration('-9223372036854775808ns') == duration('1s')",
        "timestamp('9999-12-31T23:59:59Z') + duration('1s') > request.time",
        "timestamp('0001-01-01T00:00:00Z') - duration('1s') > request.time",
        "timestamp('0001-01-01T00:00:00Z').getHours('America/New_York') > 1",
        "timestamp('9999-12-31T23:59:59Z').getHours('+14:00') > 1",
        "request.time.getHours('') == 0",
        "request.time.getHours('+99:99') == 0",
        "request.time.getHours('Mars/Olympus') == 0",
        "[1, 2][9223372036854775807] == 1",
        "[1, 2][-1] == 1",
        "[1, 2][1.5] == 1",
        "'é'.extract('{x}') == 'é'",
        "'aé'.extract('a{x}') == 'é'",
        "resource.name.extract('{}') == resource.name",
        "'\\ud800' == ''",
        "'\\U00110000' == ''",
        "b'\\xff' == b''",
        "string(b'\\xff') == ''",
        "size('é') == 1",
        "[[[[1]]]].hasOnly([1])",
        "'a'.hasOnly(['a'])",
        "api.getAttribute('x')",
        "api.getAttribute(1, 2) == 2",
        "\u{0}",
        "'\u{0}' == ''",
    ] {
        let _ = asked(expression);
        let _ = check(expression);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 2000 }))]

    #[test]
    fn whatever_is_written_is_answered(text in "[a-z.()\\[\\]{}'\"\\\\!&|<>=?:, 0-9ébx`/-]{0,60}") {
        let _ = check(&text);
        let _ = check(&format!("resource.name == '{text}'"));
        let _ = check(&format!("resource.name.extract({text})"));
    }
}
