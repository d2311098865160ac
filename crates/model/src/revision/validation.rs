//! Of a revision: validation.
