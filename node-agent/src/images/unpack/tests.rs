//! Hostile and ordinary layers, on real directories (root, for owners, devices and trusted attributes).

use super::*;
use tar::{Builder, Header};

fn is_root() -> bool {
    Uid::effective().is_root()
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(1000);
    header.set_size(size);
    header
}

/// Writes names without the crate's own checks: the archives here are not honest.
fn raw_name(header: &mut Header, name: &str) {
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
}

#[derive(Default)]
struct Layer(Vec<(Header, String, Vec<u8>)>);

impl Layer {
    fn add(mut self, kind: EntryType, name: &str, link: &str, content: &str) -> Self {
        let mode = if kind.is_dir() { 0o750 } else { 0o640 };
        let mut header = header(kind, mode, content.len() as u64);
        if !link.is_empty() {
            header.set_link_name_literal(link).unwrap();
        }
        raw_name(&mut header, name);
        self.0.push((header, name.to_owned(), content.as_bytes().to_vec()));
        self
    }

    fn dir(self, name: &str) -> Self {
        self.add(EntryType::Directory, name, "", "")
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.add(EntryType::Regular, name, "", content)
    }

    fn symlink(self, name: &str, to: &str) -> Self {
        self.add(EntryType::Symlink, name, to, "")
    }

    fn bytes(&self) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (header, _, content) in &self.0 {
            builder.append(header, content.as_slice()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpack(&self, lower: &[PathBuf]) -> (tempfile::TempDir, io::Result<()>) {
        let target = tempfile::tempdir().unwrap();
        let outcome = unpack(self.bytes().as_slice(), target.path(), lower);
        (target, outcome)
    }
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let name = CString::new(name).unwrap();
    let mut value = vec![0; 256];
    // SAFETY: all three live for the call and the length is the buffer's.
    let count =
        unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    usize::try_from(count).ok().map(|count| value[..count].to_vec())
}

#[test]
fn ordinary_entries() {
    if !is_root() {
        return;
    }
    let layer = Layer::default()
        .dir("etc/")
        .file("etc/a", "text")
        .add(EntryType::Link, "etc/b", "etc/a", "")
        .symlink("etc/c", "../../../etc/a")
        .file("etc/a2", "1")
        .file("etc/a2", "two")
        .add(EntryType::Fifo, "pipe", "", "");
    let (target, outcome) = layer.unpack(&[]);
    outcome.unwrap();
    let at = |name: &str| target.path().join(name);
    assert_eq!(fs::read_to_string(at("etc/b")).unwrap(), "text");
    assert_eq!(fs::read_to_string(at("etc/a2")).unwrap(), "two");
    assert_eq!(fs::read_link(at("etc/c")).unwrap(), Path::new("../../../etc/a"));
    let meta = fs::metadata(at("etc/a")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime()), (0o640, 7, 8, 1000));
    assert_eq!(meta.nlink(), 2);
    let meta = fs::metadata(at("etc")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o750, 1000));
}

#[test]
fn nothing_leaves_the_directory() {
    if !is_root() {
        return;
    }
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let out = outside.path().to_str().unwrap();
    let layers = [
        Layer::default().file("../victim", "x"),
        Layer::default().file(victim.to_str().unwrap(), "x"),
        Layer::default().symlink("l", out).file("l/victim", "x"),
        Layer::default().symlink("l", out).dir("l/").file("l/victim", "x"),
        Layer::default().symlink("l", &format!("../../../../../..{out}")).file("l/victim", "x"),
        Layer::default().add(EntryType::Link, "h", victim.to_str().unwrap(), "").file("h", "x"),
        Layer::default().add(EntryType::Link, "h", "../../victim", ""),
        Layer::default().symlink("victim", victim.to_str().unwrap()).file("victim", "x"),
    ];
    for layer in layers {
        let (_target, _either) = layer.unpack(&[]);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched", "{:?}", layer.0);
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "{:?}", layer.0);
    }
}

#[test]
fn deletions_become_overlays_marks() {
    if !is_root() {
        return;
    }
    let lower = Layer::default().dir("d/").file("d/old", "1").file("gone", "2").unpack(&[]).0;
    let below = [lower.path().to_path_buf()];
    let layer = Layer::default()
        .file(".wh.gone", "")
        .dir("d/")
        .file("d/.wh..wh..opq", "")
        .file("d/new", "3")
        .file(".wh.again", "")
        .dir("again/");
    let (target, outcome) = layer.unpack(&below);
    outcome.unwrap();
    let gone = fs::symlink_metadata(target.path().join("gone")).unwrap();
    assert_eq!((gone.mode() & libc::S_IFMT, gone.rdev()), (libc::S_IFCHR, 0));
    for name in ["d", "again"] {
        let mark = attribute(&target.path().join(name), "trusted.overlay.opaque");
        assert_eq!(mark.as_deref(), Some(&b"y"[..]), "{name}");
    }
    let device = Layer::default().add(EntryType::Char, "etc", "", "");
    assert!(device.unpack(&below).1.is_err());
}

#[test]
fn implied_directories_look_as_below() {
    if !is_root() {
        return;
    }
    let lower = Layer::default().dir("a/").dir("a/b/").unpack(&[]).0;
    let (target, outcome) = Layer::default().file("a/b/c", "x").unpack(&[lower.path().to_path_buf()]);
    outcome.unwrap();
    let meta = fs::metadata(target.path().join("a/b")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o750, 7, 8));
}

#[test]
fn attributes_of_overlay_are_not_taken_from_archives() {
    if !is_root() {
        return;
    }
    let mut builder = Builder::new(Vec::new());
    let marks = [
        ("SCHILY.xattr.user.note", &b"n"[..]),
        ("SCHILY.xattr.trusted.overlay.redirect", &b"/etc"[..]),
        ("SCHILY.xattr.trusted.overlay.opaque", &b"y"[..]),
    ];
    builder.append_pax_extensions(marks).unwrap();
    let mut entry = header(EntryType::Directory, 0o755, 0);
    raw_name(&mut entry, "d/");
    builder.append(&entry, io::empty()).unwrap();
    let target = tempfile::tempdir_in("/tmp").unwrap();
    unpack(builder.into_inner().unwrap().as_slice(), target.path(), &[]).unwrap();
    let directory = target.path().join("d");
    assert_eq!(attribute(&directory, "user.note").as_deref(), Some(&b"n"[..]));
    assert_eq!(attribute(&directory, "trusted.overlay.redirect"), None);
    assert_eq!(attribute(&directory, "trusted.overlay.opaque"), None);
}
