//! Paths and queries of REST: templates such as `/v2/{name=projects/*/locations/*/services/*}:getIamPolicy`.

/// A template, taken apart.
#[derive(Debug)]
pub struct Template {
    pieces: Vec<Piece>,
    /// The custom verb behind the colon.
    verb: Option<&'static str>,
}

/// One segment of a template.
#[derive(Debug)]
struct Piece {
    kind: PieceKind,
    /// The field whose value this segment belongs to.
    field: Option<&'static str>,
}

#[derive(Debug)]
enum PieceKind {
    Literal(&'static str),
    Any,
}

// === impl Template ===

impl Template {
    /// Takes `template` apart: literals, `{field}` and `{field=literal/*}`, a verb at the end.
    pub fn new(template: &'static str) -> Self {
        let (path, verb) = match template.rsplit_once(':') {
            Some((path, verb)) if !verb.contains('/') => (path, Some(verb)),
            _ => (template, None),
        };
        let mut pieces = Vec::new();
        let mut field = None;
        for part in path.trim_start_matches('/').split('/') {
            let (opened, rest) = match part.strip_prefix('{').map(|rest| rest.split_once('=').unwrap_or((rest, ""))) {
                Some((name, rest)) => (Some(name.trim_end_matches('}')), rest),
                None => (field, part),
            };
            let segment = rest.trim_end_matches('}');
            let kind = if matches!(segment, "*" | "") { PieceKind::Any } else { PieceKind::Literal(segment) };
            pieces.push(Piece { kind, field: opened });
            field = if part.ends_with('}') { None } else { opened };
        }
        Self { pieces, verb }
    }

    /// The fields and their values if `path` (as on the wire, without query) fits.
    pub fn matches(&self, path: &str) -> Option<Vec<(&'static str, String)>> {
        let path = path.strip_prefix('/')?;
        let (path, verb) = split_verb(path);
        let segments: Vec<&str> = path.split('/').collect();
        if verb != self.verb || segments.len() != self.pieces.len() {
            return None;
        }
        let mut captures: Vec<(&'static str, String)> = Vec::new();
        for (piece, segment) in self.pieces.iter().zip(segments) {
            let segment = percent_decode(segment);
            // A decoded slash would change what the name says.
            if segment.is_empty() || segment.contains('/') || !piece.fits(&segment) {
                return None;
            }
            let Some(field) = piece.field else { continue };
            match captures.last_mut() {
                Some((last, value)) if *last == field => {
                    value.push('/');
                    value.push_str(&segment);
                }
                _ => captures.push((field, segment)),
            }
        }
        Some(captures)
    }
}

// === impl Piece ===

impl Piece {
    fn fits(&self, segment: &str) -> bool {
        match self.kind {
            PieceKind::Literal(literal) => literal == segment,
            PieceKind::Any => true,
        }
    }
}

/// The custom verb is what follows the last colon, if no slash does: ids have none, but project ids of
/// old domains do (`google.com:name`).
fn split_verb(path: &str) -> (&str, Option<&str>) {
    match path.rsplit_once(':') {
        Some((path, verb)) if !verb.contains('/') => (path, Some(verb)),
        _ => (path, None),
    }
}

/// The pairs of a query, decoded.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = |text: &str| percent_decode(&text.replace('+', " "));
        (plain(name), plain(value))
    })
}

/// Decodes `%41`; what is no such escape stays, bytes that are no UTF-8 are replaced.
pub fn percent_decode(text: &str) -> String {
    String::from_utf8_lossy(&octets(text)).into_owned()
}

/// Is it UTF-8 when it is decoded?
pub fn is_text(encoded: &str) -> bool {
    String::from_utf8(octets(encoded)).is_ok()
}

fn octets(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            _ => {
                decoded.push(first);
                rest = tail;
            }
        }
    }
    decoded
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(template: &'static str, path: &str) -> Option<Vec<(&'static str, String)>> {
        Template::new(template).matches(path)
    }

    #[test]
    fn a_variable_takes_the_segments_of_its_pattern() {
        let template = "/v2/{parent=projects/*/locations/*}/services";
        let found = captured(template, "/v2/projects/p/locations/l/services");
        assert_eq!(found, Some(vec![("parent", "projects/p/locations/l".to_owned())]));
        assert_eq!(captured(template, "/v2/projects/p/locations/l/jobs"), None);
        assert_eq!(captured(template, "/v2/projects//locations/l/services"), None);
        assert_eq!(captured(template, "/v2/projects/p/locations/l/services/"), None);
    }

    #[test]
    fn a_verb_must_be_the_templates_own() {
        let template = "/v2/{resource=projects/*/locations/*/services/*}:getIamPolicy";
        let name = "projects/p/locations/l/services/s";
        let found = captured(template, &format!("/v2/{name}:getIamPolicy"));
        assert_eq!(found, Some(vec![("resource", name.to_owned())]));
        assert_eq!(captured(template, &format!("/v2/{name}:setIamPolicy")), None);
        assert_eq!(captured(template, &format!("/v2/{name}")), None);
    }

    #[test]
    fn nested_fields_and_escapes_are_read() {
        let template = "/v2/{service.name=projects/*/locations/*/services/*}";
        let found = captured(template, "/v2/projects/google.com%3Ap/locations/l/services/s").expect("fits");
        assert_eq!(found, [("service.name", "projects/google.com:p/locations/l/services/s".to_owned())]);
        assert_eq!(captured(template, "/v2/projects/p%2Fq/locations/l/services/s"), None);
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(percent_decode("a%2"), "a%2");
        assert_eq!(percent_decode("%zz%41"), "%zzA");
    }
}
