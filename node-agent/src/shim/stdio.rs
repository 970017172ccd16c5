//! A container's output: from its pipes or terminal into the log file, copied to whoever is attached.
//!
//! The log has CRI's form, `<RFC 3339 nanoseconds> <stream> <F|P> <text>`: `F` ends a line, `P` is a piece of one
//! (too long, or the output ended without a newline). Attached readers hold the container back when they do not
//! keep up, as a terminal would; nothing is dropped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Longer lines are split, so that a reader of the log needs bounded memory (CRI: 16 KiB).
const MAX_LINE: usize = 16 << 10;

/// Bytes read at once.
pub const CHUNK: usize = 64 << 10;

/// A log file that rotates itself.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    max_bytes: u64,
    max_files: u32,
}

impl LogFile {
    /// Opens for appending, making parent directories.
    ///
    /// # Errors
    /// When the file cannot be made; the text names it.
    pub fn open(path: &Path, max_bytes: u64, max_files: u32) -> io::Result<Self> {
        let open = || -> io::Result<(File, u64)> {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            let size = file.metadata()?.len();
            Ok((file, size))
        };
        let (file, size) = open()
            .map_err(|error| io::Error::new(error.kind(), format!("log {}: {error}", path.display())))?;
        Ok(Self { path: path.to_path_buf(), file, size, max_bytes, max_files })
    }

    /// Appends whole log lines. What cannot be written (a full disk) is lost: the container must go on.
    fn append(&mut self, lines: &[u8], now: Timestamp) {
        if self.max_bytes > 0 && self.size > 0 && self.size + lines.len() as u64 > self.max_bytes {
            self.rotate(now);
        }
        if self.file.write_all(lines).is_ok() {
            self.size += lines.len() as u64;
        }
    }

    fn rotate(&mut self, now: Timestamp) {
        let mut old = self.path.clone().into_os_string();
        old.push(format!(".{}", now.strftime("%Y%m%d-%H%M%S.%9f")));
        // If the rename fails the current file simply goes on growing.
        if fs::rename(&self.path, old).is_err() {
            return;
        }
        if let Ok(file) = OpenOptions::new().create(true).append(true).open(&self.path) {
            self.file = file;
            self.size = 0;
        }
        for surplus in surplus(rotated(&self.path), self.max_files) {
            let _gone = fs::remove_file(surplus);
        }
    }
}

/// Rotated files of a log, oldest first.
pub fn rotated(path: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    let prefix = format!("{name}.");
    let mut found: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Which rotated files to remove so that with the current one `max_files` remain.
fn surplus(mut rotated: Vec<PathBuf>, max_files: u32) -> Vec<PathBuf> {
    let keep = usize::try_from(max_files.max(1) - 1).unwrap_or(usize::MAX);
    rotated.truncate(rotated.len().saturating_sub(keep));
    rotated
}

/// Appends `bytes` to `out` as log lines, keeping an unfinished line in `partial`.
fn format_lines(partial: &mut Vec<u8>, bytes: &[u8], prefix: &str, out: &mut Vec<u8>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = MAX_LINE - partial.len();
        let window = &rest[..rest.len().min(room)];
        if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
            push_line(out, prefix, b"F ", partial, &window[..end]);
            partial.clear();
            rest = &rest[end + 1..];
        } else if window.len() == room {
            push_line(out, prefix, b"P ", partial, window);
            partial.clear();
            rest = &rest[room..];
        } else {
            partial.extend_from_slice(window);
            rest = &[];
        }
    }
}

fn push_line(out: &mut Vec<u8>, prefix: &str, tag: &[u8], head: &[u8], tail: &[u8]) {
    for part in [prefix.as_bytes(), tag, head, tail, b"\n"] {
        out.extend_from_slice(part);
    }
}

fn prefix(name: &str, now: Timestamp) -> String {
    format!("{} {name} ", now.strftime("%Y-%m-%dT%H:%M:%S.%9fZ"))
}

/// An attached reader with what it has not taken yet.
#[derive(Debug)]
struct Sink {
    fd: File,
    pending: Vec<u8>,
}

impl Sink {
    /// Writes what fits. `false` when the reader has gone.
    fn flush(&mut self) -> bool {
        while !self.pending.is_empty() {
            match self.fd.write(&self.pending) {
                Ok(count) => {
                    self.pending.drain(..count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// One output stream of a container.
#[derive(Debug)]
pub struct Stream {
    name: &'static str,
    source: Option<File>,
    partial: Vec<u8>,
    sinks: Vec<Sink>,
}

impl Stream {
    /// `source` must be non-blocking.
    pub fn new(name: &'static str, source: OwnedFd) -> Self {
        Self { name, source: Some(File::from(source)), partial: Vec::new(), sinks: Vec::new() }
    }

    /// `stdout` or `stderr`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The source, while it is open and nobody holds it back.
    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        if self.sinks.iter().any(|sink| !sink.pending.is_empty()) {
            return None;
        }
        self.source.as_ref().map(AsFd::as_fd)
    }

    /// Attached readers that must become writable.
    pub fn blocked(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sinks.iter().filter(|sink| !sink.pending.is_empty()).map(|sink| sink.fd.as_fd())
    }

    /// Copies everything from now on to `sink`, which must be non-blocking.
    pub fn attach(&mut self, sink: OwnedFd) {
        if self.source.is_some() {
            self.sinks.push(Sink { fd: File::from(sink), pending: Vec::new() });
        }
    }

    /// Passes on what attached readers can take now.
    pub fn flush_sinks(&mut self) {
        self.sinks.retain_mut(Sink::flush);
        if self.source.is_none() {
            self.sinks.retain(|sink| !sink.pending.is_empty());
        }
    }

    /// Reads once into the log and the sinks. `false` when there is nothing more for now.
    pub fn pump(&mut self, log: &mut LogFile, buffer: &mut [u8], now: Timestamp) -> bool {
        let Some(source) = &mut self.source else { return false };
        match source.read(buffer) {
            Ok(count) if count > 0 => {
                let bytes = &buffer[..count];
                let mut lines = Vec::with_capacity(count + count / 2);
                format_lines(&mut self.partial, bytes, &prefix(self.name, now), &mut lines);
                log.append(&lines, now);
                for sink in &mut self.sinks {
                    sink.pending.extend_from_slice(bytes);
                }
                self.flush_sinks();
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            // End of file, or EIO: the last process on the terminal has closed it.
            Ok(_) | Err(_) => {
                self.end(log, now);
                false
            }
        }
    }

    /// Reads all that is there and ends the stream, whoever still holds the other side.
    pub fn finish(&mut self, log: &mut LogFile, buffer: &mut [u8], now: Timestamp) {
        while self.pump(log, buffer, now) {}
        self.end(log, now);
    }

    fn end(&mut self, log: &mut LogFile, now: Timestamp) {
        self.source = None;
        if !self.partial.is_empty() {
            let mut line = Vec::new();
            push_line(&mut line, &prefix(self.name, now), b"P ", &self.partial, b"");
            log.append(&line, now);
            self.partial = Vec::new();
        }
        self.flush_sinks();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> (String, Vec<u8>) {
        let (mut partial, mut out) = (Vec::new(), Vec::new());
        for piece in pieces {
            format_lines(&mut partial, piece, "T stdout ", &mut out);
        }
        (String::from_utf8(out).unwrap(), partial)
    }

    #[test]
    fn lines_are_cut_at_newlines_only() {
        let check = |pieces: &[&[u8]], expect: &str, rest: &[u8]| {
            assert_eq!(lines(pieces), (expect.to_owned(), rest.to_vec()));
        };
        check(&[b"a\nb"], "T stdout F a\n", b"b");
        check(&[b"a", b"b\n\n"], "T stdout F ab\nT stdout F \n", b"");
        check(&[], "", b"");
    }

    #[test]
    fn long_lines_are_tagged_partial() {
        let long = vec![b'x'; MAX_LINE + 1];
        let (text, rest) = lines(&[&long, b"\n"]);
        let split: Vec<&str> = text.lines().collect();
        assert_eq!(split.len(), 2);
        assert_eq!(split[0].len(), "T stdout P ".len() + MAX_LINE);
        assert_eq!(split[1], "T stdout F x");
        assert!(rest.is_empty());
    }

    #[test]
    fn rotation_keeps_the_newest() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("deep/0.log");
        let mut log = LogFile::open(&path, 10, 3).unwrap();
        for second in 0..6 {
            log.append(b"12345678\n", Timestamp::from_second(second).unwrap());
        }
        let kept: Vec<String> =
            rotated(&path).iter().map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(kept, ["0.log.19700101-000004.000000000", "0.log.19700101-000005.000000000"]);
        assert_eq!(fs::read(&path).unwrap(), b"12345678\n");
    }

    #[test]
    fn timestamps_have_nine_digits() {
        let at = Timestamp::new(1, 5).unwrap();
        assert_eq!(prefix("stderr", at), "1970-01-01T00:00:01.000000005Z stderr ");
    }

    #[test]
    fn a_slow_reader_holds_back_and_loses_nothing() {
        let tree = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(&tree.path().join("0.log"), 0, 1).unwrap();
        let (source, mut writer) = std::io::pipe().unwrap();
        let (mut reader, sink) = std::io::pipe().unwrap();
        for fd in [source.as_fd(), sink.as_fd()] {
            nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
        }
        let mut stream = Stream::new("stdout", source.into());
        stream.attach(sink.into());
        let mut buffer = vec![0; CHUNK];
        let block = vec![b'a'; CHUNK];
        let now = Timestamp::UNIX_EPOCH;
        let mut sent = 0;
        while stream.readable().is_some() {
            writer.write_all(&block).unwrap();
            sent += block.len();
            stream.pump(&mut log, &mut buffer, now);
        }
        let mut got = vec![0; sent];
        let (first, rest) = got.split_at_mut(CHUNK);
        reader.read_exact(first).unwrap();
        stream.flush_sinks();
        while stream.pump(&mut log, &mut buffer, now) {}
        assert!(stream.readable().is_some());
        reader.read_exact(rest).unwrap();
        assert!(got.iter().all(|byte| *byte == b'a'));
    }
}
