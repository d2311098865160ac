//! updraft-plan

pub mod scaling;
