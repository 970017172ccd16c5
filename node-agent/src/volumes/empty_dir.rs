//! emptyDir volumes: a directory of the node, or a tmpfs of their own. Entry point: [`set_up`].

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use nix::mount::{MsFlags, mount};

use super::VolumeError;
use super::payload::set_mode;
use crate::resources;

/// Makes the directory, 0777 whatever the umask; with `medium: Memory` a tmpfs that outlives the agent.
///
/// # Errors
/// When the directory or the mount cannot be made.
pub fn set_up(
    dir: &Path,
    source: &EmptyDirVolumeSource,
    fs_group: Option<i64>,
    tmpfs: bool,
) -> Result<(), VolumeError> {
    std::fs::create_dir_all(dir).map_err(VolumeError::io("create", dir))?;
    if source.medium.as_deref() == Some("Memory") && tmpfs && !is_mount_point(dir) {
        let limit = source.size_limit.as_ref().and_then(resources::value).filter(|bytes| *bytes > 0);
        mount_tmpfs(dir, limit, 0o777)?;
    }
    match fs_group.and_then(|group| u32::try_from(group).ok()) {
        Some(group) => {
            chown(dir, None, Some(group)).map_err(VolumeError::io("change group of", dir))?;
            set_mode(dir, 0o2777)
        }
        None => set_mode(dir, 0o777),
    }
}

/// Whether something is mounted exactly there: its device differs from its parent's.
pub fn is_mount_point(dir: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    dir.parent().is_some_and(|parent| device(dir) != device(parent))
}

/// Mounts a tmpfs of at most `limit` bytes.
///
/// # Errors
/// When the kernel refuses.
pub fn mount_tmpfs(dir: &Path, limit: Option<i128>, mode: u32) -> Result<(), VolumeError> {
    let size = limit.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
    let data = format!("mode={mode:o}{size}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), dir, Some("tmpfs"), flags, Some(data.as_str()))
        .map_err(|errno| VolumeError::io("mount tmpfs on", dir)(errno.into()))
}
