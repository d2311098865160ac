//! Making, changing and deleting jobs.

use prost::Message as _;
use prost_types::FieldMask;
use updraft_api::{
    mask,
    scheduler::{
        CreateJobRequest, DeleteJobRequest, Job, UpdateJobRequest, http_target::AuthorizationHeader, job::Target,
    },
    view::schedule as view_of,
};
use updraft_model::{
    Error, ErrorKind, Parent, Violation,
    account::default_email,
    iam::Principal,
    schedule::{Authorization, Endpoint, JOB_BYTES_MAX, ScheduledJob, ScheduledJobName, check},
};
use updraft_plan::{
    cron::SENTENCE,
    delivery::{Ours, Timing, Token, way},
};
use updraft_store::{Change, Envelope, Kind, Selection};

use super::{ATTEMPTS, Found, JOBS_MAX, ScheduledJobRecord, busy, job_key, missing, nanos};
use crate::{
    Control, Inner,
    access::{Permitted, Resource, account_project},
    audit,
    failure::of_store,
    record,
};

/// What an update may name.
const MUTABLE: [&str; 8] = [
    "description",
    "schedule",
    "time_zone",
    "retry_config",
    "attempt_deadline",
    "http_target",
    "pubsub_target",
    "app_engine_http_target",
];
/// What it may name and nothing comes of: "any value specified for an output only field will be ignored".
const OUTPUT: [&str; 6] = ["name", "user_update_time", "state", "status", "schedule_time", "last_attempt_time"];

// === impl Control ===

impl Control {
    /// Makes a scheduled job; its first time is looked for from now on.
    ///
    /// # Errors
    /// `InvalidArgument` with every broken rule, `AlreadyExists`, `PermissionDenied`, `ResourceExhausted` when there are as
    /// many as there may be, `Aborted` when others write all the time.
    pub async fn scheduled_jobs_create(&self, caller: &Principal, request: CreateJobRequest) -> Result<Job, Error> {
        let inner = &*self.inner;
        let parent: Parent = request.parent.parse()?;
        let parent = inner.places.parent("parent", &parent)?;
        let sent = request.job.unwrap_or_default();
        let name = inner.name_of_new(&parent, &sent.name)?;
        audit::makes(&name);
        let resource = Resource::SchedulerPlace(parent.clone());
        let permit = inner.permit(caller, "cloudscheduler.jobs.create", &resource).await?;
        let now = inner.clock.now();
        let message = inner.fit(caller, &name, sent).await?;
        let mut envelope = record::envelope(job_key(&name), "", now);
        envelope.spec = message.encode_to_vec();
        envelope.internal = record::write(&ScheduledJobRecord::new(now));
        for _ in 0..ATTEMPTS {
            if inner.get(&permit, &job_key(&name)).await?.is_some() {
                return Err(Error::new(ErrorKind::AlreadyExists, format!("Job {name} already exists.")));
            }
            inner.make_room(&permit, &parent).await?;
            let mut changes: Vec<Change> = inner.places.creation(&parent.project, now).into_iter().collect();
            changes.push(Change::Put(Box::new(envelope.clone())));
            // Somebody else made the job, or the project; the next look shows which.
            if inner.committed(&permit, changes).await?.is_some() {
                inner.schedules.publish(inner.store.open(&permit), &job_key(&name)).await?;
                return Ok(Found::of(envelope)?.shown());
            }
        }
        Err(busy(&name))
    }

    /// Changes what the mask names, and everything without one. A job with another schedule or zone begins anew.
    ///
    /// # Errors
    /// `InvalidArgument` with every broken rule, `PermissionDenied`, `NotFound`.
    pub async fn scheduled_jobs_update(&self, caller: &Principal, request: UpdateJobRequest) -> Result<Job, Error> {
        let inner = &*self.inner;
        let sent = request.job.unwrap_or_default();
        let name = inner.scheduled_job_named("job.name", &sent.name)?;
        let paths = mutable(request.update_mask.as_ref())?;
        for _ in 0..ATTEMPTS {
            let resource = Resource::ScheduledJob(name.clone());
            let mut permit = inner.permit(caller, "cloudscheduler.jobs.update", &resource).await?;
            let found = Found::of(permit.take_found().ok_or_else(missing)?)?;
            let changed = match &paths {
                Some(paths) => without_empty_token(mask::apply(&found.message, &sent, paths)?),
                None => sent.clone(),
            };
            let message = inner.fit(caller, &name, changed).await?;
            let now = inner.clock.now();
            let when = |job: &Job| (job.schedule.clone(), job.time_zone.clone());
            let progress = match when(&message) == when(&found.message) {
                true => found.record.progress(),
                false => found.record.progress().anew(now),
            };
            let state = found.record.state();
            let record = ScheduledJobRecord { user_updated: nanos(now), ..found.record.clone().with(state, progress) };
            let envelope = found.with(&record);
            let envelope = Envelope {
                spec: message.encode_to_vec(),
                generation: envelope.generation + 1,
                updated: now,
                ..envelope
            };
            if inner.committed(&permit, vec![Change::Put(Box::new(envelope.clone()))]).await?.is_some() {
                inner.schedules.publish(inner.store.open(&permit), &job_key(&name)).await?;
                return Ok(Found::of(envelope)?.shown());
            }
        }
        Err(busy(&name))
    }

    /// Deletes a job. A run that is under way goes on; nothing is kept of what comes of it.
    ///
    /// # Errors
    /// `InvalidArgument`, `PermissionDenied`, `NotFound`.
    pub async fn scheduled_jobs_delete(&self, caller: &Principal, request: DeleteJobRequest) -> Result<(), Error> {
        let inner = &*self.inner;
        let name = inner.scheduled_job_named("name", &request.name)?;
        for _ in 0..ATTEMPTS {
            let resource = Resource::ScheduledJob(name.clone());
            let permit = inner.permit(caller, "cloudscheduler.jobs.delete", &resource).await?;
            let resource_version = permit.found().ok_or_else(missing)?.resource_version;
            let change = Change::Delete { key: job_key(&name), resource_version };
            if inner.committed(&permit, vec![change]).await?.is_some() {
                return inner.schedules.publish(inner.store.open(&permit), &job_key(&name)).await;
            }
        }
        Err(busy(&name))
    }
}

// === impl Inner ===

impl Inner {
    /// The name of a job to be made: the one that it says, which has to be there, or one of chance.
    fn name_of_new(&self, parent: &Parent, said: &str) -> Result<ScheduledJobName, Error> {
        if said.is_empty() {
            return Ok(ScheduledJobName::new(parent.clone(), uuid::Uuid::new_v4().to_string()));
        }
        let name = self.scheduled_job_named("job.name", said)?;
        match name.parent == *parent {
            true => Ok(name),
            false => Err(Error::invalid_field("job.name", format!("must be one of {parent}, got '{said}'"))),
        }
    }

    async fn make_room(&self, permit: &Permitted, parent: &Parent) -> Result<(), Error> {
        let there = self.store.open(permit).count(&Selection::of(Kind::ScheduledJob).under(parent.clone())).await;
        if there.map_err(of_store)? < JOBS_MAX {
            return Ok(());
        }
        let message = format!("{parent} has {JOBS_MAX} jobs of Cloud Scheduler, which is the most that there may be.");
        Err(Error::new(ErrorKind::ResourceExhausted, message))
    }

    /// The message to be stored, if it breaks no rule and the caller may act as the account that it names.
    async fn fit(&self, caller: &Principal, name: &ScheduledJobName, sent: Job) -> Result<Job, Error> {
        let message = view_of::write_defaults(sent);
        let job = view_of::to_model(&message)?;
        let project = &name.parent.project;
        let mut broken = check(&job);
        let bytes = message.encoded_len();
        if bytes > JOB_BYTES_MAX {
            broken.push(Violation::new("job", format!("must have at most {JOB_BYTES_MAX} bytes, got {bytes}")));
        }
        broken.extend(self.check_token(&job, project));
        let timing = Timing::read(&job.schedule, &job.zone);
        let is_well_timed = timing.is_ok();
        if let Err(error) = timing {
            let field = if error.field == "time zone" { "job.time_zone" } else { "job.schedule" };
            broken.push(Violation::new(field, error.to_string()));
        }
        if !broken.is_empty() {
            let only_time = !is_well_timed && broken.len() == 1;
            let error = Error::invalid(broken);
            return Err(if only_time { error.with_message(SENTENCE) } else { error });
        }
        if let Some(authorization) = &job.target.authorization {
            self.permit_act_as(caller, authorization.account(), project).await?;
        }
        Ok(message)
    }

    /// The rules of the token that a job's requests show: of an account of the same project, and an access token for APIs
    /// only.
    fn check_token(&self, job: &ScheduledJob, project: &str) -> Option<Violation> {
        let authorization = job.target.authorization.as_ref()?;
        let (account, kind) = match authorization {
            Authorization::Oidc { account, .. } => (account, "oidc_token"),
            Authorization::OAuth { account, .. } => (account, "oauth_token"),
        };
        let home = account_project(account).and_then(|home| self.places.project("", home).ok());
        if *account != default_email(project) && home.as_deref() != Some(project) {
            let rule = format!("must be a service account of the project {project}, got '{account}'");
            return Some(Violation::new(format!("job.http_target.{kind}.service_account_email"), rule));
        }
        let token = Token::of(Some(authorization));
        let is_elsewhere = |endpoint: Endpoint| !way(&endpoint, &self.ours(), token).may_see(token);
        // What is no URL is refused for that.
        if Endpoint::of(&job.target.uri).is_ok_and(is_elsewhere) {
            let rule = "is for APIs at *.googleapis.com and for this server's own; use oidc_token for other targets";
            return Some(Violation::new("job.http_target.oauth_token", rule));
        }
        None
    }

    fn ours(&self) -> Ours {
        Ours { domain: self.config.url.domain.clone(), ports: self.config.own_ports.clone() }
    }
}

/// Who clears a token by its fields, as gcloud does, wants none: it clears those of both kinds.
fn without_empty_token(mut job: Job) -> Job {
    if let Some(Target::HttpTarget(target)) = &mut job.target {
        target.authorization_header = target.authorization_header.take().filter(|header| match header {
            AuthorizationHeader::OidcToken(token) => !token.service_account_email.is_empty(),
            AuthorizationHeader::OauthToken(token) => !token.service_account_email.is_empty(),
        });
    }
    job
}

/// The paths that an update means; all when it names none.
fn mutable(mask: Option<&FieldMask>) -> Result<Option<FieldMask>, Error> {
    let Some(given) = mask.filter(|mask| !mask.paths.is_empty()) else { return Ok(None) };
    let mut paths = Vec::new();
    for path in mask::canonical::<Job>(given)? {
        let field = path.split('.').next().unwrap_or_default();
        if path == "*" {
            return Ok(None);
        } else if MUTABLE.contains(&field) {
            paths.push(path);
        } else if !OUTPUT.contains(&field) {
            let known = MUTABLE.join(", ");
            return Err(Error::invalid_field("update_mask", format!("may name {known}, got '{path}'")));
        }
    }
    Ok(Some(FieldMask { paths }))
}
