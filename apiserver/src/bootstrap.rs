//! Objects every cluster has: namespaces, their default accounts, system priority classes, roles, the range of service
//! addresses, and the `kubernetes` Service with its endpoints. Reconciled at each start, so a changed address is corrected.
//!
//! Entry points: [`run`] at start, then [`keep`] as long as the server lives.

pub(crate) mod rbac;

use std::sync::Arc;
use std::time::Duration;

use api::strategies::scheduling::SYSTEM_CLASSES;
use api::{Reason, Status, object};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::api_services;
use crate::call::{Call, Server, store_status};
use crate::registry::{self, Part};

/// Pause before watching again after a failure.
const RETRY: Duration = Duration::from_secs(5);

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Makes what is missing and corrects what differs. `port` is where this server listens.
pub(crate) async fn run(server: &Arc<Server>, port: u16) -> Result<(), Status> {
    for name in NAMESPACES {
        let namespace = json!({"metadata": {"name": name}});
        ensure(server, ("", "v1", "namespaces"), "", namespace, |_, _| false).await?;
        // Pods created in the first second need their account and authority, before controllers run.
        let account = json!({"metadata": {"name": "default"}});
        ensure(server, ("", "v1", "serviceaccounts"), name, account, |_, _| false).await?;
        let authority = json!({
            "metadata": {"name": "kube-root-ca.crt", "annotations": {
                "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."}},
            "data": {"ca.crt": server.config.pki.authority_pem()},
        });
        ensure(server, ("", "v1", "configmaps"), name, authority, |new, old| take(new, old, &["data"]))
            .await?;
    }
    for (name, value, description) in SYSTEM_CLASSES {
        let class = json!({"metadata": {"name": name}, "value": value, "description": description});
        ensure(server, ("scheduling.k8s.io", "v1", "priorityclasses"), "", class, |_, _| false).await?;
    }
    rbac::run(server).await?;
    service_range(server).await?;
    api_services::reconcile(server).await?;
    service(server, port).await
}

/// The range services get their addresses from, which is a setting of the server and always ready.
async fn service_range(server: &Arc<Server>) -> Result<(), Status> {
    let ready = json!([{"type": "Ready", "status": "True", "reason": "", "lastTransitionTime": server.now(),
                        "message": "Kubernetes Service CIDR is ready"}]);
    let range = json!({
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [server.config.service_range.to_string()]},
    });
    ensure(server, ("networking.k8s.io", "v1", "servicecidrs"), "", range, |_, old| {
        let missing = !old["status"]["conditions"].is_array();
        if missing {
            old["status"]["conditions"] = ready.clone();
        }
        missing
    })
    .await
}

/// Restores the `kubernetes` Service and its endpoints whenever somebody changes or deletes them.
pub(crate) async fn keep(server: Arc<Server>, port: u16) {
    loop {
        if let Err(status) = keep_until_lost(&server, port).await {
            tracing::warn!(message = status.message, "the kubernetes service could not be kept");
        }
        server.clock.sleep(RETRY).await;
    }
}

/// Ends when a watch ends.
async fn keep_until_lost(server: &Arc<Server>, port: u16) -> Result<(), Status> {
    let mut changes = Vec::new();
    for (group, plural) in [("", "services"), ("", "endpoints"), ("discovery.k8s.io", "endpointslices")] {
        let key = api::names::storage_key(group, plural, Some("default"), "kubernetes");
        let after = server.store.revision();
        changes.push(server.store.watch(&key, after).await.map_err(store_status)?);
    }
    let mut changes = futures::stream::select_all(changes);
    // What changed before the watches began.
    service(server, port).await?;
    while let Some(change) = changes.next().await {
        change.map_err(store_status)?;
        service(server, port).await?;
    }
    Ok(())
}

async fn service(server: &Arc<Server>, port: u16) -> Result<(), Status> {
    let address = server.config.service_range.address(1).to_string();
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "metadata": {"name": "kubernetes", "labels": labels},
        "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "sessionAffinity": "None",
                 "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]},
    });
    ensure(server, ("", "v1", "services"), "default", service, |new, old| {
        let wanted = new["spec"]["ports"][0]["targetPort"].clone();
        let differs = old["spec"]["ports"][0]["targetPort"] != wanted;
        old["spec"]["ports"][0]["targetPort"] = wanted;
        differs
    })
    .await?;
    let own = server.config.advertise.to_string();
    let endpoints = json!({
        "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": own}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    });
    ensure(server, ("", "v1", "endpoints"), "default", endpoints, |new, old| take(new, old, &["subsets"]))
        .await?;
    let slice = json!({
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if server.config.advertise.is_ipv6() { "IPv6" } else { "IPv4" },
        "endpoints": [{"addresses": [own], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    ensure(server, ("discovery.k8s.io", "v1", "endpointslices"), "default", slice, |new, old| {
        take(new, old, &["endpoints", "ports"])
    })
    .await
}

/// Makes `old` agree with `new` in some fields; answers whether that changes anything.
fn take(new: &Value, old: &mut Value, keys: &[&str]) -> bool {
    let mut changed = false;
    for key in keys {
        if old[*key] != new[*key] {
            old[*key] = new[*key].clone();
            changed = true;
        }
    }
    changed
}

/// Creates an object, or lets `adjust(wanted, stored)` change the one that is there.
pub(crate) async fn ensure(
    server: &Arc<Server>,
    (group, version, plural): (&str, &str, &str),
    namespace: &str,
    wanted: Value,
    adjust: impl Fn(&Value, &mut Value) -> bool + Send + Sync,
) -> Result<(), Status> {
    let Some(kind) = server.kinds().resource(group, version, plural).cloned() else { return Ok(()) };
    let name = object::name(&wanted).to_owned();
    let call = Call::internal(server, &kind, namespace, &name);
    if server.stored(&call.key(&name)).await?.is_none() {
        match registry::create(&call, wanted.clone()).await {
            Err(status) if status.reason == Reason::AlreadyExists => {}
            // Adjusting follows: a creator may not set status, for one.
            outcome => outcome.map(|_| ())?,
        }
    }
    registry::update(&call, &name, Part::Whole, |current| {
        let mut new = current.clone();
        adjust(&wanted, &mut new);
        Ok(new)
    })
    .await
    .map(|_| ())
}
