//! A layer's tar stream into a directory that overlay can use. Entry point: [`unpack`].
//!
//! Nothing an archive says leads out of the directory: parents are opened with `openat2(RESOLVE_IN_ROOT)`, last
//! components are never followed. Deletions become overlay's own marks, which archives may not set themselves.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmod, fstatat, futimens, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};
use tar::{Archive, Entry, EntryType};

use crate::os::in_root;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const OPAQUE_MARK: &std::ffi::CStr = c"trusted.overlay.opaque";

/// Unpacks `stream` into `target`, an empty directory. `lower` are the layers below, lowest first: directories
/// that the archive implies but does not list take mode and owner from them.
///
/// # Errors
/// When the archive is damaged or wants to leave the directory, or as the system calls say.
pub fn unpack(stream: impl Read, target: &Path, lower: &[PathBuf]) -> io::Result<()> {
    let mut unpacker = Unpacker {
        root: in_root::open_root(target)?,
        lower: lower.to_vec(),
        parent: None,
        times: BTreeMap::new(),
    };
    let mut archive = Archive::new(stream);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        unpacker
            .entry(&mut entry, &path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    }
    unpacker.finish()
}

struct Unpacker {
    root: OwnedFd,
    lower: Vec<PathBuf>,
    /// The directory of the last entry: neighbours follow each other.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Set at the end: making entries changes them.
    times: BTreeMap<PathBuf, i64>,
}

impl Unpacker {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path) -> io::Result<()> {
        let components = in_root::normal_components(path)?;
        let Some((name, parents)) = components.split_last() else {
            return if entry.header().entry_type().is_dir() { self.root_directory(entry) } else { Ok(()) };
        };
        let name = name.to_os_string();
        let parents: PathBuf = parents.iter().collect();
        let parent = self.parent(&parents)?;
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return self.whiteout(&parent, name.as_bytes(), OsStr::from_bytes(hidden));
        }
        let kind = entry.header().entry_type();
        match kind {
            EntryType::Directory => self.directory(entry, &parent, &name, parents.join(&name)),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => file(entry, &parent, &name),
            EntryType::Link => self.hard_link(entry, &parent, &name),
            EntryType::Symlink => symbolic_link(entry, &parent, &name),
            EntryType::Char | EntryType::Block | EntryType::Fifo => node(entry, &parent, &name, kind),
            // Headers for the whole archive and kinds nobody writes.
            _ => Ok(()),
        }
    }

    fn parent(&mut self, path: &Path) -> io::Result<OwnedFd> {
        if let Some((known, fd)) = &self.parent
            && known == path
        {
            return fd.try_clone();
        }
        let fd = self.open_or_imply(path)?;
        self.parent = Some((path.to_path_buf(), fd.try_clone()?));
        Ok(fd)
    }

    fn open_or_imply(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let mut walked = PathBuf::new();
        let mut here = in_root::open(self.root.as_fd(), &walked, flags)?;
        for name in path.components() {
            walked.push(name);
            here = match in_root::open(self.root.as_fd(), &walked, flags) {
                Ok(found) => found,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    let made = make_directory(&here, name.as_os_str())?;
                    self.inherit(&made, &walked)?;
                    made
                }
                Err(error) => return Err(error),
            };
        }
        Ok(here)
    }

    /// Mode and owner of the same directory in the layers below.
    fn inherit(&self, made: &OwnedFd, path: &Path) -> io::Result<()> {
        let below = self.lower.iter().rev().find_map(|layer| {
            let root = in_root::open_root(layer).ok()?;
            let found = in_root::open(root.as_fd(), path, OFlag::O_RDONLY | OFlag::O_DIRECTORY).ok()?;
            File::from(found).metadata().ok()
        });
        let Some(meta) = below else { return Ok(fchmod(made, Mode::from_bits_truncate(0o755))?) };
        fchown(made, Some(Uid::from_raw(meta.uid())), Some(Gid::from_raw(meta.gid())))?;
        Ok(fchmod(made, Mode::from_bits_truncate(meta.mode() & 0o7777))?)
    }

    fn root_directory<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> io::Result<()> {
        let root = in_root::open(self.root.as_fd(), Path::new("."), OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        own(entry, &root)?;
        self.times.insert(PathBuf::from("."), modified(entry));
        Ok(())
    }

    fn directory<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
        path: PathBuf,
    ) -> io::Result<()> {
        let directory = match kind_of(parent, name)? {
            Some(kind) if kind == SFlag::S_IFDIR => open_directory(parent, name)?,
            Some(_) => {
                // Hidden before and made anew: what is below must not shine through.
                let hidden = is_whiteout(parent, name)?;
                unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?;
                let made = make_directory(parent, name)?;
                if hidden {
                    mark_opaque(&made)?;
                }
                made
            }
            None => make_directory(parent, name)?,
        };
        own(entry, &directory)?;
        self.times.insert(path, modified(entry));
        Ok(())
    }

    fn whiteout(&self, parent: &OwnedFd, name: &[u8], hidden: &OsStr) -> io::Result<()> {
        if self.lower.is_empty() {
            return Ok(());
        }
        if name == OPAQUE {
            return mark_opaque(parent);
        }
        // Notes of an older union file system.
        if hidden.as_bytes().starts_with(WHITEOUT) || hidden.is_empty() || hidden == "." || hidden == ".." {
            return Ok(());
        }
        match kind_of(parent, hidden)? {
            // This layer has a new one of that name.
            Some(kind) if kind == SFlag::S_IFDIR => mark_opaque(&open_directory(parent, hidden)?),
            Some(_) => Ok(()),
            None => Ok(mknodat(parent, hidden, SFlag::S_IFCHR, Mode::empty(), 0)?),
        }
    }

    fn hard_link<R: Read>(&self, entry: &Entry<'_, R>, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let target = entry.link_name()?.ok_or_else(|| invalid("a hard link without a target"))?.into_owned();
        let components = in_root::normal_components(&target)?;
        let (last, parents) = components.split_last().ok_or_else(|| invalid("a hard link to the root"))?;
        let parents: PathBuf = parents.iter().collect();
        let from = in_root::open(self.root.as_fd(), &parents, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        clear(parent, name)?;
        // No flag: a link to a symbolic link is a link to the link itself.
        Ok(linkat(&from, *last, parent, name, AtFlags::empty())?)
    }

    fn finish(self) -> io::Result<()> {
        for (path, seconds) in self.times.iter().rev() {
            let found = in_root::open(self.root.as_fd(), path, OFlag::O_RDONLY | OFlag::O_DIRECTORY);
            // Replaced by something else later in the archive.
            let Ok(directory) = found else { continue };
            futimens(&directory, &TimeSpec::new(*seconds, 0), &TimeSpec::new(*seconds, 0))?;
        }
        Ok(())
    }
}

fn file<R: Read>(entry: &mut Entry<'_, R>, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    clear(parent, name)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(parent, name, flags, Mode::from_bits_truncate(0o600))?);
    io::copy(entry, &mut file)?;
    let fd = OwnedFd::from(file);
    own(entry, &fd)?;
    let time = TimeSpec::new(modified(entry), 0);
    Ok(futimens(&fd, &time, &time)?)
}

fn symbolic_link<R: Read>(entry: &Entry<'_, R>, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let target = entry.link_name()?.ok_or_else(|| invalid("a symbolic link without a target"))?.into_owned();
    clear(parent, name)?;
    symlinkat(target.as_path(), parent, name)?;
    let (uid, gid) = owner(entry)?;
    fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let time = TimeSpec::new(modified(entry), 0);
    Ok(utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)?)
}

fn node<R: Read>(entry: &Entry<'_, R>, parent: &OwnedFd, name: &OsStr, kind: EntryType) -> io::Result<()> {
    let number = |part: Option<u32>| part.unwrap_or(0);
    let header = entry.header();
    let (major, minor) = if kind == EntryType::Fifo {
        (0, 0)
    } else {
        (number(header.device_major()?), number(header.device_minor()?))
    };
    let flag = match kind {
        EntryType::Char => SFlag::S_IFCHR,
        EntryType::Block => SFlag::S_IFBLK,
        _ => SFlag::S_IFIFO,
    };
    // Overlay would take it for a deletion that the archive may only ask for by name.
    if flag == SFlag::S_IFCHR && (major, minor) == (0, 0) {
        return Err(invalid("device 0:0 is not allowed"));
    }
    clear(parent, name)?;
    let mode = Mode::from_bits_truncate(header.mode()? & 0o7777);
    mknodat(parent, name, flag, mode, libc::makedev(major, minor))?;
    let (uid, gid) = owner(entry)?;
    fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let time = TimeSpec::new(modified(entry), 0);
    Ok(utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)?)
}

/// Owner, then mode (changing the owner clears set-id bits), then attributes (likewise).
fn own<R: Read>(entry: &mut Entry<'_, R>, fd: &OwnedFd) -> io::Result<()> {
    let (uid, gid) = owner(entry)?;
    fchown(fd, Some(uid), Some(gid))?;
    fchmod(fd, Mode::from_bits_truncate(entry.header().mode()? & 0o7777))?;
    let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
    for extension in extensions {
        let extension = extension?;
        let key = extension.key_bytes();
        let Some(name) = key.strip_prefix(b"SCHILY.xattr.") else { continue };
        // Others are overlay's (they would change what is seen of lower layers) or the host's security modules'.
        if name == b"security.capability" || name.starts_with(b"user.") {
            set_attribute(fd, &CString::new(name)?, extension.value_bytes())?;
        }
    }
    Ok(())
}

fn owner<R: Read>(entry: &Entry<'_, R>) -> io::Result<(Uid, Gid)> {
    // A blank field is 0, as GNU tar reads it.
    let id = |number: io::Result<u64>| {
        u32::try_from(number.unwrap_or(0)).map_err(|_| invalid("an owner above 32 bits"))
    };
    Ok((Uid::from_raw(id(entry.header().uid())?), Gid::from_raw(id(entry.header().gid())?)))
}

fn modified<R: Read>(entry: &Entry<'_, R>) -> i64 {
    entry.header().mtime().ok().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0)
}

fn set_attribute(fd: &OwnedFd, name: &std::ffi::CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: name and value live for the whole call and the length is the value's.
    let result =
        unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn mark_opaque(directory: &OwnedFd) -> io::Result<()> {
    set_attribute(directory, OPAQUE_MARK, b"y")
}

/// Removes what an earlier entry of this layer put under this name.
fn clear(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EISDIR) => {
            fs::remove_dir_all(format!("/proc/self/fd/{}/{}", parent.as_raw_fd(), text(name)?))
        }
        Err(error) => Err(error.into()),
    }
}

fn text(name: &OsStr) -> io::Result<&str> {
    name.to_str().ok_or_else(|| invalid("a replaced directory whose name is not UTF-8"))
}

fn kind_of(parent: &OwnedFd, name: &OsStr) -> io::Result<Option<SFlag>> {
    match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_whiteout(parent: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    let stat = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR && stat.st_rdev == 0)
}

fn make_directory(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    mkdirat(parent, name, Mode::from_bits_truncate(0o755))?;
    open_directory(parent, name)
}

fn open_directory(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

#[cfg(test)]
mod tests;
