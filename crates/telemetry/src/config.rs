//! How much is kept, and for how long.

use std::time::{Duration, SystemTime};

use updraft_model::name::ServiceName;

use crate::audit;

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// A file that has reached this size is followed by a new one, in bytes; so is one that spans a day, or a quarter
    /// of the retention. What is removed is always a whole file.
    pub segment_bytes: u64,
    /// What one service may take on disk, in bytes, give or take what is written in one go; the
    /// oldest entries make room.
    pub service_bytes: u64,
    /// The same for each of the two audit logs of a project, and once more for the refusals of each.
    pub audit_bytes: u64,
    /// How long entries are kept.
    pub retention: Duration,
    /// How long those of audit logs are.
    pub audit_retention: Duration,
    /// What the newest entries of all services may take in memory, in bytes.
    pub recent_bytes: usize,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

// === impl LogConfig ===

impl Default for LogConfig {
    /// 64 MiB per service and per audit log in segments of 4 MiB, 8 MiB in memory; 30 days of lines (Cloud Logging's
    /// default) and 400 of audit records (what Google keeps of Admin Activity).
    fn default() -> Self {
        Self {
            segment_bytes: 4 << 20,
            service_bytes: 64 << 20,
            audit_bytes: 64 << 20,
            retention: 30 * DAY,
            audit_retention: 400 * DAY,
            recent_bytes: 8 << 20,
        }
    }
}

impl LogConfig {
    /// What holds for one log: of a service, or the audit logs among them.
    pub(crate) fn of(mut self, log: &ServiceName) -> Self {
        if audit::log_of(log).is_some() {
            self.service_bytes = self.audit_bytes;
            self.retention = self.audit_retention;
            self.segment_bytes = self.segment_bytes.min(self.audit_bytes / 4);
        }
        self
    }

    /// From when on entries are kept.
    pub(crate) fn oldest(&self, now: SystemTime) -> SystemTime {
        now.checked_sub(self.retention).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// How much time one segment spans at most. What is removed is whole segments: in one that a quiet service fills
    /// for years, the first entries would be kept as long as the last.
    pub(crate) fn segment_age(&self) -> Duration {
        (self.retention / 4).min(DAY)
    }
}
