//! Secrets in instances of the reference engine.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::watch;
use updraft_model::instance::{InstanceSpec, Secrets};

/// The files of an instance's secret volumes, by volume and path. They change all at once.
#[derive(Debug, Default)]
pub(crate) struct SecretFiles(watch::Sender<Arc<HashMap<(String, String), String>>>);

// === impl SecretFiles ===

impl SecretFiles {
    /// From now on they are these. What cannot be read is not there.
    pub(crate) fn show(&self, spec: &InstanceSpec, secrets: &Secrets) {
        let mut files = HashMap::new();
        for volume in &spec.volumes {
            let values = secrets.files.get(&volume.name).into_iter().flatten();
            for (path, value) in volume.secret_paths().into_iter().flatten().zip(values) {
                if let Ok(value) = value {
                    let text = String::from_utf8_lossy(value.expose()).into_owned();
                    files.insert((volume.name.clone(), path.path.clone()), text);
                }
            }
        }
        self.0.send_replace(Arc::new(files));
    }

    pub(crate) fn read(&self, volume: &str, path: &str) -> Option<String> {
        self.0.borrow().get(&(volume.to_owned(), path.to_owned())).cloned()
    }

    /// Says when they are others.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<HashMap<(String, String), String>>> {
        self.0.subscribe()
    }
}
