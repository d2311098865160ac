//! updraft
