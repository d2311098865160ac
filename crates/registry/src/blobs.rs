//! `/v2/<name>/blobs/<digest>`

use std::io::{Seek, SeekFrom};

use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use updraft_oci::{ContentError, ContentStore, Digest};

use crate::{
    error::Refusal,
    respond::{self, CONTENT_DIGEST, Reply},
};

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    /// From the first byte, to the one after the last.
    Part(u64, u64),
    Nothing,
}

pub(crate) async fn handle(content: &ContentStore, head: &Parts, name: &str, digest: &str) -> Result<Reply, Refusal> {
    let digest: Digest = digest.parse()?;
    match head.method {
        Method::GET => get(content, &head.headers, name, &digest).await,
        Method::HEAD => {
            let size = content.announce_blob(name, &digest).await?;
            let mut reply = respond::empty(StatusCode::OK);
            respond::set(&mut reply, header::CONTENT_TYPE, "application/octet-stream");
            respond::set(&mut reply, header::CONTENT_LENGTH, &size.to_string());
            describe(&mut reply, &digest);
            Ok(reply)
        }
        Method::DELETE => {
            content.unlink_blob(name, &digest).await?;
            Ok(respond::empty(StatusCode::ACCEPTED))
        }
        _ => Err(Refusal::method()),
    }
}

async fn get(content: &ContentStore, headers: &HeaderMap, name: &str, digest: &Digest) -> Result<Reply, Refusal> {
    content.linked_blob(name, digest).await?;
    let (mut file, size) = content.open_blob(digest).await?;
    let mut reply = match wanted(headers, digest, size) {
        Wanted::All => respond::stream(StatusCode::OK, file, size),
        Wanted::Part(start, end) => {
            let moved = file.seek(SeekFrom::Start(start));
            moved.map_err(|source| ContentError::Host { operation: format!("seek in blob {digest}"), source })?;
            let mut reply = respond::stream(StatusCode::PARTIAL_CONTENT, file, end - start);
            respond::set(&mut reply, header::CONTENT_RANGE, &format!("bytes {start}-{}/{size}", end - 1));
            reply
        }
        Wanted::Nothing => {
            let message = format!("the blob has {size} bytes");
            let refusal = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "UNSUPPORTED", message);
            return Err(refusal.with(header::CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    describe(&mut reply, digest);
    Ok(reply)
}

fn describe(reply: &mut Reply, digest: &Digest) {
    respond::set(reply, CONTENT_DIGEST, digest.as_str());
    respond::set(reply, header::ACCEPT_RANGES, "bytes");
    respond::set(reply, header::ETAG, &etag(digest));
}

fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// One range is served; several, or what is no range at all, get the whole, as RFC 9110 allows.
fn wanted(headers: &HeaderMap, digest: &Digest, size: u64) -> Wanted {
    // What a digest names has one version; anything else that the client has is not it.
    let other = headers.get(header::IF_RANGE).is_some_and(|version| version.as_bytes() != etag(digest).as_bytes());
    let range = headers.get(header::RANGE).filter(|_| !other).and_then(|value| value.to_str().ok());
    let Some((first, last)) = range.and_then(|range| range.strip_prefix("bytes=")).and_then(|r| r.split_once('-'))
    else {
        return Wanted::All;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (start, end) = match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            Some(suffix) => (size.saturating_sub(suffix), size),
            None => return Wanted::All,
        },
        (first, "") => match number(first) {
            Some(first) => (first, size),
            None => return Wanted::All,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(size)),
            _ => return Wanted::All,
        },
    };
    if start < end { Wanted::Part(start, end) } else { Wanted::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_blob() {
        let digest = Digest::of(b"0123456789");
        for (range, expected) in [
            ("bytes=0-", Wanted::Part(0, 10)),
            ("bytes=2-4", Wanted::Part(2, 5)),
            ("bytes=2-400", Wanted::Part(2, 10)),
            ("bytes=-3", Wanted::Part(7, 10)),
            ("bytes=-30", Wanted::Part(0, 10)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-2", Wanted::All),
            ("bytes=0-1,3-4", Wanted::All),
            ("lines=0-1", Wanted::All),
            ("bytes=x-y", Wanted::All),
        ] {
            let headers = HeaderMap::from_iter([(header::RANGE, range.parse().expect("header"))]);
            assert_eq!(wanted(&headers, &digest, 10), expected, "{range}");
        }
        assert_eq!(wanted(&HeaderMap::new(), &digest, 10), Wanted::All);
        for (version, expected) in [(etag(&digest), Wanted::Part(2, 5)), ("\"other\"".to_owned(), Wanted::All)] {
            let pairs = [(header::RANGE, "bytes=2-4".to_owned()), (header::IF_RANGE, version)];
            let headers = pairs.map(|(name, value)| (name, value.parse().expect("header")));
            assert_eq!(wanted(&HeaderMap::from_iter(headers), &digest, 10), expected);
        }
    }
}
