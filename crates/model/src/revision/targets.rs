//! When there are to be more instances of a revision: annotations of our own, since the fields of the Admin API v2
//! (`cpuUtilization`, `concurrencyUtilization`) have no published numbers. Those of v1 become these.

use super::RevisionTemplate;

/// The annotation of a template for the target of CPU.
pub const CPU_TARGET: &str = "updraft.dev/scaling-cpu-target";
/// The annotation of a template for the target of requests at a time.
pub const CONCURRENCY_TARGET: &str = "updraft.dev/scaling-concurrency-target";
/// What both take.
pub(super) const RULE: &str = "must be a part between 0.1 and 0.95, or 0 to leave it out of account";

/// How much of what it has an instance is to use on average, in percent; 0: what it is about makes no difference.
///
/// Source: `RevisionScaling.cpuUtilization` and `concurrencyUtilization` of the Admin API v2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScalingTargets {
    /// Of its CPU: 0, or 10 to 95.
    pub cpu: u32,
    /// Of its places for requests: 0, or 10 to 95.
    pub concurrency: u32,
}

impl Default for ScalingTargets {
    fn default() -> Self {
        Self { cpu: Self::PERCENT, concurrency: Self::PERCENT }
    }
}

impl ScalingTargets {
    /// Both, unless they are set.
    pub const PERCENT: u32 = 60;
}

/// A target as it is written: `0.6`, or `0` or `disabled` for none. In percent.
pub(super) fn percent(text: &str) -> Option<u32> {
    if text == "disabled" {
        return Some(0);
    }
    let part: f64 = text.parse().ok().filter(|part| (0.0..=1.0).contains(part))?;
    let percent = (0..=95u32).min_by(|a, b| {
        let off = |percent: &u32| (f64::from(*percent) / 100.0 - part).abs();
        off(a).total_cmp(&off(b))
    })?;
    let is_near = (f64::from(percent) / 100.0 - part).abs() < 0.005;
    (is_near && (percent == 0 && part == 0.0 || percent >= 10)).then_some(percent)
}

// === impl RevisionTemplate ===

impl RevisionTemplate {
    /// How much of an instance is to be used before there is another one.
    pub fn targets(&self) -> ScalingTargets {
        let target = |key| self.annotations.get(key).and_then(|text| percent(text));
        let usual = ScalingTargets::default();
        ScalingTargets {
            cpu: target(CPU_TARGET).unwrap_or(usual.cpu),
            concurrency: target(CONCURRENCY_TARGET).unwrap_or(usual.concurrency),
        }
    }

    /// Is nothing left that more instances could be started for, but requests without a place?
    pub(super) fn is_driven_by_nothing(&self) -> bool {
        self.targets() == ScalingTargets { cpu: 0, concurrency: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_as_percent() {
        for (text, expected) in [
            ("0.6", Some(60)),
            ("0.60", Some(60)),
            ("0.1", Some(10)),
            ("0.95", Some(95)),
            ("0.29", Some(29)),
            ("0", Some(0)),
            ("0.0", Some(0)),
            ("disabled", Some(0)),
            ("0.05", None),
            ("0.001", None),
            ("0.96", None),
            ("1", None),
            ("60", None),
            ("-0.6", None),
            ("NaN", None),
            ("", None),
        ] {
            assert_eq!(percent(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_template_without_them_has_the_usual_ones() {
        let mut template = RevisionTemplate::default();
        assert_eq!(template.targets(), ScalingTargets { cpu: 60, concurrency: 60 });
        template.annotations.insert(CPU_TARGET.to_owned(), "0.9".to_owned());
        assert_eq!(template.targets(), ScalingTargets { cpu: 90, concurrency: 60 });
    }
}
