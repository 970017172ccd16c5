//! Says when files of configuration may have changed.
//!
//! Entry points: [`FileWatch::new`], [`FileWatch::changed`]. The kernel tells of the directories the files are in, and
//! of those that symbolic links lead to, so that files which are replaced by renaming count, as those of mounted
//! ConfigMaps are. Somebody who is told looks for himself: a word too much costs a reading.

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

/// What is read of the kernel's words at once; only that there are some matters.
const READ_BYTES: usize = 4096;

/// Waits for a change.
pub struct FileWatch {
    /// The kernel's words come out of its descriptor as bytes do out of a pipe.
    words: Receiver,
}

impl FileWatch {
    /// Remembers changes from now on.
    ///
    /// # Errors
    /// When the kernel gives no watch, or a directory is not there.
    pub fn new<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let events = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        for path in paths {
            for directory in directories(&std::path::absolute(path)?) {
                inotify.add_watch(&directory, events)?;
            }
        }
        Ok(Self { words: Receiver::from_owned_fd_unchecked(inotify.into())? })
    }

    /// Waits until something may be different.
    ///
    /// # Errors
    /// When the kernel does not tell any more.
    pub async fn changed(mut self) -> io::Result<()> {
        self.words.read(&mut [0; READ_BYTES]).await.map(drop)
    }
}

/// Where a file is: as it is named, and where it really is.
fn directories(path: &Path) -> impl Iterator<Item = PathBuf> {
    let real = path.canonicalize().ok();
    let named = path.parent().map(Path::to_owned);
    named.into_iter().chain(real.and_then(|real| real.parent().map(Path::to_owned)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    async fn is_told(watch: FileWatch) -> bool {
        tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.is_ok_and(|told| told.is_ok())
    }

    #[tokio::test]
    async fn writing_renaming_and_other_links_are_changes() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, target) = (dir.path().join("file"), dir.path().join("data"));
        fs::create_dir(&target).expect("a directory");
        fs::write(target.join("file"), "1").expect("written");
        symlink("data/file", &file).expect("a link");
        let watch = FileWatch::new([&file]).expect("a watch");
        fs::write(target.join("file"), "2").expect("written");
        assert!(is_told(watch).await, "written where the link leads");
        let watch = FileWatch::new([&file]).expect("a watch");
        fs::write(dir.path().join("new"), "3").expect("written");
        fs::rename(dir.path().join("new"), &file).expect("renamed");
        assert!(is_told(watch).await, "renamed");
        assert!(FileWatch::new([dir.path().join("nowhere/file")]).is_err());
    }
}
