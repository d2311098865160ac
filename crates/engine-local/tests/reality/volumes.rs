//! Volumes as ways out of a container: where an image leads their mounts, what another container does to them
//! meanwhile, and whose the files in them are. What one container alone can try is in the list of escapes.

use std::{fs, time::Duration};

use serde_json::json;
use updraft_engine::{Engine as _, EngineEvent};
use updraft_model::instance::{Exit, InstanceSpec, Mount, Secrets, VolumeSpec};

use crate::{
    bed::Bed,
    containers::{lines, pair},
    image::{Entry, Image},
};

const MIB: u64 = 1 << 20;
/// `EPERM` and `EACCES`.
const NOT_OURS: &str = "errno 1";
const NO_RIGHT: &str = "errno 13";

/// What the container with the traffic wrote, which is started once the sidecar has said `ready`; and how it ended.
async fn beside(bed: &mut Bed, spec: &InstanceSpec, ready: &str) -> (Vec<String>, Exit) {
    let mut spec = spec.clone();
    spec.ingress.depends_on = vec!["side".to_owned()];
    let id = bed.start(&spec).await;
    let mut lines = Vec::new();
    loop {
        match bed.event().await {
            EngineEvent::Output { id: of, sidecar: None, text, .. } if of == id => lines.push(text),
            EngineEvent::Output { id: of, text, .. } if of == id && text == ready => {
                bed.engine
                    .start_container(&id, (&spec, &Secrets::default()), &spec.ingress.name)
                    .await
                    .expect("it can be started");
            }
            EngineEvent::Exited { id: of, exit, .. } if of == id => return (lines, exit),
            _ => {}
        }
    }
}

/// What an image makes of a mount path is its own affair as long as it stays in the image: never what every container
/// has, never the root, and never a directory of the host.
#[tokio::test]
async fn a_mount_path_that_an_image_leads_out_of_its_files_by_a_link_is_refused() {
    let links = [
        ("to-proc", "/proc"),
        ("to-own-proc", "/proc/self/task"),
        ("to-sys", "/sys"),
        ("to-control-groups", "/sys/fs/cgroup"),
        ("to-dev", "/dev"),
        ("to-shm", "../../dev/shm"),
        ("to-root", "/"),
        ("up", "../../../../../../../.."),
        ("by-proc", "/proc/1/root"),
        ("by-cwd", "/proc/self/cwd"),
        ("by-descriptor", "/proc/self/fd/3"),
        ("circle", "circle"),
    ];
    let mut layer: Vec<Entry> = links.iter().map(|&(name, target)| Entry::Link(name, target)).collect();
    layer.push(Entry::Link("within", "../../../../inner"));
    layer.push(Entry::Directory("inner", 0o755));
    let Some(mut bed) = Bed::with(Image::plain().layer(layer)).await else { return };
    let mut spec = pair(&bed, &["exit=0"], &["sleep"], MIB);
    for (name, target) in links {
        spec.ingress.mounts[0].path = format!("/{name}");
        let exit = bed.run_spec(&spec).await.exit;
        let refused = matches!(&exit, Exit::NotStarted { cause } if cause.to_string().contains(&format!("cannot mount a volume at '/{name}'")));
        assert!(refused, "{name} -> {target}: {exit}");
    }
    // Up and out of the root, and down again: it is the container's root.
    let host = bed.data_dir.join("of-the-host");
    fs::create_dir(&host).expect("a directory of the test");
    fs::write(host.join("secret"), "x").expect("a directory of the test");
    let up = format!("/up{}", host.display());
    let inside = format!("ls={}", host.display());
    let mut spec = pair(&bed, &["ls=/inner", &inside, "exit=0"], &["put=/data/shared/made:x", "sleep"], MIB);
    spec.ingress.mounts[0].path = "/within".to_owned();
    spec.ingress.mounts.push(Mount { volume: "w".to_owned(), path: up });
    spec.volumes.push(VolumeSpec::in_memory("w", MIB));
    spec.ingress.args.insert(0, "await=/inner/made".to_owned());
    assert_eq!(lines(&mut bed, &spec).await, ["-: made", "-: "]);
    assert!(host.join("secret").exists());
    bed.end().await;
}

/// A container's standard input is opened by the host's root: were `/dev` a volume by then, a neighbour in the instance
/// could have it open what only that one may read.
#[tokio::test]
async fn standard_input_is_never_what_another_container_put_into_a_volume() {
    let Some(mut bed) = Bed::with(Image::plain().layer(vec![Entry::Link("devices", "/dev")])).await else { return };
    let side = ["link=/data/shared/null:/proc/iomem", "sleep"];
    let mut spec = pair(&bed, &["input", "exit=0"], &side, MIB);
    spec.ingress.mounts[0].path = "/devices".to_owned();
    let (seen, exit) = beside(&mut bed, &spec, "/data/shared/null: ok").await;
    assert!(seen.is_empty() && matches!(exit, Exit::NotStarted { .. }), "{seen:?} {exit}");
    spec.ingress.mounts.clear();
    let (seen, exit) = beside(&mut bed, &spec, "/data/shared/null: ok").await;
    assert_eq!((seen, exit), (vec!["nothing".to_owned()], Exit::Code(0)));
    bed.end().await;
}

/// One container exchanges a directory of the volume for a link, over and over, while others start whose mounts and
/// working directories lead through it.
#[tokio::test]
async fn a_start_beside_a_container_that_exchanges_directories_for_links_stays_inside() {
    let image = Image::plain().layer(vec![Entry::Link("nested", "/data/shared/swapped")]);
    let Some(mut bed) = Bed::stocked_with(2, image).await else { return };
    let host = bed.data_dir.join("of-the-host");
    fs::create_dir(&host).expect("a directory of the test");
    fs::write(host.join("secret"), "x").expect("a directory of the test");
    let below = |prefix: &str| format!("{prefix}{}", host.display());
    let mut started = 0;
    for target in ["../../../../../../../..", "/proc/1/root/../../..", "/proc/self/cwd", "/dev", "/data/shared"] {
        let put = format!("link=/data/shared/other:{target}");
        let make = format!("mkdir={}", below("/data/shared/swapped"));
        let swaps = [&*make, &*put, "exchange=/data/shared/swapped:/data/shared/other"];
        let mut spec = pair(&bed, &["ls=.", "exit=0"], &swaps, MIB);
        // In a volume, by a link of the image.
        let mut nested = spec.clone();
        nested.ingress.mounts.push(Mount { volume: "w".to_owned(), path: below("/nested") });
        nested.volumes.push(VolumeSpec::in_memory("w", MIB));
        nested.ingress.args = vec![format!("ls={}", host.display()), "exit=0".to_owned()];
        spec.ingress.working_dir = Some(below("/data/shared/swapped"));
        for (spec, is_nested) in [(&nested, true), (&spec, false)].repeat(4) {
            // It starts in a directory of its own, or not at all.
            let (seen, exit) = beside(&mut bed, spec, "exchanging").await;
            assert!(seen.iter().all(|line| !line.contains("secret")), "{target}: {seen:?}");
            let starts = exit == Exit::Code(0) && !is_nested;
            assert!(starts || matches!(exit, Exit::NotStarted { .. }), "{target}: {exit}");
            started += usize::from(starts);
            let made: Vec<_> = fs::read_dir(&host).expect("it is there").flatten().map(|one| one.file_name()).collect();
            assert_eq!(made, ["secret"], "{target}");
        }
    }
    assert!(started > 0, "some find a directory");
    bed.end().await;
}

/// What the kernel keeps of a file without contents does not count for the size of its volume: an instance could take
/// the machine's memory by names alone.
#[tokio::test]
async fn empty_files_in_a_volume_count_against_the_memory_of_who_makes_them() {
    const FILES: u64 = 20_000;
    const LEAST_BYTES: u64 = 500;
    let Some(mut bed) = Bed::new().await else { return };
    let mut used = Vec::new();
    for files in [0, FILES] {
        let make = format!("files=/data/shared:{files}");
        let spec = pair(&bed, &["sleep"], &[&make, "print=made", "sleep"], MIB);
        let id = bed.start(&spec).await;
        while !matches!(bed.event().await, EngineEvent::Output { id: of, text, .. } if of == id && text == "made") {}
        used.push(bed.engine.usage(&id).await.expect("it is there").memory_bytes);
        bed.engine.stop(&id, Duration::ZERO).await;
        bed.until_exit(&id).await;
    }
    assert!(used[1] > used[0] + FILES * LEAST_BYTES, "{used:?}");
    bed.end().await;
}

/// A set-user-id program of another container's root, and one that is only to be executed.
#[tokio::test]
async fn a_program_in_a_volume_runs_as_who_executes_it_whatever_bits_another_container_gave_it() {
    let Some(mut bed) = Bed::new().await else { return };
    let user = bed.load(&Image::plain().with("User", json!("app"))).await;
    let side =
        ["copy=/probe:/data/shared/part", "chmod=/data/shared/part:6755", "copy=/probe:/data/shared/whole", "sleep"];
    let look = [
        "await=/data/shared/whole",
        "mode=/data/shared/part",
        "mounted=/data/shared",
        "execute=/data/shared/part status=Uid status=Gid status=CapEff",
        "exit=0",
    ];
    let mut spec = pair(&bed, &look, &side, 64 * MIB);
    spec.ingress.image = user;
    let seen = lines(&mut bed, &spec).await;
    let own: Vec<&str> = seen.iter().filter_map(|line| line.strip_prefix("-: ")).collect();
    assert_eq!(
        own,
        [
            "106755 0:0",
            "rw,nosuid,nodev,relatime,idmapped",
            "Uid: 1000 1000 1000 1000",
            "Gid: 1001 1001 1001 1001",
            "CapEff: 0000000000000000"
        ]
    );
    bed.end().await;
}

/// By a socket in a volume one container can give another a descriptor of its root: that leads to what everybody may
/// read there, and no further up or in.
#[tokio::test]
async fn a_root_that_one_container_hands_to_another_is_no_way_out_of_it_nor_into_its_files() {
    let secret = vec![Entry::File("etc/secret", 0o600, b"x".to_vec())];
    let Some(mut bed) = Bed::with(Image::plain().layer(secret)).await else { return };
    let host = bed.data_dir.join("of-the-host");
    fs::write(&host, "x").expect("a directory of the test");
    let take = format!("take-root=/data/shared/socket:{}", host.display());
    let takes = ["await=/data/shared/socket", &take, "exit=0"];
    let spec = pair(&bed, &takes, &["hand-over-root=/data/shared/socket", "sleep"], MIB);
    assert_eq!(
        lines(&mut bed, &spec).await,
        [
            "-: another root: true".to_owned(),
            "-: the top: true".to_owned(),
            "-: the file: false".to_owned(),
            "-: what all may read: ok".to_owned(),
            format!("-: what its owner may read: {NO_RIGHT}"),
            format!("-: written: {NO_RIGHT}"),
            format!("-: its environment: {NO_RIGHT}"),
            format!("-: its root: {NO_RIGHT}"),
        ]
    );
    bed.end().await;
}

/// Each container has users of its own on the host; in a volume both have the same numbers, and the rights that go with
/// them.
#[tokio::test]
async fn files_of_a_volume_have_the_same_users_and_rights_in_every_container() {
    let Some(mut bed) = Bed::stocked(2).await else { return };
    let app = bed.load(&Image::plain().with("User", json!("app"))).await;
    let root = [
        "write=/data/shared/of-root",
        "put=/data/shared/hidden:x",
        "chmod=/data/shared/hidden:600",
        "put=/data/shared/for-all:x",
        "chmod=/data/shared/for-all:666",
        "put=/data/shared/ready:x",
        "await=/data/shared/done",
        "mode=/data/shared/of-app",
        "show=/data/shared/of-app",
        "write=/data/shared/of-app",
        "mode=/data/shared/of-app",
        "show=/data/shared/for-all",
        "remove=/data/shared/of-app",
        "cat=/proc/self/uid_map",
        "exit=0",
    ];
    let user = [
        "await=/data/shared/ready",
        "mode=/data/shared/of-root",
        "show=/data/shared/of-root",
        "write=/data/shared/of-root",
        "remove=/data/shared/of-root",
        "chmod=/data/shared/of-root:777",
        "write=/data/shared/hidden",
        "put=/data/shared/of-app:mine",
        "chmod=/data/shared/of-app:600",
        "mode=/data/shared/of-app",
        "put=/data/shared/for-all:from app",
        "cat=/proc/self/uid_map",
        "put=/data/shared/done:x",
        "sleep",
    ];
    let mut spec = pair(&bed, &root, &user, MIB);
    spec.sidecars[0].image = app;
    let seen = lines(&mut bed, &spec).await;
    let of = |who: &str| -> Vec<String> {
        seen.iter().filter_map(|line| line.strip_prefix(who)).map(str::to_owned).collect()
    };
    let (root, user) = (of("-: "), of("side: "));
    assert_eq!(
        user[..8],
        [
            "100644 0:0".to_owned(),
            "x".to_owned(),
            format!("/data/shared/of-root: {NO_RIGHT}"),
            format!("/data/shared/of-root: {NOT_OURS}"),
            format!("/data/shared/of-root: {NOT_OURS}"),
            format!("/data/shared/hidden: {NO_RIGHT}"),
            "/data/shared/of-app: ok".to_owned(),
            "100600 1000:1001".to_owned(),
        ]
    );
    let root: Vec<&str> = root.iter().map(String::as_str).collect();
    assert_eq!(
        root[..9],
        [
            "/data/shared/of-root: ok",
            "/data/shared/hidden: ok",
            "/data/shared/for-all: ok",
            "100600 1000:1001",
            "mine",
            "/data/shared/of-app: ok",
            "100600 1000:1001",
            "from app",
            "/data/shared/of-app: ok",
        ]
    );
    let first = |map: &str| map.split_whitespace().nth(1).map(str::to_owned);
    assert!(first(root[9]).is_some() && first(root[9]) != first(&user[8]), "{root:?} {user:?}");
    bed.end().await;
}

#[tokio::test]
async fn directories_that_a_mount_needs_belong_to_the_containers_root() {
    let Some(mut bed) = Bed::new().await else { return };
    let steps = ["mode=/data", "write=/data/beside", "mode=/data/beside", "exit=0"];
    let spec = pair(&bed, &steps, &["sleep"], MIB);
    assert_eq!(lines(&mut bed, &spec).await, ["-: 40755 0:0", "-: /data/beside: ok", "-: 100644 0:0"]);
    bed.end().await;
}
