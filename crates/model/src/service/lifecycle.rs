//! Of a service: lifecycle.
