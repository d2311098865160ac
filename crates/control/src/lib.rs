//! updraft-control
