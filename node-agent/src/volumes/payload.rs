//! Files of a content volume, written so that a reader never sees half an update.
//!
//! Layout as upstream's AtomicWriter: files live in `..<timestamped directory>`, `..data` links to it, and every
//! top-level name links to `..data/<name>`. An update writes a new directory and renames the link over the old.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::VolumeError;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Content.
    pub data: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner, when not root (tokens of pods that run as somebody).
    pub owner: Option<u32>,
}

/// Files by path relative to the volume.
pub type Payload = BTreeMap<String, File>;

/// Default mode of content volumes.
pub const DEFAULT_MODE: i32 = 0o644;

/// A checked mode.
pub fn mode(item: Option<i32>, default: Option<i32>) -> u32 {
    u32::try_from(item.or(default).unwrap_or(DEFAULT_MODE)).unwrap_or(0o644) & 0o777
}

/// Sets permission bits whatever the umask.
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), VolumeError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(VolumeError::io("set mode of", path))
}

/// Adds `key` to `files` at `path`, refusing paths that leave the volume.
///
/// # Errors
/// The reason, for people.
pub fn insert(files: &mut Payload, path: &str, file: File) -> Result<(), String> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain || path.starts_with("..") {
        return Err(format!("invalid path: {path:?}"));
    }
    files.insert(path.to_owned(), file);
    Ok(())
}

/// Writes the payload into `dir`; does nothing when it is there already.
///
/// # Errors
/// The file operation that failed. The previous content stays in place then.
pub fn write(dir: &Path, files: &Payload, fs_group: Option<i64>) -> Result<(), VolumeError> {
    fs::create_dir_all(dir).map_err(VolumeError::io("create", dir))?;
    set_mode(dir, if fs_group.is_some() { 0o2777 } else { 0o777 })?;
    let group = fs_group.and_then(|group| u32::try_from(group).ok());
    let version = format!("..{}", version_of(files, group));
    let link = dir.join("..data");
    let old = fs::read_link(&link).ok();
    if old.as_deref() == Some(Path::new(&version))
        && names_of(files).iter().all(|name| dir.join(name).exists())
    {
        return Ok(());
    }
    let fresh = dir.join(&version);
    remove_tree(&fresh)?;
    for (path, file) in files {
        write_file(&fresh, path, file, group)?;
    }
    // A payload without files still needs the directory the link points to.
    fs::create_dir_all(&fresh).map_err(VolumeError::io("create", &fresh))?;
    set_mode(&fresh, 0o755)?;
    let temporary = dir.join("..data_tmp");
    remove_tree(&temporary)?;
    symlink(&version, &temporary).map_err(VolumeError::io("link", &temporary))?;
    fs::rename(&temporary, &link).map_err(VolumeError::io("switch", &link))?;
    link_names(dir, files)?;
    match old {
        Some(old) if old != Path::new(&version) => remove_tree(&dir.join(old)),
        _ => Ok(()),
    }
}

/// Names the content, so that the same content is not written twice and an update always differs.
fn version_of(files: &Payload, group: Option<u32>) -> String {
    let mut hash = Sha256::new();
    for (path, file) in files {
        hash.update(path.as_bytes());
        hash.update([0]);
        hash.update(file.mode.to_be_bytes());
        hash.update(file.owner.unwrap_or(0).to_be_bytes());
        hash.update(file.data.len().to_be_bytes());
        hash.update(&file.data);
    }
    hash.update(group.unwrap_or(0).to_be_bytes());
    hex::encode(hash.finalize())[..16].to_owned()
}

fn names_of(files: &Payload) -> BTreeSet<&str> {
    files.keys().filter_map(|path| path.split('/').next()).collect()
}

fn write_file(root: &Path, path: &str, file: &File, group: Option<u32>) -> Result<(), VolumeError> {
    let target = root.join(path);
    let mut made: PathBuf = root.to_owned();
    fs::create_dir_all(&made).map_err(VolumeError::io("create", &made))?;
    if let Some(parent) = Path::new(path).parent() {
        for part in parent.components() {
            made.push(part);
            fs::create_dir_all(&made).map_err(VolumeError::io("create", &made))?;
            set_mode(&made, 0o755)?;
        }
    }
    fs::write(&target, &file.data).map_err(VolumeError::io("write", &target))?;
    // Group members read what the owner reads (upstream: fsGroup ORs 0440).
    let mode = if group.is_some() { file.mode | 0o440 } else { file.mode };
    if group.is_some() || file.owner.is_some() {
        chown(&target, file.owner, group).map_err(VolumeError::io("change owner of", &target))?;
    }
    set_mode(&target, mode)
}

/// One link per top-level name; links of names that are gone are removed after the switch.
fn link_names(dir: &Path, files: &Payload) -> Result<(), VolumeError> {
    let names = names_of(files);
    for name in &names {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(name), &link).map_err(VolumeError::io("link", &link))?;
        }
    }
    for entry in fs::read_dir(dir).map_err(VolumeError::io("list", dir))?.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with("..") || names.contains(name));
        if !ours {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_tree(path: &Path) -> Result<(), VolumeError> {
    let result = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    result.map_err(VolumeError::io("remove", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str, u32)]) -> Payload {
        let file = |data: &str, mode| File { data: data.as_bytes().to_vec(), mode, owner: None };
        files.iter().map(|(path, data, mode)| ((*path).to_owned(), file(data, *mode))).collect()
    }

    #[test]
    fn updates_switch_one_link() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path().join("v");
        write(&at, &payload(&[("a", "1", 0o644), ("d/b", "2", 0o400)]), None).expect("written");
        assert_eq!(fs::read_to_string(at.join("a")).expect("a"), "1");
        assert_eq!(fs::read_to_string(at.join("d/b")).expect("b"), "2");
        let mode = fs::metadata(at.join("d/b")).expect("meta").permissions().mode() & 0o777;
        assert_eq!(mode, 0o400);
        assert_eq!(fs::read_link(at.join("a")).expect("a link"), Path::new("..data/a"));
        let first = fs::read_link(at.join("..data")).expect("a link");

        write(&at, &payload(&[("a", "1", 0o644), ("d/b", "2", 0o400)]), None).expect("same");
        assert_eq!(fs::read_link(at.join("..data")).expect("a link"), first, "same content is not rewritten");

        write(&at, &payload(&[("a", "3", 0o644), ("c", "4", 0o644)]), None).expect("updated");
        assert_eq!(fs::read_to_string(at.join("a")).expect("a"), "3");
        assert_eq!(fs::read_to_string(at.join("c")).expect("c"), "4");
        assert!(!at.join("d").exists());
        assert!(!at.join(first).exists(), "the old version is gone");

        write(&at, &Payload::new(), None).expect("emptied");
        assert!(!at.join("a").exists());
    }

    #[test]
    fn a_group_can_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path().join("v");
        let own = nix::unistd::getgid().as_raw();
        write(&at, &payload(&[("a", "1", 0o400)]), Some(i64::from(own))).expect("written");
        assert_eq!(fs::metadata(at.join("a")).expect("meta").permissions().mode() & 0o777, 0o440);
    }

    #[test]
    fn paths_stay_inside() {
        let file = || File { data: Vec::new(), mode: 0o644, owner: None };
        for path in ["../a", "/a", "", "..a", "a/../b"] {
            assert!(insert(&mut Payload::new(), path, file()).is_err(), "{path}");
        }
        assert!(insert(&mut Payload::new(), "a/b", file()).is_ok());
    }
}
