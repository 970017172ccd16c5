//! Which secrets the pods of an account may use, if it has the annotation that says so.

use std::collections::BTreeSet;

use api::{Status, object};
use serde_json::Value;

use super::super::Attributes;

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
/// Lists of containers, and what a message calls one.
const LISTS: [(&str, &str); 3] = [
    ("initContainers", "init container"),
    ("containers", "container"),
    ("ephemeralContainers", "ephemeral container"),
];

/// Go's `strconv.ParseBool`, of what is true.
fn is_true(text: &Value) -> bool {
    text.as_str().is_some_and(|text| ["1", "t", "T", "TRUE", "true", "True"].contains(&text))
}

/// A mirror pod acts for nobody.
pub(super) fn check_mirror(attributes: &Attributes<'_>, pod: &Value) -> Result<(), Status> {
    let spec = &pod["spec"];
    let refuse = |detail: &str| Err(attributes.forbidden(pod, detail));
    if !spec["serviceAccountName"].as_str().unwrap_or_default().is_empty() {
        return refuse("a mirror pod may not reference service accounts");
    }
    let volumes = || spec["volumes"].as_array().into_iter().flatten();
    let sources = || volumes().flat_map(|v| v["projected"]["sources"].as_array().into_iter().flatten());
    let pulls = spec["imagePullSecrets"].as_array().is_some_and(|list| !list.is_empty());
    let mounted = volumes().any(|volume| !volume["secret"].is_null())
        || sources().any(|source| !source["secret"].is_null());
    if pulls || mounted || !references(spec).is_empty() {
        return refuse("a mirror pod may not reference secrets");
    }
    if sources().any(|source| !source["serviceAccountToken"].is_null()) {
        return refuse("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// Secrets in the environment of containers, each with who uses it and how.
fn references(spec: &Value) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    for (list, word) in LISTS {
        for container in spec[list].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default();
            for variable in container["env"].as_array().into_iter().flatten() {
                if let Some(secret) = variable["valueFrom"]["secretKeyRef"]["name"].as_str() {
                    let variable = variable["name"].as_str().unwrap_or_default();
                    found.push((secret, format!("{word} {name} with envVar {variable} referencing")));
                }
            }
            for source in container["envFrom"].as_array().into_iter().flatten() {
                if let Some(secret) = source["secretRef"]["name"].as_str() {
                    found.push((secret, format!("{word} {name} with envFrom referencing")));
                }
            }
        }
    }
    found
}

/// Refuses a pod with a secret its account does not list, if the account wants that.
pub(super) fn check(attributes: &Attributes<'_>, account: &Value, pod: &Value) -> Result<(), Status> {
    if !is_true(&account["metadata"]["annotations"][ENFORCE]) {
        return Ok(());
    }
    let listed = |field: &str| -> BTreeSet<&str> {
        account[field].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect()
    };
    let mountable = listed("secrets");
    let spec = &pod["spec"];
    let name = object::name(account);
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let volumes = volumes.filter_map(|volume| volume["secret"]["secretName"].as_str());
    let volumes = volumes.map(|secret| (secret, "volume with".to_owned()));
    for (secret, who) in volumes.chain(references(spec)) {
        if !mountable.contains(secret) {
            let detail = format!(
                "{who} secret.secretName=\"{secret}\" is not allowed because service account {name} does not reference that secret"
            );
            return Err(attributes.forbidden(pod, &detail));
        }
    }
    let pullable = listed("imagePullSecrets");
    for (at, secret) in spec["imagePullSecrets"].as_array().into_iter().flatten().enumerate() {
        let secret = secret["name"].as_str().unwrap_or_default();
        if !pullable.contains(secret) {
            let detail = format!(
                "imagePullSecrets[{at}].name=\"{secret}\" is not allowed because service account {name} does not reference that imagePullSecret"
            );
            return Err(attributes.forbidden(pod, &detail));
        }
    }
    Ok(())
}
