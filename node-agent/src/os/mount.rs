//! Mounts by the file-descriptor based system calls, which libc wraps only as numbers.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;

use super::process::owned;

const OPEN_TREE_CLONE: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;

/// A copy of the mount tree at `path`, attached nowhere: it can be handed to another process, whose mount
/// namespace need not know the path.
///
/// # Errors
/// As `open_tree(2)`; `ENOENT` when the path is missing.
pub fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let flags = OPEN_TREE_CLONE | cast(libc::O_CLOEXEC) | cast(libc::AT_RECURSIVE);
    // SAFETY: `path` is a valid C string for the whole call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    owned(fd)
}

/// Attaches a detached mount tree at `target` in our mount namespace and makes it private.
///
/// # Errors
/// As `move_mount(2)`.
pub fn attach(tree: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    let to = c_path(target)?;
    // SAFETY: both strings are valid for the whole call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    check(result)?;
    make_private(target)
}

/// No mount below `target` is passed on or received from now on.
///
/// # Errors
/// As `mount(2)`.
pub fn make_private(target: &Path) -> io::Result<()> {
    nix::mount::mount(None::<&str>, target, None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(io::Error::from)
}

/// Mounts an overlay of `layers` (lowest first) at `target`, writes going to `upper`.
///
/// `volatile` spares the sync on unmount: the writable layer never outlives its container.
///
/// # Errors
/// As `fsconfig(2)`, naming the option that was refused.
pub fn overlay(layers: &[PathBuf], upper: &Path, work: &Path, target: &Path) -> io::Result<()> {
    // SAFETY: a constant C string and an integer.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, c"overlay".as_ptr(), 1) })?;
    for layer in layers.iter().rev() {
        set_string(&context, "lowerdir+", layer)?;
    }
    set_string(&context, "upperdir", upper)?;
    set_string(&context, "workdir", work)?;
    config(&context, FSCONFIG_SET_FLAG, Some(c"volatile".to_owned()), None)?;
    config(&context, FSCONFIG_CMD_CREATE, None, None)?;
    // SAFETY: integers only.
    let mount = owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1, 0) })?;
    attach(std::os::fd::AsFd::as_fd(&mount), target)
}

fn set_string(context: &OwnedFd, key: &str, value: &Path) -> io::Result<()> {
    let key = CString::new(key)?;
    let name = key.clone();
    config(context, FSCONFIG_SET_STRING, Some(key), Some(c_path(value)?)).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("overlay {}={}: {error}", name.to_string_lossy(), value.display()),
        )
    })
}

fn config(context: &OwnedFd, command: u32, key: Option<CString>, value: Option<CString>) -> io::Result<()> {
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
    // SAFETY: the strings live until the end of this function; null is allowed where the command takes none.
    let result = unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, pointer(&key), pointer(&value), 0)
    };
    check(result)
}

fn check(result: i64) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn cast(flag: i32) -> u32 {
    flag.cast_unsigned()
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
