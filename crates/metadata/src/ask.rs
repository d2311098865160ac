//! A request, held against what every request has to be.

use std::time::Duration;

use http::{Method, header::HeaderName, request::Parts};

use crate::answer::Refusal;

/// What has to be said for an answer: code that was tricked into asking for an address cannot add it.
pub(crate) const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
/// The only value of [`FLAVOR`].
pub(crate) const GOOGLE: &str = "Google";
/// Who has it was passed on by somebody, and is not the instance's own.
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The longest that a change is waited for; without a word about it, so long.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(300);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    /// The parts of the path, decoded.
    pub(crate) segments: Vec<String>,
    /// Does the path end with a slash, as that of a directory does?
    pub(crate) is_directory: bool,
    /// The query, decoded, in its order.
    query: Vec<(String, String)>,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Values as they are, one a line.
    Text,
    /// JSON.
    Json,
}

/// Who wants to be told of a change, not of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wait {
    /// What it knows already.
    pub(crate) last_etag: Option<String>,
    /// When it wants an answer whatever happens.
    pub(crate) at_most: Duration,
}

// === impl Ask ===

impl Ask {
    /// What is asked for, if it may be asked so.
    pub(crate) fn read(head: &Parts) -> Result<Self, Refusal> {
        let path = head.uri.path();
        if head.headers.contains_key(FORWARDED) {
            return Err(Refusal::Forwarded(path.to_owned()));
        }
        let mut flavors = head.headers.get_all(FLAVOR).iter().peekable();
        let is_ours = flavors.peek().is_some() && flavors.all(|flavor| flavor.as_bytes() == GOOGLE.as_bytes());
        // Whoever looks whether there is a metadata server may ask without a word: there is nothing in it.
        if !is_ours && path != "/" {
            return Err(Refusal::NoFlavor(path.to_owned()));
        }
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(Refusal::Method);
        }
        let unknown = || Refusal::Unknown(path.to_owned());
        let inner = path.strip_prefix('/').ok_or_else(unknown)?;
        let is_directory = inner.is_empty() || inner.ends_with('/');
        let names = inner.strip_suffix('/').unwrap_or(inner);
        let segments = match names {
            "" => Vec::new(),
            names => {
                names.split('/').map(|name| decode(name, Plus::IsPlus)).collect::<Option<_>>().ok_or_else(unknown)?
            }
        };
        let query = head.uri.query().unwrap_or_default();
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name, Plus::IsSpace)?, decode(value, Plus::IsSpace)?))
        });
        let query =
            query.collect::<Option<_>>().ok_or_else(|| Refusal::Invalid("the query is not well-formed".to_owned()))?;
        Ok(Self { segments, is_directory, query })
    }

    /// The first value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Is a parameter switched on?
    fn is_on(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Is everything below a directory wanted?
    pub(crate) fn is_recursive(&self) -> bool {
        self.is_on("recursive")
    }

    /// The form that is wanted, if one is.
    pub(crate) fn form(&self) -> Result<Option<Form>, Refusal> {
        match self.parameter("alt") {
            None => Ok(None),
            Some("text") => Ok(Some(Form::Text)),
            Some("json") => Ok(Some(Form::Json)),
            Some(other) => Err(Refusal::Invalid(format!("alt must be 'text' or 'json', not '{}'", shown(other)))),
        }
    }

    /// Is a change waited for?
    pub(crate) fn wait(&self) -> Result<Option<Wait>, Refusal> {
        if !self.is_on("wait_for_change") {
            return Ok(None);
        }
        let at_most = match self.parameter("timeout_sec") {
            None => WAIT_MAX,
            Some(text) => {
                let seconds: u64 = text.parse().map_err(|_| {
                    Refusal::Invalid(format!("timeout_sec must be a number of seconds, not '{}'", shown(text)))
                })?;
                Duration::from_secs(seconds).min(WAIT_MAX)
            }
        };
        Ok(Some(Wait { last_etag: self.parameter("last_etag").map(str::to_owned), at_most }))
    }
}

/// What a plus sign is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plus {
    /// Itself: in a path.
    IsPlus,
    /// A space: in a form, as clients write queries.
    IsSpace,
}

/// Undoes the encoding of a URL; `None` if it is broken or not UTF-8.
fn decode(text: &str, plus: Plus) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                u8::try_from(high << 4 | low).ok()?
            }
            b'+' if plus == Plus::IsSpace => b' ',
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

/// The beginning of what somebody wrote, for a sentence about it.
pub(crate) fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(100)]
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn read(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Ask, Refusal> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ask::read(&request.body(()).expect("a request").into_parts().0)
    }

    #[test]
    fn a_request_says_that_it_means_the_metadata_server_and_was_not_passed_on() {
        let path = || "/computeMetadata/v1/project/project-id".to_owned();
        let flavor = ("Metadata-Flavor", "Google");
        for (method, headers, refusal) in [
            ("GET", vec![flavor], None),
            ("HEAD", vec![flavor], None),
            ("GET", vec![("metadata-flavor", "Google"), ("Host", "attacker.example")], None),
            ("GET", vec![], Some(Refusal::NoFlavor(path()))),
            ("GET", vec![("Metadata-Flavor", "google")], Some(Refusal::NoFlavor(path()))),
            ("GET", vec![("Metadata-Flavor", "")], Some(Refusal::NoFlavor(path()))),
            ("GET", vec![flavor, ("Metadata-Flavor", "Other")], Some(Refusal::NoFlavor(path()))),
            ("GET", vec![("X-Google-Metadata-Request", "True")], Some(Refusal::NoFlavor(path()))),
            ("GET", vec![flavor, ("X-Forwarded-For", "10.64.0.3")], Some(Refusal::Forwarded(path()))),
            ("GET", vec![flavor, ("x-forwarded-for", "")], Some(Refusal::Forwarded(path()))),
            ("POST", vec![flavor], Some(Refusal::Method)),
            ("PUT", vec![flavor], Some(Refusal::Method)),
            ("OPTIONS", vec![flavor], Some(Refusal::Method)),
        ] {
            assert_eq!(read(method, &path(), &headers).err(), refusal, "{method} {headers:?}");
        }
        assert!(read("GET", "/", &[]).is_ok(), "there is nothing in the root");
        assert!(read("GET", "/computeMetadata/", &[]).is_err());
    }

    #[test]
    fn paths_and_queries_are_taken_apart_and_decoded() {
        for (target, segments, is_directory) in [
            ("/", vec![], true),
            ("/a", vec!["a"], false),
            ("/a/", vec!["a"], true),
            ("/a//b", vec!["a", "", "b"], false),
            ("/a%40b%2Fc", vec!["a@b/c"], false),
            ("/a+b", vec!["a+b"], false),
            ("http://elsewhere.example/a?x", vec!["a"], false),
        ] {
            let ask = read("GET", target, &[("Metadata-Flavor", "Google")]).expect("it may be asked");
            assert_eq!(
                (ask.segments, ask.is_directory),
                (segments.iter().map(ToString::to_string).collect(), is_directory)
            );
        }
        let ask = |query: &str| read("GET", &format!("/a?{query}"), &[("Metadata-Flavor", "Google")]);
        let audience = ask("audience=https%3A%2F%2Fa.example%2Fb%3Fc%3Dd+e&audience=second").expect("well-formed");
        assert_eq!(audience.parameter("audience"), Some("https://a.example/b?c=d e"));
        assert!(ask("recursive=True").expect("well-formed").is_recursive());
        assert!(!ask("recursive=1&recursive=true").expect("well-formed").is_recursive());
        for broken in ["a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert!(matches!(ask(broken), Err(Refusal::Invalid(_))), "{broken}");
        }
        assert!(matches!(read("GET", "/%ff", &[("Metadata-Flavor", "Google")]), Err(Refusal::Unknown(_))));
    }

    #[test]
    fn forms_and_waits_are_words() {
        let ask = |query: &str| read("GET", &format!("/a?{query}"), &[("Metadata-Flavor", "Google")]).expect("read");
        assert_eq!(ask("").form(), Ok(None));
        assert_eq!(ask("alt=json").form(), Ok(Some(Form::Json)));
        assert_eq!(ask("alt=text").form(), Ok(Some(Form::Text)));
        assert!(ask("alt=xml").form().is_err());
        let wait = |last_etag: Option<&str>, seconds| {
            Ok(Some(Wait { last_etag: last_etag.map(str::to_owned), at_most: Duration::from_secs(seconds) }))
        };
        assert_eq!(ask("timeout_sec=3").wait(), Ok(None));
        assert_eq!(ask("wait_for_change=true").wait(), wait(None, 300));
        assert_eq!(ask("wait_for_change=true&timeout_sec=7&last_etag=ab").wait(), wait(Some("ab"), 7));
        assert_eq!(ask("wait_for_change=true&timeout_sec=99999").wait(), wait(None, 300));
        assert!(ask("wait_for_change=true&timeout_sec=-1").wait().is_err());
    }
}
