//! Which member of a binding means whom.

use updraft_model::iam::{ALL_AUTHENTICATED_USERS, ALL_USERS, Principal};

/// Does a member of a binding mean this principal?
///
/// Addresses, groups and domains are compared without regard to case, as Google does. `deleted:` members, the members of
/// other identity systems (`principal:`, `principalSet:`) and the shorthands `projectOwner:`, `projectEditor:` and
/// `projectViewer:` mean nobody: who has a basic role on a project has it on what is in it anyway.
pub fn is_member(member: &str, principal: &Principal) -> bool {
    match member {
        ALL_USERS => return true,
        ALL_AUTHENTICATED_USERS => return !matches!(principal, Principal::Anonymous),
        _ => {}
    }
    let Some((kind, id)) = member.split_once(':') else { return false };
    match (kind, principal) {
        ("user", Principal::User(user)) => user.email.eq_ignore_ascii_case(id),
        ("group", Principal::User(user)) => user.groups.iter().any(|group| group.eq_ignore_ascii_case(id)),
        ("domain", Principal::User(user)) => user.domain.as_ref().is_some_and(|it| it.eq_ignore_ascii_case(id)),
        ("serviceAccount", Principal::ServiceAccount(account)) => account.email.eq_ignore_ascii_case(id),
        _ => false,
    }
}
