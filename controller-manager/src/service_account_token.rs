//! Secrets of type `kubernetes.io/service-account-token` that people make are filled with a token that has no end;
//! they go with their account.
//!
//! Entry point: [`reconcile`].

use std::sync::Arc;

use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::Failure;
use client::informer::{Informer, Informers};
use client::key::Key;
use client::plan::{Action, Plan, Propagation, Target};
use client::request;
use component_base::tls::Pki;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use serde_json::{Value, json};

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// The `iss` claim of tokens in secrets.
const ISSUER: &str = "kubernetes/serviceaccount";

/// A secret and its account.
pub struct Observed {
    /// The secret.
    pub secret: Arc<Secret>,
    /// The account it names, if that is there.
    pub account: Option<Arc<ServiceAccount>>,
}

/// Fills the secret, or removes it when its account is gone.
pub fn reconcile(observed: &Observed, pki: &Pki) -> Plan {
    let (secret, resource) = (&observed.secret, request::resource::<Secret>());
    if secret.metadata.deletion_timestamp.is_some() || account_name(secret).is_empty() {
        return Plan::nothing();
    }
    let wanted_uid = annotation(secret, ACCOUNT_UID);
    let uid_of = |account: &ServiceAccount| account.metadata.uid.clone().unwrap_or_default();
    let account =
        observed.account.as_ref().filter(|account| wanted_uid.is_empty() || wanted_uid == uid_of(account));
    let action = match account {
        None => Action::Delete {
            target: Target::same_version(&resource, &secret.metadata),
            propagation: Propagation::Background,
            grace_period_seconds: None,
        },
        Some(account) => {
            let uid = uid_of(account);
            let data = missing(secret, &uid, pki);
            if data.as_object().is_none_or(serde_json::Map::is_empty) && wanted_uid == uid {
                return Plan::nothing();
            }
            Action::Patch {
                target: Target::same_version(&resource, &secret.metadata),
                subresource: None,
                patch: json!({"metadata": {"annotations": {ACCOUNT_UID: uid}}, "data": data}),
            }
        }
    };
    Plan { actions: vec![action], ..Plan::default() }
}

/// What the secret should have and has not.
fn missing(secret: &Secret, uid: &str, pki: &Pki) -> Value {
    let has = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
    let namespace = secret.metadata.namespace.clone().unwrap_or_default();
    let mut data = json!({});
    let authority = pki.authority_pem();
    if has("ca.crt") != Some(authority.as_bytes()) {
        data["ca.crt"] = json!(ByteString(authority.into_bytes()));
    }
    if has("namespace").is_none_or(<[u8]>::is_empty) {
        data["namespace"] = json!(ByteString(namespace.clone().into_bytes()));
    }
    if has("token").is_none_or(<[u8]>::is_empty) {
        let name = account_name(secret);
        let claims = json!({
            "iss": ISSUER,
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "kubernetes.io/serviceaccount/namespace": namespace,
            "kubernetes.io/serviceaccount/secret.name": secret.metadata.name,
            "kubernetes.io/serviceaccount/service-account.name": name,
            "kubernetes.io/serviceaccount/service-account.uid": uid,
        });
        match pki.token_keys().sign(&claims) {
            Ok(token) => data["token"] = json!(ByteString(token.into_bytes())),
            Err(error) => tracing::error!(%error, "a token could not be signed"),
        }
    }
    data
}

fn annotation<'a>(secret: &'a Secret, key: &str) -> &'a str {
    secret.metadata.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str).unwrap_or_default()
}

fn account_name(secret: &Secret) -> &str {
    annotation(secret, ACCOUNT_NAME)
}

/// Watches such secrets and the accounts.
pub struct Tokens {
    secrets: Informer<Secret>,
    accounts: Informer<ServiceAccount>,
    pki: Arc<Pki>,
}

impl Tokens {
    /// Signs with the cluster's key.
    pub fn new(informers: &Informers, pki: Arc<Pki>) -> Self {
        Self { secrets: informers.selected(&format!("type={TYPE}")), accounts: informers.of(), pki }
    }
}

#[async_trait]
impl Controller for Tokens {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "tokens-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on_each(&self.secrets);
        let secrets = self.secrets.clone();
        wake.on(&self.accounts, move |change| {
            let account = change.key();
            let mut own = secrets.in_namespace(&account.namespace);
            own.retain(|secret| account_name(secret) == account.name);
            own.iter().map(|secret| Key::of(&secret.metadata)).collect::<Vec<_>>()
        });
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let Some(secret) = self.secrets.get(key) else { return Ok(None) };
        let account = self.accounts.get(&Key::new(&key.namespace, account_name(&secret)));
        Ok(Some(Observed { secret, account }))
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        reconcile(observed, &self.pki)
    }
}
