//! Opening a connection, with TLS or without, and the same for a pool of them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// Bytes to and from a server.
type Bytes = Either<TcpStream, TlsStream<TcpStream>>;

/// Connects, with TLS to somebody of a name if asked for.
///
/// # Errors
/// Why there is no connection, in the words of Go's client.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    tls: Option<(&TlsConnector, &str)>,
) -> Result<Bytes, String> {
    let dial = |error: io::Error| format!("dial tcp {host}:{port}: connect: {}", words(&error));
    let stream = TcpStream::connect((host, port)).await.map_err(dial)?;
    // A question is one write and its answer the next, and keystrokes of an interactive shell must not wait for more.
    let _ = stream.set_nodelay(true);
    let Some((connector, name)) = tls else { return Ok(Either::Left(stream)) };
    let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    connector.connect(name, stream).await.map(Either::Right).map_err(|error| refusal(&error))
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreachable(String);

/// Connects to the address in a URI.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) tls: TlsConnector,
    /// Whose certificate is expected; the URI's host if there is none.
    pub(super) name: Option<String>,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<Stream, Unreachable> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let secure = uri.scheme_str() != Some("http");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = secure.then(|| (&self.tls, self.name.as_deref().unwrap_or(host)));
        connect(host, port, tls).await.map(|stream| Stream(TokioIo::new(stream))).map_err(Unreachable)
    }
}

/// `Connection refused (os error 111)` as Go says it.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// Why a certificate is not accepted.
fn refusal(error: &io::Error) -> String {
    use rustls::{CertificateError, Error};
    let why = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(problem)) => match problem {
            CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                "certificate has expired or is not yet valid".to_owned()
            }
            CertificateError::NotValidForNameContext { expected, presented } => {
                let expected = expected.to_str();
                format!("certificate is valid for {}, not {expected}", presented.join(", "))
            }
            other => other.to_string(),
        },
        _ => return words(error),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = Unreachable;
    type Future = BoxFuture<'static, Result<Stream, Unreachable>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Unreachable>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// An open connection.
pub(super) struct Stream(TokioIo<Bytes>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}
