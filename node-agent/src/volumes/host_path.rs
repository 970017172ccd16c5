//! hostPath volumes: something of the host, checked or made as `type` says. Entry point: [`set_up`].

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::VolumeError;
use super::payload::set_mode;

/// Checks the path, or makes it for `DirectoryOrCreate` and `FileOrCreate`.
///
/// # Errors
/// When it is not what `type` demands.
pub fn set_up(volume: &str, source: &HostPathVolumeSource) -> Result<(), VolumeError> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    match kind {
        "DirectoryOrCreate" if !path.exists() => {
            std::fs::create_dir_all(path).map_err(VolumeError::io("create", path))?;
            return set_mode(path, 0o755);
        }
        "FileOrCreate" if !path.exists() => {
            std::fs::write(path, b"").map_err(VolumeError::io("create", path))?;
            return set_mode(path, 0o644);
        }
        // Without a type nothing is checked; a missing path becomes a directory, as container runtimes do.
        "" if !path.exists() => {
            return std::fs::create_dir_all(path).map_err(VolumeError::io("create", path));
        }
        _ => {}
    }
    let meta = std::fs::metadata(path).ok().map(|meta| meta.file_type());
    let holds = |check: fn(&std::fs::FileType) -> bool| meta.as_ref().is_some_and(check);
    let (fits, word) = match kind {
        "Directory" | "DirectoryOrCreate" => (holds(std::fs::FileType::is_dir), "a directory"),
        "File" | "FileOrCreate" => (holds(std::fs::FileType::is_file), "a file"),
        "Socket" => (holds(std::fs::FileType::is_socket), "a socket"),
        "CharDevice" => (holds(std::fs::FileType::is_char_device), "a character device"),
        "BlockDevice" => (holds(std::fs::FileType::is_block_device), "a block device"),
        _ => (true, ""),
    };
    if fits {
        return Ok(());
    }
    let reason = format!("hostPath type check failed: {} is not {word}", source.path);
    Err(VolumeError::set_up(volume, reason))
}
