//! One HTTP GET on a connection of its own, for probes and hooks. Entry point: [`get`].

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use component_base::clock::SharedClock;
use component_base::tls::any_server_config;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{io_text, join_host_port, port_number};

/// The status code of the answer, or upstream's text of what went wrong. Redirects are not followed.
///
/// # Errors
/// When there is no answer in time.
pub async fn get(
    action: &HTTPGetAction,
    container: &Container,
    address: IpAddr,
    timeout: Duration,
    clock: &SharedClock,
    user_agent: &str,
) -> Result<u16, String> {
    let port = port_number(&action.port, container).ok_or("couldn't find the port of the request")?;
    let host = action.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| address.to_string());
    let tls = action.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("HTTPS"));
    let path = action.path.clone().unwrap_or_default();
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let scheme = if tls { "https" } else { "http" };
    let authority = join_host_port(&host, port);
    let url = format!("{scheme}://{authority}{path}");
    let exchange = exchange(action, &host, port, &authority, &path, tls, user_agent);
    tokio::select! {
        result = exchange => result.map_err(|text| format!("Get \"{url}\": {text}")),
        () = clock.sleep(timeout) => Err(format!(
            "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

async fn exchange(
    action: &HTTPGetAction,
    host: &str,
    port: u16,
    authority: &str,
    path: &str,
    tls: bool,
    user_agent: &str,
) -> Result<u16, String> {
    let mut request = http::Request::get(path).header("user-agent", user_agent).header("accept", "*/*");
    let headers = action.http_headers.as_deref().unwrap_or_default();
    let is_host = |name: &str| name.eq_ignore_ascii_case("host");
    let own = headers.iter().find(|header| is_host(&header.name)).map(|header| header.value.as_str());
    request = request.header("host", own.unwrap_or(authority));
    for header in headers.iter().filter(|header| !is_host(&header.name)) {
        request = request.header(&header.name, &header.value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| format!("dial tcp {authority}: connect: {}", io_text(&error)))?;
    if tls {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        // Probes ask whether a server answers, not who it is.
        let connector = TlsConnector::from(any_server_config().map_err(|error| error.to_string())?);
        let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        send(stream, request).await
    } else {
        send(stream, request).await
    }
}

async fn send<S>(stream: S, request: http::Request<Empty<Bytes>>) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // The connection is dropped with the answer's head; probes do not read bodies. A server that closes at
    // once may end the connection before the answer is looked at: the answer still counts.
    let (answer, connection) = (sender.send_request(request), connection);
    tokio::pin!(answer, connection);
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => return Err(error.to_string()),
        },
    };
    answer.map(|answer| answer.status().as_u16()).map_err(|error| error.to_string())
}
