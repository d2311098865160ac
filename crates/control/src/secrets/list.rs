//! Lists of secrets and of versions.

use updraft_api::secretmanager::{
    ListSecretVersionsRequest, ListSecretVersionsResponse, ListSecretsRequest, ListSecretsResponse, Secret,
    SecretVersion,
};
use updraft_model::{Error, iam::Principal, secret::is_expired};
use updraft_plan::secret_filter::{Filter, Seen};
use updraft_store::{Envelope, Kind, Selection};

use super::{Found, VersionRecord, number_of};
use crate::{
    Control,
    access::Resource,
    failure::of_store,
    page::{self, PAGE_MAX, Wish},
    record,
};

// === impl Control ===

impl Control {
    /// The secrets of a project that are of no region, or those of a region; newest first.
    ///
    /// # Errors
    /// `InvalidArgument`, `PermissionDenied`.
    pub async fn secrets_list(
        &self,
        caller: &Principal,
        request: ListSecretsRequest,
    ) -> Result<ListSecretsResponse, Error> {
        let inner = &*self.inner;
        let parent = inner.secret_parent(&request.parent)?;
        let resource = Resource::Project(parent.project.clone());
        let permit = inner.permit(caller, "secretmanager.secrets.list", &resource).await?;
        let (filter, now) = (Filter::parse(&request.filter)?, inner.clock.now());
        let selection = Selection::of(Kind::Secret).under(parent);
        let wish = Wish { size: request.page_size, token: &request.page_token, max: PAGE_MAX };
        let keep = |envelope: &Envelope| {
            let found = Found::of(envelope.clone())?;
            let expires = found.expires(now)?;
            let (name, message) = (found.name.numbered().to_string(), &found.message);
            let seen = Seen {
                name: &name,
                state: "",
                created: envelope.created,
                expires,
                labels: &message.labels,
                annotations: &message.annotations,
            };
            Ok(!is_expired(expires, now) && filter.fits(&seen))
        };
        let store = inner.store.open(&permit);
        let (found, next_page_token) = page::list(store, &selection, wish, keep).await?;
        let secrets: Vec<Secret> =
            found.into_iter().map(|envelope| Ok(Found::of(envelope)?.shown())).collect::<Result<_, Error>>()?;
        // As documented: not told where there is a filter.
        let total = if request.filter.is_empty() { store.count(&selection).await.map_err(of_store)? } else { 0 };
        let total_size = i32::try_from(total).unwrap_or(i32::MAX);
        Ok(ListSecretsResponse { secrets, next_page_token, total_size })
    }

    /// The versions of a secret, without values; newest first.
    ///
    /// # Errors
    /// `InvalidArgument`, `PermissionDenied`, `NotFound`.
    pub async fn secret_versions_list(
        &self,
        caller: &Principal,
        request: ListSecretVersionsRequest,
    ) -> Result<ListSecretVersionsResponse, Error> {
        let inner = &*self.inner;
        let name = inner.secret_named(&request.parent)?;
        let resource = Resource::Secret(name.clone());
        let mut permit = inner.permit(caller, "secretmanager.versions.list", &resource).await?;
        let secret = inner.live_secret(&mut permit, &name)?;
        let (filter, now) = (Filter::parse(&request.filter)?, inner.clock.now());
        let selection = Selection::of(Kind::SecretVersion).under(name.parent.clone()).owned_by(&name.secret);
        let wish = Wish { size: request.page_size, token: &request.page_token, max: PAGE_MAX };
        let prefix = name.numbered();
        let none = std::collections::HashMap::new();
        let keep = |envelope: &Envelope| {
            let version = record::read::<VersionRecord>(envelope)?.version().at(now);
            let seen = Seen {
                name: &format!("{prefix}/versions/{}", number_of(&envelope.key)),
                state: version.state.as_str(),
                created: envelope.created,
                expires: None,
                labels: &none,
                annotations: &none,
            };
            Ok(filter.fits(&seen))
        };
        let store = inner.store.open(&permit);
        let (found, next_page_token) = page::list(store, &selection, wish, keep).await?;
        let versions: Vec<SecretVersion> =
            found.iter().map(|envelope| secret.shown_version(envelope, now)).collect::<Result<_, Error>>()?;
        let total = if request.filter.is_empty() { secret.record.versions } else { 0 };
        let total_size = i32::try_from(total).unwrap_or(i32::MAX);
        Ok(ListSecretVersionsResponse { versions, next_page_token, total_size })
    }
}
