//! `deploy` and `services update`.

use http::Method;
use updraft_api::{
    iam::{Binding, Policy},
    longrunning::Operation,
    run::Service,
};
use updraft_model::iam::{ALL_USERS, ROLE_INVOKER};

use crate::{
    args::{DeployArgs, EnvArgs, SettingsArgs, UpdateArgs, either},
    client::{Ask, Client, encode},
    console::Answer,
    describe::{tag_url, url},
    error::{CliError, Exit},
    follow::{self, Change},
    objects,
    output::id,
    policy::Policed,
    progress::{Progress, Stage},
    run::Session,
    settings::{self, NewRevision, Plan, Wish},
};

const POLICY: &str = "Setting IAM Policy";
/// How often a change is made anew on what somebody else has just written.
const ATTEMPTS: u32 = 4;

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Everybody,
    Members,
}

/// `deploy`.
pub(crate) async fn deploy(session: &mut Session<'_>, args: &DeployArgs) -> Result<(), CliError> {
    let (name, settings) = (args.service.as_str(), &args.settings);
    let env_file = env_file(&settings.container.env)?;
    let project = session.client.project.clone();
    let wish = Wish {
        id: name,
        project: &project,
        image: Some(&args.image),
        settings,
        env_file: env_file.as_deref(),
        revision: NewRevision::Always,
        seed: rand::random(),
    };
    let before = session.client.service(name).await?;
    let access = access(session, args, before.as_ref())?;
    let (project, region) = (&session.client.project, &session.client.region);
    session
        .console
        .say(format_args!("Deploying container to service [{name}] in project [{project}] region [{region}]"));
    session.console.say(if before.is_some() { "Deploying..." } else { "Deploying new service..." });
    let change = match &before {
        None => create(&session.client, &wish).await?,
        Some(before) => {
            let change = change(&session.client, before, |before| settings::update(before, &wish)).await?;
            change.ok_or_else(|| CliError::failed("the deployment would change nothing"))?
        }
    };
    let mut progress = Progress::new(&mut session.console);
    if let Some(access) = access {
        set_access(&session.client, name, access, &mut progress).await;
    }
    finish(session, change, settings).await
}

/// `services update`.
pub(crate) async fn update(session: &mut Session<'_>, args: &UpdateArgs) -> Result<(), CliError> {
    let (name, settings) = (args.service.as_str(), &args.settings);
    let asks_nothing = SettingsArgs { asynchronous: false, ..settings.clone() } == SettingsArgs::default();
    if args.image.is_none() && asks_nothing {
        return Err(CliError::usage("no change was asked for").with_hint("see 'updraft services update --help'"));
    }
    let env_file = env_file(&settings.container.env)?;
    let project = session.client.project.clone();
    let wish = Wish {
        id: name,
        project: &project,
        image: args.image.as_deref(),
        settings,
        env_file: env_file.as_deref(),
        revision: NewRevision::IfChanged,
        seed: rand::random(),
    };
    let before = session.client.service(name).await?.ok_or_else(|| missing(name))?;
    let change = change(&session.client, &before, |before| settings::update(before, &wish)).await?;
    let Some(change) = change else {
        session.console.say(format_args!("Service [{name}] is that way already."));
        return objects::print_if_asked(session, &["services", name]).await;
    };
    session.console.say("Deploying...");
    finish(session, change, settings).await
}

/// There is no such service.
pub(crate) fn missing(name: &str) -> CliError {
    CliError::new(Exit::NotFound, format!("cannot find service [{name}]"))
        .with_hint("'updraft services list' shows those of this project and region")
}

async fn create(client: &Client, wish: &Wish<'_>) -> Result<Change, CliError> {
    let plan = settings::creation(wish)?;
    let ask = Ask { query: vec![("serviceId", wish.id)], body: Some(encode(&plan.service)?) };
    let operation = client.message(Method::POST, &client.path(&["services"]), ask).await?;
    Ok(Change { operation, makes_revision: true, revision_before: String::new() })
}

/// Sends what `plan` makes of `before`. When somebody else was faster, reads again and plans anew.
/// `None` when nothing would change.
pub(crate) async fn change(
    client: &Client,
    before: &Service,
    plan: impl Fn(&Service) -> Result<Plan, CliError>,
) -> Result<Option<Change>, CliError> {
    let mut before = before.clone();
    let name = id(&before.name).to_owned();
    let mut attempt = 1;
    loop {
        let Plan { service, mask, makes_revision } = plan(&before)?;
        if mask.is_empty() {
            return Ok(None);
        }
        let mask = mask.join(",");
        let ask = Ask { query: vec![("updateMask", mask.as_str())], body: Some(encode(&service)?) };
        match client.message::<Operation>(Method::PATCH, &client.path(&["services", &name]), ask).await {
            Ok(operation) => {
                let revision_before = before.latest_created_revision;
                return Ok(Some(Change { operation, makes_revision, revision_before }));
            }
            Err(error) if error.is("ABORTED") && attempt < ATTEMPTS => {
                attempt += 1;
                before = client.service(&name).await?.ok_or_else(|| missing(&name))?;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn finish(session: &mut Session<'_>, change: Change, settings: &SettingsArgs) -> Result<(), CliError> {
    let makes_revision = change.makes_revision;
    if settings.asynchronous {
        let service: Option<Service> = crate::client::subject(&change.operation);
        let service = service.ok_or_else(|| CliError::unexpected("an operation without a service"))?;
        session.console.say(format_args!("Service [{}] is deploying asynchronously.", id(&service.name)));
        return objects::print_if_asked(session, &["services", id(&service.name)]).await;
    }
    let mut progress = Progress::new(&mut session.console);
    let service = follow::service(&session.client, change, &mut progress).await?;
    session.console.say("Done.");
    session.console.whisper(if makes_revision { deployed(&service, settings) } else { updated(&service) });
    objects::print_if_asked(session, &["services", id(&service.name)]).await
}

/// What there is to say of a deployment that came up.
fn deployed(service: &Service, settings: &SettingsArgs) -> String {
    let revision = match settings.no_traffic {
        // Without traffic it need not be the latest that is ready.
        true => id(&service.latest_created_revision),
        false => id(&service.latest_ready_revision),
    };
    let statuses = service.traffic_statuses.iter();
    let percent: i32 = statuses.filter(|status| id(&status.revision) == revision).map(|status| status.percent).sum();
    let mut text = format!(
        "Service [{}] revision [{revision}] has been deployed and is serving {percent} percent of traffic.\n",
        id(&service.name)
    );
    if percent > 0 {
        text += &format!("Service URL: {}\n", url(service));
    }
    if let Some(url) = settings.tag.as_ref().and_then(|tag| tag_url(service, tag)) {
        text += &format!("The revision can be reached directly at {url}\n");
    }
    text
}

fn updated(service: &Service) -> String {
    format!("Service [{}] has been updated.\nService URL: {}\n", id(&service.name), url(service))
}

// === who may call ===

/// Who may call from now on; `None` leaves it as it is. A new service asks, if it can.
fn access(session: &mut Session<'_>, args: &DeployArgs, before: Option<&Service>) -> Result<Option<Access>, CliError> {
    let said = either(args.allow_unauthenticated, args.no_allow_unauthenticated);
    match (said, before) {
        (Some(true), _) => Ok(Some(Access::Everybody)),
        (Some(false), Some(_)) => Ok(Some(Access::Members)),
        // Nobody may call a new service.
        (Some(false), None) | (None, Some(_)) => Ok(None),
        (None, None) if args.settings.switches.invoker_check() == Some(false) => Ok(None),
        (None, None) if session.may_ask() => {
            let question = format!("Allow unauthenticated invocations to [{}]", args.service);
            let answer = session.console.ask(&question, Answer::No)?;
            Ok((answer == Answer::Yes).then_some(Access::Everybody))
        }
        (None, None) => {
            session.console.say(
                "Nobody may call the new service yet: deploy with --allow-unauthenticated to let everybody call it.",
            );
            Ok(None)
        }
    }
}

/// The deployment goes on when the policy cannot be set: that is told, and can be done later.
async fn set_access(client: &Client, name: &str, access: Access, progress: &mut Progress<'_, '_>) {
    progress.show(&[(POLICY, Stage::Running)]);
    let service = Policed::service(client, name);
    match service.edit(client, |policy| Ok(with_access(policy, access))).await {
        Ok(_) => progress.show(&[(POLICY, Stage::Done)]),
        Err(error) => {
            progress.fail();
            let text = error.to_string();
            let cause = text.trim_end().trim_start_matches("error: ");
            progress.console().say(format_args!("warning: who may call [{name}] was not changed: {cause}"));
        }
    }
}

/// The policy with, or without, everybody among the invokers; `None` when it is that way already.
fn with_access(before: &Policy, access: Access) -> Option<Policy> {
    let mut after = before.clone();
    let everybody = |member: &String| member == ALL_USERS;
    match access {
        Access::Members => {
            for binding in after.bindings.iter_mut().filter(|binding| binding.role == ROLE_INVOKER) {
                binding.members.retain(|member| !everybody(member));
            }
            after.bindings.retain(|binding| !binding.members.is_empty());
        }
        Access::Everybody => {
            let invokers = |binding: &&mut Binding| binding.role == ROLE_INVOKER && binding.condition.is_none();
            match after.bindings.iter_mut().find(invokers) {
                Some(binding) if binding.members.iter().any(everybody) => {}
                Some(binding) => binding.members.push(ALL_USERS.to_owned()),
                None => after.bindings.push(Binding {
                    role: ROLE_INVOKER.to_owned(),
                    members: vec![ALL_USERS.to_owned()],
                    condition: None,
                }),
            }
        }
    }
    (after != *before).then_some(after)
}

// === files ===

/// The variables of `--env-vars-file`: a YAML mapping of names to plain values.
pub(crate) fn env_file(flags: &EnvArgs) -> Result<Option<Vec<(String, String)>>, CliError> {
    let Some(path) = &flags.env_vars_file else { return Ok(None) };
    let wrong = |cause: String| CliError::usage(format!("--env-vars-file {}: {cause}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    if text.trim().is_empty() {
        return Ok(Some(Vec::new()));
    }
    let map: serde_json::Map<String, serde_json::Value> =
        serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let plain = |(name, value)| match value {
        serde_json::Value::String(value) => Ok((name, value)),
        serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            Err(wrong(format!("the value of {name} must be a text: write {name}: \"{value}\"")))
        }
        _ => Err(wrong(format!("the value of {name} must be a text"))),
    };
    map.into_iter().map(plain).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(bindings: &[(&str, &[&str])]) -> Policy {
        let binding = |(role, members): &(&str, &[&str])| Binding {
            role: (*role).to_owned(),
            members: members.iter().map(|&member| member.to_owned()).collect(),
            condition: None,
        };
        Policy { etag: b"e1".to_vec(), bindings: bindings.iter().map(binding).collect(), ..Policy::default() }
    }

    #[test]
    fn everybody_becomes_an_invoker_once_and_others_stay() {
        let ours = policy(&[("roles/run.admin", &["user:a@b.c"]), (ROLE_INVOKER, &["user:a@b.c"])]);
        let open = with_access(&ours, Access::Everybody).unwrap();
        assert_eq!(open.bindings[1].members, ["user:a@b.c", ALL_USERS]);
        assert_eq!(open.etag, ours.etag);
        assert_eq!(with_access(&open, Access::Everybody), None);
        assert_eq!(with_access(&open, Access::Members), Some(ours.clone()));
        assert_eq!(with_access(&ours, Access::Members), None);
        let first = with_access(&policy(&[]), Access::Everybody).unwrap();
        assert_eq!(first.bindings, policy(&[(ROLE_INVOKER, &[ALL_USERS])]).bindings);
        assert_eq!(with_access(&first, Access::Members).unwrap().bindings, []);
    }

    #[test]
    fn a_file_of_variables_is_a_flat_mapping_of_texts() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("env.yaml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let flags = EnvArgs { env_vars_file: Some(path.clone()), ..EnvArgs::default() };
            env_file(&flags).map(Option::unwrap_or_default).map_err(|error| error.to_string())
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("B: x\nA: \"1\"\n"), Ok(vec![pair("B", "x"), pair("A", "1")]));
        assert_eq!(read("\n"), Ok(vec![]));
        assert!(read("A: 1\n").unwrap_err().contains("must be a text: write A: \"1\""));
        assert!(read("A: [1]\n").unwrap_err().contains("the value of A must be a text"));
        assert!(read("just text\n").is_err());
    }
}
