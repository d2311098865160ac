//! What the scheduler of requests is joined to: the book and the reports of the control plane, what signs tokens, the front
//! door from inside, and the way out.

use std::sync::Arc;

use tokio::{
    io::duplex,
    sync::{mpsc, watch},
};
use updraft_base::{Clock, Tasks};
use updraft_control::Control;
use updraft_events::{Doorway, Limits, Mint, Report, SchedulerDeps, Scheme};
use updraft_identity::{EmailClaim, IdentityError, LIFETIME, Tokens};
use updraft_model::{
    account::{AccountBook, Standing, default_email, default_unique_id},
    iam::Account,
    schedule::{AttemptReport, Authorization, DEADLINE_MAX, ScheduleBook},
};
use updraft_outbound::Client;
use updraft_plan::delivery::Ours;
use updraft_proxy::Errand;
use updraft_telemetry::LogStore;

use super::listen::Listeners;
use crate::config::Config;

/// Connections to the server itself that may wait for the front door.
const ERRANDS: usize = 64;
/// What fits into such a connection, in bytes.
const PIPE: usize = 64 << 10;

/// What it is joined to.
pub(super) struct Ends {
    pub(super) book: watch::Receiver<Arc<ScheduleBook>>,
    pub(super) accounts: watch::Receiver<Arc<AccountBook>>,
    pub(super) control: Control,
    pub(super) tokens: Tokens,
    pub(super) logs: LogStore,
}

/// Starts it; what it opens to the server itself comes out of the receiver.
pub(super) fn start(
    ends: Ends,
    (config, listeners): (&Config, &Listeners),
    edges: &Tasks,
    clock: &Clock,
) -> mpsc::Receiver<Errand> {
    let (errands, receiver) = mpsc::channel(ERRANDS);
    let Ends { book, accounts, control, tokens, logs } = ends;
    updraft_events::start(SchedulerDeps {
        book,
        report: reports(control),
        log: Arc::new(move |entry| logs.attempt(entry)),
        mint: mint(tokens, accounts),
        doorway: doorway(errands),
        outbound: outbound(config, listeners),
        ours: Ours { domain: config.domain.clone(), ports: listeners.ports() },
        limits: Limits::default(),
        clock: clock.clone(),
        tasks: edges.clone(),
    });
    receiver
}

fn reports(control: Control) -> Report {
    Arc::new(move |report: AttemptReport| {
        let control = control.clone();
        Box::pin(async move { control.scheduled_job_attempted(&report).await })
    })
}

fn doorway(errands: mpsc::Sender<Errand>) -> Doorway {
    Arc::new(move |scheme, project| {
        let errands = errands.clone();
        Box::pin(async move {
            let (stream, far) = duplex(PIPE);
            errands.send(Errand { stream: far, is_secure: scheme == Scheme::Https, project }).await.ok()?;
            Some(stream)
        })
    })
}

/// The way out that users' requests take. It never leads back in: who comes from this machine may be taken for its owner.
fn outbound(config: &Config, listeners: &Listeners) -> Client {
    let mut outbound = config.outbound.clone();
    outbound.policy.shut = listeners.ports();
    outbound.policy.shut.push(listeners.registry_address.port());
    outbound.patience = Some(DEADLINE_MAX);
    Client::new(outbound)
}

fn mint(tokens: Tokens, accounts: watch::Receiver<Arc<AccountBook>>) -> Mint {
    Arc::new(move |project: String, authorization: Authorization| {
        let (tokens, book) = (tokens.clone(), accounts.borrow().clone());
        Box::pin(async move {
            let account = account(&book, &project, authorization.account())?;
            // Signing takes a millisecond, and tens of them when a key has to be made: not for the threads that serve.
            let signed = tokio::task::spawn_blocking(move || sign(&tokens, &account, &authorization)).await;
            let failed = |error: &(dyn std::error::Error + 'static)| {
                tracing::error!(error, "a token for a scheduled job could not be made");
                "it could not be signed".to_owned()
            };
            signed.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
        })
    })
}

/// As whom a job of `project` acts, if that account may be used now.
fn account(book: &AccountBook, project: &str, email: &str) -> Result<Account, String> {
    match book.find(email) {
        Some((unique_id, entry)) if entry.standing == Standing::Active => {
            Ok(Account { email: email.to_owned(), unique_id: unique_id.to_string(), project: entry.project.clone() })
        }
        Some(_) => Err(format!("the service account {email} is disabled")),
        // That of the project is there before anything is written down of it.
        None if email == default_email(project) => {
            let (unique_id, project) = (default_unique_id(project), project.to_owned());
            Ok(Account { email: email.to_owned(), unique_id, project })
        }
        None => Err(format!("there is no service account {email}")),
    }
}

fn sign(tokens: &Tokens, account: &Account, authorization: &Authorization) -> Result<String, IdentityError> {
    let minted = match authorization {
        Authorization::Oidc { audience, .. } => tokens.id_token(account, audience, EmailClaim::Told),
        Authorization::OAuth { scope, .. } => tokens.access_token(account, scope, LIFETIME),
    };
    minted.map(|minted| minted.token)
}
