//! Layers as they are, and layers as an enemy would make them.

use std::{
    fs,
    io::Write,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
};

use tempfile::TempDir;

use super::*;

/// A tar written byte by byte: the `tar` crate's own builder refuses what an enemy would write.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn entry(self, kind: u8, path: &str, link: &str, content: &[u8]) -> Self {
        self.raw(kind, (path.as_bytes(), link.as_bytes()), content, |_| {})
    }

    fn raw(
        mut self,
        kind: u8,
        (path, link): (&[u8], &[u8]),
        content: &[u8],
        adjust: impl FnOnce(&mut ::tar::Header),
    ) -> Self {
        let mut header = ::tar::Header::new_ustar();
        let old = header.as_old_mut();
        old.name[..path.len()].copy_from_slice(path);
        old.linkname[..link.len()].copy_from_slice(link);
        header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
        header.set_mtime(1_000_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        header.set_entry_type(::tar::EntryType::new(kind));
        adjust(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.entry(b'0', path, "", content.as_bytes())
    }

    fn dir(self, path: &str) -> Self {
        self.entry(b'5', path, "", b"")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.entry(b'2', path, target, b"")
    }

    fn hard(self, path: &str, target: &str) -> Self {
        self.entry(b'1', path, target, b"")
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            body.extend_from_slice(format!("{length} {key}=").as_bytes());
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        self.entry(b'x', "pax", "", &body)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A layer's directory with a neighbour that nothing may touch.
struct World {
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::create_dir(dir.path().join("layer")).expect("directory");
        fs::create_dir(dir.path().join("outside")).expect("directory");
        fs::write(dir.path().join("outside/secret"), "secret").expect("write");
        Self { dir }
    }

    fn layer(&self) -> std::path::PathBuf {
        self.dir.path().join("layer")
    }

    fn outside(&self) -> String {
        self.dir.path().join("outside").display().to_string()
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Unpacked, UnpackError> {
        self.unpack_within(bytes, &UnpackLimits::default())
    }

    fn unpack_within(&self, bytes: &[u8], limits: &UnpackLimits) -> Result<Unpacked, UnpackError> {
        unpack(bytes, &self.layer(), limits, &Budget::new(limits.bytes))
    }

    fn assert_outside_untouched(&self) {
        let names: Vec<_> =
            fs::read_dir(self.outside()).expect("outside").map(|e| e.expect("entry").file_name()).collect();
        assert_eq!(names, ["secret"]);
        assert_eq!(fs::read_to_string(self.dir.path().join("outside/secret")).expect("secret"), "secret");
        let metadata = fs::metadata(self.dir.path().join("outside/secret")).expect("secret");
        assert_eq!(metadata.nlink(), 1);
        assert_eq!(fs::read_dir(self.dir.path()).expect("world").count(), 2);
    }
}

fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let mut stderr = std::io::stderr();
        let _ = writeln!(stderr, "skipped: {test} needs root (chown, mknod, trusted xattrs)");
    }
    root
}

fn xattr(path: &std::path::Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0u8; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    Some(value[..length].to_vec())
}

#[test]
fn hostile_layers_are_refused_with_a_sentence() {
    let outside = World::new();
    let o = outside.outside();
    let deep = "d/".repeat(250) + "f";
    let long = "n".repeat(300);
    let table: Vec<(&str, Vec<u8>, &str)> = vec![
        ("parent", Tar::default().file("../escape", "x").end(), "'..'"),
        ("parent inside", Tar::default().dir("a").file("a/../../escape", "x").end(), "'..'"),
        ("parent by pax", Tar::default().pax(&[("path", b"../escape")]).file("x", "x").end(), "'..'"),
        ("link out, then through it", Tar::default().link("l", &o).file("l/new", "x").end(), "no directory"),
        (
            "directory swapped for a link",
            Tar::default().dir("d").file("d/a", "").link("d", &o).file("d/b", "x").end(),
            "no directory",
        ),
        ("loop", Tar::default().link("a", "b").link("b", "a").file("a/x", "").end(), "loop"),
        ("hard link up", Tar::default().hard("h", "../outside/secret").end(), "'..'"),
        ("hard link absolute", Tar::default().hard("h", &format!("{o}/secret")).end(), "does not hold"),
        ("hard link through a link", Tar::default().link("l", &o).hard("h", "l/secret").end(), "does not hold"),
        ("hard link by pax", Tar::default().pax(&[("linkpath", b"../../x")]).hard("h", "y").end(), "'..'"),
        ("hard link to a directory", Tar::default().dir("d").hard("h", "d").end(), "cannot be linked"),
        ("hard link to the root", Tar::default().hard("h", "/").end(), "directory"),
        ("not UTF-8", Tar::default().raw(b'0', (b"caf\xe9", b""), b"", |_| {}).end(), "UTF-8"),
        ("zero byte", Tar::default().pax(&[("path", b"a\0b")]).file("x", "").end(), "zero byte"),
        ("deep", Tar::default().pax(&[("path", deep.as_bytes())]).file("x", "").end(), "deeper"),
        ("long name", Tar::default().pax(&[("path", long.as_bytes())]).file("x", "").end(), "longer than 255"),
        (
            "long path",
            Tar::default().pax(&[("path", "p/".repeat(4000).as_bytes())]).file("x", "").end(),
            "longer than 4095",
        ),
        ("empty link", Tar::default().link("l", "").end(), "empty"),
        ("file below a file", Tar::default().file("f", "").file("f/g", "").end(), "no directory"),
        ("root is a link", Tar::default().link("/", &o).end(), "root"),
        ("whiteout of the parent", Tar::default().dir("d").file("d/.wh...", "").end(), "hides no name"),
        ("whiteout of nothing", Tar::default().file(".wh.", "").end(), "hides no name"),
        ("unknown type", Tar::default().entry(b'Z', "z", "", b"").end(), "unknown type"),
        ("sparse", Tar::default().entry(b'S', "s", "", b"").end(), "sparse"),
        ("impossible owner", Tar::default().pax(&[("uid", b"4294967295")]).file("x", "").end(), "impossible id"),
        ("bad pax", Tar::default().entry(b'x', "pax", "", b"99 path=x\n").file("x", "").end(), "malformed"),
        ("headers of a gigabyte", Tar::default().raw(b'L', (b"l", b""), b"", |h| h.set_size(1 << 30)).end(), "headers"),
        ("cut off", Tar::default().raw(b'0', (b"f", b""), b"", |h| h.set_size(1 << 30)).end(), "middle"),
        ("no tar", b"this is no tar at all".repeat(100), "checksum"),
        ("another compression", b"BZh91AY".to_vec(), "bzip2"),
        ("damaged gzip", [&[0x1f, 0x8b, 8, 0], [7u8; 64].as_slice()].concat(), ""),
    ];
    for (what, bytes, words) in table {
        let world = World::new();
        match world.unpack(&bytes) {
            Err(UnpackError::Layer(text)) => assert!(text.contains(words), "{what}: {text}"),
            other => panic!("{what}: {other:?}"),
        }
        world.assert_outside_untouched();
    }
    outside.assert_outside_untouched();
}

#[test]
fn paths_through_links_stay_inside_the_layer() {
    for (target, lands) in [("/", "x"), ("../../../..", "x"), ("/usr", "usr/x"), ("usr/../usr", "usr/x"), (".", "x")] {
        let world = World::new();
        world.unpack(&Tar::default().dir("usr").link("l", target).file("l/x", "in").end()).expect(target);
        assert_eq!(fs::read_to_string(world.layer().join(lands)).expect(target), "in", "{target}");
        world.assert_outside_untouched();
    }
}

#[test]
fn a_file_takes_the_place_of_a_link_instead_of_following_it() {
    let world = World::new();
    let secret = format!("{}/secret", world.outside());
    let tar = Tar::default().link("f", &secret).file("f", "mine").link("/abs", &secret).dir("abs").end();
    world.unpack(&tar).expect("unpacked");
    assert_eq!(fs::read_to_string(world.layer().join("f")).expect("file"), "mine");
    assert!(fs::symlink_metadata(world.layer().join("abs")).expect("directory").is_dir());
    world.assert_outside_untouched();
}

#[test]
fn absolute_names_mean_the_root_of_the_image() {
    let world = World::new();
    world.unpack(&Tar::default().file("/etc//./motd", "hi").end()).expect("unpacked");
    assert_eq!(fs::read_to_string(world.layer().join("etc/motd")).expect("file"), "hi");
}

#[test]
fn a_later_entry_wins_whatever_the_kinds() {
    let world = World::new();
    let tar = Tar::default()
        .dir("a")
        .file("a/b", "old")
        .file("a", "file now")
        .file("c", "old")
        .dir("c")
        .file("c/d", "new")
        .dir("c")
        .file("h", "one")
        .hard("h", "h")
        .hard("g", "h")
        .end();
    world.unpack(&tar).expect("unpacked");
    let read = |path: &str| fs::read_to_string(world.layer().join(path)).expect(path);
    assert_eq!((read("a"), read("c/d"), read("g")), ("file now".to_owned(), "new".to_owned(), "one".to_owned()));
    assert_eq!(fs::metadata(world.layer().join("h")).expect("h").nlink(), 2);
}

#[test]
fn bombs_go_off_at_the_bound() {
    let zeros = Tar::default().entry(b'0', "zeros", "", &vec![0; 4 << 20]).end();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&zeros).expect("deflate");
    let gzip = gzip.finish().expect("deflate");
    let small = UnpackLimits { ratio_from: 1 << 20, ..UnpackLimits::default() };
    let many = (0..20).fold(Tar::default(), |tar, n| tar.file(&format!("f{n}"), "")).end();
    for (what, bytes, limits, words) in [
        ("bytes", &zeros, UnpackLimits { bytes: 1 << 20, ..small }, "more than 1048576 bytes"),
        ("ratio of gzip", &gzip, small, "500 times"),
        ("ratio of zstd", &zstd::encode_all(zeros.as_slice(), 1).expect("zstd"), small, "500 times"),
        ("entries", &many, UnpackLimits { entries: 19, ..small }, "more than 19 entries"),
    ] {
        let error = World::new().unpack_within(bytes, &limits).expect_err(what);
        assert!(error.to_string().contains(words), "{what}: {error}");
    }
    World::new().unpack(&gzip).expect("small enough for the real bounds");
}

#[test]
fn links_cannot_pile_up_depth() {
    let limits = UnpackLimits { depth: 8, ..UnpackLimits::default() };
    let mut tar = Tar::default();
    let mut base = String::new();
    for n in 0..4 {
        tar = tar.file(&format!("{base}a/a/a/a/x"), "").link(&format!("l{n}"), &format!("{base}a/a/a/a"));
        base = format!("l{n}/");
    }
    let error = World::new().unpack_within(&tar.end(), &limits).expect_err("too deep");
    assert!(error.to_string().contains("deeper than 8"), "{error}");
}

#[test]
fn every_compression_gives_the_same_layer_and_digest() {
    let plain = Tar::default().dir("d").file("d/f", "content").end();
    let mut gzip = Vec::new();
    // Two members, as parallel compressors write.
    for half in plain.chunks(plain.len() / 2) {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(half).expect("deflate");
        gzip.extend(encoder.finish().expect("deflate"));
    }
    let zstd = zstd::encode_all(plain.as_slice(), 3).expect("zstd");
    for bytes in [&plain, &gzip, &zstd] {
        let world = World::new();
        let unpacked = world.unpack(bytes).expect("unpacked");
        assert_eq!(unpacked.diff_id, Some(Digest::of(&plain)));
        assert_eq!(unpacked.bytes, plain.len() as u64);
        assert_eq!(fs::read_to_string(world.layer().join("d/f")).expect("file"), "content");
    }
}

#[test]
fn times_and_modes_are_the_layers() {
    let world = World::new();
    let tar = Tar::default()
        .pax(&[("mtime", b"1234567890.5")])
        .raw(b'5', (b"d/", b""), b"", |h| h.set_mode(0o1777))
        .raw(b'0', (b"d/s", b""), b"x", |h| h.set_mode(0o4755))
        .link("l", "nowhere")
        .entry(b'6', "pipe", "", b"")
        .end();
    world.unpack(&tar).expect("unpacked");
    let stat = |path: &str| fs::symlink_metadata(world.layer().join(path)).expect(path);
    assert_eq!(stat("d").permissions().mode() & 0o7777, 0o1777);
    assert_eq!(stat("d/s").permissions().mode() & 0o7777, 0o4755);
    assert_eq!((stat("d").mtime(), stat("d").mtime_nsec()), (1_234_567_890, 500_000_000));
    assert_eq!((stat("d/s").mtime(), stat("l").mtime()), (1_000_000_000, 1_000_000_000));
    assert!(stat("pipe").file_type().is_fifo());
    assert_eq!(fs::read_link(world.layer().join("l")).expect("link"), std::path::Path::new("nowhere"));
}

#[test]
fn owners_and_attributes_are_kept_and_only_those_an_image_may_set() {
    if !is_root("owners_and_attributes_are_kept_and_only_those_an_image_may_set") {
        return;
    }
    let world = World::new();
    // Version 2, cap_net_bind_service, effective; the value holds a line end.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::default()
        .pax(&[
            ("uid", b"1000"),
            ("gid", b"70000"),
            ("SCHILY.xattr.user.note", b"a\nb"),
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.security.selinux", b"x"),
        ])
        .raw(b'0', (b"bin", b""), b"x", |h| h.set_mode(0o6755))
        .raw(b'2', (b"l", b"bin"), b"", |h| h.set_uid(65532))
        .end();
    let unpacked = world.unpack(&tar).expect("unpacked");
    let bin = world.layer().join("bin");
    let stat = fs::metadata(&bin).expect("bin");
    assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777), (1000, 70000, 0o6755));
    assert_eq!(fs::symlink_metadata(world.layer().join("l")).expect("link").uid(), 65532);
    assert_eq!(xattr(&bin, "user.note").as_deref(), Some(b"a\nb".as_slice()));
    assert_eq!(xattr(&bin, "security.capability").as_deref(), Some(capability.as_slice()));
    assert_eq!(xattr(&bin, "trusted.overlay.redirect"), None);
    assert_eq!(unpacked.warnings.len(), 2, "{:?}", unpacked.warnings);
}

#[test]
fn devices_are_left_out_and_recorded() {
    let world = World::new();
    let tar = Tar::default().entry(b'3', "dev/null", "", b"").entry(b'4', "dev/sda", "", b"").file("f", "").end();
    let unpacked = world.unpack(&tar).expect("unpacked");
    assert_eq!(unpacked.warnings.len(), 2);
    assert!(!world.layer().join("dev/null").exists() && world.layer().join("f").exists());
}

#[test]
fn whiteouts_become_overlay_marks_in_any_order() {
    if !is_root("whiteouts_become_overlay_marks_in_any_order") {
        return;
    }
    let world = World::new();
    let tar = Tar::default()
        .file("gone/.wh.file", "")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/kept", "")
        .file(".wh.before", "")
        .dir("before")
        .dir("after")
        .file(".wh.after", "")
        .file(".wh.parent", "")
        .file("parent/child", "")
        .file(".wh.file", "")
        .file("file", "new")
        .file("other", "new")
        .file(".wh.other", "")
        .file(".wh..wh.plnk", "")
        .end();
    let unpacked = world.unpack(&tar).expect("unpacked");
    let layer = world.layer();
    let stat = fs::symlink_metadata(layer.join("gone/file")).expect("whiteout");
    assert!(stat.file_type().is_char_device() && stat.rdev() == 0);
    for opaque in ["opaque", "before", "after", "parent"] {
        assert_eq!(xattr(&layer.join(opaque), "trusted.overlay.opaque").as_deref(), Some(b"y".as_slice()), "{opaque}");
    }
    assert!(layer.join("opaque/kept").is_file() && layer.join("parent/child").is_file());
    assert_eq!(fs::read_to_string(layer.join("file")).expect("file"), "new");
    assert_eq!(fs::read_to_string(layer.join("other")).expect("file"), "new");
    assert_eq!(xattr(&layer.join("gone"), "trusted.overlay.opaque"), None);
    assert!(!layer.join(".wh..wh.plnk").exists());
    assert_eq!(unpacked.implicit, ["gone", "opaque", "parent"]);
    assert!(!is_opaque(&layer));
}

#[test]
fn the_layers_directory_itself_is_never_followed() {
    let world = World::new();
    fs::remove_dir(world.layer()).expect("remove");
    symlink(world.outside(), world.layer()).expect("link");
    assert!(world.unpack(&Tar::default().file("x", "").end()).is_err());
    fs::remove_file(world.layer()).expect("remove");
    fs::create_dir(world.layer()).expect("directory");
    world.assert_outside_untouched();
}

#[test]
fn what_headers_say_of_one_entry_is_bounded_over_all_of_them() {
    let world = World::new();
    let value = vec![b'v'; 64 << 10];
    let many = (0..20).fold(Tar::default(), |tar, _| tar.pax(&[("SCHILY.xattr.user.a", &value)]));
    let error = world.unpack(&many.file("x", "x").end()).expect_err("1.3 MB for one entry");
    assert!(error.to_string().contains("headers of an entry are larger than 1048576 bytes"), "{error}");
    // Each entry has its own.
    let each = (0..20).fold(Tar::default(), |tar, i| tar.pax(&[("comment", &value)]).file(&format!("f{i}"), "x"));
    World::new().unpack(&each.end()).expect("64 KiB each");
}
