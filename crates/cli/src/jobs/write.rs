//! `jobs create`, `deploy` and `update`.

use http::Method;
use updraft_api::{longrunning::Operation, run::Job};

use super::{
    find,
    launch::{self, Until},
    missing,
};
use crate::{
    args::{AfterArgs, CreateJobArgs, JobSettingsArgs, UpdateJobArgs},
    client::{Ask, Client, encode},
    deploy::env_file,
    error::CliError,
    follow, objects,
    output::id,
    progress::Progress,
    run::Session,
    settings::{self, JobWish, Program},
};

/// How often a change is made anew on what somebody else has just written.
const ATTEMPTS: u32 = 4;

/// What is done to a job, in the words of its sentences.
#[derive(Debug, Clone, Copy)]
struct Verb {
    /// `Creating` job.
    doing: &'static str,
    /// It has been `created`.
    done: &'static str,
}

const CREATE: Verb = Verb { doing: "Creating", done: "created" };
const DEPLOY: Verb = Verb { doing: "Deploying container to", done: "deployed" };
const UPDATE: Verb = Verb { doing: "Updating", done: "updated" };

/// `jobs create`.
pub(super) async fn create(session: &mut Session<'_>, args: &CreateJobArgs) -> Result<(), CliError> {
    write(session, CREATE, &Wanted { image: Some(&args.image), ..Wanted::of(&args.job, &args.settings, args.after) })
        .await
}

/// `jobs deploy`.
pub(super) async fn deploy(session: &mut Session<'_>, args: &CreateJobArgs) -> Result<(), CliError> {
    let before = find(&session.client, &args.job).await?;
    let wanted = Wanted { image: Some(&args.image), before, ..Wanted::of(&args.job, &args.settings, args.after) };
    write(session, DEPLOY, &wanted).await
}

/// `jobs update`.
pub(super) async fn update(session: &mut Session<'_>, args: &UpdateJobArgs) -> Result<(), CliError> {
    if args.image.is_none() && args.settings == JobSettingsArgs::default() {
        let error = CliError::usage("no change was asked for");
        return Err(match args.after {
            AfterArgs { execute_now: false, wait: false, .. } => error.with_hint("see 'updraft jobs update --help'"),
            _ => error.with_hint(format!("'updraft jobs execute {}' runs the job as it is", args.job)),
        });
    }
    let before = Some(find(&session.client, &args.job).await?.ok_or_else(|| missing(&args.job))?);
    let wanted = Wanted { image: args.image.as_deref(), before, ..Wanted::of(&args.job, &args.settings, args.after) };
    write(session, UPDATE, &wanted).await
}

/// What was asked for.
#[derive(Debug)]
struct Wanted<'a> {
    name: &'a str,
    image: Option<&'a str>,
    settings: &'a JobSettingsArgs,
    after: AfterArgs,
    /// The job that is there.
    before: Option<Job>,
}

// === impl Wanted ===

impl<'a> Wanted<'a> {
    fn of(name: &'a str, settings: &'a JobSettingsArgs, after: AfterArgs) -> Self {
        Self { name, image: None, settings, after, before: None }
    }
}

async fn write(session: &mut Session<'_>, verb: Verb, wanted: &Wanted<'_>) -> Result<(), CliError> {
    let Wanted { name, after, .. } = *wanted;
    let container = &wanted.settings.container;
    let env_file = env_file(&container.env)?;
    let project = session.client.project.clone();
    let program = Program { project: &project, image: wanted.image, container, env_file: env_file.as_deref() };
    let wish = JobWish { program, settings: wanted.settings, seed: rand::random() };
    let (doing, region) = (verb.doing, &session.client.region);
    session.console.say(format_args!("{doing} job [{name}] in project [{project}] region [{region}]"));
    let operation = match &wanted.before {
        None => Some(post(&session.client, name, &wish).await?),
        Some(before) => change(&session.client, before, &wish).await?,
    };
    let is_same = operation.is_none();
    if let Some(operation) = operation {
        if after.asynchronous {
            session.console.say(format_args!("Job [{name}] is being {} asynchronously.", verb.done));
            return objects::print_if_asked(session, &["jobs", name]).await;
        }
        let stage = if wanted.before.is_none() { "Creating job" } else { "Updating job" };
        let mut progress = Progress::new(&mut session.console);
        follow::one_stage(&session.client, operation, stage, &mut progress).await?;
    }
    let (mut sentence, mut again) = (format!("Job [{name}] has successfully been {}", verb.done), "");
    if is_same {
        sentence = format!("Job [{name}] is that way already");
    }
    if after.execute_now || after.wait {
        let until = if after.wait { Until::Completed } else { Until::Started };
        let execution = launch::run(session, name, until).await?;
        let what = if after.wait { "completed" } else { "started running" };
        sentence += &format!(" and {what} execution [{}]", id(&execution.name));
        again = " again";
    }
    session.console.say(format_args!("{sentence}."));
    session.console.say(format_args!("\nTo execute this job{again}, use:\nupdraft jobs execute {name}"));
    objects::print_if_asked(session, &["jobs", name]).await
}

async fn post(client: &Client, name: &str, wish: &JobWish<'_>) -> Result<Operation, CliError> {
    let job = settings::job(None, wish)?.unwrap_or_default();
    let ask = Ask { query: vec![("jobId", name)], body: Some(encode(&job)?) };
    client.message(Method::POST, &client.path(&["jobs"]), ask).await
}

/// Sends what the wish makes of `before`. When somebody else was faster, reads again and plans anew. `None` when nothing
/// would change.
async fn change(client: &Client, before: &Job, wish: &JobWish<'_>) -> Result<Option<Operation>, CliError> {
    let (name, mut before, mut attempt) = (id(&before.name).to_owned(), before.clone(), 1);
    loop {
        let Some(job) = settings::job(Some(&before), wish)? else { return Ok(None) };
        let ask = Ask { query: Vec::new(), body: Some(encode(&job)?) };
        match client.message(Method::PATCH, &client.path(&["jobs", &name]), ask).await {
            Ok(operation) => return Ok(Some(operation)),
            Err(error) if error.is("ABORTED") && attempt < ATTEMPTS => {
                attempt += 1;
                before = find(client, &name).await?.ok_or_else(|| missing(&name))?;
            }
            Err(error) => return Err(error),
        }
    }
}
