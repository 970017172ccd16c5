//! Files with secrets: mode 0600 in directories of mode 0700, written whole or not at all.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::TlsError;

/// Makes a directory, or takes an existing one away from everybody but its owner.
pub(super) fn make_private_dir(dir: &Path) -> Result<(), TlsError> {
    let fail = |act| move |source| TlsError::File { act, path: dir.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail("making"))?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(fail("restricting"))
}

/// Takes a file others may read or write away from them, and says so: its secret may be known.
pub(super) fn restrict(path: &Path) -> Result<(), TlsError> {
    let fail = |act| move |source| TlsError::File { act, path: path.to_owned(), source };
    let mode = match std::fs::metadata(path) {
        Ok(found) => found.permissions().mode() & 0o777,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fail("reading")(error)),
    };
    if mode & 0o077 == 0 {
        return Ok(());
    }
    tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "others could read this key; restricted to 0600");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(fail("restricting"))
}

/// The text of a file.
pub(super) fn read(path: &Path) -> Result<String, TlsError> {
    std::fs::read_to_string(path).map_err(|source| TlsError::File {
        act: "reading",
        path: path.to_owned(),
        source,
    })
}

/// The text of a file; `None` when there is none.
pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, TlsError> {
    if path.exists() { read(path).map(Some) } else { Ok(None) }
}

/// Writes a file of mode 0600 beside its name, then renames it, so that no reader sees half a key.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), TlsError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|source| TlsError::File { act: "writing", path: path.to_owned(), source })
}

/// Removes a file if it is there.
pub(super) fn remove(path: &Path) -> Result<(), TlsError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(TlsError::File { act: "removing", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}
