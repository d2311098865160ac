//! updraft-telemetry
