//! projected volumes: several sources in one directory. Entry points: [`payload`], [`token_requests`].

use k8s_openapi::api::core::v1::{Pod, ProjectedVolumeSource, VolumeProjection};

use super::keyed::Keyed;
use super::payload::{File, Payload, insert, mode};
use super::{Contents, downward_api, trust_bundle};

/// A token a pod's projected volume needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenRequest {
    /// The volume.
    pub volume: String,
    /// The path in the volume.
    pub path: String,
    /// Empty: the API server's own audience.
    pub audience: String,
    /// How long it should be valid.
    pub expiration_seconds: i64,
}

/// What the API defaults `expirationSeconds` to.
const DEFAULT_EXPIRATION_SECONDS: i64 = 3_600;

/// Every token the pod's volumes need.
pub fn token_requests(pod: &Pod) -> Vec<TokenRequest> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut out = Vec::new();
    for volume in volumes {
        let sources = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
        for token in sources.filter_map(|source| source.service_account_token.as_ref()) {
            out.push(TokenRequest {
                volume: volume.name.clone(),
                path: token.path.clone(),
                audience: token.audience.clone().unwrap_or_default(),
                expiration_seconds: token.expiration_seconds.unwrap_or(DEFAULT_EXPIRATION_SECONDS),
            });
        }
    }
    out
}

/// The files of the volume; later sources win.
///
/// # Errors
/// When a source that is not optional is missing, or its type is not supported.
pub fn payload(
    volume: &str,
    source: &ProjectedVolumeSource,
    pod: &Pod,
    contents: &Contents,
) -> Result<Payload, String> {
    let mut out = Payload::new();
    for part in source.sources.iter().flatten() {
        out.extend(part_files(volume, part, source.default_mode, pod, contents)?);
    }
    Ok(out)
}

fn part_files(
    volume: &str,
    part: &VolumeProjection,
    default_mode: Option<i32>,
    pod: &Pod,
    contents: &Contents,
) -> Result<Payload, String> {
    let lookups = &contents.lookups;
    if let Some(source) = &part.config_map {
        return Keyed::from(source).with_mode(default_mode).files(lookups);
    }
    if let Some(source) = &part.secret {
        return Keyed::from(source).with_mode(default_mode).files(lookups);
    }
    if let Some(source) = &part.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        return downward_api::files(items, default_mode, pod, &lookups.facts);
    }
    if let Some(source) = &part.service_account_token {
        let token = contents.tokens.get(&(volume.to_owned(), source.path.clone()));
        let token = token.ok_or("the service account token has not been issued yet")?;
        let mut out = Payload::new();
        let (mode, owner) = token_mode(pod, mode(None, default_mode));
        insert(&mut out, &source.path, File { data: token.clone().into_bytes(), mode, owner })?;
        return Ok(out);
    }
    if let Some(source) = &part.cluster_trust_bundle {
        let data = trust_bundle::anchors(source, &lookups.trust_bundles)?.into_bytes();
        let mut out = Payload::new();
        insert(&mut out, &source.path, File { data, mode: mode(None, default_mode), owner: None })?;
        return Ok(out);
    }
    Err("a projected source of this volume is not supported by this node".to_owned())
}

/// When every container runs as the same user a token becomes that user's; it is 0600 then, and for the group of
/// the pod's volumes, which reads it, too. Otherwise others may read it (upstream's rule).
fn token_mode(pod: &Pod, default: u32) -> (u32, Option<u32>) {
    let Some(spec) = &pod.spec else { return (default, None) };
    let context = spec.security_context.as_ref();
    let pod_user = context.and_then(|context| context.run_as_user);
    let mut users = spec.init_containers.iter().flatten().chain(&spec.containers).map(|container| {
        container.security_context.as_ref().and_then(|context| context.run_as_user).or(pod_user)
    });
    let first = users.next().flatten();
    let owner = first.filter(|_| users.all(|other| other == first)).and_then(|user| u32::try_from(user).ok());
    let private = owner.is_some() || context.is_some_and(|context| context.fs_group.is_some());
    (if private { 0o600 } else { default }, owner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_belong_to_the_one_user() {
        let one = json!([{"name": "a"}]);
        let two = json!([{"name": "a"}, {"name": "b", "securityContext": {"runAsUser": 7}}]);
        for (context, containers, expect) in [
            (json!({}), &one, (0o644, None)),
            (json!({"runAsUser": 1000}), &one, (0o600, Some(1000))),
            (json!({"fsGroup": 10000}), &one, (0o600, None)),
            (json!({"runAsUser": 1000, "fsGroup": 10000}), &one, (0o600, Some(1000))),
            (json!({"runAsUser": 1000}), &two, (0o644, None)),
            (json!({"runAsUser": 7}), &two, (0o600, Some(7))),
            (json!({}), &two, (0o644, None)),
        ] {
            let pod = json!({"spec": {"securityContext": context, "containers": containers}});
            let pod: Pod = serde_json::from_value(pod).expect("a pod");
            assert_eq!(token_mode(&pod, 0o644), expect, "{context} {containers}");
        }
    }
}
