//! Of a service: defaults.
