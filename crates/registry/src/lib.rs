//! updraft-registry
