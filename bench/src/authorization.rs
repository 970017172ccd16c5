//! What a decision costs: access reviews about users of a cluster without and with very many role bindings.
//!
//! A review is a whole request; what bindings add to it is the difference between the two.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::Row;
use crate::cluster::{Cluster, Engine};
use crate::load::{Load, Shot, Until, fill, load};
use crate::requests::with_processor;

const RBAC: &str = "rbac.authorization.k8s.io";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// Role bindings in the full cluster, each of a user of its own.
const COUNT: usize = 10_000;

/// Measures reviews without bindings, and about users of whom each has one.
pub async fn measure(seconds: u64) -> Result<Vec<Row>> {
    let span = Duration::from_secs(seconds);
    let mut cluster = Cluster::control_plane(Engine::Embedded).await?;
    let mut connection = cluster.answers("/api/v1/namespaces/default").await?;
    let role = json!({"metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    connection.post(ROLES, &role).await?;
    let (target, pid) = (cluster.target()?, cluster.pid());
    let few = with_processor(pid, load(&target, Until::Passed(span), review)).await?;
    fill(&target, BINDINGS, COUNT, binding).await?;
    let answer: Value = serde_json::from_slice(&connection.post(REVIEWS, &question(COUNT - 1)).await?)?;
    anyhow::ensure!(answer["status"]["allowed"] == true, "the last user may read pods: {answer}");
    let many = with_processor(pid, load(&target, Until::Passed(span), review)).await?;
    let row = |what: String, (load, micros): &(Load, u64), against: String| {
        let reading = format!("{:.0}/s, p99 {:.1} ms", load.per_second, load.p99_ms);
        Row::new(what, reading, format!("{micros} µs of the server's processor time each{against}"))
    };
    let beside = format!("; {} µs without the bindings", few.1);
    Ok(vec![
        row("access reviews, no bindings".to_owned(), &few, String::new()),
        row(format!("access reviews, {COUNT} bindings"), &many, beside),
    ])
}

fn binding(number: usize) -> Value {
    json!({
        "metadata": {"name": format!("user-{number}")},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "User", "apiGroup": RBAC, "name": format!("user-{number}")}],
    })
}

fn question(user: usize) -> Value {
    let wish = json!({"namespace": "default", "verb": "get", "resource": "pods"});
    json!({"spec": {"user": format!("user-{user}"), "groups": ["system:authenticated"], "resourceAttributes": wish}})
}

fn review(connection: usize, request: usize) -> Shot {
    let user = (request * 7919 + connection * 104_729) % COUNT;
    Shot { method: Method::POST, path: REVIEWS.to_owned(), body: Bytes::from(question(user).to_string()) }
}
