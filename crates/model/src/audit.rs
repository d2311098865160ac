//! What is written down of a call of an API: who asked for what, and whether they might.
//!
//! A record holds names, decisions and who was given what. It has no place for the body of a request or of an answer, so
//! that no secret can be in it.

use std::{net::IpAddr, time::SystemTime};

use crate::iam::Condition;

/// Which log a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditLog {
    /// Calls that change something.
    Activity,
    /// Calls that read something.
    DataAccess,
}

/// One call, as the audit log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When it was answered.
    pub time: SystemTime,
    /// The id of the project whose log it is in.
    pub project: String,
    /// Which log of it.
    pub log: AuditLog,
    /// Whose method it is: `run.googleapis.com`.
    pub service: &'static str,
    /// The method, as Google spells it: `google.cloud.run.v2.Services.CreateService`.
    pub method: String,
    /// What the call is about: `projects/p/locations/l/services/s`.
    pub resource: String,
    /// The address of who called; none when nobody knows.
    pub principal: Option<String>,
    /// What was asked of the policies, in this order.
    pub checks: Vec<AccessCheck>,
    /// Where the call came from.
    pub caller: Option<IpAddr>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// What the call changed in a policy, what it gives before what it takes.
    pub deltas: Vec<BindingDelta>,
    /// The code of `google.rpc.Code` and the message, when it went wrong.
    pub failure: Option<(i32, String)>,
}

/// One decision about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessCheck {
    /// What was needed.
    pub permission: String,
    /// On what.
    pub resource: String,
    /// Does somebody grant it?
    pub is_granted: bool,
    /// The project whose policy had a say, if there is such a project.
    pub project: Option<String>,
}

/// A role that a call gave to a member, or took from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingDelta {
    /// Is it given?
    pub is_added: bool,
    /// The role.
    pub role: String,
    /// The member.
    pub member: String,
    /// When it counts; `None` means always.
    pub condition: Option<Condition>,
}

/// Where a call came from. The front door adds it to the request, for whoever answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerAddress(pub IpAddr);

// === impl AuditRecord ===

impl AuditRecord {
    /// Did somebody grant everything that was asked of the policies? Who was refused, or was before anything was asked, has
    /// done nothing, and could go on like that for ever.
    pub fn was_let_in(&self) -> bool {
        let is_granted = |check: &AccessCheck| check.is_granted;
        match &self.failure {
            Some(_) => !self.checks.is_empty() && self.checks.iter().all(is_granted),
            // Lists leave out what the caller may not see.
            None => self.checks.iter().any(is_granted),
        }
    }
}

// === impl AuditLog ===

impl AuditLog {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Activity, Self::DataAccess];

    /// Its name, as in `projects/{project}/logs/{name}`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Activity => "cloudaudit.googleapis.com%2Factivity",
            Self::DataAccess => "cloudaudit.googleapis.com%2Fdata_access",
        }
    }
}
