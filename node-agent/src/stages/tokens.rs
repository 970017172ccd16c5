//! Service-account tokens for projected volumes: fetched once, renewed at 80 % of their life.
//!
//! Entry point: [`TokenStore::of_pod`]. Tokens live in memory; a new agent asks for new ones.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{
    BoundObjectReference, TokenRequest as ApiTokenRequest, TokenRequestSpec,
};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, PostParams};
use parking_lot::Mutex;

use crate::node::Node;
use crate::volumes::Tokens;
use crate::volumes::projected::{TokenRequest, token_requests};

#[derive(Debug, Clone)]
struct Issued {
    token: String,
    renew_at: Timestamp,
}

/// Tokens by pod uid and request.
#[derive(Debug, Default)]
pub struct TokenStore(Mutex<BTreeMap<(String, TokenRequest), Issued>>);

impl TokenStore {
    /// Every token the pod's volumes need, fresh enough.
    ///
    /// # Errors
    /// The API server's refusal, for people.
    pub async fn of_pod(&self, node: &Node, pod: &Pod) -> Result<Tokens, String> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut tokens = Tokens::new();
        for request in token_requests(pod) {
            let key = (uid.clone(), request.clone());
            let known = self.0.lock().get(&key).cloned();
            let issued = match known.filter(|issued| node.clock.now() < issued.renew_at) {
                Some(issued) => issued,
                None => {
                    let issued = fetch(node, pod, &request).await?;
                    self.0.lock().insert(key, issued.clone());
                    issued
                }
            };
            tokens.insert((request.volume, request.path), issued.token);
        }
        Ok(tokens)
    }

    /// When the pod's first token has to be renewed.
    pub fn renew_at(&self, uid: &str) -> Option<Timestamp> {
        let tokens = self.0.lock();
        tokens.iter().filter(|((pod, _), _)| pod == uid).map(|(_, issued)| issued.renew_at).min()
    }

    /// Drops a pod's tokens.
    pub fn forget(&self, uid: &str) {
        self.0.lock().retain(|(pod, _), _| pod != uid);
    }
}

async fn fetch(node: &Node, pod: &Pod, request: &TokenRequest) -> Result<Issued, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    let account = account.filter(|name| !name.is_empty()).unwrap_or("default");
    let body = ApiTokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: (!request.audience.is_empty()).then(|| vec![request.audience.clone()]),
            expiration_seconds: Some(request.expiration_seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        }),
        ..ApiTokenRequest::default()
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(node.client.clone(), namespace);
    let answer = accounts.create_token_request(account, &PostParams::default(), &body).await;
    let status = answer.map_err(|error| error.to_string())?.status.unwrap_or_default();
    let token = status.token.ok_or("the answer holds no token")?;
    let expires = status.expiration_timestamp.ok_or("the answer holds no expiration")?.0;
    let now = node.clock.now();
    let life = expires.as_second().saturating_sub(now.as_second());
    // An hour's token is renewed after 48 minutes.
    let use_for = Duration::from_secs(u64::try_from(life).unwrap_or(0)).mul_f64(0.8);
    Ok(Issued { token, renew_at: now + use_for })
}
