//! The names that instances are answered by us and by nobody else: pure, a query in and an answer out (RFC 1035,
//! section 4).

use std::net::Ipv4Addr;

use updraft_model::name::INTERNAL_HOST;

use super::rules::{METADATA, SERVER};

/// Names that lead to us.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// Whatever is below it is a service.
    domain: String,
}

/// What a query asks, as far as we look at it.
struct Question {
    /// In lower case, without the dot at its end.
    name: String,
    kind: u16,
    /// Where the question ends in the query.
    end: usize,
}

/// The metadata server's names: Google's, and what is left of it with a search list that nobody has to have.
pub(super) const OF_METADATA: [&str; 2] = ["metadata.google.internal", "metadata"];

/// Seconds for which an answer may be kept.
const TTL: u32 = 60;
const HEADER: usize = 12;
/// Of the flags: it is an answer, by who knows; recursion is wanted and to be had.
const ANSWER: u8 = 0x80;
const AUTHORITATIVE: u8 = 0x04;
const WANTED: u8 = 0x01;
const AVAILABLE: u8 = 0x80;
/// Of the first byte of the flags: an answer, or a query that is no standard one.
const NOT_A_QUERY: u8 = 0xf8;
const FAILURE: u8 = 2;
const A: u16 = 1;
const ANY: u16 = 255;
const INTERNET: u16 = 1;
/// The name of the question, where it stands.
const SAME_NAME: [u8; 2] = [0xc0, HEADER as u8];

// === impl Names ===

impl Names {
    /// With services below `domain`.
    pub(super) fn new(domain: &str) -> Self {
        Self { domain: domain.to_ascii_lowercase() }
    }

    /// The answer to a query for one of our names; `None` if somebody else is to be asked. One that has no address of the
    /// kind that is asked for has none: nobody else knows the name.
    pub(super) fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let question = Question::read(query)?;
        let address = self.address(&question.name)?;
        let is_told = matches!(question.kind, A | ANY);
        let mut answer = header(query, AUTHORITATIVE, 0, u16::from(is_told))?;
        answer.extend_from_slice(query.get(HEADER..question.end)?);
        if is_told {
            answer.extend_from_slice(&SAME_NAME);
            answer.extend_from_slice(&A.to_be_bytes());
            answer.extend_from_slice(&INTERNET.to_be_bytes());
            answer.extend_from_slice(&TTL.to_be_bytes());
            answer.extend_from_slice(&4u16.to_be_bytes());
            answer.extend_from_slice(&address.octets());
        }
        Some(answer)
    }

    fn address(&self, name: &str) -> Option<Ipv4Addr> {
        if OF_METADATA.contains(&name) {
            return Some(METADATA);
        }
        let is_below = name.strip_suffix(&self.domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'));
        (name == INTERNAL_HOST || is_below).then_some(SERVER)
    }
}

/// The answer that nobody could be asked: who gets it need not wait for another.
pub(super) fn failure(query: &[u8]) -> Option<Vec<u8>> {
    let question = Question::read(query)?;
    let mut answer = header(query, 0, FAILURE, 0)?;
    answer.extend_from_slice(query.get(HEADER..question.end)?);
    Some(answer)
}

/// The header of an answer to `query` that repeats its one question.
fn header(query: &[u8], flags: u8, code: u8, answers: u16) -> Option<Vec<u8>> {
    let mut answer = query.get(..2)?.to_vec();
    answer.extend_from_slice(&[ANSWER | flags | (query.get(2)? & WANTED), AVAILABLE | code]);
    for count in [1, answers, 0, 0] {
        answer.extend_from_slice(&count.to_be_bytes());
    }
    Some(answer)
}

// === impl Question ===

impl Question {
    /// The one question of a standard query; `None` for whatever else it is.
    fn read(query: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]));
        if query.get(2)? & NOT_A_QUERY != 0 || number(4)? != 1 {
            return None;
        }
        let (mut labels, mut at) = (Vec::new(), HEADER);
        loop {
            let length = usize::from(*query.get(at)?);
            at += 1;
            match length {
                0 => break,
                // A pointer: no question needs one.
                64.. => return None,
                length => labels.push(String::from_utf8(query.get(at..at + length)?.to_ascii_lowercase()).ok()?),
            }
            at += length;
        }
        let (kind, class) = (number(at)?, number(at + 2)?);
        (class == INTERNET).then(|| Self { name: labels.join("."), kind, end: at + 4 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AAAA: u16 = 28;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            query.push(u8::try_from(label.len()).expect("short"));
            query.extend_from_slice(label.as_bytes());
        }
        query.push(0);
        query.extend_from_slice(&kind.to_be_bytes());
        query.extend_from_slice(&INTERNET.to_be_bytes());
        // What resolvers add today: they can take large answers (RFC 6891).
        query.extend_from_slice(&[0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
        query
    }

    /// The code, and the address if there is one.
    fn read(answer: &[u8]) -> (u8, Option<Ipv4Addr>) {
        assert_eq!((&answer[..2], answer[2] & 0x81), (&[0xab, 0xcd][..], 0x81), "it is an answer to that query");
        let last = answer.last_chunk::<4>().copied().map(Ipv4Addr::from);
        (answer[3] & 0xf, last.filter(|_| answer[7] == 1))
    }

    #[test]
    fn services_the_api_and_the_metadata_server_are_ours_and_nothing_else() {
        let names = Names::new("Run.localhost");
        for (name, kind, answered) in [
            ("app-1.us-central1.run.localhost", A, Some(Some(SERVER))),
            ("APP.Run.LocalHost", A, Some(Some(SERVER))),
            ("app.run.localhost", ANY, Some(Some(SERVER))),
            ("app.run.localhost", AAAA, Some(None)),
            ("updraft.internal", A, Some(Some(SERVER))),
            ("updraft.internal", 65, Some(None)),
            ("metadata.google.internal", A, Some(Some(METADATA))),
            ("metadata", A, Some(Some(METADATA))),
            ("metadata", AAAA, Some(None)),
            ("run.localhost", A, None),
            ("apprun.localhost", A, None),
            ("app.run.localhost.example.com", A, None),
            ("other.internal", A, None),
            ("a.updraft.internal", A, None),
            ("169.254.169.254", A, None),
            ("", A, None),
        ] {
            let answer = names.answer(&query(name, kind));
            assert_eq!(answer.map(|answer| read(&answer)), answered.map(|address| (0, address)), "{name} {kind}");
        }
    }

    #[test]
    fn what_is_no_question_of_that_kind_is_somebody_elses() {
        let names = Names::new("run.localhost");
        let whole = query("a.run.localhost", A);
        assert!((0..whole.len() - 11).all(|length| names.answer(&whole[..length]).is_none()), "cut off");
        let changed = |at: usize, value: u8| {
            let mut query = whole.clone();
            query[at] = value;
            query
        };
        let length = whole.len();
        for (what, query) in [
            ("an answer", changed(2, 0x81)),
            ("another operation", changed(2, 0x29)),
            ("no question", changed(5, 0)),
            ("two questions", changed(5, 2)),
            ("a pointer", changed(12, 0xc0)),
            ("another class", changed(length - 12, 3)),
            ("not UTF-8", changed(13, 0xff)),
        ] {
            assert!(names.answer(&query).is_none(), "{what}");
        }
    }

    #[test]
    fn a_failure_repeats_the_question() {
        let whole = query("example.com", A);
        let told = failure(&whole).expect("a question");
        assert_eq!((read(&told), &told[12..]), ((2, None), &whole[12..whole.len() - 11]));
        assert!(failure(b"abc").is_none());
    }
}
