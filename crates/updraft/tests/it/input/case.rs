//! A row of the table, and how it is held against an answer.

use serde_json::{Value, json};

use super::{SERVICES, wire::Got};

/// A row.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) ask: Ask,
    pub(super) expected: Expected,
    pub(super) source: Source,
}

/// Which line of the reference has the rule that the request breaks, or the answer to it. What it leaves open, such as
/// the exact sentence, is ours.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// This one.
    Reference(&'static str),
    /// This one, which is marked there as unconfirmed.
    Marked(&'static str),
    /// None: the answer is what `google.rpc.Code` and the RFCs suggest.
    Unconfirmed,
}

/// A request.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// By HTTP/1.1, put together.
    Rest { verb: &'static str, target: String, headers: Vec<String>, body: Vec<u8> },
    /// By HTTP/1.1, as it stands.
    Raw(Vec<u8>),
    /// The same, and then the end of what the client has to say.
    Cut(Vec<u8>),
    /// By gRPC: the method and the frames.
    Grpc { path: &'static str, headers: Vec<(&'static str, &'static str)>, frames: Vec<u8> },
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    /// The HTTP status; by gRPC always 200.
    pub(super) http: u16,
    /// The canonical code; empty where the answer is none of the API's.
    pub(super) code: &'static str,
    /// The path of the field in a violation; empty where no field is at fault.
    pub(super) field: String,
    /// A part of the message.
    pub(super) says: &'static str,
}

// === impl Expected ===

impl Expected {
    /// # Errors
    /// What is different.
    pub(super) fn check(&self, got: &Got) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{what}; expected {self:?}, got {got:?}"));
        if got.http != self.http {
            return wrong("the HTTP status");
        }
        if got.code != self.code {
            return wrong("the code");
        }
        if !self.field.is_empty() && !got.fields.contains(&self.field) {
            return wrong("the field");
        }
        if !got.message.contains(self.says) && !got.descriptions.iter().any(|text| text.contains(self.says)) {
            return wrong("the sentence");
        }
        Ok(())
    }
}

// === impl Case ===

impl Case {
    /// With other headers than that of JSON.
    pub(super) fn headers(mut self, lines: &[&str]) -> Self {
        if let Ask::Rest { headers, .. } = &mut self.ask {
            *headers = lines.iter().map(|line| (*line).to_owned()).collect();
        }
        self
    }

    /// With another answer than 400 and `INVALID_ARGUMENT`.
    pub(super) fn gets(mut self, http: u16, code: &'static str) -> Self {
        (self.expected.http, self.expected.code) = (http, code);
        self
    }
}

/// Any request by REST; refused with 400 unless [`Case::gets`] says otherwise.
pub(super) fn ask(
    name: &'static str,
    (verb, target): (&'static str, &str),
    body: impl Into<Vec<u8>>,
    (field, says): (&str, &'static str),
    source: Source,
) -> Case {
    let ask = Ask::Rest {
        verb,
        target: target.to_owned(),
        headers: vec!["content-type: application/json".to_owned()],
        body: body.into(),
    };
    let expected = Expected { http: 400, code: "INVALID_ARGUMENT", field: field.to_owned(), says };
    Case { name, ask, expected, source }
}

/// A GET.
pub(super) fn get(name: &'static str, target: &str, wrong: (&str, &'static str), source: Source) -> Case {
    ask(name, ("GET", target), "", wrong, source)
}

/// A creation with this text as body.
pub(super) fn text(name: &'static str, body: impl Into<Vec<u8>>, wrong: (&str, &'static str), source: Source) -> Case {
    ask(name, ("POST", &format!("{SERVICES}?serviceId=bad")), body, wrong, source)
}

/// A creation of a service that is fine but for these fields.
pub(super) fn service(name: &'static str, change: &Value, (field, says): (&str, &'static str), source: Source) -> Case {
    let whole = merged(json!({"template": {"containers": [{"image": "hello"}]}}), change);
    text(name, whole.to_string(), (&format!("service.{field}"), says), source)
}

/// A creation of a service whose template is fine but for these fields.
pub(super) fn template(
    name: &'static str,
    change: &Value,
    (field, says): (&str, &'static str),
    source: Source,
) -> Case {
    service(name, &json!({"template": change}), (&format!("template.{field}"), says), source)
}

/// A creation of a service whose container is fine but for these fields.
pub(super) fn container(
    name: &'static str,
    change: &Value,
    (field, says): (&str, &'static str),
    source: Source,
) -> Case {
    let container = merged(json!({"image": "hello"}), change);
    template(name, &json!({"containers": [container]}), (&format!("containers[0].{field}"), says), source)
}

/// An update of the service that is there.
pub(super) fn update(
    name: &'static str,
    query: &str,
    body: &Value,
    wrong: (&str, &'static str),
    source: Source,
) -> Case {
    ask(name, ("PATCH", &format!("{SERVICES}/hello{query}")), body.to_string(), wrong, source)
}

fn merged(mut base: Value, change: &Value) -> Value {
    match (&mut base, change) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (name, value) in changes {
                let old = fields.remove(name).unwrap_or_default();
                fields.insert(name.clone(), merged(old, value));
            }
            base
        }
        (_, change) => change.clone(),
    }
}
