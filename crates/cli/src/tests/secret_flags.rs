//! Secrets of containers, from the flag to the description.

use expect_test::expect;

use super::*;

const GET: &str = "GET /services/hello";

#[tokio::test]
async fn a_secret_goes_into_the_service_by_name_and_no_value_is_anywhere() {
    let mut changed = service(2);
    changed["template"]["containers"][0]["env"] =
        json!([{ "name": "DB", "valueSource": { "secretKeyRef": { "secret": "db", "version": "latest" } } }]);
    let answers = vec![
        ok(GET, &service(1)),
        ok("PATCH /services/hello?updateMask=template%2Cclient%2CclientVersion", &done(changed)),
    ];
    let line = "services update hello --update-secrets DB=db:latest,/secrets/key=projects/p/secrets/key:3";
    let (text, fake) = Try::new(line, answers).run().await;
    assert!(text.starts_with("exit: Done\n"), "{text}");
    let sent = fake.seen()[1].json();
    let template = &sent["template"];
    assert_eq!(
        template["containers"][0]["env"][1],
        json!({ "name": "DB", "valueSource": { "secretKeyRef": { "secret": "db", "version": "latest" } } })
    );
    assert_eq!(template["containers"][0]["volumeMounts"], json!([{ "name": "key", "mountPath": "/secrets" }]));
    assert_eq!(
        template["volumes"],
        json!([{ "name": "key", "secret": {
            "secret": "projects/p/secrets/key", "items": [{ "path": "key", "version": "3" }]
        } }])
    );
}

#[tokio::test]
async fn secrets_are_described_as_the_flags_take_them() {
    let mut shown = service(1);
    let template = &mut shown["template"];
    template["volumes"] = json!([
        { "name": "creds", "secret": { "secret": "db", "items": [{ "path": "db/password", "version": "latest" }] } },
        { "name": "whole", "secret": { "secret": "projects/p/secrets/tls" } },
        { "name": "v", "emptyDir": {} },
    ]);
    template["containers"] = json!([{
        "name": "web", "image": "web",
        "env": [
            { "name": "A", "value": "1" },
            { "name": "DB", "valueSource": { "secretKeyRef": { "secret": "db", "version": "3" } } },
            { "name": "L", "valueSource": { "secretKeyRef": { "secret": "db" } } },
        ],
        "volumeMounts": [
            { "name": "creds", "mountPath": "/secrets/" }, { "name": "whole", "mountPath": "/tls" },
            { "name": "v", "mountPath": "/v" },
        ],
    }]);
    let (text, _) = Try::new("services describe hello", vec![ok(GET, &shown)]).run().await;
    let (from, to) = (text.find("Last updated").expect("it is there"), text.find("  Service account").expect("there"));
    expect![[r#"
        Last updated on 2026-11-21T08:36:59.956712Z by local@updraft.local:
          Revision hello-00001-abc
          Container
            Image: web
            Volume mounts:
              creds /secrets/
              whole /tls
              v     /v
            Env vars:
              A 1
            Secrets:
              DB                   db:3
              L                    db:latest
              /secrets/db/password db:latest
              /tls/tls             projects/p/secrets/tls:latest
          Volumes:
            creds secret db
            whole secret projects/p/secrets/tls
            v     in memory, half of it
    "#]]
    .assert_eq(&text[from..to]);
}
