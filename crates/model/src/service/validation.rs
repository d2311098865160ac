//! Of a service: validation.
