//! Whose the images of this machine are.

use updraft_api::{iam, run};
use updraft_model::{
    Error, ErrorKind,
    iam::{Principal, User},
};

use crate::{
    secrets::binding,
    world::{ME, World, image, service},
};

const OTHER: &str = "projects/other-project";

fn user() -> Principal {
    let (email, issuer) = ("me@example.com".to_owned(), "https://accounts.example.com".to_owned());
    Principal::User(User { email, issuer, groups: Vec::new(), domain: None })
}

async fn grant(world: &World, project: &str, roles: &[&str]) {
    let bindings = roles.iter().map(|role| binding(role, "user:me@example.com", "")).collect();
    let policy = Some(iam::Policy { bindings, ..iam::Policy::default() });
    let request = iam::SetIamPolicyRequest { resource: project.to_owned(), policy, update_mask: None };
    world.control.projects_set_iam_policy(&ME, request).await.expect("is set");
}

/// A service with a container of each image.
fn of(images: &[String]) -> run::Service {
    let mut made = service("app");
    let template = made.template.as_mut().expect("there is one");
    let container = |(index, image): (usize, &String)| run::Container {
        name: format!("c{index}"),
        image: image.clone(),
        ports: (index == 0)
            .then(|| run::ContainerPort { container_port: 8080, ..Default::default() })
            .into_iter()
            .collect(),
        ..run::Container::default()
    };
    template.containers = images.iter().enumerate().map(container).collect();
    made
}

async fn create(world: &World, project: &str, id: &str, service: run::Service) -> Result<(), Error> {
    let parent = format!("{project}/locations/us-central1");
    let (service_id, service) = (id.to_owned(), Some(service));
    let request = run::CreateServiceRequest { parent, service_id, service, validate_only: false };
    world.control.services_create(&user(), request).await.map(drop)
}

#[tokio::test]
async fn another_project_gets_an_image_of_this_machine_only_by_who_may_read_it() {
    let world = World::new().await;
    let deploys = ["roles/run.developer", "roles/iam.serviceAccountUser"];
    for project in ["projects/demo-project", OTHER] {
        grant(&world, project, &deploys).await;
    }
    let remote = image("app").replace("localhost:5000", "registry.example.com");
    let local = image("app");
    create(&world, OTHER, "remote", of(std::slice::from_ref(&remote))).await.expect("is none of this machine's");
    create(&world, "projects/demo-project", "own", of(std::slice::from_ref(&local)))
        .await
        .expect("is its own project's");
    let error =
        create(&world, OTHER, "hello", of(&[remote.clone(), local.clone()])).await.expect_err("may not read it");
    let expected = format!(
        "spec.template.spec.containers[1].image: User must have permission to read the image, {local}. Ensure that the \
         provided container image URL is correct and that the above account has permission to access the image. Note that \
         the image is from project [demo-project], which is not the same as this project [other-project]. Permission \
         'artifactregistry.repositories.downloadArtifacts' must be granted to the User from this project."
    );
    assert_eq!((error.kind(), error.message()), (ErrorKind::PermissionDenied, expected.as_str()));
    // However the machine is called.
    let by_name = local.replace("localhost:5000", "localhost");
    assert!(create(&world, OTHER, "hello", of(&[by_name])).await.is_err());
    grant(&world, "projects/demo-project", &["roles/artifactregistry.reader"]).await;
    create(&world, OTHER, "hello", of(&[remote, local])).await.expect("may read it");
    // What is there already can be looked after without that right, as long as nothing new is run.
    grant(&world, "projects/demo-project", &[]).await;
    let name = format!("{OTHER}/locations/us-central1/services/hello");
    let there = world.control.services_get(&user(), run::GetServiceRequest { name }).await.expect("is there");
    let update = |service| run::UpdateServiceRequest { service: Some(service), ..Default::default() };
    let same = run::Service { description: "new".to_owned(), ..there.clone() };
    world.control.services_update(&user(), update(same)).await.expect("runs nothing new");
    let mut again = run::Service { etag: String::new(), ..there };
    again.template.as_mut().expect("there is one").timeout = Some(prost_types::Duration { seconds: 7, nanos: 0 });
    let error = world.control.services_update(&user(), update(again)).await.expect_err("resolves its tag anew");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}
