//! updraft-proxy
