//! A directory that goes with the bench.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::Error;

/// It, with everything in it.
#[derive(Debug)]
pub(crate) struct Files(PathBuf);

// === impl Files ===

impl Files {
    /// Makes one. `what` tells its name apart from those of other benches of this process.
    pub(crate) fn make(what: &str) -> Result<Self, Error> {
        let this = Self(std::env::temp_dir().join(format!("updraft-bench-{what}-{}", std::process::id())));
        fs::create_dir_all(&this.0)?;
        Ok(this)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
