//! updraft-cli
