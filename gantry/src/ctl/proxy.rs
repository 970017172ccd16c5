//! `gantry proxy`: the API server on a local port, without its authentication.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use kube::client::Body;
use regex::Regex;
use tokio::net::TcpListener;

use super::connection::Connection;
use super::{Failure, Outcome};

/// Flags of `proxy`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The port; 0 is any.
    #[arg(short, long, value_name = "PORT", default_value_t = 8001)]
    port: u16,
    /// The address.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    address: std::net::IpAddr,
    /// What stands before the server's paths.
    #[arg(long, value_name = "PATH", default_value = "/")]
    api_prefix: String,
    /// Hosts that are served, as regular expressions.
    #[arg(long, value_name = "PATTERNS", default_value = r"^localhost$,^127\.0\.0\.1$,^\[::1\]$")]
    accept_hosts: String,
    /// Paths that are served, as regular expressions.
    #[arg(long, value_name = "PATTERNS", default_value = "^.*")]
    accept_paths: String,
    /// Paths that are not served, as regular expressions.
    #[arg(long, value_name = "PATTERNS", default_value = "^/api/.*/pods/.*/exec,^/api/.*/pods/.*/attach")]
    reject_paths: String,
    /// Methods that are not served, as regular expressions.
    #[arg(long, value_name = "PATTERNS", default_value = "^$")]
    reject_methods: String,
    /// Serve everything to everybody.
    #[arg(long)]
    disable_filter: bool,
}

/// What is served.
struct Filter {
    hosts: Vec<Regex>,
    paths: Vec<Regex>,
    no_paths: Vec<Regex>,
    no_methods: Vec<Regex>,
    everything: bool,
}

fn patterns(text: &str) -> Outcome<Vec<Regex>> {
    text.split(',').map(|pattern| Regex::new(pattern).map_err(Failure::new)).collect()
}

impl Filter {
    fn of(arguments: &Arguments) -> Outcome<Self> {
        Ok(Self {
            hosts: patterns(&arguments.accept_hosts)?,
            paths: patterns(&arguments.accept_paths)?,
            no_paths: patterns(&arguments.reject_paths)?,
            no_methods: patterns(&arguments.reject_methods)?,
            everything: arguments.disable_filter,
        })
    }

    fn lets_in(&self, method: &str, host: &str, path: &str) -> bool {
        let host = match host.rsplit_once(':') {
            Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
            _ => host,
        };
        let any = |patterns: &[Regex], text: &str| patterns.iter().any(|pattern| pattern.is_match(text));
        self.everything
            || (any(&self.hosts, host)
                && any(&self.paths, path)
                && !any(&self.no_paths, path)
                && !any(&self.no_methods, method))
    }
}

/// Serves until the process is ended.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let address = SocketAddr::new(arguments.address, arguments.port);
    let listener = TcpListener::bind(address).await.with_context(|| format!("listen tcp {address}"))?;
    println!("Starting to serve on {}", listener.local_addr()?);
    let shared = Arc::new((Filter::of(&arguments)?, arguments.api_prefix.trim_end_matches('/').to_owned()));
    loop {
        let (stream, _) = listener.accept().await?;
        let (client, shared) = (connection.client(), Arc::clone(&shared));
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let (client, shared) = (client.clone(), Arc::clone(&shared));
                async move { Ok::<_, Infallible>(forward(&client, &shared.0, &shared.1, request).await) }
            });
            // A client that goes away ends its connection, nobody else's.
            drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await);
        });
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, kube::Error>>;

fn plain(code: StatusCode, text: String) -> Answer {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = code;
    answer
}

async fn forward(client: &kube::Client, filter: &Filter, prefix: &str, request: Request<Incoming>) -> Answer {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !filter.lets_in(request.method().as_str(), host, request.uri().path()) {
        return plain(StatusCode::FORBIDDEN, "Forbidden\n".to_owned());
    }
    let whole = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Some(path) = whole.strip_prefix(prefix).map(str::to_owned) else {
        return plain(StatusCode::NOT_FOUND, "404 page not found\n".to_owned());
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return plain(StatusCode::BAD_REQUEST, "the request broke off\n".to_owned());
    };
    let mut onward = Request::builder().method(parts.method).uri(path);
    for (name, value) in &parts.headers {
        // What belongs to this hop stays here, and so does the browser's idea of who it talks to.
        if ![header::HOST, header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH]
            .contains(name)
        {
            onward = onward.header(name, value);
        }
    }
    let onward = match onward.body(Body::from(body.to_bytes().to_vec())) {
        Ok(onward) => onward,
        Err(error) => return plain(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    match client.send(onward).await {
        Ok(answer) => {
            let (mut parts, body) = answer.into_parts();
            parts.headers.remove(header::CONNECTION);
            parts.headers.remove(header::TRANSFER_ENCODING);
            Response::from_parts(parts, body.boxed_unsync())
        }
        Err(error) => plain(StatusCode::BAD_GATEWAY, format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_and_no_exec() {
        let filter = Filter {
            hosts: patterns(r"^localhost$,^127\.0\.0\.1$").expect("patterns"),
            paths: patterns("^.*").expect("patterns"),
            no_paths: patterns("^/api/.*/pods/.*/exec").expect("patterns"),
            no_methods: patterns("^$").expect("patterns"),
            everything: false,
        };
        assert!(filter.lets_in("GET", "localhost:8001", "/api"));
        assert!(!filter.lets_in("GET", "example.com", "/api"));
        assert!(!filter.lets_in("GET", "127.0.0.1:8001", "/api/v1/namespaces/n/pods/p/exec"));
    }
}
