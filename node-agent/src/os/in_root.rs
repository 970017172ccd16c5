//! Paths that come from an image or a pod, resolved so that no symbolic link and no `..` leads out of a root.
//!
//! Everything goes through `openat2(RESOLVE_IN_ROOT)`: links are followed as the container would follow them.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};

/// Opens `path` as seen from `root`.
///
/// # Errors
/// As `openat2(2)`; `ELOOP` for magic links.
pub fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    Ok(openat2(root, path, how)?)
}

/// Opens a root directory itself.
///
/// # Errors
/// As `open(2)`.
pub fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// Reads a whole file below `root`.
///
/// # Errors
/// As `openat2(2)` and `read(2)`.
pub fn read(root: BorrowedFd<'_>, path: &Path) -> io::Result<String> {
    // O_NONBLOCK: an image could put a named pipe there.
    io::read_to_string(File::from(open(root, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?))
}

/// Opens a directory below `root`, making what is missing with `mode`. Links that point to nothing are an error.
///
/// # Errors
/// As `openat2(2)` and `mkdirat(2)`.
pub fn make_dirs(root: BorrowedFd<'_>, path: &Path, mode: Mode) -> io::Result<OwnedFd> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
    match open(root, path, directory) {
        Ok(found) => return Ok(found),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
        Err(error) => return Err(error),
    }
    let mut walked = PathBuf::new();
    let mut here = open(root, Path::new("."), directory)?;
    for name in normal_components(path)? {
        walked.push(name);
        here = match open(root, &walked, directory) {
            Ok(found) => found,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                match mkdirat(here.as_fd(), name, mode) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open(root, &walked, directory)?
            }
            Err(error) => return Err(error),
        };
    }
    Ok(here)
}

/// The names of a path without root and `.`.
///
/// # Errors
/// `..` is refused: it has no place in a path that is to be made.
pub fn normal_components(path: &Path) -> io::Result<Vec<&OsStr>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{}: must not contain ..", path.display()),
                ));
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_inside() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        symlink(outside.path(), root.path().join("out")).unwrap();
        symlink("../../../../..", root.path().join("up")).unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/passwd"), "inside").unwrap();
        let fd = open_root(root.path()).unwrap();
        assert!(make_dirs(fd.as_fd(), Path::new("/out/x"), Mode::S_IRWXU).is_err());
        assert!(!outside.path().join("x").exists());
        assert_eq!(read(fd.as_fd(), Path::new("up/etc/passwd")).unwrap(), "inside");
        make_dirs(fd.as_fd(), Path::new("/up/made/deep"), Mode::S_IRWXU).unwrap();
        assert!(root.path().join("made/deep").is_dir());
        assert!(make_dirs(fd.as_fd(), Path::new("a/../../b"), Mode::S_IRWXU).is_err());
    }
}
