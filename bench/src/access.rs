//! What it costs to learn who asks: by certificate or by token, on a connection that is there or a new one.
//!
//! Administrators by certificate are known from the handshake and may do everything; an account's token is checked and
//! its roles are looked up for each request. The difference is what authentication and authorization cost.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::api::{Connection, Target};
use crate::cluster::{Cluster, Engine};
use crate::load::{Load, Shot, Until, handshakes, load};
use crate::requests::with_processor;
use crate::{Row, limits};

const RBAC: &str = "rbac.authorization.k8s.io";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const READ: &str = "/api/v1/namespaces/default/configmaps/kube-root-ca.crt";

/// Measures GETs of an administrator and of an account, and new connections.
pub async fn measure(seconds: u64) -> Result<Vec<Row>> {
    let span = Duration::from_secs(seconds);
    let mut cluster = Cluster::control_plane(Engine::Embedded).await?;
    let mut connection = cluster.answers("/api/v1/namespaces/default").await?;
    let answer = connection.get(READ).await?;

    let (administrator, pid) = (cluster.target()?, cluster.pid());
    let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]});
    let account = account(&mut connection, &administrator, &rule).await?;
    let get = |path: &'static str| {
        move |_, _| Shot { method: Method::GET, path: path.to_owned(), body: Bytes::new() }
    };
    let by_certificate = with_processor(pid, load(&administrator, Until::Passed(span), get(READ))).await?;
    let by_token = with_processor(pid, load(&account, Until::Passed(span), get(READ))).await?;
    let fresh = with_processor(pid, handshakes(&administrator, span, READ)).await?;
    drop(cluster);
    let server = limits::BareServer::spawn(&answer)?;
    let bare = Target::new(server.address.clone(), server.certificate.clone())?;
    let bare = handshakes(&bare, span, "/").await?.per_second;

    let row = |what: &str, (load, micros): &(Load, u64), against: String| {
        let reading = format!("{:.0}/s, p99 {:.1} ms", load.per_second, load.p99_ms);
        Row::new(what, reading, format!("{micros} µs of the server's processor time each{against}"))
    };
    let beside = format!("; {} µs by certificate", by_certificate.1);
    let share = fresh.0.per_second / bare * 100.0;
    let limit = format!("; {share:.0} % of a bare server that asks for no certificate ({bare:.0}/s)");
    Ok(vec![
        row("GETs of an administrator, by certificate", &by_certificate, String::new()),
        row("GETs of a service account, by token and role", &by_token, beside),
        row("new connections with a GET each", &fresh, limit),
    ])
}

/// An account with a token and a role of one rule.
pub async fn account(connection: &mut Connection, server: &Target, rule: &Value) -> Result<Target> {
    let root = format!("/apis/{RBAC}/v1/namespaces/default");
    let role = json!({"metadata": {"name": "worker"}, "rules": [rule]});
    connection.post(&format!("{root}/roles"), &role).await?;
    let binding = json!({
        "metadata": {"name": "worker"},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "worker"},
        "subjects": [{"kind": "ServiceAccount", "name": "worker", "namespace": "default"}],
    });
    connection.post(&format!("{root}/rolebindings"), &binding).await?;
    connection.post(ACCOUNTS, &json!({"metadata": {"name": "worker"}})).await?;
    let issued = connection.post(&format!("{ACCOUNTS}/worker/token"), &json!({"spec": {}})).await?;
    let issued: Value = serde_json::from_slice(&issued)?;
    server.with_token(issued["status"]["token"].as_str().context("a token")?)
}
