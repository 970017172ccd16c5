//! What stands between a request and its pipeline: authentication, authorization and admission of creates.
//!
//! The same creates, as dry runs, are sent to a server by an account with a token and a role, and to one without admission
//! plugins by an administrator, who is known from the handshake and may do everything. The difference is what it costs
//! to ask who, whether, and on which terms.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::Method;
use serde_json::json;

use crate::Row;
use crate::access::account;
use crate::api::Target;
use crate::cluster::{Cluster, Engine};
use crate::load::{Shot, Until, load};
use crate::requests::{config_map, with_processor};

const NAMESPACE: &str = "/api/v1/namespaces/default";
/// The plugins that are on by default and see such creates.
const PLUGINS: [&str; 16] = [
    "NamespaceLifecycle",
    "LimitRanger",
    "ServiceAccount",
    "NodeRestriction",
    "PodSecurity",
    "Priority",
    "DefaultTolerationSeconds",
    "RuntimeClass",
    "PodTopologyLabels",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
    "ResourceQuota",
    "DefaultIngressClass",
    "StorageObjectInUseProtection",
];
/// DESIGN.md's wish for all three.
const GOAL_MICROS: u64 = 50;

/// What is created, and where.
fn kinds() -> [(&'static str, Bytes); 2] {
    let container =
        json!({"name": "c", "image": "registry.example/app:1", "resources": {"requests": {"cpu": "1m"}}});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "load-"},
        "spec": {"containers": [container]},
    });
    let map = config_map(json!({"generateName": "load-"}), 0);
    [("configmaps", map), ("pods", Bytes::from(pod.to_string()))]
}

/// Measures creates of ConfigMaps and Pods.
pub async fn measure(seconds: u64) -> Result<Vec<Row>> {
    let span = Duration::from_secs(seconds);
    let off = format!("--disable-admission-plugins={}", PLUGINS.join(","));
    let asked = on(&[], span).await?;
    let unasked = on(&[&off], span).await?;
    let rows = kinds().into_iter().zip(asked.into_iter().zip(unasked)).map(|((plural, _), (asked, unasked))| {
        // Processor time is read in hundredths of a second: neither difference is below nothing.
        let all = asked.account.saturating_sub(unasked.administrator);
        let admission = asked.administrator.saturating_sub(unasked.administrator);
        Row::new(
            format!("authn + authz + admission of a create ({plural})"),
            format!("{all} µs, admission {admission} µs"),
            format!(
                "goal < {GOAL_MICROS} µs; {} instead of {} µs of the server's processor time for a dry run",
                asked.account, unasked.administrator
            ),
        )
    });
    Ok(rows.collect())
}

/// Microseconds of the server's processor time for a create.
struct Cost {
    administrator: u64,
    account: u64,
}

/// The cost for each kind on a server with these flags.
async fn on(flags: &[&str], span: Duration) -> Result<Vec<Cost>> {
    let mut cluster = Cluster::control_plane_with(Engine::Embedded, flags).await?;
    // Pods want the account and what it trusts.
    let mut connection = cluster.answers(&format!("{NAMESPACE}/serviceaccounts/default")).await?;
    let administrator = cluster.target()?;
    let rule = json!({"apiGroups": [""], "resources": ["configmaps", "pods"], "verbs": ["create"]});
    let account = account(&mut connection, &administrator, &rule).await?;
    let mut costs = Vec::new();
    for (plural, body) in kinds() {
        let creates = |target: Target| {
            let body = body.clone();
            let shot = move |_, _| Shot {
                method: Method::POST,
                path: format!("{NAMESPACE}/{plural}?dryRun=All"),
                body: body.clone(),
            };
            async move { load(&target, Until::Passed(span), shot).await }
        };
        let (_, administrator) = with_processor(cluster.pid(), creates(administrator.clone())).await?;
        let (_, account) = with_processor(cluster.pid(), creates(account.clone())).await?;
        costs.push(Cost { administrator, account });
    }
    Ok(costs)
}
