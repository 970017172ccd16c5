//! Plays the API server for kubectl: answers discovery and one pod, passes streams on to the node API.

use std::path::PathBuf;

use node_agent::server::NodeApi;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Echoes what one client sends.
pub async fn echo_once(listener: TcpListener) {
    let (mut stream, _) = listener.accept().await.expect("accept");
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await.expect("echo");
}

/// Says something and closes the connection.
pub async fn greet_once(listener: TcpListener) {
    let (mut stream, _) = listener.accept().await.expect("accept");
    stream.write_all(b"greetings").await.expect("greet");
}

/// A listening front.
pub struct Front {
    port: u16,
    cache: tempfile::TempDir,
}

impl Front {
    /// Starts one on a free loopback port.
    pub async fn start(api: NodeApi) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, api.clone()));
            }
        });
        Self { port, cache: tempfile::tempdir().expect("directory") }
    }

    /// For `--server`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// For `--cache-dir`.
    pub fn cache(&self) -> &str {
        self.cache.path().to_str().expect("text")
    }
}

async fn serve(mut client: TcpStream, api: NodeApi) {
    let mut head = Vec::new();
    loop {
        while !head.windows(4).any(|window| window == b"\r\n\r\n") {
            if client.read_buf(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let target = text.split(' ').nth(1).unwrap_or_default().to_owned();
        if let Some(node_target) = node_target(&target) {
            let rewritten = text.replacen(&target, &node_target, 1);
            let (mut near, far) = tokio::io::duplex(64 << 10);
            tokio::spawn(api.serve(far, true));
            near.write_all(rewritten.as_bytes()).await.expect("pass on");
            // Either side may end first.
            drop(tokio::io::copy_bidirectional(&mut client, &mut near).await);
            return;
        }
        head.clear();
        let body = discovery(&target).to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if client.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn node_target(target: &str) -> Option<String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = PathBuf::from(path.strip_prefix("/api/v1/namespaces/default/pods/web/")?);
    let node = match path.to_str()? {
        "exec" => "/exec/default/web/main",
        "attach" => "/attach/default/web/main",
        "log" => "/containerLogs/default/web/main",
        "portforward" => "/portForward/default/web",
        _ => return None,
    };
    Some(format!("{node}?{query}"))
}

fn discovery(target: &str) -> Value {
    match target.split('?').next().unwrap_or_default() {
        "/version" => json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0"}),
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
        "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
        "/api/v1" => json!({
            "kind": "APIResourceList",
            "groupVersion": "v1",
            "resources": [{
                "name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod",
                "verbs": ["get", "list", "create"], "shortNames": ["po"],
            }],
        }),
        _ => json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "namespace": "default", "uid": "uid"},
            "spec": {"containers": [{"name": "main", "image": "none"}]},
            "status": {"phase": "Running"},
        }),
    }
}
