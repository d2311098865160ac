//! What all matches of a filter have in common, so that everything else need not be read.

use std::time::SystemTime;

use super::{Expr, Op, Operand};

/// What an entry has to be at least, to match. Nothing set means: could be any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// Not older than this.
    pub since: Option<SystemTime>,
    /// Not younger than this.
    pub until: Option<SystemTime>,
    /// Of this project, whatever its case.
    pub project: Option<String>,
    /// Of this location, whatever its case.
    pub location: Option<String>,
    /// Of this service, whatever its case.
    pub service: Option<String>,
}

/// Looks at what is joined by `AND` only: everything else may be otherwise.
pub(super) fn of(expr: Option<&Expr>) -> Scope {
    let mut scope = Scope::default();
    if let Some(expr) = expr {
        narrow(&mut scope, expr);
    }
    scope
}

fn narrow(scope: &mut Scope, expr: &Expr) {
    match expr {
        Expr::And(parts) => parts.iter().for_each(|part| narrow(scope, part)),
        Expr::Compare { path, op, operand } => {
            let path: Vec<&str> = path.0.iter().map(String::as_str).collect();
            match (&path[..], op, operand) {
                (["timestamp"], op, Operand::Time(time, _)) => {
                    if matches!(op, Op::Greater | Op::GreaterOrEqual | Op::Equal) {
                        scope.since = scope.since.max(Some(*time));
                    }
                    if matches!(op, Op::Less | Op::LessOrEqual | Op::Equal) {
                        scope.until = Some(scope.until.map_or(*time, |until| until.min(*time)));
                    }
                }
                (["resource", "labels", label], Op::Equal, Operand::Text(text)) => {
                    let place = match *label {
                        "project_id" => &mut scope.project,
                        "location" => &mut scope.location,
                        "service_name" | "configuration_name" => &mut scope.service,
                        _ => return,
                    };
                    // Two different ones match nothing; either of them is a truth.
                    *place = Some(text.clone());
                }
                _ => {}
            }
        }
        _ => {}
    }
}
