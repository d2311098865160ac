//! Bindings of policies: the same words for everything that has one.

use std::str::FromStr;

use clap::{Args, Subcommand};

use crate::values::Pairs;

/// Verbs on the policy of a resource.
#[derive(Debug, Clone, Subcommand)]
pub enum PolicyCommand {
    /// Give a role to a member.
    AddIamPolicyBinding(BindingArgs),
    /// Take a role from a member.
    RemoveIamPolicyBinding(RemoveBindingArgs),
    /// Show who has which role.
    GetIamPolicy {
        /// Whose policy.
        name: String,
    },
}

/// A binding of one member.
#[derive(Debug, Clone, Args)]
pub struct BindingArgs {
    /// Whose policy.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The member, such as user:me@example.com, serviceAccount:EMAIL, group:NAME, domain:NAME or allUsers.
    #[arg(long, value_name = "MEMBER")]
    pub member: String,
    /// The role, such as roles/run.invoker.
    #[arg(long, value_name = "ROLE")]
    pub role: String,
    /// Only while it is true: `expression=…,title=…[,description=…]`, or `None`. With commas inside: `^;^title=…;…`.
    #[arg(long, value_name = "CONDITION")]
    pub condition: Option<ConditionArg>,
}

/// A binding that goes.
#[derive(Debug, Clone, Args)]
pub struct RemoveBindingArgs {
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub binding: BindingArgs,
    /// Whatever its condition is.
    #[arg(long, conflicts_with = "condition")]
    pub all: bool,
}

/// A condition, or that there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionArg {
    /// There is none.
    None,
    /// This one.
    Given {
        /// In CEL.
        expression: String,
        /// What it is for.
        title: String,
        /// More of that; empty when there is nothing to say.
        description: String,
    },
}

// === impl ConditionArg ===

impl FromStr for ConditionArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "None" {
            return Ok(Self::None);
        }
        let (mut expression, mut title, mut description) = (String::new(), String::new(), String::new());
        for (key, value) in text.parse::<Pairs>()?.0 {
            match key.as_str() {
                "expression" => expression = value,
                "title" => title = value,
                "description" => description = value,
                _ => {
                    return Err(format!(
                        "there is no key '{key}': valid are expression, title and description; for values with commas, \
                         write '^;^expression=…;title=…'"
                    ));
                }
            }
        }
        if expression.is_empty() || title.is_empty() {
            return Err(
                "condition must be either `None` or a list of key=value pairs. If not `None`, `expression` and \
                        `title` are required keys."
                    .to_owned(),
            );
        }
        Ok(Self::Given { expression, title, description })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_has_an_expression_and_a_title_or_is_none() {
        let given = |expression: &str, title: &str, description: &str| {
            Ok(ConditionArg::Given {
                expression: expression.to_owned(),
                title: title.to_owned(),
                description: description.to_owned(),
            })
        };
        for (text, expected) in [
            ("None", Ok(ConditionArg::None)),
            ("title=this night,expression=a == \"b\"", given("a == \"b\"", "this night", "")),
            ("^;^expression=x in ['a','b'];title=t;description=d, e", given("x in ['a','b']", "t", "d, e")),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for (text, part) in [
            ("expression=true", "required keys"),
            ("title=t", "required keys"),
            ("expression=,title=t", "required keys"),
            ("expression=true,title=t,when=now", "there is no key 'when'"),
            ("expression=x in ['a','b'],title=t", "write '^;^"),
            ("true", "is not KEY=VALUE"),
        ] {
            let error = text.parse::<ConditionArg>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
