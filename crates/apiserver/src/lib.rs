//! updraft-apiserver
