//! Which secrets or versions a list is to have.
//!
//! `name:db labels.env=prod AND (create_time>2026-01-01 OR NOT labels.old:*)`, `state=ENABLED`
//!
//! What stands side by side is an `AND`; `OR` binds before it, `NOT` (or `-`) before both. `:` asks whether the value has
//! the text in it, `field:*` whether there is one; a word alone is looked for in names. Text ignores case.
//! Source: AIP-160, Secret Manager's documentation of filters.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chrono::DateTime;
use updraft_model::Error;

/// The longest filter, in bytes.
const LENGTH_MAX: usize = 2048;
/// How deep it may be nested.
const DEPTH_MAX: usize = 20;

/// A filter that can be asked. The default lets everything through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter(Option<Node>);

/// What a filter sees.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// The full name.
    pub name: &'a str,
    /// The word of a version's state; empty for a secret.
    pub state: &'a str,
    /// When it was made.
    pub created: SystemTime,
    /// When it goes by itself.
    pub expires: Option<SystemTime>,
    /// For queries.
    pub labels: &'a HashMap<String, String>,
    /// For tools.
    pub annotations: &'a HashMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Is(Field, Operator, String),
    Time(Moment, Operator, SystemTime),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Name,
    State,
    Label(String),
    Annotation(String),
    /// `create_time:*` and `expire_time:*`.
    HasTime(Moment),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Created,
    Expires,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Has,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Operator(Operator),
    Open,
    Close,
    Minus,
}

struct Parser {
    tokens: std::vec::IntoIter<Token>,
    next: Option<Token>,
}

// === impl Filter ===

impl Filter {
    /// Reads a filter; an empty one lets everything through.
    ///
    /// # Errors
    /// `InvalidArgument` with what is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > LENGTH_MAX {
            return Err(refused(&format!("must have at most {LENGTH_MAX} bytes, got {}", text.len())));
        }
        let tokens = tokens(text)?;
        if tokens.is_empty() {
            return Ok(Self(None));
        }
        let mut tokens = tokens.into_iter();
        let next = tokens.next();
        let mut parser = Parser { tokens, next };
        let node = parser.all(0)?;
        if parser.next.is_some() {
            return Err(refused("has a parenthesis that closes nothing"));
        }
        Ok(Self(Some(node)))
    }

    /// Is this one meant?
    pub fn fits(&self, seen: &Seen<'_>) -> bool {
        self.0.as_ref().is_none_or(|node| node.fits(seen))
    }
}

// === impl Node ===

impl Node {
    fn fits(&self, seen: &Seen<'_>) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.fits(seen)),
            Self::Any(nodes) => nodes.iter().any(|node| node.fits(seen)),
            Self::Not(node) => !node.fits(seen),
            Self::Time(moment, operator, time) => moment.of(seen).is_some_and(|seen| operator.holds(&seen, time)),
            Self::Is(Field::HasTime(moment), ..) => moment.of(seen).is_some(),
            Self::Is(field, operator, wanted) => {
                let value = match field {
                    Field::Name => Some(seen.name),
                    Field::State => Some(seen.state).filter(|state| !state.is_empty()),
                    Field::Label(key) => seen.labels.get(key).map(String::as_str),
                    Field::Annotation(key) => seen.annotations.get(key).map(String::as_str),
                    Field::HasTime(_) => None,
                };
                let Some(value) = value else { return *operator == Operator::Unequal };
                let value = value.to_lowercase();
                match operator {
                    Operator::Has => wanted == "*" || value.contains(wanted.as_str()),
                    // A name is told whole or by its last part.
                    Operator::Equal if *field == Field::Name => {
                        value == *wanted || value.rsplit('/').next() == Some(wanted.as_str())
                    }
                    operator => operator.holds(&value, wanted),
                }
            }
        }
    }
}

// === impl Moment ===

impl Moment {
    fn of(self, seen: &Seen<'_>) -> Option<SystemTime> {
        match self {
            Self::Created => Some(seen.created),
            Self::Expires => seen.expires,
        }
    }
}

// === impl Operator ===

impl Operator {
    fn holds<T: Ord>(self, seen: &T, wanted: &T) -> bool {
        match self {
            Self::Has | Self::Equal => seen == wanted,
            Self::Unequal => seen != wanted,
            Self::Less => seen < wanted,
            Self::LessOrEqual => seen <= wanted,
            Self::Greater => seen > wanted,
            Self::GreaterOrEqual => seen >= wanted,
        }
    }
}

// === impl Parser ===

impl Parser {
    fn take(&mut self) -> Option<Token> {
        std::mem::replace(&mut self.next, self.tokens.next())
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(&self.next, Some(Token::Word(next)) if next == word)
    }

    fn all(&mut self, depth: usize) -> Result<Node, Error> {
        let mut nodes = vec![self.any(depth)?];
        while !matches!(self.next, None | Some(Token::Close)) {
            if self.is_word("AND") {
                self.take();
            }
            nodes.push(self.any(depth)?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::All(nodes) })
    }

    fn any(&mut self, depth: usize) -> Result<Node, Error> {
        let mut nodes = vec![self.single(depth)?];
        while self.is_word("OR") {
            self.take();
            nodes.push(self.single(depth)?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Any(nodes) })
    }

    fn single(&mut self, depth: usize) -> Result<Node, Error> {
        if depth > DEPTH_MAX {
            return Err(refused(&format!("must be nested at most {DEPTH_MAX} times")));
        }
        match self.take() {
            Some(Token::Minus) => Ok(Node::Not(Box::new(self.single(depth + 1)?))),
            Some(Token::Word(word)) if word == "NOT" => Ok(Node::Not(Box::new(self.single(depth + 1)?))),
            Some(Token::Open) => {
                let node = self.all(depth + 1)?;
                match self.take() {
                    Some(Token::Close) => Ok(node),
                    _ => Err(refused("has a parenthesis that is not closed")),
                }
            }
            Some(Token::Word(word)) if !matches!(word.as_str(), "AND" | "OR") => self.term(word),
            Some(Token::Quoted(text)) => Ok(Node::Is(Field::Name, Operator::Has, text.to_lowercase())),
            _ => Err(refused("lacks a term where one has to be")),
        }
    }

    /// A comparison, or a word that is looked for.
    fn term(&mut self, word: String) -> Result<Node, Error> {
        let Some(Token::Operator(operator)) = self.next else {
            return Ok(Node::Is(Field::Name, Operator::Has, word.to_lowercase()));
        };
        self.take();
        let Some(Token::Word(value) | Token::Quoted(value)) = self.take() else {
            return Err(refused(&format!("lacks a value after '{word}'")));
        };
        let moment = match word.as_str() {
            "create_time" | "createTime" => Some(Moment::Created),
            "expire_time" | "expireTime" => Some(Moment::Expires),
            _ => None,
        };
        if let Some(moment) = moment {
            return match (operator, value.as_str()) {
                (Operator::Has, "*") => Ok(Node::Is(Field::HasTime(moment), operator, value)),
                _ => Ok(Node::Time(moment, operator, time(&value)?)),
            };
        }
        let field = match word.split_once('.') {
            None if word == "name" => Field::Name,
            None if word == "state" => Field::State,
            // As documented: the key alone is the presence of a label.
            None if word == "labels" && operator == Operator::Has => {
                return Ok(Node::Is(Field::Label(value), operator, "*".to_owned()));
            }
            Some(("labels", key)) if !key.is_empty() => Field::Label(key.to_owned()),
            Some(("annotations", key)) if !key.is_empty() => Field::Annotation(key.to_owned()),
            _ => {
                let known = "name, state, create_time, expire_time, labels.KEY and annotations.KEY";
                return Err(refused(&format!("may be about {known}, got '{word}'")));
            }
        };
        Ok(Node::Is(field, operator, value.to_lowercase()))
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '-' => (Token::Minus, 1),
            '"' | '\'' => {
                let inner = &rest[1..];
                let end = inner.find(first).ok_or_else(|| refused("has a quotation that is not closed"))?;
                (Token::Quoted(inner[..end].to_owned()), end + 2)
            }
            _ => match operator(rest) {
                Some((operator, length)) => (Token::Operator(operator), length),
                None => {
                    // A value may have a colon, as times do; the name of a field has none.
                    let is_value = matches!(tokens.last(), Some(Token::Operator(_)));
                    let ends = |c: char| c.is_whitespace() || "()\"'".contains(c) || (!is_value && "=!<>:".contains(c));
                    let end = rest.find(ends).unwrap_or(rest.len());
                    if end == 0 {
                        return Err(refused(&format!("has '{first}' where it means nothing")));
                    }
                    (Token::Word(rest[..end].to_owned()), end)
                }
            },
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn operator(text: &str) -> Option<(Operator, usize)> {
    let known = [
        ("!=", Operator::Unequal),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
        ("=", Operator::Equal),
        (":", Operator::Has),
    ];
    known.into_iter().find(|(sign, _)| text.starts_with(sign)).map(|(sign, operator)| (operator, sign.len()))
}

/// A time of RFC 3339, or a day.
fn time(text: &str) -> Result<SystemTime, Error> {
    let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    let parsed = DateTime::parse_from_rfc3339(&whole).ok().and_then(|time| {
        let seconds = Duration::from_secs(u64::try_from(time.timestamp()).ok()?);
        UNIX_EPOCH.checked_add(seconds + Duration::from_nanos(time.timestamp_subsec_nanos().into()))
    });
    parsed.ok_or_else(|| refused(&format!("a time must be a day such as 2026-01-31 or of RFC 3339, got '{text}'")))
}

fn refused(rule: &str) -> Error {
    Error::invalid_field("filter", rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_lets_through_what_it_means() {
        let labels = HashMap::from([("env".to_owned(), "prod".to_owned())]);
        let annotations = HashMap::from([("a.b".to_owned(), "Some Text".to_owned())]);
        let day = |days: u64| UNIX_EPOCH + Duration::from_secs(days * 86400);
        let seen = Seen {
            name: "projects/1/secrets/Db-pass",
            state: "ENABLED",
            created: day(20_454) + Duration::from_secs(60),
            expires: None,
            labels: &labels,
            annotations: &annotations,
        };
        for (text, fits) in [
            ("", true),
            ("  ", true),
            ("db-PASS", true),
            ("name:pass", true),
            ("name=db-pass", true),
            ("name=projects/1/secrets/db-pass", true),
            ("name=pass", false),
            ("name!=pass", true),
            ("state:enabled", true),
            ("state = ENABLED", true),
            ("state=DISABLED", false),
            ("labels.env=prod", true),
            ("labels.env:*", true),
            ("labels:env", true),
            ("labels:team", false),
            ("labels.team=x", false),
            ("labels.team!=x", true),
            ("-labels.team:*", true),
            ("NOT labels.env:*", false),
            ("annotations.a.b:'some t'", true),
            ("create_time>2026-01-01", true),
            ("create_time>=2026-01-01T00:01:00Z", true),
            ("create_time>2026-01-01T00:01:00Z", false),
            ("create_time<\"2026-01-01T02:01:00+01:00\"", true),
            ("expire_time:*", false),
            ("expire_time<2036-01-01", false),
            ("NOT expire_time:*", true),
            ("name:db state=DISABLED", false),
            ("name:db AND state=ENABLED", true),
            ("name:x OR state=ENABLED", true),
            // The OR binds before the AND.
            ("name:x AND name:db OR state=ENABLED", false),
            ("(name:x AND name:db) OR state=ENABLED", true),
        ] {
            assert_eq!(Filter::parse(text).expect(text).fits(&seen), fits, "{text}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_what_is_wrong() {
        for (text, rule) in [
            ("topics:x", "may be about name, state"),
            ("name:", "lacks a value after 'name'"),
            ("(name:x", "a parenthesis that is not closed"),
            ("name:x)", "a parenthesis that closes nothing"),
            ("\"name", "a quotation that is not closed"),
            ("AND name:x", "lacks a term"),
            ("name:x OR", "lacks a term"),
            ("create_time>soon", "a time must be a day"),
            ("= x", "lacks a term"),
            ("! x", "means nothing"),
            (&"(".repeat(2000), "nested at most 20"),
            (&"-".repeat(2000), "nested at most 20"),
            (&"x".repeat(2049), "at most 2048 bytes"),
        ] {
            let error = Filter::parse(text).expect_err(text);
            assert!(error.message().contains(rule), "{text}: {error}");
            assert_eq!(error.violations()[0].field, "filter");
        }
    }
}
