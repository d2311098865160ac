//! A token that gcloud printed, in the hands of somebody who calls a private service.

use crate::{Error, bench::server::Server};

/// What the service `private` answers to who shows the token.
#[derive(Debug)]
pub(super) enum Shown {
    /// What is at this path: 200 with this body. Without the token 403, with one that was altered 401.
    Opens(&'static str, &'static str),
    /// This status.
    Refused(u16),
}

// === impl Shown ===

impl Shown {
    /// What is not so.
    pub(super) fn check(&self, server: &Server, token: &str) -> Result<Option<String>, Error> {
        let host = server.host_of("private")?;
        match self {
            Self::Refused(expected) => {
                let answer = server.get_as(token, &host, "/")?;
                let wrong = || format!("  the token gets '{}', not {expected}", head(&answer));
                Ok((status(&answer) != Some(*expected)).then(wrong))
            }
            Self::Opens(path, body) => {
                let answers = [
                    (200, server.get_as(token, &host, path)?),
                    (403, server.get(&host, path)?),
                    (401, server.get_as(&altered(token), &host, path)?),
                ];
                let wrong = answers.iter().filter(|(expected, answer)| {
                    status(answer) != Some(*expected) || (*expected == 200) != answer.contains(body)
                });
                let wrong: Vec<String> =
                    wrong.map(|(expected, answer)| format!("  not {expected} but: {answer}")).collect();
                Ok((!wrong.is_empty()).then(|| wrong.join("\n")))
            }
        }
    }
}

fn head(answer: &str) -> &str {
    answer.lines().next().unwrap_or_default()
}

fn status(answer: &str) -> Option<u16> {
    head(answer).split(' ').nth(1)?.parse().ok()
}

/// The same token with another signature: its first character changes, since of the last one only some bits count.
fn altered(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let rest: String = signature.chars().skip(1).collect();
    format!("{signed}.{first}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_the_second_word_of_an_answer() {
        assert_eq!(status("HTTP/1.1 403 Forbidden\r\n\r\n"), Some(403));
        assert_eq!(status(""), None);
    }

    #[test]
    fn what_is_altered_is_the_signature() {
        assert_eq!(altered("head.claims.Abc"), "head.claims.Bbc");
        assert_eq!(altered("head.claims.xyz"), "head.claims.Ayz");
    }
}
