//! Requests to the API server: paths in, JSON or lines out, the server's Status on failure.

use anyhow::Context as _;
use futures::io::{AsyncBufRead, AsyncBufReadExt as _};
use http::{Method, Request};
use serde_json::Value;

use super::{Failure, Outcome};

/// A cluster to talk to.
pub struct Connection {
    client: kube::Client,
}

/// `a=b&c=d` of a query, values percent-encoded; empty values are left out.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let parts: Vec<String> =
        pairs.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{k}={}", encoded(v))).collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

fn encoded(text: &str) -> String {
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

impl Connection {
    /// Connects as the kubeconfig says.
    pub async fn open() -> Outcome<Self> {
        let client = client::transport::from_kubeconfig(None).await.map_err(anyhow::Error::new)?;
        Ok(Self { client })
    }

    /// The client itself, for typed calls such as exec.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The namespace asked for, or the kubeconfig's.
    pub fn namespace(&self, scope: &super::Scope) -> String {
        scope.namespace.clone().unwrap_or_else(|| self.client.default_namespace().to_owned())
    }

    fn request(method: Method, path: &str, content: &str, body: Vec<u8>) -> Outcome<Request<Vec<u8>>> {
        let (media, accept) = content.split_once('|').unwrap_or((content, "application/json"));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media)
            .header("accept", accept)
            .body(body)
            .with_context(|| format!("{path} is no path"))?;
        Ok(request)
    }

    async fn json(&self, request: Request<Vec<u8>>) -> Outcome<Value> {
        let text = self.client.request_text(request).await?;
        Ok(serde_json::from_str(&text).context("the server's answer is not JSON")?)
    }

    /// `GET`, accepting `accept`.
    pub async fn get_as(&self, path: &str, accept: &str) -> Outcome<Value> {
        self.json(Self::request(Method::GET, path, &format!("application/json|{accept}"), Vec::new())?).await
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Outcome<Value> {
        self.get_as(path, "application/json").await
    }

    /// `GET`; `None` when there is no such object.
    pub async fn find(&self, path: &str) -> Outcome<Option<Value>> {
        match self.get(path).await {
            Err(Failure::Server(status)) if status.code == 404 && status.reason == "NotFound" => Ok(None),
            other => other.map(Some),
        }
    }

    /// `POST`.
    pub async fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.json(Self::request(Method::POST, path, "application/json", body.to_string().into_bytes())?).await
    }

    /// `PATCH` with a media type such as `application/merge-patch+json`.
    pub async fn patch(&self, path: &str, media: &str, body: &Value) -> Outcome<Value> {
        self.json(Self::request(Method::PATCH, path, media, body.to_string().into_bytes())?).await
    }

    /// `DELETE` with DeleteOptions.
    pub async fn delete(&self, path: &str, options: &Value) -> Outcome<Value> {
        self.json(Self::request(Method::DELETE, path, "application/json", options.to_string().into_bytes())?)
            .await
    }

    /// `GET` as a stream that is read line by line.
    pub async fn stream(&self, path: &str, accept: &str) -> Outcome<impl AsyncBufRead + use<>> {
        let request = Self::request(Method::GET, path, &format!("application/json|{accept}"), Vec::new())?;
        Ok(self.client.request_stream(request).await?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        assert_eq!(query(&[("a", "x=y,z"), ("b", ""), ("c", "1")]), "?a=x%3Dy%2Cz&c=1");
        assert_eq!(query(&[("a", "")]), "");
    }
}
