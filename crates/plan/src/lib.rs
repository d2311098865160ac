//! updraft-plan
