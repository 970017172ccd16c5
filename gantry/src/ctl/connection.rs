//! Requests to the API server: paths in, JSON or lines out, the server's Status on failure.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use client::kubeconfig;
use futures::TryStreamExt as _;
use futures::io::{AsyncBufRead, AsyncBufReadExt as _};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::config::KubeConfigOptions;
use serde_json::{Value, json};

use super::globals::Globals;
use super::{Failure, Outcome};

/// A cluster to talk to.
pub struct Connection {
    client: kube::Client,
    globals: Globals,
    address: String,
    /// Warnings already shown: each is told once.
    warned: Mutex<Vec<String>>,
}

/// `a=b&c=d` of a query, values percent-encoded; empty values are left out.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let parts: Vec<String> =
        pairs.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{k}={}", encoded(v))).collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

/// A text as a query's value or a path's segment.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

async fn configuration(globals: &Globals) -> Outcome<kube::Config> {
    let options =
        KubeConfigOptions { context: globals.context.clone(), cluster: globals.cluster.clone(), user: None };
    let mut config =
        match (kubeconfig::config(globals.kubeconfig.as_deref(), &options).await, &globals.server) {
            (Ok(config), _) => config,
            (Err(kubeconfig::KubeconfigError::NotFound { .. }), Some(server)) => {
                kube::Config::new(server.parse().with_context(|| format!("--server {server}"))?)
            }
            (Err(error), _) => return Err(Failure::Other(error.into())),
        };
    if let Some(server) = &globals.server {
        config.cluster_url = server.parse().with_context(|| format!("--server {server}"))?;
    }
    overrides(&mut config, globals)?;
    Ok(config)
}

fn overrides(config: &mut kube::Config, globals: &Globals) -> Outcome {
    let auth = &mut config.auth_info;
    let text = |path: &std::path::Path| path.display().to_string();
    if let Some(token) = &globals.token {
        auth.token = Some(token.clone().into());
    }
    if let Some(path) = &globals.client_certificate {
        (auth.client_certificate, auth.client_certificate_data) = (Some(text(path)), None);
    }
    if let Some(path) = &globals.client_key {
        (auth.client_key, auth.client_key_data) = (Some(text(path)), None);
    }
    auth.impersonate = globals.impersonate.clone().or(auth.impersonate.take());
    auth.impersonate_uid = globals.impersonate_uid.clone().or(auth.impersonate_uid.take());
    if !globals.impersonate_groups.is_empty() {
        auth.impersonate_groups = Some(globals.impersonate_groups.clone());
    }
    if let Some(path) = &globals.certificate_authority {
        (config.root_cert, config.root_cert_file) = (None, Some(path.clone()));
    }
    config.accept_invalid_certs |= globals.insecure_skip_tls_verify;
    config.tls_server_name = globals.tls_server_name.clone().or(config.tls_server_name.take());
    let timeout = globals.request_timeout.as_str();
    let seconds = timeout.parse::<i64>().ok().map(|seconds| seconds.saturating_mul(1_000_000_000));
    let nanos = seconds.or_else(|| api::time::parse_go_duration(timeout)).ok_or_else(|| {
        anyhow!("Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a corresponding time unit (e.g. 1s | 2m | 3h)")
    })?;
    if let Ok(nanos @ 1..) = u64::try_from(nanos) {
        let limit = Some(Duration::from_nanos(nanos));
        (config.connect_timeout, config.read_timeout) = (limit, limit);
    }
    Ok(())
}

/// The body of a request.
pub struct Content<'a> {
    media: &'a str,
    bytes: Vec<u8>,
}

impl Content<'_> {
    fn json(value: &Value) -> Self {
        Self { media: "application/json", bytes: value.to_string().into_bytes() }
    }
}

impl Connection {
    /// Connects as the kubeconfig and the flags say. Sends nothing yet.
    pub async fn open(globals: Globals) -> Outcome<Self> {
        let config = configuration(&globals).await?;
        let address = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = kube::Client::try_from(config)
            .map_err(|error| anyhow!("cannot make a client from the kubeconfig: {error}"))?;
        Ok(Self { client, globals, address, warned: Mutex::default() })
    }

    /// The client itself, for typed calls such as exec.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// `https://HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The namespace asked for, or the kubeconfig's.
    pub fn default_namespace(&self) -> String {
        self.namespace(&super::Scope::default())
    }

    /// The namespace asked for by `-n`, which objects from files must not contradict.
    pub fn enforced_namespace(&self) -> Option<&str> {
        self.globals.namespace.as_deref()
    }

    /// The namespace asked for, or the kubeconfig's.
    pub fn namespace(&self, _scope: &super::Scope) -> String {
        self.globals.namespace.clone().unwrap_or_else(|| self.client.default_namespace().to_owned())
    }

    fn request(
        method: Method,
        path: &str,
        accept: &str,
        content: Option<Content<'_>>,
    ) -> Outcome<Request<Body>> {
        let builder = Request::builder().method(method).uri(path).header("accept", accept);
        let request = match content {
            Some(content) => builder.header("content-type", content.media).body(Body::from(content.bytes)),
            None => builder.body(Body::empty()),
        };
        Ok(request.with_context(|| format!("{path} is no path"))?)
    }

    /// Sends; an answer that is no success is the failure it tells of.
    async fn exchange(&self, request: Request<Body>) -> Outcome<Response<Body>> {
        let line = format!("{} {}{}", request.method(), self.address, request.uri());
        let method = request.method().clone();
        let answer = self.client.send(request).await.map_err(|error| self.unreachable(&error))?;
        if self.globals.verbosity >= 6 {
            eprintln!("{line} {}", answer.status());
        }
        self.show_warnings(answer.headers());
        if answer.status().is_success() {
            return Ok(answer);
        }
        let code = answer.status();
        let body = answer.into_body().collect().await.map_err(anyhow::Error::from)?.to_bytes();
        let status = serde_json::from_slice(&body).ok().filter(|v: &Value| v["kind"] == "Status");
        let status = status.unwrap_or_else(|| unnamed(code, &method, &body));
        let status = serde_json::from_value(status).context("the server's Status")?;
        Err(Failure::Server(Box::new(status)))
    }

    fn unreachable(&self, error: &kube::Error) -> Failure {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut texts: Vec<String> = Vec::new();
        while let Some(this) = cause {
            let refused = this.downcast_ref::<std::io::Error>();
            if refused.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
                let host = self.address.split("://").nth(1).unwrap_or(&self.address);
                return Failure::Plain(format!(
                    "The connection to the server {host} was refused - did you specify the right host or port?"
                ));
            }
            texts.push(this.to_string());
            cause = this.source();
        }
        Failure::Plain(format!("Unable to connect to the server: {}", texts.pop().unwrap_or_default()))
    }

    fn show_warnings(&self, headers: &HeaderMap) {
        for header in headers.get_all("warning") {
            let text = String::from_utf8_lossy(header.as_bytes()).into_owned();
            let quoted = text.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"'));
            let Some((message, _)) = quoted else { continue };
            let message = message.replace("\\\"", "\"").replace("\\\\", "\\");
            let Ok(mut warned) = self.warned.lock() else { continue };
            if !warned.contains(&message) {
                eprintln!("Warning: {message}");
                warned.push(message);
            }
        }
    }

    /// Sends and reads the whole answer as text.
    pub async fn text(&self, method: Method, path: &str, content: Option<Content<'_>>) -> Outcome<String> {
        self.text_as(method, path, "application/json, */*", content).await
    }

    async fn text_as(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        content: Option<Content<'_>>,
    ) -> Outcome<String> {
        let answer = self.exchange(Self::request(method, path, accept, content)?).await?;
        let body = answer.into_body().collect().await.map_err(anyhow::Error::from)?.to_bytes();
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        content: Option<Content<'_>>,
    ) -> Outcome<Value> {
        let text = self.text_as(method, path, accept, content).await?;
        Ok(serde_json::from_str(&text).context("the server's answer is not JSON")?)
    }

    /// `GET`, accepting `accept`.
    pub async fn get_as(&self, path: &str, accept: &str) -> Outcome<Value> {
        self.json(Method::GET, path, accept, None).await
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Outcome<Value> {
        self.get_as(path, "application/json").await
    }

    /// `GET`; `None` when there is no such object.
    pub async fn find(&self, path: &str) -> Outcome<Option<Value>> {
        match self.get(path).await {
            Err(failure) if failure.is_not_found() => Ok(None),
            other => other.map(Some),
        }
    }

    /// `POST`.
    pub async fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.json(Method::POST, path, "application/json", Some(Content::json(body))).await
    }

    /// `PUT`.
    pub async fn put(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.json(Method::PUT, path, "application/json", Some(Content::json(body))).await
    }

    /// `PATCH` with a media type such as `application/merge-patch+json`.
    pub async fn patch(&self, path: &str, media: &str, body: &Value) -> Outcome<Value> {
        let content = Content { media, bytes: body.to_string().into_bytes() };
        self.json(Method::PATCH, path, "application/json", Some(content)).await
    }

    /// `DELETE` with DeleteOptions.
    pub async fn delete(&self, path: &str, options: &Value) -> Outcome<Value> {
        self.json(Method::DELETE, path, "application/json", Some(Content::json(options))).await
    }

    /// Sends text from a user as it is, such as the file of `--raw`.
    pub async fn raw(&self, method: Method, path: &str, text: Option<String>) -> Outcome<String> {
        let content = text.map(|text| Content { media: "application/json", bytes: text.into_bytes() });
        self.text(method, path, content).await
    }

    /// `GET` as a stream that is read line by line.
    pub async fn stream(&self, path: &str, accept: &str) -> Outcome<impl AsyncBufRead + use<>> {
        let answer = self.exchange(Self::request(Method::GET, path, accept, None)?).await?;
        let stream = answer.into_body().into_data_stream().map_err(std::io::Error::other);
        Ok(stream.into_async_read())
    }

    /// Watch events of a path, one JSON object each, until `each` returns `false` or the server ends them.
    pub async fn watch(
        &self,
        path: &str,
        accept: &str,
        mut each: impl FnMut(Value) -> Outcome<bool>,
    ) -> Outcome {
        let stream = std::pin::pin!(self.stream(path, accept).await?);
        let mut lines = stream.lines();
        while let Some(line) = futures::StreamExt::next(&mut lines).await {
            let line = line.context("the watch broke off")?;
            let event: Value = serde_json::from_str(&line).context("the server's event is not JSON")?;
            if event["type"] == "ERROR" {
                let status = serde_json::from_value(event["object"].clone()).context("an error event")?;
                return Err(Failure::Server(Box::new(status)));
            }
            if !each(event)? {
                break;
            }
        }
        Ok(())
    }
}

/// The Status of an answer that carries none, in client-go's words.
fn unnamed(code: http::StatusCode, method: &Method, body: &[u8]) -> Value {
    let verb = method.as_str().to_lowercase();
    let (reason, message) = match code.as_u16() {
        400 => ("BadRequest", "the server rejected our request for an unknown reason".to_owned()),
        401 => ("Unauthorized", "the server has asked for the client to provide credentials".to_owned()),
        403 => ("Forbidden", "the server does not allow access to the requested resource".to_owned()),
        404 => ("NotFound", "the server could not find the requested resource".to_owned()),
        405 => {
            ("MethodNotAllowed", "the server does not allow this method on the requested resource".to_owned())
        }
        406 => (
            "NotAcceptable",
            "the server was unable to respond with a content type that the client supports".to_owned(),
        ),
        409 => ("Conflict", "the server reported a conflict".to_owned()),
        415 => (
            "UnsupportedMediaType",
            "the server was unable to respond with a content type that the client supports".to_owned(),
        ),
        429 => (
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later".to_owned(),
        ),
        500.. => (
            "InternalError",
            format!(
                "an error on the server ({:?}) has prevented the request from succeeding",
                String::from_utf8_lossy(body).trim()
            ),
        ),
        other => (
            "",
            format!(
                "the server responded with the status code {other} but did not return more information ({verb})"
            ),
        ),
    };
    json!({"status": "Failure", "code": code.as_u16(), "reason": reason, "message": message})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        assert_eq!(query(&[("a", "x=y,z"), ("b", ""), ("c", "1")]), "?a=x%3Dy%2Cz&c=1");
        assert_eq!(query(&[("a", "")]), "");
    }

    #[test]
    fn a_refusal_without_a_status_is_named() {
        let status = unnamed(http::StatusCode::NOT_FOUND, &Method::GET, b"404 page not found");
        assert_eq!(status["message"], "the server could not find the requested resource");
    }
}
