//! What a client of HTTP/1 may be sent: answers, one behind the other, and nothing between or in them that a container
//! made up.

use crate::{
    check::{chunks, field, find},
    frames::PREFACE,
};

/// Reads all answers of a connection; the last one may be cut off.
///
/// # Panics
/// When they are not answers, or more than `most` requests have.
pub(crate) fn judge(output: &[u8], client: &[u8], most: usize) {
    // The answer to HEAD has no body whatever it says, and which answer that is only the door knows.
    if client.starts_with(PREFACE) || find(client, b"HEAD").is_some() {
        return;
    }
    let shown = || output.escape_ascii().to_string();
    let (mut rest, mut count) = (output, 0);
    while let Some(end) = find(rest, b"\r\n\r\n") {
        let answer = head(&rest[..end], &shown());
        rest = &rest[end + 4..];
        count += usize::from(answer.status >= 200);
        // What cannot be read as a request is answered as well, once.
        assert!(count <= most + 1, "{count} answers to {most} requests: {}", shown());
        let length = match answer {
            Answer { status: 101, .. } => return,
            Answer { status: 100..200 | 204 | 304, .. } => Some(0),
            Answer { is_chunked: true, .. } => chunks(rest),
            Answer { length: Some(length), .. } => (rest.len() >= length).then_some(length),
            // Until the end of the connection.
            Answer { .. } => None,
        };
        let Some(length) = length else { return };
        rest = &rest[length..];
    }
    assert!(rest.is_empty(), "what is no answer: {}", shown());
}

struct Answer {
    status: u16,
    is_chunked: bool,
    length: Option<usize>,
}

fn head(bytes: &[u8], shown: &str) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.1 ").or_else(|| first.strip_prefix("HTTP/1.0 "));
    let status = status.and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or_else(|| panic!("a first line: {shown}"));
    let mut answer = Answer { status, is_chunked: false, length: None };
    for line in lines {
        assert!(!line.contains(['\r', '\n', '\0']), "an end of line in a value: {shown}");
        let (name, value) = field(line, shown);
        match &*name {
            "transfer-encoding" => {
                assert!(value == "chunked" && !answer.is_chunked, "a coding: {shown}");
                answer.is_chunked = true;
            }
            "content-length" => {
                assert!(answer.length.is_none(), "two lengths: {shown}");
                answer.length = Some(value.parse().unwrap_or_else(|_| panic!("a length: {shown}")));
            }
            "keep-alive" | "proxy-connection" | "proxy-authenticate" => panic!("{name} passed: {shown}"),
            _ => {}
        }
    }
    assert!(!(answer.is_chunked && answer.length.is_some()), "two lengths: {shown}");
    answer
}
