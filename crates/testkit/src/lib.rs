//! updraft-testkit
