//! Every field of every request has its rule: none can be forgotten.
//!
//! The fields come from the descriptors, the rules from [`table`]. Each rule is tried out: a refused value is refused
//! at its path, what is not supported is named, and no field takes a value of another type.

mod requests;
mod table;

use prost_reflect::{Kind, MessageDescriptor};
use requests::REQUESTS;
use serde_json::{Value, json};
use table::{Row, Rule, rows};
use updraft_api::{json::from_json, message, method::methods, run, view};
use updraft_model::{
    Parent, Violation,
    revision::lifecycle,
    service::{defaults, validation},
};

/// What the document has between, written here.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/input.md");
const BEGIN: &str = "<!-- fields: written by the test `the_document_has_every_field`, with UPDATE_EXPECT=1 -->\n";
const END: &str = "<!-- /fields -->\n";

/// All fields below `descriptor`; into those that have a row of their own it does not look.
fn walk(descriptor: &MessageDescriptor, at: &str, is_row: &dyn Fn(&str) -> bool, found: &mut Vec<String>) {
    for field in descriptor.fields() {
        let name = if at.is_empty() { field.name().to_owned() } else { format!("{at}.{}", field.name()) };
        match field.kind() {
            Kind::Message(inner)
                if !is_row(&name) && !field.is_map() && !inner.full_name().starts_with("google.protobuf.") =>
            {
                walk(&inner, &format!("{name}{}", if field.is_list() { "[]" } else { "" }), is_row, found);
            }
            _ => found.push(name),
        }
    }
}

/// A service that is fine but for these values.
fn service_with(values: &[(String, Value)]) -> Value {
    let mut service = json!({"template": {"containers": [{"image": "hello"}]}});
    for (path, value) in values {
        let mut place = &mut service;
        for part in path.split('.') {
            let (name, is_list) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
            place = &mut place[name];
            if is_list {
                if place.is_null() {
                    *place = json!([{}]);
                }
                place = &mut place[0];
            }
        }
        *place = value.clone();
    }
    service
}

/// What is wrong with a service, and what of it is not supported.
fn check(service: &Value) -> (Vec<Violation>, Vec<String>) {
    let read = |service: &Value| -> Result<_, updraft_model::Error> {
        let message: run::Service = from_json(service, "service")?;
        let unnamed = view::service::check_unnamed(&message)?;
        let name = Parent::new("demo-project", "us-central1").service("hello");
        let mut model = view::service::to_model(&name, &message)?;
        defaults::apply(&mut model);
        let found = [unnamed, validation::check(&model)].concat();
        Ok((found, lifecycle::unsupported(&model.template)))
    };
    read(service).unwrap_or_else(|error| (error.violations().to_vec(), Vec::new()))
}

/// A path in a violation as the table has it: `service.a[0].b[key]` is `a[].b`.
fn plain(field: &str) -> String {
    let field = field.strip_prefix("service.").unwrap_or(field);
    let mut plain = String::new();
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('[') {
        let (inside, behind) = after.split_once(']').unwrap_or((after, ""));
        plain.push_str(before);
        if inside.bytes().all(|c| c.is_ascii_digit()) && behind.starts_with('.') {
            plain.push_str("[]");
        }
        rest = behind;
    }
    plain + rest
}

#[test]
fn every_field_of_a_service_has_a_rule() {
    let rows = rows();
    let mut found = Vec::new();
    walk(&message("google.cloud.run.v2.Service"), "", &|path| rows.iter().any(|row| row.path == path), &mut found);
    let named: Vec<&str> = rows.iter().map(|row| row.path.as_str()).collect();
    let missing: Vec<&String> = found.iter().filter(|path| !named.contains(&path.as_str())).collect();
    let strange: Vec<&&str> = named.iter().filter(|path| !found.iter().any(|known| known == *path)).collect();
    assert!(missing.is_empty() && strange.is_empty(), "without a rule: {missing:#?}; no field: {strange:#?}");
    assert_eq!(named.len(), found.len(), "a field has two rules");
}

#[test]
fn every_rule_refuses_what_it_says() {
    assert_eq!(check(&service_with(&[])), (Vec::new(), Vec::new()), "the service is fine without");
    let mut wrong = Vec::new();
    for Row { path, rule, with, .. } in rows() {
        let (found, unsupported) = check(&service_with(&with));
        let fields: Vec<String> = found.iter().map(|violation| plain(&violation.field)).collect();
        let holds = match rule {
            Rule::Refused => fields.contains(&path),
            Rule::Unsupported => found.iter().any(|v| plain(&v.field) == path && v.rule.contains("not supported")),
            Rule::NotReady(named) => found.is_empty() && unsupported.iter().any(|field| field == named),
            Rule::Free | Rule::Output => found.is_empty() && unsupported.is_empty(),
        };
        if !holds {
            wrong.push(format!("{path} ({rule:?}): {found:?}, not supported: {unsupported:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_field_takes_a_value_of_another_type() {
    for row in rows() {
        // No field is a list of lists.
        let (found, _) = check(&service_with(&[(row.path.clone(), json!([[["x"]]]))]));
        assert!(!found.is_empty(), "{}", row.path);
    }
}

#[test]
fn every_field_of_every_request_has_a_rule() {
    let mut found: Vec<String> = Vec::new();
    for method in methods() {
        let input = method.descriptor().expect("it is in the table").input();
        // Two products have jobs.
        let is_schedulers = input.full_name().starts_with("google.cloud.scheduler.");
        let own = format!("{}{}", if is_schedulers { "scheduler." } else { "" }, input.name());
        let is_row = |path: &str| REQUESTS.iter().any(|(name, _)| *name == format!("{own}.{path}"));
        let mut fields = Vec::new();
        walk(&input, "", &is_row, &mut fields);
        found.extend(fields.into_iter().map(|field| format!("{own}.{field}")));
    }
    let named: Vec<&str> = REQUESTS.iter().map(|(name, _)| *name).collect();
    let missing: Vec<&String> = found.iter().filter(|name| !named.contains(&name.as_str())).collect();
    let strange: Vec<&&str> = named.iter().filter(|name| !found.iter().any(|known| known == *name)).collect();
    assert!(missing.is_empty() && strange.is_empty(), "without a rule: {missing:#?}; no field: {strange:#?}");
}

#[test]
fn the_document_has_every_field() {
    let mut text = String::from("| field of a service | rule |\n|--|--|\n");
    for row in rows() {
        let rule = match row.rule {
            Rule::Refused => row.says.to_owned(),
            Rule::Unsupported => "not supported: refused when it is set".to_owned(),
            Rule::NotReady(_) => "not supported: the revision is not ready and names it".to_owned(),
            Rule::Free => format!("any value: {}", row.says),
            Rule::Output => "written by the server: ignored".to_owned(),
        };
        text.push_str(&format!("| `{}` | {rule} |\n", row.path));
    }
    text.push_str("\n| field of a request | rule |\n|--|--|\n");
    for (name, rule) in REQUESTS {
        text.push_str(&format!("| `{name}` | {rule} |\n"));
    }
    let document = std::fs::read_to_string(DOCUMENT).expect("docs/input.md is there");
    let (before, rest) = document.split_once(BEGIN).expect("docs/input.md says where the fields begin");
    let (written, after) = rest.split_once(END).expect("docs/input.md says where the fields end");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(DOCUMENT, format!("{before}{BEGIN}{text}{END}{after}")).expect("it can be written");
    } else {
        assert!(written == text, "docs/input.md is behind; run this test with UPDATE_EXPECT=1");
    }
}
