//! Of a revision: lifecycle.
