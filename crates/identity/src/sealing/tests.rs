use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use updraft_model::{
    Confidential, ErrorKind,
    secret::{Sealed, Sealer},
};

use super::{KeySource, Sealing, SealingError, envelope::EnvelopeError, ring::Ring};

const NAME: &str = "projects/p/secrets/s/versions/1";

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join("keys/installation.key")
}

fn made(dir: &TempDir) -> Sealing {
    Sealing::open_or_make(KeySource::File(file(dir))).expect("is made")
}

fn value(text: &str) -> Confidential {
    Confidential::new(text.as_bytes().to_vec())
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("changed");
}

#[test]
fn a_missing_file_is_made_for_its_owner_only_where_nothing_is_sealed_and_refused_where_something_is() {
    let dir = TempDir::new().expect("a directory");
    let error = Sealing::open(KeySource::File(file(&dir))).expect_err("is not there");
    assert!(matches!(error, SealingError::File { operation: "read", .. }) && error.is_lasting(), "{error}");
    assert!(error.hint().expect("there is advice").contains("put the file back"));
    let keys = made(&dir).keys();
    assert_eq!(fs::metadata(file(&dir)).expect("is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(dir.path().join("keys")).expect("is there").permissions().mode() & 0o777, 0o700);
    assert_eq!(made(&dir).keys(), keys, "the second time it is the same");
    assert_eq!(keys.len(), 1);
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_way_out() {
    let dir = TempDir::new().expect("a directory");
    made(&dir);
    fs::set_permissions(file(&dir), fs::Permissions::from_mode(0o640)).expect("changed");
    let error = Sealing::open_or_make(KeySource::File(file(&dir))).expect_err("is refused");
    let text = format!("the installation key {} can be read by others (mode 640)", file(&dir).display());
    assert_eq!(error.to_string(), text);
    assert!(error.hint().expect("there is advice").contains("chmod 600"));
}

#[test]
fn what_was_sealed_opens_and_two_seals_of_one_value_have_nothing_in_common() {
    let dir = TempDir::new().expect("a directory");
    let sealing = made(&dir);
    let first = sealing.seal(NAME, &value("hunter2-hunter2")).expect("sealed");
    let second = sealing.seal(NAME, &value("hunter2-hunter2")).expect("sealed");
    let head = 2 + first.key.len();
    assert!(first.bytes[head..].chunks(8).zip(second.bytes[head..].chunks(8)).all(|(one, other)| one != other));
    assert!(!String::from_utf8_lossy(&first.bytes).contains("hunter2"));
    for sealed in [first, second] {
        assert_eq!(sealing.open(NAME, &sealed.bytes).expect("opens").expose(), b"hunter2-hunter2");
        assert_eq!(sealed.key, sealing.current());
    }
}

#[test]
fn a_sealed_value_does_not_open_under_another_name_nor_when_a_bit_of_it_was_changed() {
    let dir = TempDir::new().expect("a directory");
    let sealing = made(&dir);
    let Sealed { bytes, .. } = sealing.seal(NAME, &value("hunter2")).expect("sealed");
    let error = sealing.open("projects/p/secrets/s/versions/2", &bytes).expect_err("is another's");
    assert!(error.cause().expect("a cause").contains("belongs to something else"));
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 1;
        let error = sealing.open(NAME, &changed).expect_err("was changed");
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(!error.message().contains("hunter2") && !error.cause().expect("a cause").contains("hunter2"));
    }
    for length in 0..bytes.len() {
        assert!(sealing.open(NAME, &bytes[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn parts_of_two_sealed_values_do_not_go_together() {
    let dir = TempDir::new().expect("a directory");
    let sealing = made(&dir);
    let one = sealing.seal(NAME, &value("one")).expect("sealed").bytes;
    let two = sealing.seal(NAME, &value("two")).expect("sealed").bytes;
    let cut = one.len() - (12 + 3 + 16);
    assert!(sealing.open(NAME, &[&one[..cut], &two[cut..]].concat()).is_err());
    assert!(sealing.open(NAME, &[&one[..cut], &one[cut..]].concat()).is_ok());
}

#[test]
fn a_new_key_seals_and_the_old_one_goes_on_opening_also_after_a_start() {
    let dir = TempDir::new().expect("a directory");
    let sealing = made(&dir);
    let old = sealing.seal(NAME, &value("hunter2")).expect("sealed");
    sealing.renew().expect("the file is ours");
    let new = sealing.rewrap(NAME, &old.bytes).expect("opens");
    assert_eq!(sealing.keys(), [new.key.clone(), old.key.clone()]);
    assert_eq!(new.key, sealing.seal(NAME, &value("x")).expect("sealed").key);
    let again = made(&dir);
    assert_eq!(again.keys(), sealing.keys());
    for sealed in [&old, &new] {
        assert_eq!(again.open(NAME, &sealed.bytes).expect("opens").expose(), b"hunter2");
    }
    assert_eq!(fs::metadata(file(&dir)).expect("is there").permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(file(&dir)).expect("readable");
    write_private(&file(&dir), text.lines().next().expect("the new key"));
    let without_old = made(&dir);
    assert_eq!(without_old.open(NAME, &new.bytes).expect("opens").expose(), b"hunter2");
    let error = without_old.open(NAME, &old.bytes).expect_err("its key is gone");
    assert!(error.cause().expect("a cause").contains(&format!("sealed with the key {}", old.key)));
}

#[test]
fn what_a_crash_left_of_a_renewal_is_removed() {
    let dir = TempDir::new().expect("a directory");
    let keys = made(&dir).keys();
    let draft = file(&dir).with_extension("new");
    fs::write(&draft, "half a ke").expect("written");
    assert_eq!(made(&dir).keys(), keys);
    assert!(!draft.exists());
}

#[test]
fn a_source_is_spelled_in_three_ways() {
    for (text, shown) in [
        ("file:/etc/updraft/key", "the file /etc/updraft/key"),
        ("env:UPDRAFT_KEY", "the environment variable UPDRAFT_KEY"),
        ("credential:updraft.key", "the systemd credential updraft.key"),
    ] {
        assert_eq!(text.parse::<KeySource>().expect(text).to_string(), shown);
    }
    for bad in ["", "file:", "file:relative", "env:", "env:A=B", "credential:../x", "credential:..", "vault:x", "x"] {
        assert!(bad.parse::<KeySource>().is_err(), "{bad}");
    }
}

#[test]
fn keys_that_come_from_elsewhere_are_missed_by_name_and_not_written() {
    let source: KeySource = "env:UPDRAFT_TEST_NO_SUCH_KEY".parse().expect("sound");
    let error = Sealing::open_or_make(source.clone()).expect_err("is not there");
    assert!(error.to_string().contains("the environment variable UPDRAFT_TEST_NO_SUCH_KEY"), "{error}");
    let error = source.write(&value("x")).expect_err("is not ours");
    assert!(matches!(error, SealingError::NotOurs { .. }), "{error}");
}

#[test]
fn what_is_no_key_is_refused_without_being_told() {
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let parse = |text: &str| Ring::parse(&value(text)).map(|ring| ring.ids());
    assert_eq!(parse(key).expect("a key").len(), 1);
    assert_eq!(parse(&format!("# mine\n{key} # the first\n\n{key}\n")).expect("a key").len(), 1);
    for (text, cause) in [
        ("", "there is no key in it"),
        ("# nothing", "there is no key in it"),
        ("\nhunter2", "line 2 has something that is not 32 bytes in base64"),
        ("aHVudGVyMg==", "line 1 has something that is not 32 bytes in base64"),
    ] {
        assert_eq!(parse(text).expect_err(text), cause);
    }
    let error = EnvelopeError::Key { name: "n".to_owned(), key: "k".to_owned() };
    assert_eq!(error.to_string(), "the value of n is sealed with the key k, which is not there");
}
