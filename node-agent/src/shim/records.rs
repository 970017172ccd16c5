//! Where things lie on disk below the node directory, and small JSON files written so that a reader sees the
//! old or the new one, never half of one.
//!
//! Per pod: `run/<short>/` with `config.json` (agent), `pod.json` and `s` (shim), `c/<container>/` with
//! `record.json`, `config.json` (OCI), `root` (mount point), `m/<n>` (staged volumes), `state/` (libcontainer);
//! `containers/<short>/<container>/` holds the writable layer. `<short>` is 12 hex digits of the uid's SHA-256.
//!
//! Files are not synced: what they describe (processes, mounts) does not outlive the machine either.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// The directories of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodDir {
    node: PathBuf,
    short: String,
}

impl PodDir {
    /// The directories of the pod with this uid.
    pub fn of(node: &Path, uid: &str) -> Self {
        let digest = hex::encode(Sha256::digest(uid.as_bytes()));
        Self { node: node.to_path_buf(), short: digest.chars().take(12).collect() }
    }

    /// From the path of the run directory, as on the shim's command line.
    pub fn from_run(run: &Path) -> Option<Self> {
        let short = run.file_name()?.to_str()?.to_owned();
        Some(Self { node: run.parent()?.parent()?.to_path_buf(), short })
    }

    /// Every pod with a run directory.
    pub fn all(node: &Path) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(node.join("run")) else { return Vec::new() };
        let mut found: Vec<Self> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| Self::from_run(&entry.path()))
            .collect();
        found.sort_by(|a, b| a.short.cmp(&b.short));
        found
    }

    /// `run/<short>`.
    pub fn run(&self) -> PathBuf {
        self.node.join("run").join(&self.short)
    }

    /// What the agent asked for.
    pub fn config(&self) -> PathBuf {
        self.run().join("config.json")
    }

    /// What the shim became.
    pub fn pod(&self) -> PathBuf {
        self.run().join("pod.json")
    }

    /// All writable layers of the pod.
    pub fn layers(&self) -> PathBuf {
        self.node.join("containers").join(&self.short)
    }

    /// The directory of one container.
    pub fn container(&self, id: &str) -> PathBuf {
        self.run().join("c").join(id)
    }

    /// The writable layer of one container.
    pub fn layer(&self, id: &str) -> PathBuf {
        self.layers().join(id)
    }

    /// The container's record.
    pub fn record(&self, id: &str) -> PathBuf {
        self.container(id).join("record.json")
    }

    /// Ids of the containers with a directory.
    pub fn container_ids(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.run().join("c")) else { return Vec::new() };
        let mut ids: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        ids.sort();
        ids
    }

    /// Removes all files of the pod. Absent is fine.
    ///
    /// # Errors
    /// When something cannot be removed, as a mount point in use.
    pub fn remove(&self) -> io::Result<()> {
        remove_tree(&self.layers())?;
        remove_tree(&self.run())
    }
}

/// What identifies a shim for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct ShimIdentity {
    /// Process id.
    pub pid: i32,
    /// Clock ticks after boot.
    pub start_time: u64,
}

/// A short path to a file of a directory that may lie deep: socket addresses hold only 107 bytes.
/// Valid while `directory` is open.
pub fn short_path(directory: &fs::File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

/// Removes a directory tree. Absent is fine.
///
/// # Errors
/// As `unlink(2)`.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io::Error::new(error.kind(), format!("remove {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Writes a value so that readers never see half of it.
///
/// # Errors
/// As `write(2)` and `rename(2)`.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let next = path.with_extension("next");
    let act = || -> io::Result<()> {
        let mut file = fs::File::create(&next)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        fs::rename(&next, path)
    };
    act().map_err(|error| io::Error::new(error.kind(), format!("write {}: {error}", path.display())))
}

/// Reads a value back.
///
/// # Errors
/// When the file is missing or is not of this form.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let act = || -> io::Result<T> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
    act().map_err(|error| io::Error::new(error.kind(), format!("read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_round_trip() {
        let dir = PodDir::of(Path::new("/d/node"), "5f0e");
        assert_eq!(PodDir::from_run(&dir.run()), Some(dir.clone()));
        assert_eq!(dir.short.len(), 12);
        assert!(dir.layer("c-0").starts_with("/d/node/containers"));
    }

    #[test]
    fn json_round_trips_and_absence_is_fine_to_remove() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("a.json");
        write_json(&path, &vec![1, 2]).unwrap();
        assert_eq!(read_json::<Vec<i32>>(&path).unwrap(), [1, 2]);
        assert!(read_json::<Vec<String>>(&path).is_err());
        remove_tree(&tree.path().join("absent")).unwrap();
    }
}
