//! Tokens with which machines join: secrets of type `bootstrap.kubernetes.io/token` in `kube-system`.
//!
//! Entry points: [`cleaner`] removes those that have ended, [`signer`] lets who holds one check `cluster-info`.

pub mod cleaner;
pub mod signer;

use client::informer::{Informer, Informers};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

/// Where the secrets are.
const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";

fn secrets(informers: &Informers) -> Informer<Secret> {
    informers.selected(&format!("type={TYPE}"))
}

/// A field of the secret; empty when it is missing or no text.
fn field<'a>(secret: &'a Secret, key: &str) -> &'a str {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key));
    bytes.and_then(|bytes| std::str::from_utf8(&bytes.0).ok()).unwrap_or_default()
}

/// When a token ends; `None` when it never does. An end that cannot be read is past.
fn end(secret: &Secret) -> Option<Timestamp> {
    let text = field(secret, "expiration");
    (!text.is_empty()).then(|| text.parse().unwrap_or(Timestamp::MIN))
}
