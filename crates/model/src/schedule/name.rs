//! Names of scheduled jobs.

use std::{fmt, str::FromStr};

use crate::{
    error::{Error, Violation},
    name::Parent,
};

/// The longest id, in characters.
pub const ID_MAX: usize = 500;

/// `projects/{project}/locations/{location}/jobs/{job}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScheduledJobName {
    /// Project and location.
    pub parent: Parent,
    /// The job's id.
    pub job: String,
}

// === impl ScheduledJobName ===

impl ScheduledJobName {
    /// The job `id` there.
    pub fn new(parent: Parent, id: impl Into<String>) -> Self {
        Self { parent, job: id.into() }
    }

    /// Reads a name at `field`.
    ///
    /// # Errors
    /// `InvalidArgument` that names the field.
    pub fn read(field: &str, name: &str) -> Result<Self, Error> {
        let ["projects", project, "locations", location, "jobs", job] = name.split('/').collect::<Vec<_>>()[..] else {
            let form = "projects/{project}/locations/{location}/jobs/{job}";
            return Err(Error::invalid_field(field, format!("must have the form {form}, got '{name}'")));
        };
        if project.is_empty() || location.is_empty() {
            return Err(Error::invalid_field(field, format!("must name a project and a location, got '{name}'")));
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=ID_MAX).contains(&job.len()) || !job.bytes().all(is_word) {
            let rule = format!("the id must be 1 to {ID_MAX} letters, digits, hyphens and underscores, got '{job}'");
            return Err(Error::invalid(vec![Violation::new(field, rule)]));
        }
        Ok(Self::new(Parent::new(project, location), job))
    }
}

impl fmt::Display for ScheduledJobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/jobs/{}", self.parent, self.job)
    }
}

impl FromStr for ScheduledJobName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::read("name", name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_as_it_prints_and_its_id_has_rules() {
        let name = "projects/p/locations/l/jobs/Every_5-min";
        assert_eq!(name.parse::<ScheduledJobName>().expect(name).to_string(), name);
        let long = format!("projects/p/locations/l/jobs/{}", "a".repeat(501));
        for bad in [
            "",
            "projects/p/locations/l/jobs/",
            "projects/p/locations/l/jobs/a.b",
            "projects/p/locations/l/jobs/a/b",
            "projects//locations/l/jobs/a",
            "projects/p/locations//jobs/a",
            "projects/p/jobs/a",
            &long,
        ] {
            let error = ScheduledJobName::read("job.name", bad).expect_err(bad);
            assert_eq!(error.violations()[0].field, "job.name");
        }
    }
}
