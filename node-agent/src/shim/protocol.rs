//! The frames between agent and shim: a 32-bit little-endian length, then JSON; file descriptors travel along
//! as `SCM_RIGHTS`. One request per connection; some requests get more than one reply.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::container_runtime::{ContainerConfig, ContainerExit, ContainerRecord, PodRecord};

/// A longer frame is a bug, not a request: it would only exhaust memory.
const MAX_FRAME: usize = 8 << 20;

/// The kernel passes no more descriptors at once.
pub const MAX_FDS: usize = 253;

/// What the agent asks.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Answers [`Reply::Pod`], then every [`Reply::Exited`] from then on.
    Subscribe,
    /// Answers [`Reply::Started`]. Descriptors: one detached mount per `config.mounts`, in order, then one for
    /// the termination message when it has a path.
    Start(Box<ContainerConfig>),
    /// Answers [`Reply::Stopped`] when the container is gone.
    Stop {
        /// The container.
        id: String,
        /// Time between the stop signal and the kill.
        grace_ms: u64,
    },
    /// Answers [`Reply::Done`].
    Remove {
        /// The container.
        id: String,
    },
    /// Answers [`Reply::Streams`], then [`Reply::ExecExited`].
    Exec {
        /// The container.
        id: String,
        /// Program and arguments.
        command: Vec<String>,
        /// Allocate a terminal.
        tty: bool,
        /// Connect standard input.
        stdin: bool,
    },
    /// Answers [`Reply::Streams`].
    Attach {
        /// The container.
        id: String,
    },
    /// Kills everything and ends the shim; answered by the end of the connection.
    Shutdown,
}

/// What the shim answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Everything the shim knows.
    Pod(Box<PodRecord>),
    /// The container runs (or already has ended again).
    Started(Box<ContainerRecord>),
    /// The container is gone.
    Stopped(ContainerExit),
    /// Nothing more to say.
    Done,
    /// Descriptors follow in this order, those that are `true`.
    Streams {
        /// Write end of standard input.
        stdin: bool,
        /// Read end.
        stdout: bool,
        /// Read end.
        stderr: bool,
        /// Pty master.
        terminal: bool,
    },
    /// The command is over.
    ExecExited {
        /// Exit code, 128 + signal when killed.
        code: i32,
    },
    /// A container's main process ended.
    Exited {
        /// The container.
        container_id: String,
        /// How.
        exit: ContainerExit,
    },
    /// It did not work.
    Error {
        /// There is no such container.
        not_found: bool,
        /// Why, for people.
        reason: String,
    },
}

/// A message as bytes with its length in front.
///
/// # Errors
/// When it cannot be represented or is too long.
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > MAX_FRAME {
        return Err(io::Error::other(format!("message of {length} bytes is too long")));
    }
    bytes[..4].copy_from_slice(&u32::try_from(length).map_err(io::Error::other)?.to_le_bytes());
    Ok(bytes)
}

/// Sends bytes, with descriptors along the first of them. Answers how many bytes went out.
///
/// # Errors
/// As `sendmsg(2)`.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<usize> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    Ok(sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None)?)
}

/// Collects bytes and descriptors until frames are whole.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl Inbox {
    /// Receives once, without waiting. `Ok(false)` when the peer has closed.
    ///
    /// # Errors
    /// As `recvmsg(2)`; `WouldBlock` when there is nothing.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        let mut chunk = [0_u8; 16 << 10];
        let mut control = nix::cmsg_space!([RawFd; MAX_FDS]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let mut slices = [IoSliceMut::new(&mut chunk)];
        let count = loop {
            match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
                Ok(message) => {
                    for part in message.cmsgs()? {
                        if let ControlMessageOwned::ScmRights(raw) = part {
                            // SAFETY: the kernel has just installed these descriptors for us.
                            self.fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                        }
                    }
                    break message.bytes;
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        self.bytes.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// When the frame is too long or is not of the expected form.
    pub fn message<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some(prefix) = self.bytes.first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*prefix)).map_err(io::Error::other)?;
        if length > MAX_FRAME {
            return Err(io::Error::other(format!("frame of {length} bytes is too long")));
        }
        let Some(body) = self.bytes.get(4..4 + length) else { return Ok(None) };
        let message = serde_json::from_slice(body)?;
        self.bytes.drain(..4 + length);
        Ok(Some(message))
    }

    /// The next descriptor that came along.
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fds.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn messages_and_descriptors_arrive_in_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let bytes = encode(&Request::Remove { id: "a".to_owned() }).unwrap();
        send(ours.as_fd(), &bytes, &[writer.as_raw_fd()]).unwrap();
        send(ours.as_fd(), &encode(&Request::Shutdown).unwrap(), &[]).unwrap();
        drop((ours, writer));
        let mut inbox = Inbox::default();
        while inbox.receive(theirs.as_fd()).unwrap() {}
        assert!(matches!(inbox.message().unwrap(), Some(Request::Remove { id }) if id == "a"));
        assert!(matches!(inbox.message().unwrap(), Some(Request::Shutdown)));
        assert!(inbox.message::<Request>().unwrap().is_none());
        std::fs::File::from(inbox.take_fd().unwrap()).write_all(b"x").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn long_frames_are_refused() {
        let mut inbox = Inbox { bytes: u32::MAX.to_le_bytes().to_vec(), fds: VecDeque::new() };
        assert!(inbox.message::<Request>().is_err());
    }
}
