//! A `kube::Client` over TLS, or over an API server in the same process. Callers cannot tell which.

use std::convert::Infallible;
use std::path::Path;

use bytes::Bytes;
use component_base::user::UserInfo;
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::client::Body;
use tower::{BoxError, Service, ServiceExt as _};

use crate::kubeconfig::{self, KubeconfigError};

/// A client whose requests go straight into `service`, as `user`, without a socket.
///
/// Must be called inside a tokio runtime.
pub fn in_process<S, B>(service: S, user: UserInfo) -> kube::Client
where
    S: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let agent = HeaderValue::from_str(component(&user.name)).ok();
    let service = service.map_request(move |mut request: http::Request<Body>| {
        request.extensions_mut().insert(user.clone());
        if let Some(agent) = &agent {
            request.headers_mut().entry(USER_AGENT).or_insert(agent.clone());
        }
        request
    });
    kube::Client::new(service, "default")
}

/// What a component calls itself, which is who owns the fields it writes.
fn component(user: &str) -> &str {
    match user.strip_prefix("system:").unwrap_or(user) {
        node if node.starts_with("node:") => "kubelet",
        name => name,
    }
}

/// A client for the cluster that a kubeconfig describes; without a path, the one
/// [`kubeconfig::locate`] finds.
///
/// # Errors
/// When there is no kubeconfig, or it cannot be used.
pub async fn from_kubeconfig(path: Option<&Path>) -> Result<kube::Client, KubeconfigError> {
    let config = kubeconfig::config(path, &kube::config::KubeConfigOptions::default()).await?;
    kube::Client::try_from(config).map_err(|source| KubeconfigError::Client { source: Box::new(source) })
}
