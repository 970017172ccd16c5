//! The data directory: one process at a time, one format.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::process::Process;

/// Version of the directory's layout; another version is refused, never guessed at.
const FORMAT: &str = "1";

/// How long a killed process may take to be gone; a live one is refused after it.
const DYING_LIMIT: Duration = Duration::from_millis(500);

/// An open data directory, locked until dropped.
pub struct DataDir {
    root: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens or makes it, for root's eyes only.
    ///
    /// # Errors
    /// When it belongs to another running process or another version, or cannot be written.
    pub fn open(root: &Path) -> Result<Self> {
        make(root)?;
        let mut lock = lock_file(root)?;
        let pid = match try_lock(root, &mut lock)? {
            None => None,
            // A process that was just killed holds its files until the kernel has taken it apart.
            Some(pid) if ends_soon(&pid)? => try_lock(root, &mut lock)?,
            other => other,
        };
        if let Some(pid) = pid {
            bail!(
                "{} is in use by process {pid}; stop that one, or choose another directory with --data-dir",
                root.display()
            );
        }
        check_format(root)?;
        lock.set_len(0)?;
        lock.rewind()?;
        write!(lock, "{}", std::process::id())?;
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// A path below it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// Makes the directory if it is not there, and root's alone if it is.
///
/// # Errors
/// When it cannot be made or is somebody else's.
pub fn make(root: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .and_then(|()| std::fs::set_permissions(root, Permissions::from_mode(0o700)))
        .with_context(|| format!("cannot make the data directory {}", root.display()))
}

fn lock_file(root: &Path) -> Result<File> {
    let path = root.join("lock");
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// Takes the lock, or tells whose it is.
fn try_lock(root: &Path, lock: &mut File) -> Result<Option<String>> {
    match lock.try_lock() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => holder(lock).map(Some),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", root.display()))
        }
    }
}

fn ends_soon(pid: &str) -> Result<bool> {
    match pid.parse().ok().and_then(Process::find) {
        Some(process) => process.ends_within(DYING_LIMIT),
        None => Ok(true),
    }
}

fn holder(lock: &mut File) -> Result<String> {
    let mut pid = String::new();
    lock.rewind().context("cannot read who holds the data directory")?;
    lock.read_to_string(&mut pid).context("cannot read who holds the data directory")?;
    Ok(pid.trim().to_owned())
}

/// Refuses the directory of another version; marks a new one.
fn check_format(root: &Path) -> Result<()> {
    let path = root.join("format");
    match std::fs::read_to_string(&path) {
        Ok(found) if found.trim() == FORMAT => Ok(()),
        Ok(found) => bail!(
            "{} was written by another version of gantry (format {}, this one knows {FORMAT}); use that version, or choose another directory with --data-dir",
            root.display(),
            found.trim()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::write(&path, format!("{FORMAT}\n"))
                .with_context(|| format!("cannot write {}", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The process that runs on a data directory, if any.
///
/// # Errors
/// When the directory cannot be looked at.
pub fn running(root: &Path) -> Result<Option<i32>> {
    let mut lock = lock_file(root)?;
    Ok(try_lock(root, &mut lock)?.and_then(|pid| pid.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_and_one_format() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("d");
        let open = DataDir::open(&root).expect("a new directory");
        assert_eq!(running(&root).expect("readable"), i32::try_from(std::process::id()).ok());
        let second = DataDir::open(&root).err().expect("locked").to_string();
        assert!(second.contains(&std::process::id().to_string()), "{second}");
        drop(open);
        assert_eq!(running(&root).expect("readable"), None);
        std::fs::write(root.join("format"), "7\n").expect("written");
        let other = DataDir::open(&root).err().expect("another format").to_string();
        assert!(other.contains("format 7"), "{other}");
    }
}
