//! Conditions of bindings: expressions in CEL about when, and on what, a binding counts.
//!
//! What an expression can say is a list: the attributes `request.time`, `resource.name`, `resource.type` and
//! `resource.service`, the operators, and the functions of [`FUNCTIONS`]. There are no loops (`all`, `exists`, `map`), no
//! regular expressions and no clock, so the work is bounded by the length of the expression.
//! Sources: the CEL specification; IAM Conditions' overview, attribute reference, and limits.

mod functions;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, UnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cel::{
    Context, Env, IdedExpr, Value,
    common::ast::{Expr, operators},
    parser::PrattParser,
};
use updraft_model::iam::{Condition, Parsed, Principal, Target};

use super::Question;

/// The most logical operators (`&&`, `||`, `!`) of an expression; Google's limit.
pub const LOGICAL_OPERATORS_MAX: usize = 12;
/// The longest expression, in bytes. Google gives no number; with its twelve operators none comes near.
pub const EXPRESSION_BYTES_MAX: usize = 4096;
/// How deep an expression may be nested, as written and as a tree. Parser and interpreter go down the stack level by level,
/// and a stack that overflows ends the server.
const NESTING_MAX: u16 = 20;
/// The most names, values, operators and calls of an expression.
const NODES_MAX: usize = 512;

/// The functions that an expression may call, besides operators.
const FUNCTIONS: [&str; 21] = [
    "contains",
    "duration",
    "endsWith",
    "extract",
    "getAttribute",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "hasOnly",
    "int",
    "size",
    "startsWith",
    "string",
    "timestamp",
];
/// The operators, as the parser names them.
const OPERATORS: [&str; 16] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::IN,
    operators::MODULO,
];

/// What an expression is tried on before it is stored: name, type and service of one thing of each kind.
const SAMPLES: [(&str, &str, &str); 6] = [
    (
        "projects/demo-project/locations/us-central1/jobs/nightly",
        "cloudscheduler.googleapis.com/Job",
        "cloudscheduler.googleapis.com",
    ),
    ("projects/demo-project/locations/us-central1/services/hello", "run.googleapis.com/Service", "run.googleapis.com"),
    (
        "projects/1234/secrets/db/versions/1",
        "secretmanager.googleapis.com/SecretVersion",
        "secretmanager.googleapis.com",
    ),
    (
        "projects/1234/locations/us-central1/secrets/db/versions/1",
        "secretmanager.googleapis.com/SecretVersion",
        "secretmanager.googleapis.com",
    ),
    (
        "projects/demo-project/serviceAccounts/a@demo-project.iam.gserviceaccount.com",
        "iam.googleapis.com/ServiceAccount",
        "iam.googleapis.com",
    ),
    ("projects/demo-project", "cloudresourcemanager.googleapis.com/Project", "cloudresourcemanager.googleapis.com"),
];
/// And when: in a moment of which every part is zero, and in one of which none is (2024-12-30T23:59:58.765Z).
const SAMPLE_TIMES: [Duration; 2] = [Duration::ZERO, Duration::from_millis(1_735_603_198_765)];

/// The functions of the standard.
static LANGUAGE: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::default().with_optional_support(false).with_stdlib()));

/// What conditions see of a question, and which of them hold for it. They do not see the permission: what was found for one
/// counts for all that are asked of the same caller, target and time.
pub(super) struct Facts<'a> {
    target: &'a Target,
    now: SystemTime,
    modified_roles: &'a [String],
    /// Made with the first condition: most decisions need none.
    context: Option<Context<'static, 'static>>,
    found: HashMap<&'a str, Result<bool, String>>,
}

/// Parses the expression of a condition that is going to be asked about again and again.
pub(super) fn prepare(condition: &mut Condition) {
    condition.parsed = Parsed::new(parsed(&condition.expression));
}

/// Checks an expression before it is stored.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn check(expression: &str) -> Result<(), String> {
    let parsed = parsed(expression);
    // Types show only when it is evaluated, on something that it could be asked about. It may well be that it makes no
    // sense for a service, or on a first of January: one that is an answer to something is taken.
    let tried = |(name, kind, service): (&str, _, _), now| {
        let target = Target { name: name.to_owned(), kind, service };
        let question = Question {
            principal: &Principal::Anonymous,
            permission: "run.services.get",
            target: &target,
            now,
            modified_roles: &[],
        };
        Facts::of(&question).evaluated(&parsed).map(drop)
    };
    let all = SAMPLE_TIMES.iter().flat_map(|now| SAMPLES.iter().map(move |sample| (sample, now)));
    let mut outcomes = all.map(|(sample, now)| tried(*sample, UNIX_EPOCH + *now));
    let first = outcomes.next().unwrap_or(Ok(()));
    if first.is_err() && outcomes.any(|outcome| outcome.is_ok()) { Ok(()) } else { first }
}

// === impl Facts ===

impl<'a> Facts<'a> {
    /// What there is to see of a question.
    pub(super) fn of(question: &Question<'a>) -> Self {
        let Question { target, now, modified_roles, .. } = *question;
        Self { target, now, modified_roles, context: None, found: HashMap::new() }
    }

    /// Does a condition hold?
    ///
    /// # Errors
    /// Why it cannot be said, in one line: it does not parse, names what is not there, compares what cannot be compared, or
    /// is neither true nor false.
    pub(super) fn holds(&mut self, condition: &'a Condition) -> Result<bool, String> {
        if let Some(found) = self.found.get(&*condition.expression) {
            return found.clone();
        }
        let found = match condition.parsed.get() {
            Some(ahead) => self.evaluated(ahead),
            None => self.evaluated(&parsed(&condition.expression)),
        };
        self.found.insert(&condition.expression, found.clone());
        found
    }

    fn evaluated(&mut self, parsed: &Result<IdedExpr, String>) -> Result<bool, String> {
        let parsed = parsed.as_ref().map_err(Clone::clone)?;
        guarded(AssertUnwindSafe(|| {
            let context = match &mut self.context {
                Some(context) => context,
                none => none.insert(context(self.target, self.now, self.modified_roles)?),
            };
            match Value::resolve(parsed, context).map_err(|error| one_line(&error.to_string()))? {
                Value::Bool(outcome) => Ok(outcome),
                other => Err(format!("must be true or false, is of type {}", other.type_of())),
            }
        }))
    }
}

/// What the library panics at is as little of an answer as what it refuses.
fn guarded<T>(work: impl FnOnce() -> Result<T, String> + UnwindSafe) -> Result<T, String> {
    catch_unwind(work).unwrap_or_else(|_| Err("it cannot be evaluated".to_owned()))
}

fn parsed(expression: &str) -> Result<IdedExpr, String> {
    guarded(|| parse(expression))
}

/// Parses an expression and checks that it says only what it may.
fn parse(expression: &str) -> Result<IdedExpr, String> {
    if expression.trim().is_empty() {
        return Err("must be set, got nothing".to_owned());
    }
    if expression.len() > EXPRESSION_BYTES_MAX {
        return Err(format!("must have at most {EXPRESSION_BYTES_MAX} bytes, got {}", expression.len()));
    }
    // Not the parser that the library takes by itself: that one takes some 150 KiB of stack for each parenthesis.
    let parser = PrattParser::new().max_recursion_depth(NESTING_MAX).max_expression_node_count(NODES_MAX);
    let parsed = parser.parse(expression).map_err(|errors| one_line(&errors.to_string()))?;
    let mut logical = 0;
    check_expr(&parsed, NESTING_MAX, &mut logical)?;
    if logical > LOGICAL_OPERATORS_MAX {
        return Err(format!("must have at most {LOGICAL_OPERATORS_MAX} logical operators, got {logical}"));
    }
    Ok(parsed)
}

/// Checks every name of an expression, that it goes no deeper than `levels`, and counts its logical operators.
fn check_expr(expr: &IdedExpr, levels: u16, logical: &mut usize) -> Result<(), String> {
    let Some(levels) = levels.checked_sub(1) else {
        return Err(format!("must not be nested deeper than {NESTING_MAX}"));
    };
    match &expr.expr {
        Expr::Literal(_) => Ok(()),
        Expr::Ident(name) if name == "request" || name == "resource" => {
            Err(format!("'{name}' alone has no value; its fields have"))
        }
        Expr::Ident(name) => Err(format!("undeclared reference to '{name}'")),
        Expr::Select(select) if select.test => Err("undeclared reference to 'has'".to_owned()),
        Expr::Select(select) => match (&select.operand.expr, select.field.as_str()) {
            (Expr::Ident(name), "time") if name == "request" => Ok(()),
            (Expr::Ident(name), "name" | "type" | "service") if name == "resource" => Ok(()),
            (Expr::Ident(name), field) => Err(format!("undeclared reference to '{name}.{field}'")),
            (_, field) => Err(format!("undefined field '{field}'")),
        },
        Expr::Call(call) => {
            check_call(&call.func_name, call.target.as_deref())?;
            *logical += usize::from(matches!(
                call.func_name.as_str(),
                operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT
            ));
            // `api` is no value: it is the first part of the function's name.
            let target = call.target.iter().map(AsRef::as_ref).filter(|target| !is_api(target));
            target.chain(&call.args).try_for_each(|part| check_expr(part, levels, logical))
        }
        Expr::List(list) => list.elements.iter().try_for_each(|part| check_expr(part, levels, logical)),
        Expr::Map(_) | Expr::Struct(_) | Expr::Comprehension(_) | Expr::Unspecified => {
            Err("maps, messages and loops are not part of conditions".to_owned())
        }
    }
}

fn check_call(name: &str, target: Option<&IdedExpr>) -> Result<(), String> {
    let is_known = OPERATORS.contains(&name) || FUNCTIONS.contains(&name);
    // Only `api.getAttribute` is called that way, and nothing else is called of `api`.
    if is_known && (name == "getAttribute") == target.is_some_and(is_api) {
        return Ok(());
    }
    Err(format!("undeclared reference to '{name}'"))
}

fn is_api(expr: &IdedExpr) -> bool {
    matches!(&expr.expr, Expr::Ident(name) if name == "api")
}

/// The names and functions of expressions, with what they mean here and now.
fn context(target: &Target, now: SystemTime, modified_roles: &[String]) -> Result<Context<'static, 'static>, String> {
    let mut context = Context::with_env(Arc::clone(&LANGUAGE));
    let declared = functions::declare(&mut context, modified_roles);
    declared.map_err(|error| one_line(&error.to_string()))?;
    let resource = HashMap::from([
        ("name", Value::from(target.name.as_str())),
        ("type", Value::from(target.kind)),
        ("service", Value::from(target.service)),
    ]);
    context.add_variable_from_value("resource", resource);
    let time = Value::Timestamp(timestamp(now)?);
    context.add_variable_from_value("request", HashMap::from([("time", time)]));
    Ok(context)
}

fn timestamp(time: SystemTime) -> Result<chrono::DateTime<chrono::FixedOffset>, String> {
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| "the time is before 1970".to_owned())?;
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let time = chrono::DateTime::from_timestamp(seconds, since.subsec_nanos());
    time.map(|time| time.fixed_offset()).ok_or_else(|| "the time is beyond the calendar".to_owned())
}

/// The first line of a message, without what only says that it is one; the others draw where it is.
fn one_line(message: &str) -> String {
    let line = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it cannot be evaluated");
    line.strip_prefix("ERROR: <input>:").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests;
