//! The audit log: a file of bounded size, written by one thread.
//!
//! Entry point: [`start`]. Files are rotated as upstream's log library does: the full one is renamed with the time
//! in its name, old ones go by number and age. What cannot be written is counted and told once, never waited for.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use component_base::clock::SharedClock;
use jiff::Timestamp;

use super::event::Event;
use super::{AuditError, count_error};

/// Events that may wait for the disk: about ten megabytes of them.
const QUEUE: usize = 10_000;

/// Bytes written together at most, give or take an event.
const MOST_AT_ONCE: usize = 1 << 16;

/// How events are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// A JSON object in a line.
    #[default]
    Json,
    /// Upstream's older line of text.
    Legacy,
}

/// Where the log is, and how much of it is kept.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// How events are written.
    pub format: Format,
    /// Megabytes of a file before it is rotated; 0 is 100.
    pub max_size: u64,
    /// Days that rotated files are kept; 0 keeps them.
    pub max_age: u64,
    /// Rotated files kept; 0 keeps all.
    pub max_backups: usize,
}

/// What the thread is told.
pub(super) enum Message {
    Event(Box<Event>),
    /// Answer when everything before is written.
    Flush(SyncSender<()>),
}

/// Begins to write; whoever has the sender may send events and does not wait.
pub(super) fn start(options: LogOptions, clock: SharedClock) -> Result<SyncSender<Message>, AuditError> {
    let mut log = Log::open(options, clock)?;
    let (sender, events) = sync_channel(QUEUE);
    let failed = |source| AuditError::File { path: "the audit log's thread".into(), source };
    std::thread::Builder::new().name("audit".to_owned()).spawn(move || log.run(&events)).map_err(failed)?;
    Ok(sender)
}

struct Log {
    options: LogOptions,
    clock: SharedClock,
    /// `None` for standard output.
    file: Option<File>,
    written: u64,
    /// The last write failed, and that was said.
    failed: bool,
}

impl Log {
    fn open(options: LogOptions, clock: SharedClock) -> Result<Self, AuditError> {
        if options.path == Path::new("-") {
            return Ok(Self { options, clock, file: None, written: 0, failed: false });
        }
        let failed = |source| AuditError::File { path: options.path.clone(), source };
        if let Some(directory) = options.path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        let file = append(&options.path).map_err(failed)?;
        let written = file.metadata().map_err(failed)?.len();
        Ok(Self { options, clock, file: Some(file), written, failed: false })
    }

    /// Writes until nobody can send any more; what waits is written together.
    fn run(&mut self, messages: &Receiver<Message>) {
        while let Ok(first) = messages.recv() {
            let (mut text, mut next, mut waits) = (Vec::new(), Some(first), None);
            while let Some(message) = next.take() {
                match message {
                    Message::Event(event) => self.add(&mut text, &event),
                    Message::Flush(done) => {
                        waits = Some(done);
                        break;
                    }
                }
                if text.len() < MOST_AT_ONCE {
                    next = messages.try_recv().ok();
                }
            }
            let outcome = self.write(&text);
            if let Err(error) = &outcome {
                count_error("log");
                if !self.failed {
                    tracing::error!(%error, path = %self.options.path.display(), "the audit log cannot be written");
                }
            }
            self.failed = outcome.is_err();
            if let Some(done) = waits {
                // Whoever asked may be gone.
                let _unheard = done.send(());
            }
        }
    }

    fn add(&self, text: &mut Vec<u8>, event: &Event) {
        match self.options.format {
            // Writing JSON into memory cannot fail.
            Format::Json => serde_json::to_writer(&mut *text, event).unwrap_or_default(),
            Format::Legacy => text.extend(event.to_legacy().bytes()),
        }
        text.push(b'\n');
    }

    fn write(&mut self, text: &[u8]) -> std::io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let limit = (if self.options.max_size == 0 { 100 } else { self.options.max_size }) << 20;
        if self.file.is_none() {
            return std::io::stdout().lock().write_all(text);
        }
        if self.written > 0 && self.written + text.len() as u64 > limit {
            self.rotate()?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(text)?;
        }
        self.written += text.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        let now = self.clock.now();
        std::fs::rename(&self.options.path, rotated(&self.options.path, now))?;
        self.file = Some(append(&self.options.path)?);
        self.written = 0;
        for path in due(backups(&self.options.path), &self.options, now) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The name and the ending of a log's files.
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let extension = text(path.extension());
    let ending = if extension.is_empty() { String::new() } else { format!(".{extension}") };
    (text(path.file_stem()), ending)
}

/// `audit-2026-01-02T15-04-05.000.log` for `audit.log`.
fn rotated(path: &Path, time: Timestamp) -> PathBuf {
    let (stem, ending) = parts(path);
    path.with_file_name(format!("{stem}-{}{ending}", time.strftime("%Y-%m-%dT%H-%M-%S%.3f")))
}

/// Rotated files of a log, newest first.
pub fn backups(path: &Path) -> Vec<PathBuf> {
    let (stem, ending) = parts(path);
    let directory =
        path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let middle = name.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(&*ending));
            middle.is_some_and(|time| time.len() == 23 && time.as_bytes()[10] == b'T')
        })
        .collect();
    found.sort();
    found.reverse();
    found
}

/// Which rotated files go: those beyond the number kept, and those too old.
fn due(newest_first: Vec<PathBuf>, options: &LogOptions, now: Timestamp) -> Vec<PathBuf> {
    let oldest =
        now.checked_sub(Duration::from_hours(24 * options.max_age)).map(|time| rotated(&options.path, time));
    let too_old = |path: &PathBuf| options.max_age > 0 && oldest.as_ref().is_ok_and(|oldest| path < oldest);
    let kept = if options.max_backups == 0 { usize::MAX } else { options.max_backups };
    newest_first
        .into_iter()
        .enumerate()
        .filter(|(number, path)| *number >= kept || too_old(path))
        .map(|(_, path)| path)
        .collect()
}

#[cfg(test)]
mod tests {
    use component_base::clock::FakeClock;

    use super::*;

    #[test]
    fn files_are_rotated_and_old_ones_go() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("audit.log");
        let clock = FakeClock::at("2026-01-01T00:00:00Z".parse().expect("a time"));
        let options =
            LogOptions { path: path.clone(), format: Format::Json, max_size: 1, max_age: 2, max_backups: 2 };
        let mut log = Log::open(options, clock.clone()).expect("a log");
        let large = vec![b'x'; 700 << 10];
        for _ in 0..5 {
            log.write(&large).expect("written");
            clock.advance(Duration::from_secs(1));
        }
        let names = |path: &Path| -> Vec<String> {
            let name = |path: PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
            backups(path).into_iter().map(name).collect()
        };
        let expected = ["audit-2026-01-01T00-00-04.000.log", "audit-2026-01-01T00-00-03.000.log"];
        assert_eq!(names(&path), expected);
        clock.advance(Duration::from_hours(72));
        log.write(&large).expect("written");
        assert_eq!(names(&path).len(), 1, "those of three days ago are gone");
        assert_eq!(path.metadata().expect("the log").len(), 700 << 10);
    }
}
