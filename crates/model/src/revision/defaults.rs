//! Of a revision: defaults.
