//! What others need to know of authentication here: whom aggregated servers are to believe
//! (`extension-apiserver-authentication` in `kube-system`), and where joining machines find the cluster
//! (`cluster-info` in `kube-public`).
//!
//! Entry points: [`publish`] at start, then [`keep`].

use std::sync::Arc;
use std::time::Duration;

use api::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component_base::tls::Role;
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::bootstrap::ensure;
use crate::call::{Server, store_status};

/// Pause before watching again after a failure.
const RETRY: Duration = Duration::from_secs(5);

const TRUST: (&str, &str) = ("kube-system", "extension-apiserver-authentication");
const INFO: (&str, &str) = ("kube-public", "cluster-info");

/// Writes both.
pub(crate) async fn publish(server: &Arc<Server>) -> Result<(), Status> {
    for ((namespace, name), data) in [(TRUST, trust(server)), (INFO, info(server))] {
        let wanted = json!({"metadata": {"name": name}, "data": data});
        // Only what is ours: signatures in `cluster-info` are the bootstrap signer's.
        ensure(server, ("", "v1", "configmaps"), namespace, wanted, |new, old| {
            let mut differs = false;
            for (key, value) in new["data"].as_object().into_iter().flatten() {
                differs |= old["data"][key] != *value;
                old["data"][key] = value.clone();
            }
            differs
        })
        .await?;
    }
    Ok(())
}

/// Restores both whenever somebody changes them, and follows the certificates.
pub(crate) async fn keep(server: Arc<Server>) {
    loop {
        if let Err(status) = keep_until_lost(&server).await {
            tracing::warn!(message = status.message, "what others need to trust could not be published");
        }
        server.clock.sleep(RETRY).await;
    }
}

async fn keep_until_lost(server: &Arc<Server>) -> Result<(), Status> {
    let mut renewed = server.config.pki.changed();
    let mut changes = Vec::new();
    for (namespace, name) in [TRUST, INFO] {
        let key = api::names::storage_key("", "configmaps", Some(namespace), name);
        changes.push(server.store.watch(&key, server.store.revision()).await.map_err(store_status)?);
    }
    let mut changes = futures::stream::select_all(changes);
    loop {
        publish(server).await?;
        tokio::select! {
            change = changes.next() => match change {
                Some(change) => drop(change.map_err(store_status)?),
                None => return Ok(()),
            },
            _ = renewed.changed() => {}
        }
    }
}

/// As upstream's `clusterauthenticationtrust` writes it: lists are JSON.
fn trust(server: &Server) -> Value {
    let (pki, headers) = (&server.config.pki, &server.authentication.settings.request_header);
    let list = |words: &[String]| json!(words).to_string();
    json!({
        "client-ca-file": pki.authorities_pem(Role::Client),
        "requestheader-client-ca-file": pki.authorities_pem(Role::FrontProxy),
        "requestheader-allowed-names": list(&headers.allowed_names),
        "requestheader-username-headers": list(&headers.username_headers),
        "requestheader-uid-headers": list(&headers.uid_headers),
        "requestheader-group-headers": list(&headers.group_headers),
        "requestheader-extra-headers-prefix": list(&headers.extra_prefixes),
    })
}

/// As kubeadm writes it: a kubeconfig without credentials.
fn info(server: &Server) -> Value {
    let authority = STANDARD.encode(server.config.pki.authority_pem());
    let address = &server.address;
    json!({"kubeconfig": format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {authority}\n    server: https://{address}\n  name: \"\"\ncontexts: null\ncurrent-context: \"\"\nkind: Config\npreferences: {{}}\nusers: null\n"
    )})
}
