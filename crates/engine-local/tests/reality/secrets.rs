//! Secrets in containers: who may do what with their files, that all of them change at once, and where no value is
//! ever found.

use std::{fs, io::Read as _, os::unix::fs::FileExt as _, path::Path, time::Duration};

use serde_json::json;
use updraft_engine::{Engine as _, EngineEvent};
use updraft_engine_local::Runtime;
use updraft_model::{
    Confidential,
    instance::{Contents, Exit, InstanceSpec, Mount, SecretEnv, SecretPath, Secrets, VolumeSpec},
};

use crate::{
    bed::{BY_RUNC, Bed, Kind, PLAIN, skipped},
    crashes::launcher,
    image::Image,
};

const SECRET: &str = "projects/demo-project/secrets/s";
/// `EPERM`, `EACCES` and `EROFS`.
const NO_RIGHT: &str = "errno 13";
const READ_ONLY: &str = "errno 30";

/// In our own sandbox, in one that was made ahead, and in one of runc's where there is runc.
async fn beds() -> Vec<Bed> {
    let mut beds = Vec::new();
    let mut kinds = vec![PLAIN, Kind { sandboxes: 2, ..PLAIN }];
    match Runtime::find(Path::new("runc")) {
        Ok(_) => kinds.push(BY_RUNC),
        Err(error) => skipped(&error.to_string()),
    }
    for kind in kinds {
        let Some(bed) = Bed::of(kind, Image::plain()).await else { return beds };
        bed.until("sandboxes are made", || bed.engine.spare_sandboxes() == kind.sandboxes).await;
        beds.push(bed);
    }
    beds
}

/// A container with a secret volume at `/secrets` that has these files.
fn spec(bed: &Bed, steps: &[&str], paths: &[(&str, u32)]) -> InstanceSpec {
    let mut spec = bed.spec(steps);
    let file = |&(path, mode): &(&str, u32)| SecretPath { path: path.to_owned(), mode, version: "latest".to_owned() };
    let contents = Contents::Secret { secret: SECRET.to_owned(), paths: paths.iter().map(file).collect() };
    spec.volumes = vec![VolumeSpec { name: "s".to_owned(), contents }];
    spec.ingress.mounts = vec![Mount { volume: "s".to_owned(), path: "/secrets".to_owned() }];
    spec
}

fn files(contents: &[&str]) -> Secrets {
    let value = |text: &&str| Ok(Confidential::new(text.as_bytes().to_vec()));
    Secrets { files: [("s".to_owned(), contents.iter().map(value).collect())].into(), ..Secrets::default() }
}

async fn run(bed: &mut Bed, spec: &InstanceSpec, secrets: &Secrets) -> (Vec<String>, Exit) {
    let id = bed.start_with(spec, secrets).await;
    let outcome = bed.until_exit(&id).await;
    (outcome.out, outcome.exit)
}

#[tokio::test]
async fn files_of_a_secret_are_roots_and_can_be_read_as_their_mode_says_and_nothing_else() {
    for mut bed in beds().await {
        let paths = [("db", 0o444), ("own", 0o400), ("tls/key.pem", 0o440), ("run", 0o555)];
        let steps = [
            "ls=/secrets",
            "show=/secrets/db",
            "mode=/secrets/..data/db",
            "mode=/secrets/..data/own",
            "mode=/secrets/tls/key.pem",
            "mode=/secrets/..data/tls",
            "mode=/secrets/..data/run",
            "write=/secrets/db",
            "write=/secrets/new",
            "mkdir=/secrets/new",
            "remove=/secrets/db",
            "chmod=/secrets/own:644",
            "execute=/secrets/run",
            "exit=0",
        ];
        let secrets = files(&["hunter2", "mine", "-----KEY", "#!/probe"]);
        let looks = spec(&bed, &steps, &paths);
        let (said, _) = run(&mut bed, &looks, &secrets).await;
        let readonly = |path: &str| format!("{path}: {READ_ONLY}");
        let want = [
            "..1 ..data db own run tls".to_owned(),
            "hunter2".to_owned(),
            "100444 0:0".to_owned(),
            "100400 0:0".to_owned(),
            "100440 0:0".to_owned(),
            "40755 0:0".to_owned(),
            "100555 0:0".to_owned(),
            readonly("/secrets/db"),
            readonly("/secrets/new"),
            readonly("/secrets/new"),
            readonly("/secrets/db"),
            readonly("/secrets/own"),
            "/secrets/run: Permission denied (os error 13)".to_owned(),
        ];
        assert_eq!(said, want);
        let mut of_mount = spec(&bed, &["mounted=/secrets", "exit=0"], &paths);
        let (said, _) = run(&mut bed, &of_mount, &secrets).await;
        assert!(said[0].starts_with("ro,nosuid,nodev,noexec"), "{said:?}");
        // Another user gets what the mode gives to others.
        of_mount.ingress.image = bed.load(&Image::plain().with("User", json!("app"))).await;
        of_mount.ingress.args =
            ["show=/secrets/db", "show=/secrets/own", "write=/secrets/db", "exit=0"].map(str::to_owned).to_vec();
        let (said, _) = run(&mut bed, &of_mount, &secrets).await;
        assert_eq!(said[0], "hunter2");
        assert_eq!(said[1], "/secrets/own: Permission denied (os error 13)");
        assert!([NO_RIGHT, READ_ONLY].iter().any(|errno| said[2].ends_with(errno)), "{said:?}");
        bed.end().await;
    }
}

#[tokio::test]
async fn a_directory_of_the_image_is_hidden_by_the_volume_and_a_missing_one_is_made() {
    let image = Image::plain().layer(vec![crate::image::Entry::File("secrets/of-the-image", 0o644, b"x".to_vec())]);
    let Some(mut bed) = Bed::with(image).await else { return };
    let mut spec = spec(&bed, &["show=/secrets/of-the-image", "ls=/a/b", "exit=0"], &[("db", 0o444)]);
    spec.ingress.mounts.push(Mount { volume: "s".to_owned(), path: "/a/b/c".to_owned() });
    let (said, _) = run(&mut bed, &spec, &files(&["x"])).await;
    assert_eq!(said, ["/secrets/of-the-image: No such file or directory (os error 2)", "c"]);
    bed.end().await;
}

/// Whoever resolves the directory once reads files of one time, and who opens a file by its name always finds one. In
/// the end the last ones are there.
#[tokio::test]
async fn all_files_change_at_once_however_often_and_whoever_reads_them() {
    const TIMES: usize = 150;
    for mut bed in beds().await {
        let spec = spec(&bed, &["same=/secrets"], &[("a", 0o444), ("b", 0o444)]);
        let id = bed.start_with(&spec, &files(&["0", "0"])).await;
        assert_eq!(line(&mut bed).await, "reading");
        for number in 1..=TIMES {
            let number = number.to_string();
            bed.engine.show_secrets(&id, &spec, &files(&[&number, &number])).await.expect("it can be told");
            // Mostly the next ones come before those of before could go.
            if number.ends_with("50") {
                let is_done = || shown(&bed, "a") == number && shelves(&bed).iter().all(|names| names.len() == 4);
                bed.until("they are shown, and those of before are gone", is_done).await;
            }
        }
        bed.engine.stop(&id, Duration::from_secs(5)).await;
        let outcome = bed.until_exit(&id).await;
        assert_eq!((outcome.out, outcome.err, outcome.exit), (Vec::new(), Vec::new(), Exit::Code(0)));
        bed.end().await;
    }
}

#[tokio::test]
async fn a_frozen_instance_finds_the_new_value_when_it_is_thawed() {
    let Some(mut bed) = Bed::new().await else { return };
    let spec = spec(&bed, &["follow=/secrets/db"], &[("db", 0o444)]);
    let id = bed.start_with(&spec, &files(&["first"])).await;
    assert_eq!(line(&mut bed).await, "first");
    bed.engine.freeze(&id).expect("it can be frozen");
    bed.engine.show_secrets(&id, &spec, &files(&["second"])).await.expect("it can be told");
    bed.engine.thaw(&id).expect("it can be thawed");
    assert_eq!(line(&mut bed).await, "second");
    bed.end().await;
}

#[tokio::test]
async fn nothing_is_left_of_the_secrets_of_an_instance_that_has_ended_nor_when_its_server_was_killed_before() {
    for mut bed in beds().await {
        let spec = spec(&bed, &["follow=/secrets/db"], &[("db", 0o444)]);
        let id = bed.start_with(&spec, &files(&["first"])).await;
        assert_eq!(line(&mut bed).await, "first");
        assert_eq!(shelves(&bed), [["..1", "..data", "db"]]);
        bed.succeed().await;
        bed.engine.show_secrets(&id, &spec, &files(&["second"])).await.expect("it can be told");
        while line(&mut bed).await != "second" {}
        bed.until("what was exchanged is removed", || shelves(&bed) == [["..2", "..data", "db"]]).await;
        for process in [launcher(&bed.data_dir).as_raw_nonzero().get(), std::process::id().cast_signed()] {
            let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo")).expect("it is there");
            assert!(!mounts.contains("/secrets"), "{mounts}");
        }
        bed.engine.stop(&id, Duration::ZERO).await;
        bed.until_exit(&id).await;
        bed.until("its files are let go", || shelves(&bed).is_empty()).await;
        bed.end().await;
    }
}

/// What is in this file of the only secret volume that there is.
fn shown(bed: &Bed, file: &str) -> String {
    let found = open(bed).find_map(|one| fs::read_to_string(one.path().join("..data").join(file)).ok());
    found.expect("it is there")
}

/// What the launcher has open.
fn open(bed: &Bed) -> impl Iterator<Item = fs::DirEntry> {
    let open = format!("/proc/{}/fd", launcher(&bed.data_dir).as_raw_nonzero());
    fs::read_dir(open).expect("the launcher is there").flatten()
}

/// What is in the secret volumes that the launcher has open.
fn shelves(bed: &Bed) -> Vec<Vec<String>> {
    let names = open(bed).filter_map(|one| fs::read_dir(one.path()).ok()).map(|entries| {
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    });
    names.filter(|names| names.iter().any(|name| name == "..data")).collect()
}

/// The next line of any instance.
async fn line(bed: &mut Bed) -> String {
    loop {
        match bed.event().await {
            EngineEvent::Output { text, .. } => return text,
            EngineEvent::Exited { exit, .. } => panic!("it ended: {exit}"),
            _ => {}
        }
    }
}

/// Values that are easy to find.
const IN_VARIABLE: &str = "value-of-a-variable-7f3a9c52";
const IN_FILE: &str = "value-of-a-file-0b86d1e4";

#[tokio::test]
async fn a_value_is_in_its_container_and_nowhere_else_on_the_host() {
    for mut bed in beds().await {
        let mut spec =
            spec(&bed, &["backwards-env=PASSWORD", "backwards=/secrets/db", "print=there", "sleep"], &[("db", 0o400)]);
        spec.ingress.secret_env =
            vec![SecretEnv { name: "PASSWORD".to_owned(), secret: SECRET.to_owned(), version: 3 }];
        let mut secrets = files(&[IN_FILE]);
        secrets.env.insert((SECRET.to_owned(), 3), Confidential::new(IN_VARIABLE.as_bytes().to_vec()));
        let id = bed.start_with(&spec, &secrets).await;
        let said = [line(&mut bed).await, line(&mut bed).await, line(&mut bed).await];
        // What a container writes passes through the launcher.
        let backwards = |value: &str| value.chars().rev().collect::<String>();
        assert_eq!(said, [backwards(IN_VARIABLE), backwards(IN_FILE), "there".to_owned()]);
        bed.engine.show_secrets(&id, &spec, &files(&[IN_FILE])).await.expect("it can be told");
        let launcher = launcher(&bed.data_dir).as_raw_nonzero().get();
        assert!(!memory(launcher).iter().any(|part| holds(part)), "in the launcher's memory");
        let members = members(&bed.tag());
        assert!(!members.is_empty());
        for process in descendants(launcher) {
            let of = |file: &str| fs::read(format!("/proc/{process}/{file}")).unwrap_or_default();
            assert!(!holds(&of("cmdline")), "in the arguments of {process}");
            if !members.contains(&process) {
                let name = String::from_utf8_lossy(&of("comm")).into_owned();
                assert!(!holds(&of("environ")), "in the environment of {process} {name} {members:?}");
            }
        }
        in_files(&bed.data_dir, &|path, bytes| assert!(!holds(bytes), "in {}", path.display()));
        bed.end().await;
    }
}

fn holds(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    [IN_VARIABLE, IN_FILE].iter().any(|value| text.contains(value))
}

/// A process and everything that descends from it.
fn descendants(pid: i32) -> Vec<i32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<i32> = all.filter_map(|one| one.file_name().to_str()?.parse().ok()).collect();
    let parent = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<i32>().ok()
    };
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(&pid) = found.get(at) {
        found.extend(all.iter().filter(|one| parent(one) == Some(pid)));
        at += 1;
    }
    found
}

/// The processes in the control groups of an engine's instances.
fn members(tag: &str) -> Vec<i32> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let groups = hierarchies.map(|one| one.path().join(format!("updraft-{tag}")));
    let leaves = groups.flat_map(|group| fs::read_dir(group).into_iter().flatten().flatten());
    let text = leaves.filter_map(|leaf| fs::read_to_string(leaf.path().join("cgroup.procs")).ok());
    let mut members: Vec<i32> =
        text.flat_map(|text| text.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
    members.sort_unstable();
    members.dedup();
    members
}

/// What a process can write to and has in its memory.
fn memory(pid: i32) -> Vec<Vec<u8>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("we are root");
    let mem = fs::File::open(format!("/proc/{pid}/mem")).expect("we are root");
    let mut parts = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, rest) = line.split_once('-').expect("a range");
        let to = rest.split(' ').next().expect("a range");
        let address = |text: &str| u64::from_str_radix(text, 16).expect("hexadecimal");
        let (from, to) = (address(from), address(to));
        let mut part = vec![0; usize::try_from(to - from).expect("it fits")];
        if mem.read_exact_at(&mut part, from).is_ok() {
            parts.push(part);
        }
    }
    assert!(!parts.is_empty());
    parts
}

fn in_files(dir: &Path, check: &dyn Fn(&Path, &[u8])) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let kind = entry.file_type().expect("it is there");
        if kind.is_dir() {
            in_files(&entry.path(), check);
        } else if kind.is_file() {
            let mut bytes = Vec::new();
            if fs::File::open(entry.path()).and_then(|mut file| file.read_to_end(&mut bytes)).is_ok() {
                check(&entry.path(), &bytes);
            }
        }
    }
}
