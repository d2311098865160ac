//! Secrets and versions: message ↔ model.

use std::time::SystemTime;

use replication::{Replication as Kind, user_managed::Replica};
use secretmanager::{
    ReplicationStatus, Secret as Message, SecretVersion, replication, replication_status,
    replication_status::{AutomaticStatus, UserManagedStatus, user_managed_status::ReplicaStatus},
    secret::Expiration,
    secret_version,
};
use updraft_model::{
    Error,
    secret::{Replication, Secret, State, Version},
};

use super::{Issues, time, timestamp};
use crate::secretmanager;

/// What has no place on one machine without other products of Google's, by its field.
const MISSING: &str = "is not supported: there is no";

/// Reads what rules are about. `now` is what a time to live counts from.
///
/// # Errors
/// `InvalidArgument` with a violation for everything that cannot be had here and every time that is none.
pub fn to_model(message: &Message, now: SystemTime) -> Result<Secret, Error> {
    let mut issues = Issues::default();
    missing(message, &mut issues);
    let expires = match &message.expiration {
        None => None,
        Some(Expiration::ExpireTime(stamp)) => {
            let read = time(stamp);
            if read.is_none() {
                issues.add("secret.expire_time", "must be a time");
            }
            read
        }
        Some(Expiration::Ttl(ttl)) => {
            let read = issues.duration("secret.ttl", ttl).and_then(|ttl| now.checked_add(ttl));
            if read.is_none() {
                issues.add("secret.ttl", "must lead to a time that there is");
            }
            read
        }
    };
    let destroy_ttl =
        message.version_destroy_ttl.as_ref().and_then(|ttl| issues.duration("secret.version_destroy_ttl", ttl));
    let secret = Secret {
        labels: message.labels.clone().into_iter().collect(),
        annotations: message.annotations.clone().into_iter().collect(),
        aliases: message.version_aliases.clone().into_iter().collect(),
        replication: message.replication.as_ref().and_then(|replication| replicated(replication, &mut issues)),
        expires,
        destroy_ttl,
    };
    issues.finish(secret)
}

/// The aliases of a stored secret, whose numbers were checked.
pub fn aliases(message: &Message) -> std::collections::BTreeMap<String, u64> {
    let known = message.version_aliases.iter();
    known.filter_map(|(alias, number)| Some((alias.clone(), u64::try_from(*number).ok()?))).collect()
}

/// What becomes of the message when its expiration is this.
pub fn set_expires(message: &mut Message, expires: Option<SystemTime>) {
    message.expiration = expires.map(|expires| Expiration::ExpireTime(timestamp(expires)));
}

/// A version, without name, etag and time of creation.
pub fn version(version: Version, replication: Option<&secretmanager::Replication>) -> SecretVersion {
    let state = match version.state {
        State::Enabled => secret_version::State::Enabled,
        State::Disabled => secret_version::State::Disabled,
        State::Destroyed => secret_version::State::Destroyed,
    };
    SecretVersion {
        state: state.into(),
        destroy_time: version.destroyed.map(timestamp),
        scheduled_destroy_time: version.destroy_at.map(timestamp),
        replication_status: replication.and_then(status),
        ..SecretVersion::default()
    }
}

fn status(replication: &secretmanager::Replication) -> Option<ReplicationStatus> {
    let replication_status = match replication.replication.as_ref()? {
        Kind::Automatic(_) => replication_status::ReplicationStatus::Automatic(AutomaticStatus::default()),
        Kind::UserManaged(managed) => {
            let of = |replica: &Replica| ReplicaStatus { location: replica.location.clone(), ..Default::default() };
            let replicas = managed.replicas.iter().map(of).collect();
            replication_status::ReplicationStatus::UserManaged(UserManagedStatus { replicas })
        }
    };
    Some(ReplicationStatus { replication_status: Some(replication_status) })
}

fn replicated(replication: &secretmanager::Replication, issues: &mut Issues) -> Option<Replication> {
    const KEYS: &str = "Cloud KMS here; values are sealed with the installation's key";
    match replication.replication.as_ref()? {
        Kind::Automatic(automatic) => {
            if automatic.customer_managed_encryption.is_some() {
                let field = "secret.replication.automatic.customer_managed_encryption";
                issues.add(field, format!("{MISSING} {KEYS}"));
            }
            Some(Replication::Automatic)
        }
        Kind::UserManaged(managed) => {
            for (index, replica) in managed.replicas.iter().enumerate() {
                if replica.customer_managed_encryption.is_some() {
                    let at = format!("secret.replication.user_managed.replicas[{index}].customer_managed_encryption");
                    issues.add(at, format!("{MISSING} {KEYS}"));
                }
            }
            Some(Replication::UserManaged(managed.replicas.iter().map(|replica| replica.location.clone()).collect()))
        }
    }
}

/// What would be kept and never done is refused: who asks for messages at a rotation relies on them.
fn missing(message: &Message, issues: &mut Issues) {
    if !message.topics.is_empty() {
        issues.add("secret.topics", format!("{MISSING} Pub/Sub here"));
    }
    if message.rotation.is_some() {
        issues.add("secret.rotation", format!("{MISSING} Pub/Sub here that would tell of a rotation"));
    }
    if message.customer_managed_encryption.is_some() {
        let rule = format!("{MISSING} Cloud KMS here; values are sealed with the installation's key");
        issues.add("secret.customer_managed_encryption", rule);
    }
    if !message.tags.is_empty() {
        issues.add("secret.tags", format!("{MISSING} resource tags here"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_to_live_counts_from_now() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let ttl = prost_types::Duration { seconds: 60, nanos: 0 };
        let message = Message { expiration: Some(Expiration::Ttl(ttl)), ..Message::default() };
        let model = to_model(&message, now).expect("sound");
        assert_eq!(model.expires, Some(now + Duration::from_secs(60)));
        let mut shown = message;
        set_expires(&mut shown, model.expires);
        assert_eq!(to_model(&shown, now + Duration::from_secs(9)).expect("sound").expires, model.expires);
        for seconds in [-1, i64::MAX] {
            let ttl = prost_types::Duration { seconds, nanos: 0 };
            let message = Message { expiration: Some(Expiration::Ttl(ttl)), ..Message::default() };
            assert!(to_model(&message, now).is_err(), "{seconds}");
        }
    }

    #[test]
    fn what_would_be_kept_and_never_done_is_refused_by_its_field() {
        let message = Message {
            topics: vec![secretmanager::Topic::default()],
            rotation: Some(secretmanager::Rotation::default()),
            customer_managed_encryption: Some(secretmanager::CustomerManagedEncryption::default()),
            tags: [("1/env".to_owned(), "prod".to_owned())].into(),
            ..Message::default()
        };
        let error = to_model(&message, SystemTime::UNIX_EPOCH).expect_err("cannot be had");
        let fields: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
        let expected = ["secret.topics", "secret.rotation", "secret.customer_managed_encryption", "secret.tags"];
        assert_eq!(fields, expected);
    }
}
