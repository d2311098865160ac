//! updraft-oci
