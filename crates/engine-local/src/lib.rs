//! updraft-engine-local
