//! What is executed, as whom, and how it ends.

use serde_json::json;
use updraft_engine::Engine as _;
use updraft_engine_local::LocalEngine;
use updraft_model::instance::{Exit, Secrets};

use crate::{
    bed::Bed,
    image::{Entry, Image, build},
};

#[tokio::test]
async fn entrypoint_args_environment_and_directory_come_from_image_and_template() {
    let image = Image::plain()
        .with("Cmd", json!(["print=from the image"]))
        .with("Env", json!(["A=image", "B=image"]))
        .with("WorkingDir", json!("/made/for/it"));
    let Some(mut bed) = Bed::with(image).await else { return };
    assert_eq!(bed.run(&[]).await.out, ["from the image"]);
    let mut spec = bed.spec(&["env=A", "env=B", "env=K_SERVICE", "env=PATH", "env=HOME", "cwd"]);
    spec.ingress.env.push(("B".to_owned(), "template".to_owned()));
    let seen = bed.run_spec(&spec).await.out;
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(seen, ["A=image", "B=template", "K_SERVICE=reality", path, "HOME=/root", "/made/for/it"]);
    spec.ingress.command = vec!["/probe".to_owned(), "args".to_owned()];
    spec.ingress.args.clear();
    spec.ingress.working_dir = Some("/".to_owned());
    assert_eq!(bed.run_spec(&spec).await.out, [r#"["/probe", "args"]"#]);
    bed.end().await;
}

#[tokio::test]
async fn a_program_without_a_slash_is_found_in_the_path() {
    let Some(mut bed) = Bed::new().await else { return };
    let mut spec = bed.spec(&["print=found"]);
    spec.ingress.command = vec!["probe".to_owned()];
    spec.ingress.env.push(("PATH".to_owned(), "/nowhere:/".to_owned()));
    assert_eq!(bed.run_spec(&spec).await.out, ["found"]);
    bed.end().await;
}

/// Files that cannot be executed, and what is said of them and of what is not there.
pub(crate) fn odd_programs() -> (Vec<Entry>, [(&'static str, &'static str); 7]) {
    let mut arm = vec![0; 64];
    arm[..6].copy_from_slice(b"\x7fELF\x02\x01");
    arm[18] = 183;
    let files = vec![
        Entry::File("script", 0o755, b"#!/bin/bash\n".to_vec()),
        Entry::File("text", 0o755, b"hello\n".to_vec()),
        Entry::File("plain", 0o644, b"hello\n".to_vec()),
        Entry::File("arm", 0o755, arm),
    ];
    let said = [
        ("/missing", "no such file in the image"),
        ("missing", "executable file not found in $PATH"),
        ("/script", "its interpreter '/bin/bash' is missing"),
        ("/text", "neither an ELF file nor a script"),
        ("/plain", "permission denied"),
        ("/arm", "built for arm64, not for linux/amd64"),
        ("/etc", "is a directory"),
    ];
    (files, said)
}

/// Starts an instance with `program`, which does not run because of what `want` says.
pub(crate) async fn is_refused(bed: &mut Bed, (program, want): (&str, &str)) {
    let mut spec = bed.spec(&[]);
    spec.ingress.command = vec![program.to_owned()];
    let exit = bed.run_spec(&spec).await.exit;
    assert!(matches!(&exit, Exit::NotStarted { cause } if cause.to_string().contains(want)), "{program}: {exit:?}");
}

#[tokio::test]
async fn why_a_program_cannot_be_executed_is_told_precisely() {
    let (files, said) = odd_programs();
    let Some(mut bed) = Bed::with(Image::plain().layer(files)).await else { return };
    for odd in said {
        is_refused(&mut bed, odd).await;
    }
    bed.end().await;
}

#[tokio::test]
async fn a_user_of_the_image_has_its_groups_and_no_capability() {
    let Some(mut bed) = Bed::with(Image::plain().with("User", json!("app"))).await else { return };
    let steps =
        ["status=Uid", "status=Gid", "status=Groups", "env=HOME", "status=CapEff", "status=CapPrm", "status=CapAmb"];
    let seen = bed.run(&steps).await.out;
    let none = "0000000000000000";
    assert_eq!(seen[0], "Uid: 1000 1000 1000 1000");
    assert_eq!(seen[1], "Gid: 1001 1001 1001 1001");
    assert_eq!(seen[2], "Groups: 44");
    assert_eq!(seen[3], "HOME=/home/app");
    assert_eq!(seen[4..], [format!("CapEff: {none}"), format!("CapPrm: {none}"), format!("CapAmb: {none}")]);
    // Applications log to it by name.
    assert_eq!(
        bed.run(&["stdout-file", "write=/root-only", "write=/tmp/mine"]).await.out,
        ["ok", "/root-only: errno 13", "/tmp/mine: ok"]
    );
    bed.end().await;
}

#[tokio::test]
async fn a_user_name_that_the_image_does_not_know_is_root() {
    let Some(mut bed) = Bed::with(Image::plain().with("User", json!("nobody-here"))).await else { return };
    assert_eq!(bed.run(&["status=Uid"]).await.out, ["Uid: 0 0 0 0"]);
    bed.end().await;
}

#[tokio::test]
async fn a_user_number_that_would_mean_the_launchers_own_user_is_refused() {
    let Some(mut bed) = Bed::with(Image::plain().with("User", json!("4294967295"))).await else { return };
    let exit = bed.run(&["status=Uid"]).await.exit;
    assert!(matches!(&exit, Exit::NotStarted { cause } if cause.to_string().contains("'4294967295'")), "{exit:?}");
    bed.end().await;
}

#[tokio::test]
async fn more_environment_than_linux_takes_is_refused_before_any_start() {
    let Some(mut bed) = Bed::new().await else { return };
    let mut spec = bed.spec(&["print=ran"]);
    let variable = |n: usize| (format!("V{n}"), "\u{1}".repeat(32 << 10));
    spec.ingress.env.extend((0..63).map(variable));
    assert_eq!(bed.run_spec(&spec).await.out, ["ran"]);
    spec.ingress.env.extend((63..1000).map(variable));
    let refused = bed.engine.prepare(&spec).await.expect_err("too much").to_string();
    assert!(refused.contains("arguments and environment take"), "{refused}");
    bed.end().await;
}

#[tokio::test]
async fn an_image_with_nothing_but_a_program_runs() {
    let mut image = Image::plain();
    image.layers.truncate(1);
    let Some(mut bed) = Bed::with(image).await else { return };
    let seen = bed.run(&["ls=/", "mode=/tmp", "cat=/etc/hostname", "cat=/proc/sys/kernel/hostname"]).await.out;
    assert_eq!(seen, ["dev etc probe proc sys tmp", "41777 0:0", "localhost", "localhost"]);
    bed.end().await;
}

#[tokio::test]
async fn what_an_image_has_in_the_place_of_ours_is_covered_and_not_followed() {
    let hostile = vec![
        Entry::Link("proc", "/etc"),
        Entry::File("sys", 0o644, b"file".to_vec()),
        Entry::Link("dev", "etc"),
        Entry::Link("etc/hosts", "/probe"),
        Entry::Link("etc/resolv.conf", "../run/resolv.conf"),
    ];
    let Some(mut bed) = Bed::with(Image::plain().layer(hostile)).await else { return };
    let seen = bed.run(&["status=Uid", "mode=/dev/null", "cat=/etc/hosts", "ls=/sys/fs"]).await;
    assert_eq!(seen.exit, Exit::Code(0), "{seen:?}");
    assert_eq!(seen.out[..3], ["Uid: 0 0 0 0", "20666 0:0", "127.0.0.1\tlocalhost reality-1"]);
    bed.end().await;
}

#[tokio::test]
async fn lines_are_cut_at_64_kib_and_a_flood_loses_none() {
    let Some(mut bed) = Bed::new().await else { return };
    let seen = bed.run(&["long=150000", "flood=20000", "eprint=aside", "print=end"]).await;
    assert_eq!(seen.err, ["aside"]);
    let lengths: Vec<usize> = seen.out.iter().take(3).map(String::len).collect();
    assert_eq!(lengths, [65536, 65536, 150_000 - 2 * 65536]);
    assert_eq!(seen.out.len(), 3 + 20_000 + 1);
    assert_eq!(seen.out.last().map(String::as_str), Some("end"));
    bed.end().await;
}

#[tokio::test]
async fn a_container_waits_for_a_reader_that_does_not_keep_up_and_its_neighbours_do_not() {
    let Some(mut bed) = Bed::new().await else { return };
    // Nobody reads events yet: 64 MiB would have to be kept somewhere.
    let loud = bed.start(&bed.spec(&["flood=65536"])).await;
    let quiet = bed.start(&bed.spec(&["serve"])).await;
    assert!(bed.get(&quiet, "/").await.ends_with("ok"));
    assert!(bed.engine.list().await.contains(&loud));
    let seen = bed.until_exit(&loud).await;
    assert_eq!((seen.out.len(), seen.exit), (65536, Exit::Code(0)));
    bed.end().await;
}

#[tokio::test]
async fn where_the_time_of_a_start_went_is_told_while_it_runs() {
    let Some(mut bed) = Bed::new().await else { return };
    let id = bed.start(&bed.spec(&["sleep"])).await;
    let timing = LocalEngine::last_start(&bed.engine, &id).expect("it runs");
    assert!(!timing.mounts.is_zero() && timing.sandbox() > timing.mounts, "{timing:?}");
    bed.engine.stop(&id, std::time::Duration::ZERO).await;
    bed.until_exit(&id).await;
    assert_eq!(bed.engine.last_start(&id), None);
    bed.end().await;
}

#[tokio::test]
async fn an_id_that_could_be_a_path_is_refused() {
    let Some(bed) = Bed::new().await else { return };
    let spec = bed.spec(&["exit=0"]);
    bed.engine.prepare(&spec).await.expect("the image can be prepared");
    for id in ["", "..", "a/b", &"x".repeat(200)] {
        let refused =
            bed.engine.start(&updraft_model::instance::InstanceId(id.to_owned()), &spec, &Secrets::default()).await;
        assert!(refused.is_err(), "{id}");
    }
    bed.end().await;
}

#[tokio::test]
async fn the_example_answers_from_its_container() {
    let program = std::fs::read(build("hello", "../../examples/hello/src/main.rs", &[])).expect("just built");
    let mut image = Image::plain().with("Entrypoint", json!(["/hello"])).with("User", json!("65532"));
    image.layers = vec![vec![Entry::File("hello", 0o755, program)]];
    let Some(mut bed) = Bed::with(image).await else { return };
    let mut spec = bed.spec(&[]);
    spec.ingress.env.push(("K_REVISION".to_owned(), "hello-00001-abc".to_owned()));
    let id = bed.start(&spec).await;
    assert!(bed.get(&id, "/").await.contains("hello-00001-abc"));
    assert!(bed.get(&id, "/healthz").await.contains("200 OK"));
    let asked = bed.clock.instant();
    bed.engine.stop(&id, std::time::Duration::from_secs(10)).await;
    assert!(matches!(bed.until_exit(&id).await.exit, Exit::Code(_)));
    assert!(bed.clock.instant().duration_since(asked).as_secs() < 5, "SIGTERM ends it at once");
    bed.end().await;
}

/// What package managers do, with busybox in their place.
#[tokio::test]
async fn root_of_an_instance_owns_files_and_gives_them_away() {
    let Ok(busybox) = std::fs::read("/bin/busybox") else {
        return crate::bed::skipped("busybox-static is not installed");
    };
    let owned = vec![
        Entry::Directory("bin", 0o755),
        Entry::File("bin/busybox", 0o755, busybox),
        Entry::Owned("of-app", (1000, 1001)),
        Entry::Owned("of-nobody", (65_534, 65_534)),
    ];
    let Some(mut bed) = Bed::with(Image::plain().layer(owned)).await else { return };
    let script = "export PATH=/bin; busybox --install /bin; stat -c %u:%g /of-app /of-nobody
        mkdir /d; touch /d/f; chown -R 101:102 /d; chmod 2775 /d; chown 33 /of-app; stat -c '%u:%g %a' /d /d/f /of-app
        tar -c -f /d.tar d; tar -x -C /tmp -f /d.tar; stat -c %u:%g /tmp/d/f
        mkfifo /p; ln /of-nobody /hard; mv /of-nobody /moved; stat -c %u:%g /hard; rm -r /d; chroot / id -u";
    let mut spec = bed.spec(&["sh", "-e", "-c", script]);
    spec.ingress.command = vec!["/bin/busybox".to_owned()];
    let seen = bed.run_spec(&spec).await;
    let want =
        ["1000:1001", "65534:65534", "101:102 2775", "101:102 644", "33:1001 640", "101:102", "65534:65534", "0"];
    assert_eq!((seen.out, seen.err, seen.exit), (want.map(str::to_owned).to_vec(), Vec::new(), Exit::Code(0)));
    bed.end().await;
}
