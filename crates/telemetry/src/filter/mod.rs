//! The filter language of Cloud Logging: which entries are meant.
//!
//! `severity>=ERROR AND resource.labels.service_name="hello" (textPayload:"no such" OR httpRequest.status>=500)`
//!
//! [`Filter::parse`] turns text into a tree and checks what can be checked without an entry; [`Filter::matches`] asks
//! the tree about one; [`Filter::scope`] says what every match has in common, so that the rest need not be read.
//! All of it is pure. Source: "Logging query language" of Google Cloud, as far as it is about log entries:
//!
//! * comparisons `= != < <= > >= : =~ !~`; `field:*` asks whether a field is there; strings ignore case, regular
//!   expressions do not;
//! * `NOT` (or `-`) binds before `OR`, `OR` before `AND`, and what stands side by side is an `AND`;
//! * a value may be a group: `severity=(ERROR OR CRITICAL)`; text without a field is looked for in all fields;
//! * a field that is not there has no value: only a negation matches it;
//! * functions `log_id`, `search`, `ip_in_net`, `sample`; comments begin with `--`.

mod eval;
mod lex;
mod parse;
mod print;
mod scope;
#[cfg(test)]
mod tests;

use std::{fmt, net::IpAddr, time::SystemTime};

use regex::Regex;
use serde_json::Value;

use crate::Severity;
pub use scope::Scope;

/// The longest filter, in bytes; Cloud Logging's limit.
pub const FILTER_MAX: usize = 20_000;
/// How deep groups may be nested.
const DEPTH_MAX: usize = 50;

/// A filter that can be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// None means every entry.
    expr: Option<Expr>,
}

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Unparseable filter: {rule} at line {line}, column {column}{}", .token.as_ref().map(|token| format!(", token '{token}'")).unwrap_or_default())]
pub struct FilterError {
    /// What is wrong.
    pub rule: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What stands there, if something does.
    pub token: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Compare {
        path: Path,
        op: Op,
        operand: Operand,
    },
    /// Is the field there?
    Has(Path),
    /// In any field.
    Anywhere(String),
    Call(Call),
}

/// The names that lead to a field, the outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Path(Vec<String>);

/// `!=` and `!~` are negations of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
    Matches,
}

/// What is compared with, read once. The text is as it was written.
#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Text(String),
    Severity(i64, String),
    Time(SystemTime, String),
    /// In seconds.
    Duration(f64, String),
    Pattern(Pattern),
}

#[derive(Debug, Clone)]
struct Pattern(Regex);

#[derive(Debug, Clone, PartialEq)]
enum Call {
    /// The log with this id, such as `run.googleapis.com/stdout`.
    LogId(String),
    /// All of these words, in a field or anywhere.
    Search(Option<Path>, String),
    /// The address in a field is one of a network.
    IpInNet(Path, IpAddr, u8),
    /// A share of all entries, the same ones every time.
    Sample(Path, f64),
}

// === impl Filter ===

impl Filter {
    /// The filter that `text` spells; an empty one matches every entry.
    ///
    /// # Errors
    /// [`FilterError`] with the place, for a text that is none.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(|expr| Self { expr })
    }

    /// Is this entry meant? `entry` has the form of `google.logging.v2.LogEntry` in JSON.
    pub fn matches(&self, entry: &Value) -> bool {
        self.expr.as_ref().is_none_or(|expr| expr.matches(entry))
    }

    /// What all matches have in common.
    pub fn scope(&self) -> Scope {
        scope::of(self.expr.as_ref())
    }
}

/// Prints a text that parses to the same filter.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.expr {
            Some(expr) => expr.fmt(f),
            None => Ok(()),
        }
    }
}

// === impl Pattern ===

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// The number of a severity, by its name or as a number (`google.logging.type.LogSeverity`).
fn severity(text: &str) -> Option<i64> {
    match Severity::parse(text) {
        Some(severity) => Some(severity.number()),
        None => text.parse().ok(),
    }
}
