//! From a command to its end.

use updraft_base::Clock;

use crate::{
    accounts,
    args::{Command, Format, Globals, IamCommand, ImagesCommand, ProjectsCommand, RevisionsCommand, ServicesCommand},
    audit,
    auth::{self, Source},
    backup,
    client::Client,
    console::{Answer, Console},
    deploy, doctor,
    error::{CliError, Exit},
    gcloud, images, jobs, logs,
    policy::{self, Policed},
    pools, replace, revisions, scheduler, secrets, services, update_traffic,
};

/// What every verb works with.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) client: Client,
    pub(crate) console: Console<'a>,
    pub(crate) format: Option<Format>,
    /// Where the client's token comes from.
    pub(crate) source: Source,
    quiet: bool,
}

/// Carries out `command`: data goes to the console's `out`, talk and errors to its `err`.
pub async fn run(command: Command, globals: Globals, mut console: Console<'_>, clock: Clock) -> Exit {
    let made = auth::authenticated(globals.clone(), &clock).await;
    let (client, source) = match made.and_then(|(globals, source)| Ok((Client::new(&globals, clock.clone())?, source)))
    {
        Ok(made) => made,
        Err(error) => return report(&mut console, &error),
    };
    let mut session = Session { client, console, format: globals.format, source, quiet: globals.quiet };
    match dispatch(&mut session, command).await {
        Ok(()) => Exit::Done,
        Err(error) => {
            let error = session.source.explained(error, clock.now());
            report(&mut session.console, &error)
        }
    }
}

async fn dispatch(session: &mut Session<'_>, command: Command) -> Result<(), CliError> {
    match command {
        Command::Deploy(args) => deploy::deploy(session, &args).await,
        Command::Audit(args) => audit::audit(session, &args).await,
        Command::Backup(args) => backup::backup(session, &args).await,
        Command::Services(command) => match command {
            ServicesCommand::List => services::list(session).await,
            ServicesCommand::Describe { service } => services::describe(session, &service).await,
            ServicesCommand::Update(args) => deploy::update(session, &args).await,
            ServicesCommand::UpdateTraffic(args) => update_traffic::update_traffic(session, &args).await,
            ServicesCommand::Replace(args) => replace::replace(session, &args, &replace::SERVICE).await,
            ServicesCommand::Delete { service, asynchronous } => {
                services::delete(session, &service, When::from(asynchronous)).await
            }
            ServicesCommand::Doctor { service, revision } => {
                doctor::doctor(session, &service, revision.as_deref()).await
            }
            ServicesCommand::Explain(args) => logs::explain(session, &args).await,
            ServicesCommand::Logs(args) => logs::read(session, &args).await,
            ServicesCommand::Policy(command) => policy::policy(session, command, Policed::service).await,
        },
        Command::Revisions(command) => match command {
            RevisionsCommand::List { service } => revisions::list(session, service.as_deref()).await,
            RevisionsCommand::Describe { revision } => revisions::describe(session, &revision).await,
            RevisionsCommand::Delete { revision, asynchronous } => {
                revisions::delete(session, &revision, When::from(asynchronous)).await
            }
        },
        Command::Jobs(command) => jobs::jobs(session, command).await,
        Command::Executions(command) => jobs::executions(session, command).await,
        Command::Tasks(command) => jobs::tasks(session, command).await,
        Command::WorkerPools(command) => pools::pools(session, command).await,
        Command::Images(command) => match command {
            ImagesCommand::Load(args) => images::load(session, &args).await,
            ImagesCommand::List => images::list(session).await,
            ImagesCommand::Delete { image } => images::delete(session, &image).await,
        },
        Command::Secrets(args) => secrets::secrets(session, args).await,
        Command::Scheduler(command) => scheduler::scheduler(session, command).await,
        Command::Projects(ProjectsCommand::Policy(command)) => {
            policy::policy(session, command, |_, project| Policed::project(project)).await
        }
        Command::Iam(IamCommand::ServiceAccounts(command)) => accounts::accounts(session, command).await,
        Command::Gcloud(command) => gcloud::gcloud(session, command).await,
        Command::Env(args) => gcloud::env(session, &args).await,
        Command::Ca => gcloud::ca(session).await,
    }
}

fn report(console: &mut Console<'_>, error: &CliError) -> Exit {
    console.whisper(error);
    error.exit()
}

/// Does a command wait for the end of what it began?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Yes.
    Finished,
    /// `--async`: no.
    Begun,
}

// === impl When ===

impl From<bool> for When {
    fn from(asynchronous: bool) -> Self {
        if asynchronous { Self::Begun } else { Self::Finished }
    }
}

// === impl Session ===

impl Session<'_> {
    /// May a question be asked?
    pub(crate) fn may_ask(&self) -> bool {
        !self.quiet && self.console.is_interactive()
    }

    /// Goes on only if the user agrees that `what` happens. With `--quiet` they do; where nobody can
    /// be asked, they do not.
    pub(crate) fn confirm(&mut self, what: &str) -> Result<(), CliError> {
        if self.quiet {
            return Ok(());
        }
        if !self.console.is_interactive() {
            return Err(CliError::failed(format!("{what}, and nobody can be asked whether to go on"))
                .with_hint("repeat it with --quiet to agree beforehand"));
        }
        self.console.say(format_args!("{what}.\n"));
        match self.console.ask("Do you want to continue", Answer::Yes)? {
            Answer::Yes => Ok(()),
            Answer::No => Err(CliError::failed("aborted by user")),
        }
    }
}
