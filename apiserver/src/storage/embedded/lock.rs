//! One process per store directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use crate::storage::StoreError;

/// Holds the directory until dropped, or until the process ends in any way.
pub(super) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Locks `directory`, or says which process has it.
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join("lock");
        let failed = |source: std::io::Error| StoreError::Engine {
            act: format!("lock {}", path.display()),
            source: source.into(),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) => return Err(held(directory, &mut file)),
        }
        // The pid is for people; the lock itself is the kernel's.
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn held(directory: &Path, file: &mut File) -> StoreError {
    let mut pid = String::new();
    let holder = match file.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
        _ => "another process".to_owned(),
    };
    StoreError::Engine {
        act: format!("open the store in {}", directory.display()),
        source: format!("{holder} is using it; stop that one or choose another data directory").into(),
    }
}
