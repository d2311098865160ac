//! A tree → text that parses to it.

use std::fmt::{Display, Formatter, Result};

use super::{Call, Expr, Op, Operand, Path};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::And(parts) => join(f, parts, " AND "),
            Self::Or(parts) => join(f, parts, " OR "),
            Self::Not(part) => {
                f.write_str("NOT ")?;
                nested(f, part)
            }
            Self::Compare { path, op, operand } => write!(f, "{path}{}{}", op.sign(), Quoted(operand.text())),
            Self::Has(path) => write!(f, "{path}:*"),
            Self::Anywhere(text) => write!(f, "{}", Quoted(text)),
            Self::Call(call) => call.fmt(f),
        }
    }
}

fn join(f: &mut Formatter<'_>, parts: &[Expr], word: &str) -> Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(word)?;
        }
        nested(f, part)?;
    }
    Ok(())
}

/// Parentheses where the rules of precedence would mean something else.
fn nested(f: &mut Formatter<'_>, part: &Expr) -> Result {
    match part {
        Expr::And(_) | Expr::Or(_) => write!(f, "({part})"),
        _ => part.fmt(f),
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::LogId(id) => write!(f, "log_id({})", Quoted(id)),
            Self::Search(None, words) => write!(f, "search({})", Quoted(words)),
            Self::Search(Some(path), words) => write!(f, "search({path}, {})", Quoted(words)),
            Self::IpInNet(path, address, bits) => write!(f, "ip_in_net({path}, \"{address}/{bits}\")"),
            Self::Sample(path, share) => write!(f, "sample({path}, {share})"),
        }
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (index, name) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            let is_plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            match is_plain && !matches!(name.as_str(), "AND" | "OR" | "NOT") {
                true => f.write_str(name)?,
                false => write!(f, "{}", Quoted(name))?,
            }
        }
        Ok(())
    }
}

struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "\"{}\"", self.0.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

// === impl Op ===

impl Op {
    fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Contains => ":",
            Self::Matches => "=~",
        }
    }
}

// === impl Operand ===

impl Operand {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Severity(_, text) | Self::Time(_, text) | Self::Duration(_, text) => text,
            Self::Pattern(pattern) => pattern.0.as_str(),
        }
    }
}
