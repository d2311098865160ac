//! The trace a request belongs to: kept as the client sent it, or made.
//!
//! Sources: W3C Trace Context (`traceparent: 00-TRACE-SPAN-FLAGS`, all hex); Cloud Run
//! (`X-Cloud-Trace-Context: TRACE/SPAN;o=SAMPLED`, the span decimal).

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use updraft_model::channel::TraceContext;

use crate::headers::two_values;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const CLOUD_TRACE: HeaderName = HeaderName::from_static("x-cloud-trace-context");

/// A trace and the span of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trace {
    trace: u128,
    span: u64,
    sampled: u8,
}

/// Gives the request both headers; a valid one that is there is kept and the other derived from it.
pub(crate) fn carry(headers: &mut HeaderMap) {
    let standard = only(headers, &TRACEPARENT).and_then(parse_standard);
    let cloud = only(headers, &CLOUD_TRACE).and_then(parse_cloud);
    if standard.is_some() && cloud.is_some() {
        return;
    }
    let Trace { trace, span, sampled } = standard.or(cloud).unwrap_or_else(|| Trace {
        trace: rand::random::<u128>().max(1),
        span: rand::random::<u64>().max(1),
        sampled: 0,
    });
    let mut text = String::with_capacity(128);
    // Writing to a String does not fail.
    let _ = write!(text, "00-{trace:032x}-{span:016x}-{sampled:02x}");
    let end = text.len();
    let _ = write!(text, "{trace:032x}/{span};o={sampled}");
    let Some((made_standard, made_cloud)) = two_values(text, end) else { return };
    if standard.is_none() {
        headers.insert(TRACEPARENT, made_standard);
    }
    if cloud.is_none() {
        headers.insert(CLOUD_TRACE, made_cloud);
    }
}

/// The value of a header that is there once. Of two traces nobody knows which one is meant.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The header that says it all, once [`carry`] was there. To clone it costs nothing, to read it does.
pub(crate) fn header(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(&TRACEPARENT)
}

/// The header of Cloud Run, likewise.
pub(crate) fn cloud_header(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(&CLOUD_TRACE)
}

/// Sets [`cloud_header`] of an answer.
pub(crate) fn tell(headers: &mut HeaderMap, value: HeaderValue) {
    headers.insert(CLOUD_TRACE, value);
}

/// What [`header`] says.
pub(crate) fn context(value: &HeaderValue) -> Option<TraceContext> {
    let Trace { trace, span, sampled } = parse_standard(value.to_str().ok()?)?;
    Some(TraceContext { trace, span, sampled: sampled != 0 })
}

fn parse_standard(text: &str) -> Option<Trace> {
    let mut parts = text.split('-');
    let (_version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if trace.len() != 32 || span.len() != 16 {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|&trace| trace != 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|&span| span != 0)?;
    Some(Trace { trace, span, sampled: u8::from_str_radix(flags, 16).ok()? & 1 })
}

fn parse_cloud(text: &str) -> Option<Trace> {
    let (trace, rest) = text.split_once('/').unwrap_or((text, "1"));
    let (span, options) = rest.split_once(';').unwrap_or((rest, ""));
    if trace.len() != 32 {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|&trace| trace != 0)?;
    Some(Trace { trace, span: span.parse().ok()?, sampled: u8::from(options == "o=1") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(name: &'static str, value: &'static str) -> (String, String) {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        carry(&mut headers);
        let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        (text(TRACEPARENT), text(CLOUD_TRACE))
    }

    #[test]
    fn each_header_is_derived_from_the_other() {
        let (standard, cloud) =
            ("00-0af7651916cd43dd8448eb211c80319c-000000000000000a-01", "0af7651916cd43dd8448eb211c80319c/10;o=1");
        assert_eq!(carried("traceparent", standard), (standard.to_owned(), cloud.to_owned()));
        assert_eq!(carried("x-cloud-trace-context", cloud), (standard.to_owned(), cloud.to_owned()));
    }

    #[test]
    fn of_two_traces_neither_is_believed() {
        let mut headers = HeaderMap::new();
        for trace in ["00-0af7651916cd43dd8448eb211c80319c-000000000000000a-01", "00-1-2-01"] {
            headers.append(TRACEPARENT, HeaderValue::from_static(trace));
        }
        carry(&mut headers);
        assert!(only(&headers, &TRACEPARENT).and_then(parse_standard).is_some(), "one, and it is new: {headers:?}");
        assert_ne!(headers[TRACEPARENT], "00-0af7651916cd43dd8448eb211c80319c-000000000000000a-01");
    }

    #[test]
    fn nonsense_is_replaced() {
        let (standard, cloud) = carried("traceparent", "00-xyz-1-1");
        assert!(parse_standard(&standard).is_some(), "{standard}");
        assert!(parse_cloud(&cloud).is_some(), "{cloud}");
    }
}
