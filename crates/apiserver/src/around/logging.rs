//! Cloud Logging: `entries.list` and the names of logs.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use updraft_model::{Error, ErrorKind, audit::AuditLog, iam::Principal};
use updraft_telemetry::{Order, Position, Search, filter::Filter};

use super::Asked;
use crate::Served;

/// Entries of a page when the client does not say, and the most there may be; Cloud Logging's numbers.
const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 1000;
/// The most resources of one call; Cloud Logging's limit.
const RESOURCES_MAX: usize = 100;
/// Bytes of a token that tell whether it is of this list.
const DIGEST_BYTES: usize = 12;
/// What writes: `run.googleapis.com/…`.
const LOGS: [&str; 5] = ["requests", "stderr", "stdout", "varlog%2Fscaling", "varlog%2Fsystem"];

/// `google.logging.v2.ListLogEntriesRequest`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[derive(Default)]
struct Body {
    resource_names: Vec<String>,
    /// An older way to name projects.
    project_ids: Vec<String>,
    filter: String,
    order_by: String,
    page_size: i64,
    page_token: String,
}

/// The entries that a filter means, page by page.
pub(super) async fn list_entries(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let body: Body = asked.body()?;
    let mut named = Vec::new();
    for (index, name) in body.resource_names.iter().enumerate() {
        named.push(project_of(name).ok_or_else(|| {
            let rule = format!("must be projects/{{project}} or a view of a bucket in one, got '{name}'");
            Error::invalid_field(format!("resourceNames[{index}]"), rule)
        })?);
    }
    named.extend(body.project_ids.iter().map(String::as_str));
    if !(1..=RESOURCES_MAX).contains(&named.len()) {
        let rule = format!("must name 1 to {RESOURCES_MAX} resources, got {}", named.len());
        return Err(Error::invalid_field("resourceNames", rule));
    }
    let mut projects = Vec::with_capacity(named.len());
    let mut permits = Vec::with_capacity(named.len());
    for project in named {
        let (project, permit) = deps.control.authorise_project(caller, "logging.logEntries.list", project).await?;
        projects.push(project);
        permits.push(permit);
    }
    let private = private(deps, caller, &projects).await?;
    // There is at least one.
    let permit = permits.first().ok_or_else(|| Error::internal("logs of no project"))?;
    let filter =
        Filter::parse(&body.filter).map_err(|error| Error::new(ErrorKind::InvalidArgument, error.to_string()))?;
    let (order, limit) = (order(&body.order_by)?, limit(body.page_size)?);
    let digest = digest(&projects, &filter, order);
    let after = match body.page_token.as_str() {
        "" => None,
        token => Some(decode(token, digest)?),
    };
    let search = Search { projects, private, filter, since: None, order, limit, after };
    let found = deps.logs.open(permit).search(search).await;
    let mut answer = json!({});
    // As ProtoJSON has it: what is empty is not there.
    if !found.entries.is_empty() {
        answer["entries"] = found.entries.into();
    }
    if let Some(next) = found.next {
        answer["nextPageToken"] = encode(&next, digest).into();
    }
    Ok(answer)
}

/// The logs that services write.
pub(super) async fn list_logs(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let parent = asked.field("parent");
    let project = parent.strip_prefix("projects/").unwrap_or(parent);
    let (project, permit) = deps.control.authorise_project(caller, "logging.logs.list", project).await?;
    let private = private(deps, caller, std::slice::from_ref(&project)).await?;
    let of_services = LOGS.map(|log| format!("run.googleapis.com%2F{log}"));
    let of_calls = AuditLog::ALL.map(|log| log.name().to_owned());
    let mut names = Vec::new();
    for log in of_calls.into_iter().chain(of_services) {
        // There is an entry of it, or it is not a log.
        let name = format!("projects/{project}/logs/{log}");
        let filter = Filter::parse(&format!("logName=\"{name}\"")).map_err(Error::internal)?;
        let (projects, private) = (vec![project.clone()], private.clone());
        let search =
            Search { projects, private, filter, since: None, order: Order::NewestFirst, limit: 1, after: None };
        if !deps.logs.open(&permit).search(search).await.entries.is_empty() {
            names.push(name);
        }
    }
    Ok(if names.is_empty() { json!({}) } else { json!({"logNames": names}) })
}

/// Those of some projects whose log of what was read the caller may see. Who may not does not learn that there is one.
async fn private(deps: &Served, caller: &Principal, projects: &[String]) -> Result<Vec<String>, Error> {
    let mut private = Vec::new();
    for project in projects {
        match deps.control.authorise_project(caller, "logging.privateLogEntries.list", project).await {
            Ok((project, _)) => private.push(project),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(private)
}

/// `projects/P`, `projects/P/locations/L/buckets/B/views/V`.
fn project_of(name: &str) -> Option<&str> {
    match name.split('/').collect::<Vec<_>>()[..] {
        ["projects", project] | ["projects", project, "locations", _, "buckets", _, "views", _] => Some(project),
        _ => None,
    }
}

fn order(text: &str) -> Result<Order, Error> {
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        [] | ["timestamp"] | ["timestamp", "asc"] => Ok(Order::OldestFirst),
        ["timestamp", "desc"] => Ok(Order::NewestFirst),
        _ => Err(Error::invalid_field("orderBy", format!("must be 'timestamp asc' or 'timestamp desc', got '{text}'"))),
    }
}

fn limit(size: i64) -> Result<usize, Error> {
    match usize::try_from(size) {
        Ok(0) => Ok(PAGE_DEFAULT),
        Ok(size) => Ok(size.min(PAGE_MAX)),
        Err(_) => Err(Error::invalid_field("pageSize", format!("must not be negative, got {size}"))),
    }
}

/// What a list is told apart by. The time that gcloud puts into a filter stays the same for all its pages.
fn digest(projects: &[String], filter: &Filter, order: Order) -> [u8; DIGEST_BYTES] {
    let digest = Sha256::digest(format!("{projects:?}/{filter}/{order:?}"));
    let mut first = [0; DIGEST_BYTES];
    first.copy_from_slice(&digest[..DIGEST_BYTES]);
    first
}

fn encode(position: &Position, digest: [u8; DIGEST_BYTES]) -> String {
    URL_SAFE_NO_PAD.encode([&digest[..], &position.nanos.to_be_bytes(), position.id.as_bytes()].concat())
}

fn decode(token: &str, digest: [u8; DIGEST_BYTES]) -> Result<Position, Error> {
    let parsed = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| {
        let rest = bytes.strip_prefix(&digest[..])?;
        let (nanos, id) = rest.split_first_chunk::<8>()?;
        Some(Position { nanos: u64::from_be_bytes(*nanos), id: String::from_utf8(id.to_vec()).ok()? })
    });
    parsed.ok_or_else(|| Error::invalid_field("pageToken", "must be a token that this list gave out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_its_list_only() {
        let (projects, filter) = (["p".to_owned()], Filter::parse("severity>=ERROR").expect("sound"));
        let own = digest(&projects, &filter, Order::NewestFirst);
        let position = Position { nanos: 7, id: "a1".to_owned() };
        let token = encode(&position, own);
        assert_eq!(decode(&token, own).expect("its own"), position);
        assert!(decode(&token, digest(&projects, &filter, Order::OldestFirst)).is_err());
        assert!(decode("made up", own).is_err() && decode("", own).is_err());
    }

    #[test]
    fn what_is_asked_for_has_bounds() {
        assert_eq!((limit(0).expect("default"), limit(5).expect("5"), limit(1 << 40).expect("most")), (50, 5, 1000));
        assert!(limit(-1).is_err() && order("severity").is_err());
        assert_eq!(
            (order("").expect("default"), order("timestamp  desc").expect("desc")),
            (Order::OldestFirst, Order::NewestFirst)
        );
        assert_eq!(project_of("projects/p"), Some("p"));
        assert_eq!(project_of("projects/p/locations/global/buckets/_Default/views/_AllLogs"), Some("p"));
        assert_eq!(project_of("organizations/1"), None);
    }
}
