//! Connections from a client to ports of a pod. Entry points: [`serve_spdy`], [`serve_channels`].
//!
//! Over SPDY (bare or in a WebSocket tunnel) each connection is a pair of streams, `error` and `data`, with the
//! same `requestID` and `port`. Over plain WebSocket channels each port of the query has one connection:
//! channel 2n carries its data, 2n+1 its error, and both begin with the port in two bytes, low first.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdTcpStream};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::PodPlace;
use super::spdy_session::{Session, SpdyStream};
use super::websocket::Dialect;
use crate::network::namespace;

/// The streaming protocol's name in `X-Stream-Protocol-Version`.
pub const PROTOCOL: &str = "portforward.k8s.io";
/// Streams of one client that wait for their partner.
const UNPAIRED_MAX: usize = 1_000;
/// A local port that neither accepts nor refuses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CHUNK_BYTES: usize = 32 << 10;
const QUEUE: usize = 32;

/// Connects to a port inside the pod: IPv4 first, then IPv6.
async fn connect(place: &PodPlace, port: u16) -> Result<TcpStream, String> {
    let failed = |reason: String| {
        let uid = &place.uid;
        format!(
            "error forwarding port {port} to pod, uid {uid}: failed to connect to localhost:{port}: {reason}"
        )
    };
    let netns = namespace::open(&place.netns).map_err(|error| failed(error.to_string()))?;
    let connecting = move || -> io::Result<StdTcpStream> {
        let reach = |address: SocketAddr| StdTcpStream::connect_timeout(&address, CONNECT_TIMEOUT);
        let first = reach((Ipv4Addr::LOCALHOST, port).into());
        let stream = first.or_else(|error| reach((Ipv6Addr::LOCALHOST, port).into()).map_err(|_| error))?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    match namespace::inside(netns, connecting).await {
        Ok(Ok(stream)) => TcpStream::from_std(stream).map_err(|error| failed(error.to_string())),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Serves a client until it goes.
pub async fn serve_spdy(io: impl AsyncRead + AsyncWrite + Send + 'static, place: PodPlace) {
    let mut session = Session::start(io);
    let mut unpaired: BTreeMap<String, (Option<SpdyStream>, Option<SpdyStream>)> = BTreeMap::new();
    let mut connections = JoinSet::new();
    while let Some(stream) = session.accept().await {
        while connections.try_join_next().is_some() {}
        let request = request_of(&stream);
        let pair = unpaired.entry(request.clone()).or_default();
        match stream.headers.get("streamtype").map(String::as_str) {
            Some("error") => pair.0 = Some(stream),
            Some("data") => pair.1 = Some(stream),
            _ => stream.writer.reset().await,
        }
        if let (Some(_), Some(_)) = pair
            && let Some((Some(error), Some(data))) = unpaired.remove(&request)
        {
            connections.spawn(forward(place.clone(), error, data));
        }
        if unpaired.len() > UNPAIRED_MAX {
            tracing::debug!("client opens streams without partners");
            return;
        }
    }
}

/// Clients of old leave the request's number out; the data stream then follows the error stream.
fn request_of(stream: &SpdyStream) -> String {
    match stream.headers.get("requestid") {
        Some(request) => request.clone(),
        None if stream.headers.get("streamtype").is_some_and(|kind| kind == "error") => stream.id.to_string(),
        None => stream.id.saturating_sub(2).to_string(),
    }
}

async fn forward(place: PodPlace, error: SpdyStream, data: SpdyStream) {
    let port = data.headers.get("port").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port != 0);
    let outcome = match port {
        Some(port) => connect(&place, port).await,
        None => Err("the port header is not a port".to_owned()),
    };
    match outcome {
        Ok(connection) => {
            let (sender, mut from_pod) = mpsc::channel(QUEUE);
            let back = async {
                while let Some(bytes) = from_pod.recv().await {
                    if !data.writer.write(bytes).await {
                        return;
                    }
                }
                data.writer.finish().await;
                // A client holds its connection, and with it the other direction, until it knows that no error
                // came.
                error.writer.finish().await;
            };
            let both = async { tokio::join!(splice(connection, data.data, sender), back) };
            tokio::select! {
                _ends = both => {}
                _reset = data.reset => error.writer.finish().await,
            }
        }
        Err(reason) => {
            error.writer.write(reason.into()).await;
            data.writer.finish().await;
            error.writer.finish().await;
        }
    }
}

/// Carries bytes both ways; each direction ends on its own.
async fn splice(connection: TcpStream, mut to_pod: mpsc::Receiver<Bytes>, from_pod: mpsc::Sender<Bytes>) {
    let (mut read, mut write) = connection.into_split();
    let up = async move {
        while let Some(bytes) = to_pod.recv().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The pod may have closed first.
        drop(write.shutdown().await);
    };
    let down = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(length) = read.read(&mut buffer).await {
            let piece = Bytes::copy_from_slice(&buffer[..length]);
            if length == 0 || from_pod.send(piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(up, down);
}

/// Serves a client that names its ports beforehand, until it goes.
pub async fn serve_channels<S>(io: S, dialect: Dialect, ports: Vec<u16>, place: PodPlace)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut source) = WebSocketStream::from_raw_socket(io, Role::Server, None).await.split();
    let (out, mut outgoing) = mpsc::channel::<(u8, Bytes)>(QUEUE);
    let mut inputs = BTreeMap::new();
    let mut connections = JoinSet::new();
    for (index, port) in (0_u8..).step_by(2).zip(&ports) {
        let (sender, to_pod) = mpsc::channel(QUEUE);
        inputs.insert(index, sender);
        connections.spawn(forward_channel(place.clone(), *port, index, to_pod, out.clone()));
    }
    drop(out);
    let writing = async {
        while let Some((channel, bytes)) = outgoing.recv().await {
            if sink.send(dialect.message(channel, &bytes)).await.is_err() {
                return;
            }
        }
        drop(sink.send(Message::Close(None)).await);
    };
    let reading = async {
        while let Some(Ok(message)) = source.next().await {
            if let Some((channel, bytes)) = dialect.parse(message)
                && let Some(input) = inputs.get(&channel)
                && !bytes.is_empty()
            {
                // A connection that has ended takes no more.
                drop(input.send(bytes).await);
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
}

async fn forward_channel(
    place: PodPlace,
    port: u16,
    channel: u8,
    to_pod: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<(u8, Bytes)>,
) {
    for channel in [channel, channel + 1] {
        if out.send((channel, Bytes::copy_from_slice(&port.to_le_bytes()))).await.is_err() {
            return;
        }
    }
    match connect(&place, port).await {
        Ok(connection) => {
            let (sender, mut from_pod) = mpsc::channel(QUEUE);
            let back = async {
                while let Some(bytes) = from_pod.recv().await {
                    if out.send((channel, bytes)).await.is_err() {
                        return;
                    }
                }
            };
            // Channels have no end of their own: the connection is over when the pod has nothing more to say.
            tokio::select! {
                () = splice(connection, to_pod, sender) => {}
                () = back => {}
            }
        }
        // The client is told; if it is gone there is nobody to tell.
        Err(reason) => drop(out.send((channel + 1, reason.into())).await),
    }
}
