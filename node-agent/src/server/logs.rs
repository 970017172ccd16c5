//! Container logs: CRI-format files in, the container's own output back. Entry points: [`LogOptions::parse`],
//! [`stream`].
//!
//! A record is `<time> <stdout|stderr> <P|F> <content>`; P marks a part of a long line, so no line break
//! follows it. `tailLines` counts records, as the kubelet does. Following uses inotify: the end of a
//! rotated file is read before the new one is begun.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::query::Query;

/// Read and sent at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Step when looking for the tail backwards.
const TAIL_STEP_BYTES: u64 = 16 << 10;
/// A record longer than this is not one of ours; shims split lines at 16 KiB.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogStream {
    /// Both.
    #[default]
    All,
    /// Standard output.
    Stdout,
    /// Error output.
    Stderr,
}

/// `v1.PodLogOptions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Keep on until the container ends.
    pub follow: bool,
    /// The attempt before.
    pub previous: bool,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// Only so many records from the end.
    pub tail_lines: Option<u64>,
    /// Only records from then on.
    pub since: Option<Timestamp>,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
    /// Which output.
    pub stream: LogStream,
}

impl LogOptions {
    /// From a query; `Err` names the first bad value.
    pub fn parse(query: &Query, now: Timestamp) -> Result<Self, String> {
        let number = |name: &str| match query.first(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("invalid {name}: {text:?}")),
        };
        let since_seconds = number("sinceSeconds")?;
        let since = match (since_seconds, query.first("sinceTime").filter(|text| !text.is_empty())) {
            (Some(_), Some(_)) => {
                return Err("at most one of sinceTime or sinceSeconds may be given".to_owned());
            }
            (Some(seconds), None) => {
                let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
                Some(now.checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN))
            }
            (None, Some(text)) => {
                Some(text.parse::<Timestamp>().map_err(|_| format!("invalid sinceTime: {text:?}"))?)
            }
            (None, None) => None,
        };
        let stream = match query.first("stream") {
            None | Some("" | "All") => LogStream::All,
            Some("Stdout") => LogStream::Stdout,
            Some("Stderr") => LogStream::Stderr,
            Some(other) => return Err(format!("invalid stream: {other:?}")),
        };
        Ok(Self {
            follow: query.is_set(&["follow"]),
            previous: query.is_set(&["previous"]),
            timestamps: query.is_set(&["timestamps"]),
            tail_lines: number("tailLines")?,
            since,
            limit_bytes: number("limitBytes")?,
            stream,
        })
    }
}

/// Turns records into output.
#[derive(Debug)]
struct Formatter {
    options: LogOptions,
    /// The next record begins a line.
    line_start: bool,
    left: u64,
}

impl Formatter {
    fn new(options: LogOptions) -> Self {
        let left = options.limit_bytes.unwrap_or(u64::MAX);
        Self { options, line_start: true, left }
    }

    /// Adds a record (without its line break) to `to`. What does not look like a record is left out.
    fn record(&mut self, record: &[u8], to: &mut Vec<u8>) {
        let mut fields = record.splitn(4, |byte| *byte == b' ');
        let (Some(time), Some(stream), Some(tag)) = (fields.next(), fields.next(), fields.next()) else {
            return;
        };
        let content = fields.next().unwrap_or_default();
        let wanted = match stream {
            b"stdout" => self.options.stream != LogStream::Stderr,
            b"stderr" => self.options.stream != LogStream::Stdout,
            _ => false,
        };
        let begins_line = std::mem::replace(&mut self.line_start, tag != b"P");
        if !wanted || self.options.since.is_some_and(|since| is_before(time, since)) {
            return;
        }
        let start = to.len();
        if self.options.timestamps && begins_line {
            to.extend_from_slice(time);
            to.push(b' ');
        }
        to.extend_from_slice(content);
        if tag != b"P" {
            to.push(b'\n');
        }
        let length = to.len() - start;
        let kept = usize::try_from(self.left).unwrap_or(usize::MAX).min(length);
        to.truncate(start + kept);
        self.left -= kept as u64;
    }

    fn is_full(&self) -> bool {
        self.left == 0
    }
}

fn is_before(time: &[u8], since: Timestamp) -> bool {
    let parsed = str::from_utf8(time).ok().and_then(|text| text.parse::<Timestamp>().ok());
    parsed.is_some_and(|time| time < since)
}

/// Where the last `records` records begin.
fn tail_start(file: &File, records: u64) -> io::Result<u64> {
    let end = file.metadata()?.len();
    if records == 0 {
        return Ok(end);
    }
    let (mut at, mut breaks) = (end, 0);
    let mut block = vec![0; usize::try_from(TAIL_STEP_BYTES).unwrap_or(0)];
    while at > 0 {
        let length = at.min(TAIL_STEP_BYTES);
        at -= length;
        let block = &mut block[..usize::try_from(length).unwrap_or(0)];
        file.read_exact_at(block, at)?;
        for (index, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let position = at + index as u64;
            // The last record's own line break begins no other.
            if position + 1 == end {
                continue;
            }
            breaks += 1;
            if breaks == records {
                return Ok(position + 1);
            }
        }
    }
    Ok(0)
}

/// A log being read.
struct Reader {
    path: PathBuf,
    /// `None` until the file appears.
    file: Option<File>,
    formatter: Formatter,
    /// The beginning of a record whose rest is not written yet.
    pending: Vec<u8>,
}

impl Reader {
    fn open(path: &Path, options: LogOptions) -> io::Result<Self> {
        let tail = options.tail_lines;
        let mut reader = Self {
            path: path.to_owned(),
            file: open_if_there(path)?,
            formatter: Formatter::new(options),
            pending: Vec::new(),
        };
        if let (Some(file), Some(records)) = (&mut reader.file, tail) {
            let start = tail_start(file, records)?;
            file.seek(SeekFrom::Start(start))?;
        }
        Ok(reader)
    }

    /// The path names another file than the one being read.
    fn is_rotated(&self) -> bool {
        let there = std::fs::metadata(&self.path).ok();
        let here = self.file.as_ref().and_then(|file| file.metadata().ok());
        match (here, there) {
            (Some(here), Some(there)) => (here.dev(), here.ino()) != (there.dev(), there.ino()),
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = open_if_there(&self.path)?;
        Ok(())
    }

    /// The next output, `None` at the end of what is there now.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let length = file.read(&mut chunk)?;
            if length == 0 {
                return Ok(None);
            }
            let mut output = Vec::with_capacity(length);
            let mut rest = &chunk[..length];
            while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                self.pending.extend_from_slice(&rest[..at]);
                self.formatter.record(&self.pending, &mut output);
                self.pending.clear();
                rest = &rest[at + 1..];
            }
            self.pending.extend_from_slice(rest);
            if self.pending.len() > RECORD_BYTES_MAX {
                self.pending.clear();
            }
            if !output.is_empty() || self.formatter.is_full() {
                return Ok(Some(output.into()));
            }
        }
    }
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells when something happens in a directory.
struct DirectoryWatch(AsyncFd<OwnedFd>);

impl DirectoryWatch {
    fn new(directory: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let events = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        inotify.add_watch(directory, events)?;
        // SAFETY: the descriptor is owned by the AsyncFd and so stays the same open file while registered.
        let descriptor = unsafe { AsyncFd::register(OwnedFd::from(inotify)) }?;
        Ok(Self(descriptor))
    }

    /// Completes when something has happened since the last call.
    async fn changed(&self) -> io::Result<()> {
        let mut events = [0; 4096];
        loop {
            let mut ready = self.0.readable().await?;
            let mut seen = false;
            // What happened does not matter, only that something did.
            while nix::unistd::read(self.0.get_ref(), &mut events).is_ok_and(|length| length > 0) {
                seen = true;
            }
            ready.clear_ready();
            if seen {
                return Ok(());
            }
        }
    }
}

/// Sends a log until its end, the limit, or (when following) the container's end. Stops when nobody receives.
pub async fn stream(
    path: &Path,
    options: LogOptions,
    ended: impl Future<Output = ()>,
    sink: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let follow = options.follow;
    let watch = match path.parent().filter(|_| follow) {
        Some(directory) => Some(DirectoryWatch::new(directory)?),
        None => None,
    };
    let mut reader = Reader::open(path, options)?;
    let mut ended = std::pin::pin!(ended);
    let mut over = !follow;
    loop {
        // Both asked before reading: nothing more comes into this file if either is so.
        let (last, rotated) = (over, follow && reader.is_rotated());
        while !reader.formatter.is_full()
            && let Some(output) = reader.next()?
        {
            if sink.send(output).await.is_err() {
                return Ok(());
            }
        }
        if reader.formatter.is_full() {
            return Ok(());
        }
        if rotated {
            reader.reopen()?;
            continue;
        }
        let Some(watch) = watch.as_ref().filter(|_| !last) else { return Ok(()) };
        tokio::select! {
            changed = watch.changed() => changed?,
            () = &mut ended, if !over => over = true,
            () = sink.closed() => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
