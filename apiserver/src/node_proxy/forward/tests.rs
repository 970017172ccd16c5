//! Requests passed on to a server on this machine, and the pieces they are made of.

use std::sync::Arc;

use axum::Router;
use axum::routing::any;
use component_base::clock::FakeClock;
use http_body_util::BodyExt as _;
use rustls::{ClientConfig, RootCertStore};

use super::super::dial::Wire;
use super::*;

#[test]
fn paths_in_two() {
    let parts = |path: &str, namespaced| {
        let paths = Paths::of(path, namespaced);
        format!("{} {}", paths.prefix, paths.rest)
    };
    let pod = "/api/v1/namespaces/n/pods/http:p:80/proxy";
    assert_eq!(parts(pod, true), format!("{pod} "));
    assert_eq!(parts(&format!("{pod}/"), true), format!("{pod} /"));
    assert_eq!(parts(&format!("{pod}/a%2Fb/"), true), format!("{pod} /a%2Fb/"));
    assert_eq!(parts("/api/v1/nodes/n/proxy/logs", false), "/api/v1/nodes/n/proxy /logs");
}

#[test]
fn redirects_stay_below_the_proxy() {
    let backend = Backend { host: "10.0.0.1".to_owned(), port: 80, wire: Wire::Plain };
    let to = |location: &str| bend(location, &backend, "/p/proxy");
    assert_eq!(to("/login?a=b").as_deref(), Some("/p/proxy/login?a=b"));
    assert_eq!(to("http://10.0.0.1:80/login").as_deref(), Some("/p/proxy/login"));
    assert_eq!((to("http://example.com/login"), to("/p/proxy/x")), (None, None));
}

/// Answers with what it was asked.
async fn echo(request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let sent = body.collect().await.expect("a body").to_bytes();
    let seen = |name: &str| parts.headers.get(name).map_or("-", |v| v.to_str().unwrap_or("?")).to_owned();
    let text = format!(
        "{} {} {} {} {}",
        parts.method,
        parts.uri,
        seen("authorization"),
        seen("x-forwarded-uri"),
        String::from_utf8_lossy(&sent)
    );
    let mut response = Response::new(Body::from(text));
    if parts.uri.path() == "/moved" {
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/next"));
    }
    if parts.uri.path() == "/page" {
        *response.body_mut() = Body::from("<a href=\"/next?a=b#c\">n</a><a href=\"near\">n</a>");
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    response
}

fn nodes() -> Nodes {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let clock = FakeClock::at("2026-01-01T00:00:00Z".parse().expect("a time"));
    Nodes::new(Arc::new(config), clock).expect("a caller")
}

async fn pass(port: u16, method: &str, rest: &str) -> Result<(u16, String, String), Status> {
    let backend = Backend { host: "127.0.0.1".to_owned(), port, wire: Wire::Plain };
    let path =
        Paths { prefix: "/p/proxy".to_owned(), rest: rest.split('?').next().unwrap_or_default().to_owned() };
    let request = Request::builder()
        .method(method)
        .uri(format!("/p/proxy{rest}"))
        .header("authorization", "Bearer secret")
        .header("host", "gantry")
        .body(Body::from("text"))
        .expect("a request");
    let response = send(&nodes(), &Shutdown::new(), &backend, &path, request).await?;
    let location =
        response.headers().get(header::LOCATION).map_or("", |v| v.to_str().unwrap_or("?")).to_owned();
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    Ok((code, location, String::from_utf8_lossy(&body).into_owned()))
}

#[tokio::test]
async fn requests_of_all_kinds_pass() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let app = Router::new().fallback(any(echo));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let plain = |text: &str| (200, String::new(), text.to_owned());
    let get = pass(port, "GET", "/a%2Fb/?c=d").await.expect("an answer");
    assert_eq!(get, plain("GET /a%2Fb/?c=d - /p/proxy/a%2Fb/ text"));
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let answer = pass(port, method, "").await.expect("an answer");
        assert_eq!(answer, plain(&format!("{method} / - /p/proxy/ text")));
    }
    let (code, location, _) = pass(port, "GET", "/moved").await.expect("an answer");
    assert_eq!((code, location.as_str()), (302, "/p/proxy/next"));
    let page = pass(port, "GET", "/page").await.expect("an answer");
    assert_eq!(page, plain("<a href=\"/p/proxy/next?a=b#c\">n</a><a href=\"near\">n</a>"));
    server.abort();
    let _ = server.await;
    let refused = pass(port, "GET", "/").await.expect_err("nobody listens");
    assert_eq!(
        (refused.code(), refused.message),
        (
            503,
            format!("error trying to reach service: dial tcp 127.0.0.1:{port}: connect: connection refused")
        )
    );
}
