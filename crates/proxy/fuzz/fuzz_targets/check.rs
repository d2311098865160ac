//! What a container may be sent: a strict reader of HTTP/1.1, written from RFC 9112 and for nothing but this.
//!
//! It takes no part of the front door's code and none of its library, and forgives nothing.

/// How far a request has come.
pub(crate) enum Read {
    /// Its head is not whole.
    Nothing,
    /// Its body is not.
    Head,
    /// All of it, in so many bytes.
    Whole(usize),
}

pub(crate) struct Request {
    pub head: String,
    fields: Vec<(String, String)>,
}

/// The hosts that lead to the container.
const HOSTS: [&str; 3] = ["a.t", "b.t", "d.t"];
/// What is of one connection, and must not come over from another.
const HOP_BY_HOP: [&str; 4] = ["keep-alive", "proxy-connection", "proxy-authenticate", "expect"];
/// What the front door says itself, once.
const OURS: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "forwarded"];

/// Reads the request that `bytes` begin with.
///
/// # Panics
/// When it is not one that a container may be sent.
pub(crate) fn request(bytes: &[u8]) -> Read {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        for line in bytes.split(|&byte| byte == b'\n') {
            assert!(!line.contains(&0), "a NUL: {}", bytes.escape_ascii());
        }
        return Read::Nothing;
    };
    let request = head(&bytes[..end + 2]);
    let body = &bytes[end + 4..];
    let length = match (request.only("transfer-encoding"), request.only("content-length")) {
        (Some(_), Some(_)) => panic!("two lengths: {}", request.head),
        (Some(coding), None) => {
            assert_eq!(coding, "chunked", "{}", request.head);
            chunks(body)
        }
        (None, Some(length)) => {
            assert!(!length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()), "{}", request.head);
            let length = length.parse().expect("a length that fits");
            (body.len() >= length).then_some(length)
        }
        (None, None) => Some(0),
    };
    match length {
        Some(length) => Read::Whole(end + 4 + length),
        None => Read::Head,
    }
}

fn head(bytes: &[u8]) -> Request {
    let shown = bytes.escape_ascii().to_string();
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = find(rest, b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    assert!(rest.is_empty());
    for line in &lines {
        assert!(line.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')), "a byte that must not pass: {shown}");
    }
    let mut lines = lines.into_iter().map(|line| std::str::from_utf8(line).expect("ASCII"));
    first_line(lines.next().expect("a first line"), &shown);
    let fields: Vec<_> = lines.map(|line| field(line, &shown)).collect();
    let request = Request { head: shown, fields };
    request.judge();
    request
}

fn first_line(line: &str, shown: &str) {
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else { panic!("the first line: {shown}") };
    assert!(is_token(method) && !["CONNECT", "TRACE"].contains(&method), "the method: {shown}");
    assert!(target.starts_with('/') || target == "*", "the target: {shown}");
    assert!(!target.contains(['\t', '#']), "the target: {shown}");
}

pub(crate) fn field(line: &str, shown: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("a line without a name: {shown}"));
    assert!(is_token(name), "a name: {shown}");
    (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

impl Request {
    fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(found, _)| found == name).map(|(_, value)| &**value).collect()
    }

    /// The one value of a header that may be there once.
    fn only(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} more than once: {}", self.head);
        all.first().copied()
    }

    fn judge(&self) {
        let shown = &self.head;
        let host = self.only("host").unwrap_or_else(|| panic!("no host: {shown}")).to_ascii_lowercase();
        let name = host.rsplit_once(':').map_or(&*host, |(name, _)| name);
        assert!(HOSTS.contains(&name.strip_suffix('.').unwrap_or(name)), "a host of others: {shown}");
        for name in HOP_BY_HOP {
            assert!(self.all(name).is_empty(), "{name} passed: {shown}");
        }
        for name in OURS {
            assert!(self.only(name).is_some(), "{name} is missing: {shown}");
        }
        assert!(self.only("x-forwarded-for").is_some_and(|chain| chain.ends_with("127.0.0.1")), "{shown}");
        assert_eq!(self.only("x-forwarded-proto"), Some("http"), "{shown}");
        assert!(self.only("te").is_none_or(|te| te == "trailers"), "te: {shown}");
        let (connection, upgrade) = (self.only("connection"), self.only("upgrade"));
        assert!(connection.is_none_or(|connection| connection == "upgrade"), "connection: {shown}");
        assert_eq!(connection.is_some(), upgrade.is_some(), "half an upgrade: {shown}");
        assert!(upgrade.is_none_or(|upgrade| !upgrade.eq_ignore_ascii_case("h2c")), "h2c passed: {shown}");
    }
}

/// The length of a body in chunks, once it is whole.
pub(crate) fn chunks(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = find(&body[at..], b"\r\n")?;
        let size = &body[at..at + line];
        let shown = || body.escape_ascii().to_string();
        assert!(!size.is_empty() && size.len() <= 8 && size.iter().all(u8::is_ascii_hexdigit), "a size: {}", shown());
        let size = usize::from_str_radix(std::str::from_utf8(size).expect("ASCII"), 16).expect("digits");
        at += line + 2;
        if size == 0 {
            return trailers(&body[at..]).map(|length| at + length);
        }
        let end = body.get(at + size..at + size + 2)?;
        assert_eq!(end, b"\r\n", "a chunk of another length than it says: {}", shown());
        at += size + 2;
    }
}

fn trailers(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = find(&bytes[at..], b"\r\n")?;
        let text = &bytes[at..at + line];
        at += line + 2;
        if text.is_empty() {
            return Some(at);
        }
        let shown = bytes.escape_ascii().to_string();
        assert!(text.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 128..)), "a trailer: {shown}");
        let (name, _) = field(&String::from_utf8_lossy(text), &shown);
        let framing = ["transfer-encoding", "content-length", "host", "trailer"];
        assert!(!framing.contains(&&*name), "a trailer that must not be one: {shown}");
    }
}

pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
