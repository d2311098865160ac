//! Tokens → a tree.

use std::{net::IpAddr, time::SystemTime};

use jiff::{Timestamp, civil::Date};
use regex::RegexBuilder;

use super::{
    Call, DEPTH_MAX, Expr, FilterError, Op, Operand, Path, Pattern,
    lex::{self, Kind, Token},
    severity,
};

/// What a compiled regular expression may take, in bytes.
const PATTERN_MAX: usize = 1 << 20;
/// How many a filter may have.
const PATTERNS_MAX: usize = 20;

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    patterns: usize,
}

/// A comparison before its value is known.
#[derive(Clone, Copy)]
struct Compared<'p> {
    path: &'p Path,
    op: Op,
}

/// What may stand in a group.
#[derive(Clone, Copy)]
enum Inside<'p> {
    /// Anything.
    Terms,
    /// Values of one comparison.
    Values(Compared<'p>),
}

pub(super) fn parse(text: &str) -> Result<Option<Expr>, FilterError> {
    let mut parser = Parser { text, tokens: lex::tokens(text)?, at: 0, depth: 0, patterns: 0 };
    if parser.tokens.is_empty() {
        return Ok(None);
    }
    let expr = parser.and(Inside::Terms)?;
    match parser.peek() {
        None => Ok(Some(expr)),
        Some(_) => Err(parser.error("syntax error")),
    }
}

// === impl Parser ===

impl Parser<'_> {
    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn take(&mut self) -> Option<Kind> {
        let kind = self.peek().cloned();
        self.at += 1;
        kind
    }

    /// Takes the next token if it is this one.
    fn accept(&mut self, kind: &Kind) -> bool {
        let is = self.peek() == Some(kind);
        self.at += usize::from(is);
        is
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Kind::Word(found)) if found == word)
    }

    /// Does the next token follow the one before without a space?
    fn is_adjacent(&self) -> bool {
        match (self.at.checked_sub(1).and_then(|before| self.tokens.get(before)), self.tokens.get(self.at)) {
            (Some(before), Some(next)) => before.end == next.start,
            _ => false,
        }
    }

    fn error(&self, rule: impl Into<String>) -> FilterError {
        lex::error(self.text, self.tokens.get(self.at).map_or(self.text.len(), |token| token.start), rule)
    }

    /// An error about the token before.
    fn error_before(&self, rule: impl Into<String>) -> FilterError {
        let token = self.at.checked_sub(1).and_then(|before| self.tokens.get(before));
        lex::error(self.text, token.map_or(0, |token| token.start), rule)
    }

    fn and(&mut self, inside: Inside<'_>) -> Result<Expr, FilterError> {
        let mut parts = vec![self.or(inside)?];
        while self.peek().is_some_and(|kind| !matches!(kind, Kind::Close | Kind::Comma)) {
            if self.is_word("AND") {
                self.at += 1;
            }
            parts.push(self.or(inside)?);
        }
        Ok(joined(parts, Expr::And))
    }

    fn or(&mut self, inside: Inside<'_>) -> Result<Expr, FilterError> {
        let mut parts = vec![self.unary(inside)?];
        while self.is_word("OR") {
            self.at += 1;
            parts.push(self.unary(inside)?);
        }
        Ok(joined(parts, Expr::Or))
    }

    fn unary(&mut self, inside: Inside<'_>) -> Result<Expr, FilterError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error(format!("groups are nested deeper than {DEPTH_MAX}")));
        }
        let is_minus = matches!(inside, Inside::Terms) && self.accept(&Kind::Minus);
        let expr = if is_minus || self.is_word("NOT") {
            self.at += usize::from(!is_minus);
            Expr::Not(Box::new(self.unary(inside)?))
        } else if self.accept(&Kind::Open) {
            let expr = self.and(inside)?;
            if !self.accept(&Kind::Close) {
                return Err(self.error("syntax error: ')' is missing"));
            }
            expr
        } else {
            match inside {
                Inside::Terms => self.term()?,
                Inside::Values(compared) => self.value(compared)?,
            }
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn term(&mut self) -> Result<Expr, FilterError> {
        let begin = self.at;
        match self.take() {
            Some(Kind::Word(word)) if matches!(word.as_str(), "AND" | "OR") => {
                self.at = begin;
                Err(self.error("syntax error"))
            }
            Some(Kind::Word(word)) if self.peek() == Some(&Kind::Open) && self.is_adjacent() => self.call(&word),
            Some(Kind::Word(_) | Kind::Quoted(_)) => {
                while self.is_adjacent() && matches!(self.peek(), Some(Kind::Word(_) | Kind::Quoted(_) | Kind::Minus)) {
                    self.at += 1;
                }
                let pieces = begin..self.at;
                match self.operator() {
                    Some((op, is_negated)) => {
                        let path = self.path(pieces)?;
                        let expr = self.operand(Compared { path: &path, op })?;
                        Ok(if is_negated { Expr::Not(Box::new(expr)) } else { expr })
                    }
                    None => self.anywhere(pieces),
                }
            }
            _ => {
                self.at = begin;
                Err(self.error("syntax error"))
            }
        }
    }

    fn operator(&mut self) -> Option<(Op, bool)> {
        let found = match self.peek()? {
            Kind::Equal => (Op::Equal, false),
            Kind::NotEqual => (Op::Equal, true),
            Kind::Less => (Op::Less, false),
            Kind::LessOrEqual => (Op::LessOrEqual, false),
            Kind::Greater => (Op::Greater, false),
            Kind::GreaterOrEqual => (Op::GreaterOrEqual, false),
            Kind::Contains => (Op::Contains, false),
            Kind::Matches => (Op::Matches, false),
            Kind::NotMatches => (Op::Matches, true),
            _ => return None,
        };
        self.at += 1;
        Some(found)
    }

    /// `a.b`, `labels."x.y".z`.
    fn path(&self, pieces: std::ops::Range<usize>) -> Result<Path, FilterError> {
        let mut names: Vec<String> = Vec::new();
        let mut open = true;
        for token in &self.tokens[pieces] {
            let wrong = || lex::error(self.text, token.start, "this is no name of a field");
            match &token.kind {
                Kind::Quoted(name) if open => {
                    names.push(name.clone());
                    open = false;
                }
                Kind::Word(word) => {
                    let mut parts: Vec<&str> = word.split('.').collect();
                    // Behind a quote a dot has to follow; before one, a dot stands at the end.
                    if !open && parts.first() == Some(&"") {
                        parts.remove(0);
                    } else if !open {
                        return Err(wrong());
                    }
                    open = parts.last() == Some(&"");
                    if open {
                        parts.pop();
                    }
                    if parts.contains(&"") {
                        return Err(wrong());
                    }
                    names.extend(parts.into_iter().map(str::to_owned));
                }
                _ => return Err(wrong()),
            }
        }
        match names.is_empty() || open {
            true => Err(self.error("the name of a field is missing")),
            false => Ok(Path(names)),
        }
    }

    fn anywhere(&self, pieces: std::ops::Range<usize>) -> Result<Expr, FilterError> {
        match &self.tokens[pieces.clone()] {
            [Token { kind: Kind::Word(text) | Kind::Quoted(text), .. }] => Ok(Expr::Anywhere(text.clone())),
            all => {
                let plain = all.iter().all(|token| !matches!(token.kind, Kind::Quoted(_)));
                let (start, end) = (all.first().map_or(0, |t| t.start), all.last().map_or(0, |t| t.end));
                match plain {
                    true => Ok(Expr::Anywhere(self.text[start..end].to_owned())),
                    false => Err(lex::error(self.text, start, "syntax error")),
                }
            }
        }
    }

    fn operand(&mut self, compared: Compared<'_>) -> Result<Expr, FilterError> {
        if self.peek() == Some(&Kind::Open) {
            return self.unary(Inside::Values(compared));
        }
        self.value(compared)
    }

    fn value(&mut self, Compared { path, op }: Compared<'_>) -> Result<Expr, FilterError> {
        let begin = self.at;
        let mut value = String::new();
        // A negative number is a minus and a word.
        if self.accept(&Kind::Minus) {
            value.push('-');
        }
        let is_quoted = match self.take() {
            Some(Kind::Word(word)) => {
                value.push_str(&word);
                false
            }
            Some(Kind::Quoted(text)) if value.is_empty() => {
                value = text;
                true
            }
            _ => {
                self.at = begin;
                return Err(self.error("syntax error: a value is missing"));
            }
        };
        while !is_quoted && self.is_adjacent() {
            match self.peek() {
                Some(Kind::Word(word)) => value.push_str(&word.clone()),
                Some(Kind::Minus) => value.push('-'),
                _ => break,
            }
            self.at += 1;
        }
        if op == Op::Contains && value == "*" && !is_quoted {
            return Ok(Expr::Has(path.clone()));
        }
        self.patterns += usize::from(op == Op::Matches);
        if self.patterns > PATTERNS_MAX {
            return Err(self.error_before(format!("there are more than {PATTERNS_MAX} regular expressions")));
        }
        let operand = operand(path, op, value).map_err(|rule| self.error_before(rule))?;
        Ok(Expr::Compare { path: path.clone(), op, operand })
    }

    fn call(&mut self, name: &str) -> Result<Expr, FilterError> {
        let at_name = self.at - 1;
        self.at += 1;
        let mut arguments = Vec::new();
        while self.peek() != Some(&Kind::Close) {
            let begin = self.at;
            while self.peek().is_some_and(|kind| !matches!(kind, Kind::Comma | Kind::Close)) {
                self.at += 1;
            }
            arguments.push(begin..self.at);
            if !self.accept(&Kind::Comma) {
                break;
            }
        }
        if !self.accept(&Kind::Close) {
            return Err(self.error("syntax error: ')' is missing"));
        }
        let refused = |rule: String| lex::error(self.text, self.tokens[at_name].start, rule);
        let text = |range: &std::ops::Range<usize>| match &self.tokens[range.clone()] {
            [Token { kind: Kind::Word(text) | Kind::Quoted(text), .. }] => Ok(text.clone()),
            _ => Err(refused(format!("an argument of {name} is no text"))),
        };
        let call = match (name.to_ascii_lowercase().as_str(), &arguments[..]) {
            ("log_id", [id]) => Call::LogId(text(id)?),
            ("search", [words]) => Call::Search(None, text(words)?),
            ("search", [path, words]) => Call::Search(Some(self.path(path.clone())?), text(words)?),
            ("ip_in_net", [path, net]) => {
                let (address, bits) = network(&text(net)?)
                    .ok_or_else(|| refused("the network must be like 10.0.0.0/8 or fd00::/8".to_owned()))?;
                Call::IpInNet(self.path(path.clone())?, address, bits)
            }
            ("sample", [path, share]) => {
                let share = text(share)?.parse().ok().filter(|share| (0.0..=1.0).contains(share));
                let share = share.ok_or_else(|| refused("the share must be 0 to 1".to_owned()))?;
                Call::Sample(self.path(path.clone())?, share)
            }
            ("log_id" | "search" | "ip_in_net" | "sample", _) => {
                return Err(refused(format!("{name} does not take {} arguments", arguments.len())));
            }
            _ => return Err(refused(format!("there is no function '{name}'"))),
        };
        Ok(Expr::Call(call))
    }
}

fn joined(mut parts: Vec<Expr>, join: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match parts.len() {
        1 => parts.remove(0),
        _ => join(parts),
    }
}

/// A value, read as its field wants it.
fn operand(path: &Path, op: Op, value: String) -> Result<Operand, String> {
    match op {
        Op::Matches => {
            let compiled = RegexBuilder::new(&value).size_limit(PATTERN_MAX).build();
            return compiled.map(|regex| Operand::Pattern(Pattern(regex))).map_err(|error| {
                let last = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
                format!("invalid regular expression ({last})")
            });
        }
        Op::Contains => return Ok(Operand::Text(value)),
        _ => {}
    }
    let path: Vec<&str> = path.0.iter().map(String::as_str).collect();
    match path[..] {
        ["severity"] => match severity(&value) {
            Some(number) => Ok(Operand::Severity(number, value)),
            None => Err(format!("invalid value '{value}' for severity")),
        },
        ["timestamp" | "receiveTimestamp" | "receive_timestamp"] => match time(&value) {
            Some(time) => Ok(Operand::Time(time, value)),
            None => Err(format!("invalid timestamp '{value}'")),
        },
        ["httpRequest" | "http_request", "latency"] => match duration(&value) {
            Some(seconds) => Ok(Operand::Duration(seconds, value)),
            None => Err(format!("invalid duration '{value}'")),
        },
        _ => Ok(Operand::Text(value)),
    }
}

/// RFC 3339, or a day, which begins at midnight UTC.
fn time(text: &str) -> Option<SystemTime> {
    let upper = text.to_ascii_uppercase();
    let time = upper.parse::<Timestamp>().ok().or_else(|| {
        let day: Date = text.parse().ok()?;
        Some(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })?;
    Some(time.into())
}

/// `0.5s`, `10ms`, `2m`, or seconds without a unit.
pub(super) fn duration(text: &str) -> Option<f64> {
    let units = [("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];
    let (number, unit) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor))).unwrap_or((text, 1.0));
    number.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number * unit)
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().ok()?;
    let all = if address.is_ipv4() { 32 } else { 128 };
    let bits = if bits.is_empty() { all } else { bits.parse().ok()? };
    (bits <= all).then_some((address, bits))
}
