//! What projects say about who may call the services in them, for the front door.

use updraft_api::view::policy;
use updraft_model::Error;
use updraft_plan::iam;
use updraft_store::{Key, Kind, Page, Selection};

use super::PLATFORM;
use crate::{Inner, around::ProjectRecord, failure::of_store};

impl Inner {
    /// Publishes what all projects say.
    pub(super) async fn publish_projects(&self) -> Result<(), Error> {
        let _turn = self.projects.lock().await;
        let all = Selection::of(Kind::Project);
        let stored = self.store.open(&PLATFORM).list(&all, &Page::default()).await.map_err(of_store)?;
        for envelope in &stored {
            // One that cannot be read lets nobody in, and is no reason to keep the others out.
            if let Err(error) = self.publish_record(&envelope.key.name, ProjectRecord::of(Some(envelope))) {
                tracing::error!(%error, cause = error.cause(), project = envelope.key.name, "project could not be read");
            }
        }
        self.board.publish();
        Ok(())
    }

    /// Publishes what a project says now.
    pub(crate) async fn publish_project(&self, key: &Key) -> Result<(), Error> {
        let _turn = self.projects.lock().await;
        let record = self.get(&PLATFORM, key).await.and_then(|found| ProjectRecord::of(found.as_ref()));
        let published = self.publish_record(&key.name, record);
        self.board.publish();
        published
    }

    fn publish_record(&self, project: &str, record: Result<ProjectRecord, Error>) -> Result<(), Error> {
        let said = record.and_then(|record| {
            let policy = policy::to_model(&record.policy.policy()?);
            Ok(iam::of_project(&policy, &record.custom_roles(project)))
        });
        match said {
            Ok(said) => {
                self.board.set_project(project, said);
                Ok(())
            }
            Err(error) => {
                self.board.set_project(project, updraft_model::iam::ProjectInvokers::default());
                Err(error)
            }
        }
    }
}
