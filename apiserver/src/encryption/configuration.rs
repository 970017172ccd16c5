//! `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`: which resources are sealed, by what, with which keys.
//!
//! Entry point: [`parse`]. Checks and their texts are those of `pkg/apis/apiserver/validation/validation_encryption.go`.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use zeroize::{Zeroize as _, Zeroizing};

/// How long a KMS may take to answer unless told otherwise.
const KMS_TIMEOUT: Duration = Duration::from_secs(3);

/// The file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Configuration {
    kind: String,
    api_version: String,
    #[serde(default)]
    pub(super) resources: Vec<Entry>,
}

/// What is done with some resources.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    #[serde(default)]
    pub(super) resources: Vec<String>,
    #[serde(default)]
    pub(super) providers: Vec<Provider>,
}

/// One of the providers; exactly one field is set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Provider {
    pub(super) aesgcm: Option<Keys>,
    pub(super) aescbc: Option<Keys>,
    pub(super) secretbox: Option<Keys>,
    pub(super) identity: Option<Identity>,
    pub(super) kms: Option<Kms>,
}

/// Keys of a provider: the first one writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    #[serde(default)]
    pub(super) keys: Vec<Key>,
}

/// A named key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    secret: String,
}

/// Leaves things as they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {}

/// A key management service.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kms {
    #[serde(default, rename = "apiVersion")]
    api_version: String,
    #[serde(default)]
    pub(super) name: String,
    cachesize: Option<i32>,
    #[serde(default)]
    pub(super) endpoint: String,
    timeout: Option<String>,
}

impl Drop for Key {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Key {
    /// The key's bytes, if they are base64.
    pub(super) fn bytes(&self) -> Option<Zeroizing<Vec<u8>>> {
        BASE64_STANDARD.decode(&self.secret).ok().map(Zeroizing::new)
    }
}

impl Kms {
    /// How long an answer may take; `None` when what is written is no duration.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let Some(text) = &self.timeout else { return Some(KMS_TIMEOUT) };
        let nanos = u64::try_from(api::time::parse_go_duration(text)?).ok()?;
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }
}

/// A resource and its group as the file names them: `deployments.apps`, `secrets`, `*.apps`, `*.`, `*.*`.
pub(super) fn group_resource(name: &str) -> (&str, &str) {
    let (resource, group) = name.split_once('.').unwrap_or((name, ""));
    (group, resource)
}

/// Reads and checks a file's text. Errors never repeat a key.
///
/// # Errors
/// Everything that is wrong, in upstream's words.
pub(super) fn parse(text: &str) -> Result<Configuration, String> {
    let parsed: Result<Configuration, _> = serde_yaml::from_str(text);
    let configuration = parsed.map_err(|error| match error.location() {
        Some(at) => format!("line {} column {}: it is no EncryptionConfiguration", at.line(), at.column()),
        None => "it is no EncryptionConfiguration".to_owned(),
    })?;
    let Configuration { kind, api_version, resources } = &configuration;
    if kind != "EncryptionConfiguration"
        || !["apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1"].contains(&api_version.as_str())
    {
        return Err(format!("got unexpected config type: {api_version}, Kind={kind}"));
    }
    let mut wrong = Vec::new();
    if resources.is_empty() {
        wrong.push("resources: Required value: at least one resources is required".to_owned());
    }
    let mut kms_names = BTreeSet::new();
    for (number, entry) in resources.iter().enumerate() {
        check_entry(entry, &format!("resources[{number}]"), &mut kms_names, &mut wrong);
    }
    match wrong.len() {
        0 => Ok(configuration),
        1 => Err(wrong.remove(0)),
        _ => Err(format!("[{}]", wrong.join(", "))),
    }
}

fn check_entry<'a>(entry: &'a Entry, path: &str, kms_names: &mut BTreeSet<&'a str>, wrong: &mut Vec<String>) {
    for (list, empty) in
        [("resources", entry.resources.is_empty()), ("providers", entry.providers.is_empty())]
    {
        if empty {
            wrong.push(format!("{path}.{list}: Required value: at least one {path}.{list} is required"));
        }
    }
    check_overlap(&entry.resources, &format!("{path}.resources"), wrong);
    for (number, name) in entry.resources.iter().enumerate() {
        if let Some(why) = name_problem(name) {
            wrong.push(format!("{path}.resources[{number}]: Invalid value: {name:?}: {why}"));
        }
    }
    for (number, provider) in entry.providers.iter().enumerate() {
        let path = format!("{path}.providers[{number}]");
        check_provider(provider, &path, wrong);
        if let Some(kms) = &provider.kms {
            check_kms(kms, &format!("{path}.kms"), kms_names, wrong);
            kms_names.insert(&kms.name);
        }
    }
}

fn check_overlap(names: &[String], path: &str, wrong: &mut Vec<String>) {
    let parsed: Vec<_> = names.iter().map(|name| group_resource(name)).collect();
    let pairs =
        || parsed.iter().enumerate().flat_map(|(n, one)| parsed[n + 1..].iter().map(move |two| (one, two)));
    let shown = || names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(",");
    if pairs().any(|(one, two)| one == two) {
        wrong.push(format!(
            "{path}: Invalid value: [{}]: the same resource cannot be specified multiple times",
            shown()
        ));
    }
    let all = ("*", "*");
    let masks = |one: &(&str, &str), two: &(&str, &str)| {
        one != two && (*one == all || *two == all || (one.0 == two.0 && (one.1 == "*" || two.1 == "*")))
    };
    if pairs().any(|(one, two)| masks(one, two)) {
        wrong.push(format!(
            "{path}: Invalid value: [{}]: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked",
            shown()
        ));
    }
}

fn name_problem(name: &str) -> Option<&'static str> {
    let (group, resource) = group_resource(name);
    if name.chars().any(char::is_uppercase) {
        return Some("resource name should not contain capital letters");
    }
    match (group, resource) {
        _ if name == "*" => {
            Some("use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources")
        }
        ("", "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations") => {
            Some("resources which do not have REST API/s cannot be encrypted")
        }
        ("events.k8s.io", _) => Some(
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file",
        ),
        ("extensions", _) => Some("'extensions' group has been removed and cannot be used for encryption"),
        ("*", resource) if resource != "*" => {
            Some("encrypting the same resource across groups is not supported")
        }
        _ => None,
    }
}

fn check_provider(provider: &Provider, path: &str, wrong: &mut Vec<String>) {
    let Provider { aesgcm, aescbc, secretbox, identity, kms } = provider;
    let keyed = [
        ("aesgcm", aesgcm, &[16, 24, 32][..]),
        ("aescbc", aescbc, &[16, 24, 32]),
        ("secretbox", secretbox, &[32]),
    ];
    let set = keyed.iter().filter(|(_, keys, _)| keys.is_some()).count()
        + usize::from(identity.is_some())
        + usize::from(kms.is_some());
    match set {
        0 => wrong.push(format!(
            "{path}: Invalid value: provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
        )),
        1 => {}
        _ => wrong.push(format!(
            "{path}: Invalid value: more than one provider specified in a single element, should split into different list elements"
        )),
    }
    for (name, keys, lengths) in keyed {
        let Some(Keys { keys }) = keys else { continue };
        let path = format!("{path}.{name}.keys");
        if keys.is_empty() {
            wrong.push(format!("{path}: Required value: at least one keys is required"));
        }
        for (number, key) in keys.iter().enumerate() {
            check_key(key, &format!("{path}[{number}]"), lengths, wrong);
        }
    }
}

fn check_key(key: &Key, path: &str, lengths: &[usize], wrong: &mut Vec<String>) {
    if key.name.is_empty() {
        wrong.push(format!("{path}.name: Required value: name is a mandatory field for a key"));
    }
    if key.secret.is_empty() {
        wrong.push(format!("{path}.secret: Required value: secret is a mandatory field for a key"));
        return;
    }
    let Some(bytes) = key.bytes() else {
        wrong.push(format!("{path}.secret: Invalid value: \"REDACTED\": secrets must be base64 encoded"));
        return;
    };
    if !lengths.contains(&bytes.len()) {
        let expected = lengths.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
        wrong.push(format!(
            "{path}.secret: Invalid value: \"REDACTED\": secret is not of the expected length, got {}, expected one of [{expected}]",
            bytes.len()
        ));
    }
}

fn check_kms(kms: &Kms, path: &str, names: &BTreeSet<&str>, wrong: &mut Vec<String>) {
    let Kms { api_version, name, cachesize, endpoint, timeout } = kms;
    if name.is_empty() {
        wrong.push(format!("{path}.name: Required value: name is a mandatory field for a provider"));
    }
    if name.contains(':') {
        wrong.push(format!(
            "{path}.name: Invalid value: {name:?}: invalid KMS provider name {name}, must not contain ':'"
        ));
    }
    if names.contains(name.as_str()) {
        wrong.push(format!(
            "{path}.name: Invalid value: {name:?}: duplicate KMS provider name {name}, names must be unique"
        ));
    }
    if kms.timeout().is_none() {
        let shown = timeout.as_deref().unwrap_or_default();
        wrong.push(format!("{path}.timeout: Invalid value: {shown:?}: timeout should be a positive value"));
    }
    match endpoint.split_once(':').map(|(scheme, _)| scheme) {
        _ if endpoint.is_empty() => {
            wrong.push(format!("{path}.endpoint: Invalid value: \"\": endpoint is a mandatory field for a kms"));
        }
        Some("unix") => {}
        scheme => wrong.push(format!(
            "{path}.endpoint: Invalid value: {endpoint:?}: unsupported scheme {:?} for KMS provider, only unix is supported",
            scheme.unwrap_or_default()
        )),
    }
    match (api_version.as_str(), cachesize) {
        ("v2", None) => {}
        ("v2", Some(size)) => {
            wrong.push(format!("{path}.cachesize: Invalid value: {size}: cachesize is not supported in v2"));
        }
        // Without a version upstream means v1, which it has switched off.
        ("v1" | "", _) => wrong.push(
            "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.".to_owned(),
        ),
        (other, _) => wrong.push(format!(
            "{path}.apiVersion: Invalid value: {other:?}: unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported"
        )),
    }
}

#[cfg(test)]
mod tests;
