//! The agent's connections: what they sent, what they are still to be sent.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use super::protocol::{Inbox, Reply, Request, encode, send};

/// Names a connection for as long as the shim lives.
pub type ConnectionId = u64;

struct Connection {
    socket: UnixStream,
    inbox: Inbox,
    outbox: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    subscribed: bool,
    /// The peer sends no more, and what is in the outbox is the last for it.
    last: bool,
}

/// All connections.
#[derive(Default)]
pub struct Connections {
    open: BTreeMap<ConnectionId, Connection>,
    made: ConnectionId,
}

impl Connections {
    /// Takes in a new, non-blocking connection.
    pub fn add(&mut self, socket: UnixStream) {
        self.made += 1;
        let connection = Connection {
            socket,
            inbox: Inbox::default(),
            outbox: VecDeque::new(),
            subscribed: false,
            last: false,
        };
        self.open.insert(self.made, connection);
    }

    /// Every connection, and whether it has something to be sent.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, BorrowedFd<'_>, bool)> {
        self.open
            .iter()
            .map(|(id, connection)| (*id, connection.socket.as_fd(), !connection.outbox.is_empty()))
    }

    /// Receives what is there; closed or broken connections are dropped. Answers the next request with its
    /// descriptors once whole.
    pub fn receive(&mut self, id: ConnectionId) -> Option<(Request, Vec<OwnedFd>)> {
        let connection = self.open.get_mut(&id)?;
        loop {
            match connection.inbox.receive(connection.socket.as_fd()) {
                Ok(true) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(false) | Err(_) => {
                    self.open.remove(&id);
                    return None;
                }
            }
        }
        match connection.inbox.message() {
            Ok(Some(request)) => {
                let fds = std::iter::from_fn(|| connection.inbox.take_fd()).collect();
                Some((request, fds))
            }
            Ok(None) => None,
            Err(error) => {
                self.reply_last(id, &Reply::Error { not_found: false, reason: error.to_string() });
                None
            }
        }
    }

    /// This connection hears of every exit from now on.
    pub fn subscribe(&mut self, id: ConnectionId) {
        if let Some(connection) = self.open.get_mut(&id) {
            connection.subscribed = true;
        }
    }

    /// Tells all subscribers.
    pub fn announce(&mut self, reply: &Reply) {
        let ids: Vec<ConnectionId> =
            self.open.iter().filter(|(_, connection)| connection.subscribed).map(|(id, _)| *id).collect();
        for id in ids {
            self.reply(id, reply, Vec::new());
        }
    }

    /// Sends a reply with descriptors; an agent that has gone is no error.
    pub fn reply(&mut self, id: ConnectionId, reply: &Reply, fds: Vec<OwnedFd>) {
        let Some(connection) = self.open.get_mut(&id) else { return };
        match encode(reply) {
            Ok(bytes) => connection.outbox.push_back((bytes, fds)),
            Err(_) => connection.last = true,
        }
        self.flush(id);
    }

    /// Sends a reply and closes.
    pub fn reply_last(&mut self, id: ConnectionId, reply: &Reply) {
        if let Some(connection) = self.open.get_mut(&id) {
            connection.last = true;
        }
        self.reply(id, reply, Vec::new());
    }

    /// Sends what can be sent now.
    pub fn flush(&mut self, id: ConnectionId) {
        let Some(connection) = self.open.get_mut(&id) else { return };
        while let Some((bytes, fds)) = connection.outbox.front_mut() {
            let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
            match send(connection.socket.as_fd(), bytes, &raw) {
                Ok(count) => {
                    fds.clear();
                    bytes.drain(..count);
                    if bytes.is_empty() {
                        connection.outbox.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.open.remove(&id);
                    return;
                }
            }
        }
        if connection.last {
            self.open.remove(&id);
        }
    }
}
