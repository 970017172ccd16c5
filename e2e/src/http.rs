//! One HTTP request on a fresh connection: the smallest client that can show which pod answered.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// `GET path` at `address`; the body of a 200.
///
/// # Errors
/// When nobody answers within 5 s, or the status is not 200.
pub fn get(address: &str, path: &str) -> Result<String> {
    let limit = Duration::from_secs(5);
    let target: SocketAddr = address.parse().with_context(|| format!("{address} is no address"))?;
    let mut stream =
        TcpStream::connect_timeout(&target, limit).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("no answer from {address}{path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        bail!("{address}{path} answered {status}: {body}");
    }
    Ok(body.to_owned())
}
