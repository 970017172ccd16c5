//! A `kube::Client` over TLS, or over an API server in the same process. Callers cannot tell which.

use std::convert::Infallible;
use std::path::Path;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use component_base::metrics::{self, IntCounterVec};
use component_base::user::UserInfo;
use futures::future::BoxFuture;
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
    let service = Counted(service).map_request(move |mut request: http::Request<Body>| {
        request.extensions_mut().insert(user.clone());
        if let Some(agent) = &agent {
            request.headers_mut().entry(USER_AGENT).or_insert(agent.clone());
        }
        request
    });
    kube::Client::new(service, "default")
}

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let labels = ["code", "host", "method"];
    metrics::counter(
        "rest_client_requests_total",
        "Requests of the parts of this process to its server.",
        &labels,
    )
});

/// A service whose answers are counted.
struct Counted<S>(S);

impl<S, R, B> Service<http::Request<R>> for Counted<S>
where
    S: Service<http::Request<R>, Response = http::Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<S::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<R>) -> Self::Future {
        let method = request.method().clone();
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            REQUESTS.with_label_values(&[answer.status().as_str(), "", method.as_str()]).inc();
            Ok(answer)
        })
    }
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
