//! updraft-identity
