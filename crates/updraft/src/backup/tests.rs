//! What a restore makes of files that are not what they should be.

use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

const DATABASE: &[u8] = b"not looked into here";

fn entry(path: &str, bytes: &[u8]) -> FileEntry {
    FileEntry { path: path.to_owned(), size: bytes.len() as u64, sha256: hex::encode(Sha256::digest(bytes)) }
}

fn manifest(files: Vec<FileEntry>) -> Manifest {
    Manifest { format: FORMAT, version: "1.2.3".to_owned(), taken: 7, store_format: updraft_store::FORMAT, files }
}

/// An archive of this list and these members.
fn archive(manifest: &Manifest, members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zstd = zstd::Encoder::new(Vec::new(), 1).expect("in memory");
    zstd.include_checksum(true).expect("in memory");
    let mut tar = tar::Builder::new(zstd);
    let list = serde_json::to_vec(manifest).expect("in memory");
    for (path, bytes) in std::iter::once((MANIFEST, &list[..])).chain(members.iter().copied()) {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        // Not by the library's own means, which refuse what an attacker would write.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, bytes).expect("in memory");
    }
    tar.into_inner().and_then(|zstd| zstd.finish()).expect("in memory")
}

fn good() -> Vec<u8> {
    let files = vec![entry("state.db", DATABASE), entry("token", b"0123456789abcdef\n")];
    archive(&manifest(files), &[("state.db", DATABASE), ("token", b"0123456789abcdef\n")])
}

/// Restores into a new directory; nothing may be left of one that fails.
fn restored(bytes: &[u8]) -> Result<Restored, RestoreError> {
    let outer = TempDir::new().expect("a temporary directory");
    let target = outer.path().join("data");
    let restored = restore(bytes, &target);
    if restored.is_err() {
        assert_eq!(fs::read_dir(outer.path()).expect("there").count(), 0, "nothing is left of a restore that failed");
    }
    restored
}

#[test]
fn a_backup_is_restored_for_its_owner_alone_into_an_absent_and_into_an_empty_directory() {
    let outer = TempDir::new().expect("a temporary directory");
    let (absent, empty) = (outer.path().join("a/b"), outer.path().join("empty"));
    fs::create_dir(&empty).expect("writable");
    for target in [&absent, &empty] {
        let told = restore(&good()[..], target).expect("a good backup");
        assert_eq!((told.version.as_str(), told.taken, told.files), ("1.2.3", 7, 2));
        let mut names: Vec<_> = fs::read_dir(target).expect("there").map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["state.db", "token"]);
        assert_eq!(fs::read(target.join("state.db")).expect("restored"), DATABASE);
        let mode = |path: &Path| fs::metadata(path).expect("restored").permissions().mode() & 0o777;
        assert_eq!((mode(target), mode(&target.join("token"))), (0o700, 0o600));
        assert!(matches!(restore(&good()[..], target), Err(RestoreError::Occupied(_))), "never a second time");
    }
}

#[test]
fn a_backup_that_ends_early_is_refused_wherever_it_ends() {
    let whole = good();
    for length in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
        let error = restored(&whole[..length]).expect_err("cut");
        assert!(
            matches!(error, RestoreError::Damaged(_) | RestoreError::Foreign(_)),
            "cut at {length} of {}: {error}",
            whole.len()
        );
    }
}

#[test]
fn a_backup_that_is_not_what_it_lists_is_refused() {
    let listed = || manifest(vec![entry("state.db", DATABASE)]);
    for (what, bytes) in [
        ("other bytes", archive(&listed(), &[("state.db", b"something else here!")])),
        ("another length", archive(&listed(), &[("state.db", b"short")])),
        ("another name", archive(&listed(), &[("token", DATABASE)])),
        ("a member less", archive(&listed(), &[])),
        ("a member more", archive(&listed(), &[("state.db", DATABASE), ("token", b"x")])),
        ("no database", archive(&manifest(vec![entry("token", b"x")]), &[("token", b"x")])),
        (
            "a way out",
            archive(
                &manifest(vec![entry("state.db", DATABASE), entry("../evil", b"x")]),
                &[("state.db", DATABASE), ("../evil", b"x")],
            ),
        ),
    ] {
        let error = restored(&bytes).expect_err(what);
        assert!(matches!(error, RestoreError::Damaged(_)), "{what}: {error}");
    }
}

#[test]
fn what_is_no_backup_is_called_so() {
    let other = {
        let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).expect("in memory"));
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_cksum();
        tar.append_data(&mut header, "etc/passwd", &b"x"[..]).expect("in memory");
        tar.into_inner().and_then(|zstd| zstd.finish()).expect("in memory")
    };
    for bytes in [&b""[..], b"hello", &[0; 4096], &other] {
        let error = restored(bytes).expect_err("foreign");
        assert!(matches!(error, RestoreError::Foreign(_)), "{error}");
    }
}

#[test]
fn a_newer_format_is_refused_by_name_before_the_rest_is_looked_at() {
    for (format, store_format, what) in
        [(FORMAT + 1, updraft_store::FORMAT, "backup format"), (FORMAT, updraft_store::FORMAT + 1, "data format")]
    {
        let newer = Manifest { format, store_format, ..manifest(Vec::new()) };
        let error = restored(&archive(&newer, &[])).expect_err("newer");
        let told = error.to_string();
        assert!(told.contains("Updraft 1.2.3") && told.contains(what) && told.contains("newer"), "{told}");
    }
}

#[test]
fn a_restore_that_was_killed_is_told_by_serve_and_done_over_by_the_next() {
    let outer = TempDir::new().expect("a temporary directory");
    let (target, partial) = (outer.path().join("data"), outer.path().join("data.partial"));
    let killed = Partial::make(&target).expect("free");
    fs::write(partial.join("state.db"), "half").expect("writable");
    assert!(matches!(restore(&good()[..], &target), Err(RestoreError::UnderWay(_))), "it may still be running");
    // As SIGKILL does: the lock goes, the files stay.
    let mut killed = killed;
    killed.keep = true;
    drop(killed);
    assert!(matches!(check_restored(&target), Err(RestoreError::Unfinished { .. })));
    restore(&good()[..], &target).expect("done over");
    check_restored(&target).expect("nothing is unfinished");
    assert!(!partial.exists());
}

#[test]
fn what_was_not_made_by_a_restore_is_never_removed() {
    let outer = TempDir::new().expect("a temporary directory");
    let precious = outer.path().join("data.partial");
    fs::create_dir(&precious).expect("writable");
    fs::write(precious.join("file"), "mine").expect("writable");
    assert!(matches!(restore(&good()[..], &outer.path().join("data")), Err(RestoreError::InTheWay(_))));
    assert!(precious.join("file").exists());
}

#[test]
fn a_link_to_a_data_directory_is_followed_and_a_mount_point_is_known() {
    let outer = TempDir::new().expect("a temporary directory");
    let (real, link) = (outer.path().join("real/data"), outer.path().join("link"));
    fs::create_dir_all(&real).expect("writable");
    std::os::unix::fs::symlink(&real, &link).expect("writable");
    restore(&good()[..], &link).expect("a good backup");
    assert_eq!(fs::read(real.join("state.db")).expect("restored"), DATABASE);
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    assert!(is_mount_point(Path::new("/proc")) && !is_mount_point(&real));
}
