//! One request to a shim and its replies.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::shim::protocol::{Inbox, Reply, Request, encode, send};
use crate::shim::records::{PodDir, short_path};

/// A connection to a shim.
pub struct Channel {
    socket: UnixStream,
    inbox: Inbox,
}

impl Channel {
    /// Connects; local, so it does not wait.
    ///
    /// # Errors
    /// When the shim is not there.
    pub fn open(dir: &PodDir) -> io::Result<Self> {
        let handle = File::open(dir.run())?;
        let socket = std::os::unix::net::UnixStream::connect(short_path(&handle, "s"))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UnixStream::from_std(socket)?, inbox: Inbox::default() })
    }

    /// Sends the request with its descriptors.
    ///
    /// # Errors
    /// When the shim has gone or the request is too long.
    pub async fn send(&mut self, request: &Request, fds: &[OwnedFd]) -> io::Result<()> {
        let bytes = encode(request)?;
        let mut raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
        let mut sent = 0;
        while sent < bytes.len() {
            let socket = self.socket.as_fd();
            let act = || send(socket, &bytes[sent..], &raw);
            sent += self.socket.async_io(Interest::WRITABLE, act).await?;
            raw.clear();
        }
        Ok(())
    }

    /// The next reply; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks or carries nonsense.
    pub async fn receive(&mut self) -> io::Result<Option<Reply>> {
        loop {
            if let Some(reply) = self.inbox.message()? {
                return Ok(Some(reply));
            }
            let Self { socket, inbox } = self;
            if !socket.async_io(Interest::READABLE, || inbox.receive(socket.as_fd())).await? {
                return Ok(None);
            }
        }
    }

    /// The next descriptor that came along.
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.inbox.take_fd()
    }
}
