//! Ways out of a sandbox that other runtimes had, each walked as far as it goes; and the list of all others.

mod host;
mod list;
mod runc;
mod table;

use std::{
    fs,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
};

use rustix::fs::{Mode, OFlags};
use updraft_model::instance::Exit;

use crate::{
    bed::Bed,
    image::{Entry, Image, build},
};

/// CVE-2019-5736: a script's interpreter is the program that is about to execute it, and the image's
/// own dynamic linker runs in its place.
#[tokio::test]
async fn the_launchers_file_cannot_be_changed_by_an_image_that_executes_it() {
    let options = ["-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib"];
    let loader = fs::read(build("loader", "tests/reality/fixture/loader.rs", &options)).expect("just built");
    let image = Image::plain().layer(vec![
        Entry::File("script", 0o755, b"#!/proc/self/exe\n".to_vec()),
        Entry::Directory("lib64", 0o755),
        Entry::File("lib64/ld-linux-x86-64.so.2", 0o755, loader),
        Entry::Link("alias", "/proc/self/exe"),
    ]);
    let Some(mut bed) = Bed::with(image).await else { return };
    let mut spec = bed.spec(&[]);
    spec.ingress.command = vec!["/script".to_owned()];
    let read_only = Exit::Code(rustix::io::Errno::ROFS.raw_os_error());
    assert_eq!(bed.run_spec(&spec).await.exit, read_only);
    for program in ["/proc/self/exe", "/alias", "/proc/1/exe", "/proc/thread-self/exe"] {
        spec.ingress.command = vec![program.to_owned()];
        let exit = bed.run_spec(&spec).await.exit;
        assert!(
            matches!(&exit, Exit::NotStarted { cause } if cause.to_string().contains("a link of /proc")),
            "{program}: {exit:?}"
        );
    }
    bed.end().await;
}

#[tokio::test]
async fn standard_input_is_a_device_of_the_container_and_not_of_the_host() {
    let Some(mut bed) = Bed::new().await else { return };
    let host = fs::metadata("/dev/null").expect("every host has it");
    // The mode that the host's has anyway: an attack that succeeds here changes nothing.
    let change = format!("syscall={},0,{}", libc::SYS_fchmod, host.permissions().mode() & 0o777);
    let seen = bed.run(&["inode=/proc/self/fd/0", "inode=/dev/null", &change, "cat=/dev/stdin", "print=end"]).await.out;
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], format!("{}:{}", host.dev(), host.ino()));
    assert_eq!(seen[2..], ["30", "end"], "the mount is read-only, and nothing can be read");
    let after = fs::metadata("/dev/null").expect("still there");
    assert_eq!((host.mode(), host.ino(), host.uid()), (after.mode(), after.ino(), after.uid()));
    bed.end().await;
}

/// CVE-2024-21626: a directory of the host that is open when the working directory is entered.
#[tokio::test]
async fn a_working_directory_cannot_be_one_that_somebody_left_open() {
    // Inherited by whatever this process starts, until the end of the test.
    let leaked = rustix::fs::open("/", OFlags::DIRECTORY | OFlags::PATH, Mode::empty()).expect("every host has it");
    let image = Image::plain().layer(vec![Entry::Link("door", "/proc/self/fd")]);
    let Some(mut bed) = Bed::with(image).await else { return };
    let mut doors: Vec<String> = (3..24).map(|number| format!("/proc/self/fd/{number}")).collect();
    doors.extend([
        format!("/proc/self/fd/{}", leaked.as_raw_fd()),
        format!("/door/{}/made", leaked.as_raw_fd()),
        "/proc/self/cwd".to_owned(),
        "/proc/1/root/tmp".to_owned(),
    ]);
    for door in doors {
        let mut spec = bed.spec(&["cwd"]);
        spec.ingress.working_dir = Some(door.clone());
        let exit = bed.run_spec(&spec).await.exit;
        let refused = matches!(&exit, Exit::NotStarted { cause } if cause.to_string().contains("cannot enter the working directory"));
        assert!(refused, "{door}: {exit:?}");
    }
    bed.end().await;
}
