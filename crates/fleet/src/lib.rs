//! updraft-fleet
