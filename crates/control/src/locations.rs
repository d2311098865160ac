//! Locations: the use cases.

use updraft_api::location::{GetLocationRequest, ListLocationsRequest, ListLocationsResponse, Location};
use updraft_model::{Error, Parent, iam::Principal};

use crate::{Control, access::Resource};

// === impl Control ===

impl Control {
    /// The locations that are served. All fit on one page.
    ///
    /// # Errors
    /// `InvalidArgument` for a malformed name, `PermissionDenied`.
    pub async fn locations_list(
        &self,
        caller: &Principal,
        request: ListLocationsRequest,
    ) -> Result<ListLocationsResponse, Error> {
        let name = request.name.strip_suffix("/locations").unwrap_or(&request.name);
        let Some(project) = name.strip_prefix("projects/").filter(|id| !id.is_empty() && !id.contains('/')) else {
            return Err(Error::invalid_field("name", format!("must have the form projects/{{project}}, got '{name}'")));
        };
        let project = self.inner.places.project("name", project)?;
        // All fit on one page: no token was ever given out, and nothing is left out.
        if request.page_size < 0 {
            return Err(Error::invalid_field("page_size", format!("must not be negative, got {}", request.page_size)));
        }
        if !request.page_token.is_empty() {
            return Err(Error::invalid_field("page_token", "must be a token that this list gave out"));
        }
        if !request.filter.is_empty() {
            return Err(Error::invalid_field(
                "filter",
                format!("is not supported by this version, got '{}'", request.filter),
            ));
        }
        self.inner.permit(caller, "run.locations.list", &Resource::Project(project.clone())).await?;
        let locations = self.inner.places.locations().iter().map(|id| location(&project, id)).collect();
        Ok(ListLocationsResponse { locations, next_page_token: String::new() })
    }

    /// A location.
    ///
    /// # Errors
    /// `NotFound` for one that is not served, `InvalidArgument` for a malformed name, `PermissionDenied`.
    pub async fn locations_get(&self, caller: &Principal, request: GetLocationRequest) -> Result<Location, Error> {
        let parent: Parent = request.name.parse()?;
        let parent = self.inner.places.parent("name", &parent)?;
        self.inner.permit(caller, "run.locations.list", &Resource::Place(parent.clone())).await?;
        Ok(location(&parent.project, &parent.location))
    }
}

fn location(project: &str, id: &str) -> Location {
    Location {
        name: Parent::new(project, id).to_string(),
        location_id: id.to_owned(),
        display_name: id.to_owned(),
        labels: [("cloud.googleapis.com/region".to_owned(), id.to_owned())].into(),
        metadata: None,
    }
}
