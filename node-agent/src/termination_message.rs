//! A container's last words: the file it wrote, or the end of its log. Entry point: [`read`].

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Longest message kept (upstream's `MaxContainerTerminationMessageLength`).
const LONGEST: u64 = 4_096;
/// Longest end of a log used instead (upstream's `MaxContainerTerminationMessageLogLength`).
const LONGEST_LOG: usize = 2_048;
/// Most lines of a log used (upstream's `MaxContainerTerminationMessageLogLines`).
const MOST_LINES: usize = 80;
/// How much of the log's end is looked at; CRI prefixes come on top of the content.
const LOG_WINDOW: u64 = 16 << 10;

/// The message in `file`, or the end of `log` when the file is empty and a log is given.
pub fn read(file: &Path, log: Option<&Path>) -> Option<String> {
    let written = head(file).unwrap_or_default();
    if !written.is_empty() {
        return Some(written);
    }
    log.and_then(tail).filter(|text| !text.is_empty())
}

fn head(path: &Path) -> Option<String> {
    let mut data = Vec::new();
    File::open(path).ok()?.take(LONGEST).read_to_end(&mut data).ok()?;
    Some(String::from_utf8_lossy(&data).into_owned())
}

fn tail(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_WINDOW))).ok()?;
    let mut data = Vec::new();
    file.read_to_end(&mut data).ok()?;
    Some(last_lines(&String::from_utf8_lossy(&data)))
}

/// Content of the last CRI lines (`<time> <stream> <tag> <content>`), at most 80 lines and 2 KiB.
fn last_lines(text: &str) -> String {
    let content = |line: &str| line.splitn(4, ' ').nth(3).map(str::to_owned);
    let lines: Vec<String> = text.lines().filter_map(content).collect();
    let kept = lines[lines.len().saturating_sub(MOST_LINES)..].join("\n");
    let mut from = kept.len().saturating_sub(LONGEST_LOG);
    while !kept.is_char_boundary(from) {
        from += 1;
    }
    kept[from..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_first_then_log() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, log) = (dir.path().join("message"), dir.path().join("0.log"));
        std::fs::write(&log, "t stdout F one\nt stderr F two words\n").expect("a log");
        assert_eq!(read(&file, Some(&log)).as_deref(), Some("one\ntwo words"));
        assert_eq!(read(&file, None), None);
        std::fs::write(&file, "bye").expect("a message");
        assert_eq!(read(&file, Some(&log)).as_deref(), Some("bye"));
    }
}
