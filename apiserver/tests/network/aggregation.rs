//! A second API server behind an API service: found, asked, shown, and missed when it is gone.

use base64::Engine as _;
use component_base::tls::SubjectNames;
use hyper::service::service_fn;

use super::*;

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

/// An API server of one kind that shows who asks.
async fn wardle(pki: &Pki) -> (u16, tokio::task::JoinHandle<()>) {
    let names = SubjectNames { dns: vec!["api.default.svc".to_owned()], addresses: Vec::new() };
    let identity =
        pki.issue_serving("wardle", &[], &names, RealClock::shared().now()).expect("a certificate");
    // It believes front proxies alone.
    let acceptor = TlsAcceptor::from(pki.aggregated_server_config(&identity).expect("a configuration"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepted");
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let server = hyper::server::conn::http1::Builder::new();
            let _ = server.serve_connection(TokioIo::new(stream), service_fn(flunders)).await;
        }
    });
    (port, task)
}

async fn flunders(request: Request<Incoming>) -> Result<Response<Body>, std::convert::Infallible> {
    let headers: Vec<String> = request
        .headers()
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-remote") || *name == "authorization")
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap_or("?")))
        .collect();
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let body = match path {
        "/apis/wardle.example.com/v1" => json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.com/v1",
            "resources": [{"name": "flunders", "singularName": "flunder", "namespaced": true,
                           "kind": "Flunder", "verbs": ["get", "list"]}]}),
        "/openapi/v3" => {
            let url = "/openapi/v3/apis/wardle.example.com/v1?hash=7";
            json!({"paths": {"apis/wardle.example.com/v1": {"serverRelativeURL": url}}})
        }
        "/openapi/v3/apis/wardle.example.com/v1?hash=7" => json!({"openapi": "3.0.0", "own": true}),
        "/openapi/v2" => {
            let schema = json!({"$ref": "#/definitions/com.example.wardle.Flunder"});
            let metadata = json!({"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"});
            json!({
                "paths": {"/apis/wardle.example.com/v1/flunders": {"get": {"responses": {"200": {"schema": schema}}}}},
                "definitions": {"com.example.wardle.Flunder": {"properties": {"metadata": metadata}}}})
        }
        path if path.starts_with("/apis/wardle.example.com/v1/") => json!({"path": path, "headers": headers}),
        _ => {
            let mut missing = Response::new(Body::from("404"));
            *missing.status_mut() = StatusCode::NOT_FOUND;
            return Ok(missing);
        }
    };
    Ok(Response::new(Body::from(body.to_string())))
}

impl Cluster {
    async fn json(&self, path: &str) -> Value {
        let text = text(self.send(true, get(path)).await).await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"))
    }

    /// Waits for a reason of the API service's condition.
    async fn until(&self, reason: &str) {
        let path = format!("{SERVICES}?watch=1&fieldSelector=metadata.name=v1.wardle.example.com");
        let watch = self.send(true, get(&path)).await.into_body();
        watch::until(watch, |event| event["object"]["status"]["conditions"][0]["reason"] == reason).await;
    }
}

#[tokio::test]
async fn another_server_serves_a_group() {
    let cluster = start("127.0.0.1:0").await.expect("a server");
    let (port, task) = wardle(&cluster.pki).await;
    let authority = base64::engine::general_purpose::STANDARD.encode(cluster.pki.authority_pem());
    let service = json!({"metadata": {"name": "v1.wardle.example.com"}, "spec": {
        "group": "wardle.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15,
        "caBundle": authority, "service": {"namespace": "default", "name": "api", "port": port}}});
    assert_eq!(cluster.post(SERVICES, service).await, 201);
    cluster.until("ServiceNotFound").await;
    let list = cluster.send(true, get("/apis/wardle.example.com/v1/flunders")).await;
    assert_eq!((list.status().as_u16(), text(list).await.as_str()), (503, "service unavailable\n"));
    let api =
        json!({"metadata": {"name": "api"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    assert_eq!(cluster.post("/api/v1/namespaces/default/services", api).await, 201);
    cluster.until("Passed").await;

    let answer = cluster.json("/apis/wardle.example.com/v1/namespaces/a/flunders?limit=1").await;
    assert_eq!(answer["path"], "/apis/wardle.example.com/v1/namespaces/a/flunders?limit=1");
    let seen = answer["headers"].as_array().expect("headers");
    assert!(seen.contains(&json!("x-remote-user=kubernetes-admin")), "{seen:?}");
    assert!(seen.contains(&json!("x-remote-group=system:masters")), "{seen:?}");
    assert!(!seen.iter().any(|header| header.as_str().unwrap_or_default().starts_with("authorization")));

    described(&cluster).await;
    task.abort();
    let gone = cluster.send(true, get("/apis/wardle.example.com/v1/flunders")).await;
    assert_eq!(gone.status(), 503);
    let gone = text(gone).await;
    assert!(gone.starts_with("error trying to reach service: dial tcp localhost:"), "{gone}");
    cluster.shutdown.trigger();
}

/// Discovery and OpenAPI show the other server's group with our own.
async fn described(cluster: &Cluster) {
    // They are read after the condition is written.
    let group = loop {
        let request = Request::get("/apis").header("host", "localhost");
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let request = request.header("accept", accept).body(Body::empty()).expect("a request");
        let list: Value = serde_json::from_str(&text(cluster.send(true, request).await).await).expect("JSON");
        let groups = list["items"].as_array().cloned().unwrap_or_default();
        let group = groups.into_iter().find(|group| group["metadata"]["name"] == "wardle.example.com");
        if let Some(group) = group.filter(|group| group["versions"][0]["freshness"] == "Current") {
            break group;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(group["versions"][0]["resources"][0]["resource"], "flunders");
    let group = cluster.json("/apis/wardle.example.com").await;
    assert_eq!(group["preferredVersion"]["groupVersion"], "wardle.example.com/v1");
    let index = cluster.json("/openapi/v3").await;
    let url = index["paths"]["apis/wardle.example.com/v1"]["serverRelativeURL"].as_str().expect("a URL");
    assert_eq!(cluster.json(url).await["own"], true);
    let swagger = cluster.json("/openapi/v2").await;
    assert!(swagger["paths"]["/apis/wardle.example.com/v1/flunders"].is_object());
    assert!(swagger["definitions"]["com.example.wardle.Flunder"].is_object());
}
