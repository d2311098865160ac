//! Text → tokens.

use super::{FILTER_MAX, FilterError};

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Where it begins and ends, in bytes.
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// A word without quotes.
    Word(String),
    /// A text in quotes, without them and with its escapes read.
    Quoted(String),
    Open,
    Close,
    Comma,
    /// A minus that something follows directly.
    Minus,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
    Matches,
    NotMatches,
}

/// Takes a text apart.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, FilterError> {
    if text.len() > FILTER_MAX {
        return Err(error(text, 0, format!("it has {} bytes, more than {FILTER_MAX},", text.len())));
    }
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if text[at..].starts_with("--") {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
        } else {
            let token = token(text, at, first)?;
            at = token.end;
            found.push(token);
        }
    }
    Ok(found)
}

fn token(text: &str, start: usize, first: char) -> Result<Token, FilterError> {
    let rest = &text[start..];
    let of = |kind, length| Ok(Token { kind, start, end: start + length });
    for (sign, kind) in [
        ("!=", Kind::NotEqual),
        ("!~", Kind::NotMatches),
        ("=~", Kind::Matches),
        ("<=", Kind::LessOrEqual),
        (">=", Kind::GreaterOrEqual),
        ("=", Kind::Equal),
        ("<", Kind::Less),
        (">", Kind::Greater),
        (":", Kind::Contains),
        ("(", Kind::Open),
        (")", Kind::Close),
        (",", Kind::Comma),
        ("-", Kind::Minus),
    ] {
        if rest.starts_with(sign) {
            return of(kind, sign.len());
        }
    }
    match first {
        '"' | '\'' => {
            let (quoted, length) = quoted(rest, first).ok_or_else(|| error(text, start, "a quote is not closed"))?;
            of(Kind::Quoted(quoted), length)
        }
        _ => {
            let length = rest.find(is_end).unwrap_or(rest.len());
            if length == 0 {
                return Err(error(text, start, "syntax error"));
            }
            of(Kind::Word(rest[..length].to_owned()), length)
        }
    }
}

/// What a word cannot contain.
fn is_end(c: char) -> bool {
    c.is_whitespace() || matches!(c, '(' | ')' | '=' | '!' | '<' | '>' | ':' | ',' | '"' | '\'')
}

/// The content of a quoted text at the beginning of `rest`, and its length with the quotes.
fn quoted(rest: &str, quote: char) -> Option<(String, usize)> {
    let mut content = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        match c {
            _ if c == quote => return Some((content, index + 1)),
            '\\' => match chars.next()?.1 {
                'n' => content.push('\n'),
                't' => content.push('\t'),
                'r' => content.push('\r'),
                'u' => {
                    let digits: String = chars.by_ref().take(4).map(|(_, digit)| digit).collect();
                    let code = (digits.len() == 4).then(|| u32::from_str_radix(&digits, 16).ok()).flatten();
                    content.push(code.and_then(char::from_u32)?);
                }
                same @ ('\\' | '"' | '\'') => content.push(same),
                // Regular expressions are full of them: `\d` means `\d`.
                other => content.extend(['\\', other]),
            },
            other => content.push(other),
        }
    }
    None
}

/// An error at a place of the text.
pub(super) fn error(text: &str, at: usize, rule: impl Into<String>) -> FilterError {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |index| index + 1);
    let token: String = text[at..].chars().take_while(|c| !c.is_whitespace()).take(40).collect();
    FilterError {
        rule: rule.into(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        token: Some(token).filter(|token| !token.is_empty()),
    }
}
