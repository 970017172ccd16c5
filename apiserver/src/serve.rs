//! The TLS listener: accept, shake hands, speak HTTP/1.1 and 2, drain on shutdown.
//!
//! Entry points: [`bind`] and [`accept_loop`]. Invariant: identity comes only from the verified
//! certificate of the connection; extensions cannot arrive over the wire.

mod patient;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use component_base::tls::peer_user;
use component_base::user::UserInfo;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::call::Server;
use crate::{Error, chain};
use patient::Patient;

/// A peer that does not finish its handshake holds nothing for longer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an HTTP/1.1 connection may sit idle or dribble headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(300);
/// How often an HTTP/2 peer is asked whether it still lives; a dead one would keep its watches.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Requests, watches included, at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 1000;
/// How long open requests may take to finish once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Wait after a failed accept (out of file descriptors, say) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the listener.
///
/// # Errors
/// With the address and the way out.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Bind { address, source })
}

/// Serves until shutdown; connections are tracked by the same shutdown and drained.
pub(crate) async fn accept_loop(server: Arc<Server>, listener: TcpListener, acceptor: TlsAcceptor) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.shutdown.triggered() => return,
        };
        match accepted {
            Ok((stream, _peer)) => {
                let (server, acceptor) = (Arc::clone(&server), acceptor.clone());
                let shutdown = server.shutdown.clone();
                shutdown.spawn(connection(server, stream, acceptor));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                server.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(server: Arc<Server>, stream: TcpStream, acceptor: TlsAcceptor) {
    // Watch events are small and must not wait for more of them.
    let _ = stream.set_nodelay(true);
    let patient = Patient::new(stream, Arc::clone(&server.clock));
    let shaken = tokio::select! {
        shaken = acceptor.accept(patient) => shaken,
        () = server.clock.sleep(HANDSHAKE_TIMEOUT) => return,
        () = server.shutdown.triggered() => return,
    };
    let stream = match shaken {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "a TLS handshake failed");
            return;
        }
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let user = certificates.and_then(|chain| chain.first()).and_then(peer_user);
    let service = {
        let server = Arc::clone(&server);
        service_fn(move |request| answer(Arc::clone(&server), user.clone(), request))
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = server.shutdown.triggered() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = server.clock.sleep(DRAIN_TIMEOUT) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended early");
    }
}

async fn answer(
    server: Arc<Server>,
    user: Option<UserInfo>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if let Some(user) = user {
        request.extensions_mut().insert(user);
    }
    Ok(chain::handle(server, request.map(Body::new)).await)
}
