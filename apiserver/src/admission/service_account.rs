//! Every pod acts as a service account and finds its token, the cluster's authority and its namespace
//! at a well-known path. An account may say that its pods use no other secrets than it lists (`secrets`).

mod secrets;

use std::time::Duration;

use api::{Status, object};
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::{Attributes, Operation};
use crate::call::{Call, parse, store_status};

/// Where the token is mounted.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Life of a mounted token; the odd seconds are upstream's mark of "nobody chose this".
const TOKEN_SECONDS: i64 = 3607;
/// How long a pod waits for the `default` account of a namespace that was made a moment ago.
const WAIT_FOR_DEFAULT: Duration = Duration::from_secs(2);

/// Fills in the account and its volume.
pub(super) async fn mutate(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    // What is sent to a part of a pod need not say more; what becomes of it is judged later.
    if attributes.operation != Operation::Create {
        return Ok(());
    }
    // The node wrote a mirror pod down as it runs; it must stay so.
    if is_mirror(pod) {
        return validate(attributes, pod).await;
    }
    let spec = object::section(pod, "spec");
    let old_name = spec.get("serviceAccount").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut name = spec.get("serviceAccountName").and_then(Value::as_str).unwrap_or_default().to_owned();
    if name.is_empty() {
        name = if old_name.is_empty() { "default".to_owned() } else { old_name };
    }
    spec.insert("serviceAccountName".to_owned(), name.as_str().into());
    spec.insert("serviceAccount".to_owned(), name.as_str().into());
    let account = account(attributes, pod, &name).await?;
    if pod["spec"]["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)
        && let Some(secrets) = account["imagePullSecrets"].as_array().filter(|list| !list.is_empty())
    {
        pod["spec"]["imagePullSecrets"] = json!(secrets);
    }
    let automount = pod["spec"]["automountServiceAccountToken"]
        .as_bool()
        .or(account["automountServiceAccountToken"].as_bool())
        .unwrap_or(true);
    if automount {
        mount_token(pod, &attributes.call.server.rng.name_suffix(5));
    }
    secrets::check(attributes, &account, pod)
}

fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string()
}

/// What came after [`mutate`] may have changed the account.
pub(super) async fn validate(attributes: &Attributes<'_>, pod: &Value) -> Result<(), Status> {
    let ephemeral = attributes.call.info.subresource == "ephemeralcontainers";
    if attributes.operation != Operation::Create && !ephemeral {
        return Ok(());
    }
    if is_mirror(pod) && !ephemeral {
        return secrets::check_mirror(attributes, pod);
    }
    let name = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
    if name.is_empty() {
        let namespace = attributes.namespace();
        let detail = format!("no service account specified for pod {namespace}/{}", object::name(pod));
        return Err(attributes.forbidden(pod, &detail));
    }
    let account = account(attributes, pod, name).await?;
    secrets::check(attributes, &account, pod)
}

async fn account(attributes: &Attributes<'_>, pod: &Value, name: &str) -> Result<Value, Status> {
    let (call, namespace) = (attributes.call, attributes.namespace());
    let key = api::names::storage_key("", "serviceaccounts", Some(namespace), name);
    if let Some(found) = call.server.stored(&key).await? {
        return Ok(found);
    }
    if name == "default"
        && let Some(found) = appears(call, &key).await?
    {
        return Ok(found);
    }
    let detail =
        format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
    Err(attributes.forbidden(pod, &detail))
}

/// Waits a moment for the controller that makes default accounts.
async fn appears(call: &Call, key: &str) -> Result<Option<Value>, Status> {
    let store = &call.server.store;
    let mut events = store.watch(key, store.revision()).await.map_err(store_status)?;
    if let Some(found) = call.server.stored(key).await? {
        return Ok(Some(found));
    }
    let mut late = call.server.clock.sleep(WAIT_FOR_DEFAULT);
    loop {
        tokio::select! {
            () = &mut late => return Ok(None),
            event = events.next() => match event {
                Some(Ok(event)) => {
                    if let Some(entry) = event.entry.filter(|entry| &*entry.key == key) {
                        return parse(&entry.bytes).map(Some);
                    }
                }
                Some(Err(error)) => return Err(store_status(error)),
                None => return Ok(None),
            }
        }
    }
}

/// Adds the projected volume and mounts it where nothing else is mounted.
fn mount_token(pod: &mut Value, suffix: &str) {
    let volume = format!("kube-api-access-{suffix}");
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if !container.is_object() {
                continue;
            }
            let mounts = container["volumeMounts"].as_array();
            if mounts.into_iter().flatten().any(|mount| mount["mountPath"] == MOUNT_PATH) {
                continue;
            }
            if !container["volumeMounts"].is_array() {
                container["volumeMounts"] = json!([]);
            }
            if let Some(mounts) = container["volumeMounts"].as_array_mut() {
                mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
                mounted = true;
            }
        }
    }
    if !mounted {
        return;
    }
    if !pod["spec"]["volumes"].is_array() {
        pod["spec"]["volumes"] = json!([]);
    }
    if let Some(volumes) = pod["spec"]["volumes"].as_array_mut() {
        volumes.push(json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]}}));
    }
}
