//! On which terms an instance has its CPU.

/// When an instance has its CPU, and how much while it starts. Immutable as its revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CpuTerms {
    /// What is paid for, and so when there is CPU.
    pub billing: Billing,
    /// Is there more while it starts?
    pub boost: StartupBoost,
}

/// What is paid for. v2: `resources.cpuIdle`; v1: `run.googleapis.com/cpu-throttling`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Billing {
    /// Requests: without one an instance has no CPU. The default.
    #[default]
    Requests,
    /// The life of the instance: its CPU is its own all the time.
    Instance,
}

/// v2: `resources.startupCpuBoost`; v1: `run.googleapis.com/startup-cpu-boost`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StartupBoost {
    /// As much as ever.
    #[default]
    Off,
    /// More, until a while after it is ready.
    On,
}
