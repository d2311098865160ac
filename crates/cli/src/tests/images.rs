use std::{fs, path::Path};

use expect_test::expect;
use serde_json::{Value, json};

use super::{Try, ok, refused};

fn loaded() -> Value {
    json!({ "images": [{ "reference": "localhost:5000/hello:v1", "digest": "sha256:2b62" }] })
}

#[tokio::test]
async fn a_file_is_sent_as_it_is() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("image.tar");
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(&file, &content).unwrap();
    let answers = vec![ok("POST /updraft/v1/images:load?name=hello%3Av1", &loaded())];
    let path = file.to_str().unwrap();
    let fake = Try::new("images load --format json --name hello:v1", answers).with(&[path]);
    let fake = fake
        .check_path(
            path,
            expect![[r#"
        exit: Done
        out:
        [
          {
            "reference": "localhost:5000/hello:v1",
            "digest": "sha256:2b62"
          }
        ]
        err:
        Loading [PATH] (2.8 MiB)
        Loading image...done
    "#]],
        )
        .await;
    assert!(fake.seen()[0].body == content, "the bytes that arrived are those of the file");
}

#[tokio::test]
async fn a_layout_is_packed_on_the_way() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().to_str().unwrap();
    fs::write(dir.path().join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
    fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
    let blob: Vec<u8> = (0..1_000_000u32).map(|n| (n % 241) as u8).collect();
    fs::write(dir.path().join("blobs/sha256/abc"), &blob).unwrap();
    let answers = vec![ok("POST /updraft/v1/images:load", &loaded())];
    let fake = Try::new("images load", answers)
        .with(&[path])
        .check_path(
            path,
            expect![[r#"
        exit: Done
        out:
        IMAGE                    DIGEST
        localhost:5000/hello:v1  sha256:2b62
        err:
        Loading [PATH] (OCI layout)
        Loading image...done
    "#]],
        )
        .await;
    let seen = fake.seen();
    let mut archive = tar::Archive::new(&seen[0].body[..]);
    let mut found = None;
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap() == Path::new("blobs/sha256/abc") {
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            found = Some(content);
        }
    }
    assert!(found == Some(blob), "the blob that arrived is the one in the directory");
}

#[tokio::test]
async fn what_is_no_image_is_not_sent() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().to_str().unwrap();
    Try::new("images load", vec![])
        .with(&[path])
        .check_path(
            path,
            expect![[r#"
        exit: Failed
        err:
        error: PATH is not an OCI layout: it holds no file oci-layout
        hint: make one with 'skopeo copy docker://IMAGE oci:DIR', or give an archive of 'docker save'
    "#]],
        )
        .await;
    let absent = dir.path().join("absent");
    let path = absent.to_str().unwrap();
    Try::new("images load", vec![])
        .with(&[path])
        .check_path(
            path,
            expect![[r#"
        exit: Failed
        err:
        error: cannot read PATH: No such file or directory (os error 2)
    "#]],
        )
        .await;
}

#[tokio::test]
async fn images_are_listed_and_deleted() {
    Try::new("images list", vec![ok("GET /updraft/v1/images", &loaded())])
        .check(expect![[r#"
        exit: Done
        out:
        IMAGE                    DIGEST
        localhost:5000/hello:v1  sha256:2b62
    "#]])
        .await;
    let deleted = vec![ok("DELETE /updraft/v1/images?name=hello%3Av1", &json!({}))];
    Try::new("images delete hello:v1 -q", deleted)
        .check(expect![[r#"
        exit: Done
        err:
        Deleted image [hello:v1].
    "#]])
        .await;
    let absent = vec![refused("DELETE /updraft/v1/images?name=nope", 404, "NOT_FOUND", "no such image")];
    Try::new("images delete nope -q", absent)
        .check(expect![[r#"
        exit: NotFound
        err:
        error: cannot find image [nope]
        hint: 'updraft images list' shows those of this server
    "#]])
        .await;
}
