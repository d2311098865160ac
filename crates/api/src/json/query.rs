//! Query parameters → fields.

use prost_reflect::DynamicMessage;
use updraft_model::Error;

use super::{bind_text, invalid};
use crate::path::{is_text, query_pairs};

/// Parameters that are about the call, not about its request. With or without the `$`.
const SYSTEM: [&str; 14] = [
    "access_token",
    "alt",
    "callback",
    "fields",
    "key",
    "oauth_token",
    "pp",
    "prettyPrint",
    "quotaUser",
    "trace",
    "uploadType",
    "upload_protocol",
    "userProject",
    "xgafv",
];

/// Sets the fields that the query names, by dotted path in either spelling.
///
/// # Errors
/// `InvalidArgument` for a parameter that the request does not have or whose value does not fit.
pub fn bind_query(message: &mut DynamicMessage, query: &str) -> Result<(), Error> {
    if !is_text(query) {
        return Err(invalid("", "Invalid value in the query of the URL: it is not UTF-8.".to_owned()));
    }
    for (name, value) in query_pairs(query) {
        if !is_system(&name) {
            bind_text(message, &name, &value)?;
        }
    }
    Ok(())
}

/// Is this parameter about the call, not about its request?
pub fn is_system(name: &str) -> bool {
    let name = name.strip_prefix('$').unwrap_or(name);
    SYSTEM.contains(&name.strip_prefix('.').unwrap_or(name))
}
