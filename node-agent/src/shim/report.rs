//! What a short-lived helper tells the shim over a socket that closes by itself when the container's program
//! starts: end of file with a pid and no failure means it runs.

use std::io;
use std::os::fd::{AsFd as _, RawFd};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};

use super::protocol::{Inbox, encode, send};

/// One message.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// The process, in the host's pid namespace.
    Pid(i32),
    /// A library logged an error; it explains a later failure that says less.
    Note(String),
    /// It did not work.
    Failed(String),
    /// The pty master comes along.
    Terminal,
}

/// Sends a report. A shim that has gone cannot be told: the error is dropped on purpose.
pub fn tell(socket: &UnixStream, report: &Report, fds: &[RawFd]) {
    if let Ok(bytes) = encode(report) {
        let _unheard = send(socket.as_fd(), &bytes, fds);
    }
}

/// What has been told so far.
#[derive(Debug, Default)]
pub struct Heard {
    inbox: Inbox,
    /// The process.
    pub pid: Option<i32>,
    /// The pty master.
    pub terminal: Option<std::os::fd::OwnedFd>,
    notes: Vec<String>,
    failed: Option<String>,
}

impl Heard {
    /// Listens without waiting. `true` when the other side is done.
    pub fn listen(&mut self, socket: &UnixStream) -> bool {
        loop {
            match self.inbox.receive(socket.as_fd()) {
                Ok(true) => {}
                Ok(false) => {
                    self.sort();
                    return true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.sort();
                    return false;
                }
                Err(error) => {
                    self.failed.get_or_insert(format!("listen to helper: {error}"));
                    return true;
                }
            }
        }
    }

    fn sort(&mut self) {
        loop {
            match self.inbox.message() {
                Ok(Some(Report::Pid(pid))) => self.pid = Some(pid),
                Ok(Some(Report::Note(text))) => self.notes.push(text),
                Ok(Some(Report::Failed(text))) => {
                    self.failed.get_or_insert(text);
                }
                Ok(Some(Report::Terminal)) => self.terminal = self.inbox.take_fd(),
                Ok(None) => return,
                Err(error) => {
                    self.failed.get_or_insert(format!("understand helper: {error}"));
                    return;
                }
            }
        }
    }

    /// Why it failed, if it did: our own words first, then the library's notes, deepest cause first.
    pub fn failure(&self) -> Option<String> {
        if self.failed.is_none() && self.pid.is_some() {
            return None;
        }
        let mut texts: Vec<&str> = Vec::new();
        let own = self.failed.iter().filter(|text| !text.starts_with(GENERIC));
        let generic = self.failed.iter().filter(|text| text.starts_with(GENERIC));
        // Libraries repeat one error at every level; the first two notes hold the cause and its context.
        for text in own.chain(self.notes.iter().take(2)).chain(generic) {
            if !texts.contains(&text.as_str()) {
                texts.push(text);
            }
        }
        if self.failed.as_ref().is_some_and(|text| !text.starts_with(GENERIC)) {
            texts.truncate(1);
        }
        Some(if texts.is_empty() { "helper died without a word".to_owned() } else { texts.join("; ") })
    }
}

/// How a failure begins that only passes on what a library returned.
pub const GENERIC: &str = "libcontainer: ";
