//! Policies of services, jobs, worker pools, secrets, projects and service accounts: read, changed, and written if nobody was faster.

use http::Method;
use serde_json::json;
use updraft_api::{
    iam::{Binding, Policy},
    r#type::Expr,
};

use crate::{
    args::{BindingArgs, ConditionArg, PolicyCommand},
    client::{Ask, Client, encode},
    error::CliError,
    objects,
    run::Session,
};

/// The version of policies that have conditions. Asked for always: who reads an older one and writes it back loses them.
const VERSION: i32 = 3;
/// How often a change is made anew on what somebody else has just written.
const ATTEMPTS: u32 = 4;
/// Roles that come without conditions.
const BASIC_ROLES: [&str; 3] = ["roles/owner", "roles/editor", "roles/viewer"];

/// A resource that has a policy.
#[derive(Debug, Clone)]
pub(crate) struct Policed {
    /// What it is, in a sentence.
    kind: &'static str,
    /// What it is called, in a sentence.
    name: String,
    /// Its path.
    path: Vec<String>,
    /// How its policy is read.
    read: Method,
}

/// What becomes of a member's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    /// It comes.
    Add,
    /// It goes, with this condition.
    Remove,
    /// It goes, whatever its conditions.
    RemoveAll,
}

/// Carries out a verb on a policy; `policed` says whose it is by its name.
pub(crate) async fn policy(
    session: &mut Session<'_>,
    command: PolicyCommand,
    policed: impl Fn(&Client, &str) -> Policed,
) -> Result<(), CliError> {
    let (args, edit) = match command {
        PolicyCommand::GetIamPolicy { name } => {
            let policy = policed(&session.client, &name).get(&session.client).await?;
            return objects::show(session, &encode(&policy)?);
        }
        PolicyCommand::AddIamPolicyBinding(args) => (args, Edit::Add),
        PolicyCommand::RemoveIamPolicyBinding(args) if args.all => (args.binding, Edit::RemoveAll),
        PolicyCommand::RemoveIamPolicyBinding(args) => (args.binding, Edit::Remove),
    };
    let condition = condition(&args, edit)?;
    let resource = policed(&session.client, &args.name);
    let binding = Binding { role: args.role, members: vec![args.member], condition };
    let edited = resource.edit(&session.client, |policy| edited(policy, &binding, edit)).await?;
    let Policed { kind, name, .. } = &resource;
    let policy = match edited {
        Edited::Written(policy) => {
            session.console.say(format_args!("Updated IAM policy for {kind} [{name}]."));
            policy
        }
        Edited::AsBefore(policy) => {
            session.console.say(format_args!("IAM policy for {kind} [{name}] is that way already."));
            policy
        }
    };
    objects::show(session, &encode(&policy)?)
}

/// How a change ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Edited {
    /// This is the policy now.
    Written(Policy),
    /// There was nothing to change.
    AsBefore(Policy),
}

fn condition(args: &BindingArgs, edit: Edit) -> Result<Option<Expr>, CliError> {
    let Some(ConditionArg::Given { expression, title, description }) = args.condition.clone() else { return Ok(None) };
    if edit == Edit::Add && BASIC_ROLES.contains(&args.role.as_str()) {
        return Err(CliError::usage(
            "Binding with a condition and a basic role is not allowed. Basic roles are `roles/editor`, `roles/owner`, and \
             `roles/viewer`.",
        ));
    }
    Ok(Some(Expr { expression, title, description, ..Expr::default() }))
}

/// The policy with the member of `binding` in it or not; `None` when it is that way already.
fn edited(before: &Policy, binding: &Binding, edit: Edit) -> Result<Option<Policy>, CliError> {
    let mut after = before.clone();
    let is_meant = |other: &Binding| {
        other.role == binding.role && (edit == Edit::RemoveAll || other.condition == binding.condition)
    };
    if edit == Edit::Add {
        let mut meant = after.bindings.iter_mut().filter(|other| is_meant(other));
        match meant.next() {
            Some(first) if binding.members.iter().all(|member| first.members.contains(member)) => return Ok(None),
            Some(first) => first.members.extend(binding.members.iter().cloned()),
            None => after.bindings.push(binding.clone()),
        }
        return Ok(Some(after));
    }
    for other in after.bindings.iter_mut().filter(|other| is_meant(other)) {
        other.members.retain(|member| !binding.members.contains(member));
    }
    if after == *before {
        return Err(CliError::failed(match edit {
            Edit::RemoveAll => "Policy bindings with the specified principal and role not found!",
            _ => "Policy binding with the specified principal, role, and condition not found!",
        }));
    }
    after.bindings.retain(|binding| !binding.members.is_empty());
    Ok(Some(after))
}

// === impl Policed ===

impl Policed {
    pub(crate) fn service(client: &Client, id: &str) -> Self {
        Self::new("service", id, (Method::GET, &client.path(&["services", id])))
    }

    pub(crate) fn job(client: &Client, id: &str) -> Self {
        Self::new("job", id, (Method::GET, &client.path(&["jobs", id])))
    }

    pub(crate) fn pool(client: &Client, id: &str) -> Self {
        Self::new("worker pool", id, (Method::GET, &client.path(&["workerPools", id])))
    }

    pub(crate) fn project(id: &str) -> Self {
        Self::new("project", id, (Method::POST, &["cloudresourcemanager", "v1", "projects", id]))
    }

    pub(crate) fn account(email: &str) -> Self {
        Self::new("serviceAccount", email, (Method::POST, &["iam", "v1", "projects", "-", "serviceAccounts", email]))
    }

    /// The secret at this path.
    pub(crate) fn secret(id: &str, path: &[&str]) -> Self {
        Self::new("secret", id, (Method::GET, path))
    }

    fn new(kind: &'static str, name: &str, (read, path): (Method, &[&str])) -> Self {
        Self { kind, name: name.to_owned(), path: path.iter().map(|&part| part.to_owned()).collect(), read }
    }

    /// Its policy, with conditions.
    pub(crate) async fn get(&self, client: &Client) -> Result<Policy, CliError> {
        let version = VERSION.to_string();
        let body = (self.read == Method::POST).then(|| json!({}));
        let ask = Ask { query: vec![("options.requestedPolicyVersion", version.as_str())], body };
        self.ask(client, (self.read.clone(), "getIamPolicy"), ask).await
    }

    /// Changes its policy to what `change` makes of it. When somebody else was faster, it is read again and changed anew.
    pub(crate) async fn edit(
        &self,
        client: &Client,
        change: impl Fn(&Policy) -> Result<Option<Policy>, CliError>,
    ) -> Result<Edited, CliError> {
        let mut attempt = 1;
        loop {
            let before = self.get(client).await?;
            let Some(after) = change(&before)? else { return Ok(Edited::AsBefore(before)) };
            // The etag goes along: without one it would be replaced whatever it is by now.
            let after = Policy { version: VERSION, ..after };
            let ask = Ask { query: Vec::new(), body: Some(json!({ "policy": encode(&after)? })) };
            match self.ask(client, (Method::POST, "setIamPolicy"), ask).await {
                Ok(policy) => return Ok(Edited::Written(policy)),
                Err(error) if error.is("ABORTED") && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    async fn ask(&self, client: &Client, (method, verb): (Method, &str), ask: Ask<'_>) -> Result<Policy, CliError> {
        let mut path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let last = format!("{}:{verb}", path.pop().unwrap_or_default());
        path.push(&last);
        client.message(method, &path, ask).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(role: &str, members: &[&str], expression: Option<&str>) -> Binding {
        let condition =
            expression.map(|text| Expr { expression: text.to_owned(), title: "t".to_owned(), ..Expr::default() });
        let members = members.iter().map(|&member| member.to_owned()).collect();
        Binding { role: role.to_owned(), members, condition }
    }

    fn policy(bindings: &[Binding]) -> Policy {
        Policy { etag: b"e1".to_vec(), bindings: bindings.to_vec(), ..Policy::default() }
    }

    fn bindings(policy: &Policy, change: &Binding, edit: Edit) -> Result<Option<Vec<Binding>>, String> {
        let edited = edited(policy, change, edit).map_err(|error| error.to_string())?;
        assert!(edited.iter().all(|edited| edited.etag == policy.etag));
        Ok(edited.map(|edited| edited.bindings))
    }

    #[test]
    fn a_member_comes_into_the_binding_with_the_same_condition_and_only_once() {
        let (plain, night) = (binding("r", &["a"], None), binding("r", &["a"], Some("night")));
        let ours = policy(&[night.clone(), plain.clone()]);
        let (more, more_at_night) = (binding("r", &["b"], None), binding("r", &["b"], Some("night")));
        assert_eq!(bindings(&ours, &more, Edit::Add), Ok(Some(vec![night.clone(), binding("r", &["a", "b"], None)])));
        assert_eq!(
            bindings(&ours, &more_at_night, Edit::Add),
            Ok(Some(vec![binding("r", &["a", "b"], Some("night")), plain.clone()]))
        );
        assert_eq!(bindings(&ours, &plain, Edit::Add), Ok(None));
        let day = binding("r", &["a"], Some("day"));
        assert_eq!(bindings(&ours, &day, Edit::Add), Ok(Some(vec![night, plain, day])));
    }

    #[test]
    fn a_member_goes_with_its_condition_or_with_all_and_empty_bindings_go_too() {
        let (plain, night) = (binding("r", &["a", "b"], None), binding("r", &["a"], Some("night")));
        let ours = policy(&[night.clone(), plain.clone()]);
        let left = binding("r", &["b"], None);
        let a = binding("r", &["a"], None);
        assert_eq!(bindings(&ours, &a, Edit::Remove), Ok(Some(vec![night.clone(), left.clone()])));
        assert_eq!(bindings(&ours, &night, Edit::Remove), Ok(Some(vec![plain])));
        assert_eq!(bindings(&ours, &a, Edit::RemoveAll), Ok(Some(vec![left])));
        let said = |binding, edit| bindings(&ours, &binding, edit).expect_err("there is none");
        assert_eq!(
            said(binding("r", &["a"], Some("day")), Edit::Remove),
            "error: Policy binding with the specified principal, role, and condition not found!\n"
        );
        assert_eq!(
            said(binding("r", &["c"], None), Edit::RemoveAll),
            "error: Policy bindings with the specified principal and role not found!\n"
        );
    }
}
