//! Checks of a pod's volumes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::certificates::{signer, trust_bundle};
use super::super::check::{self, list, text};
use super::container::quantity;
use crate::names;
use crate::status::Cause;

/// Checks the volumes and answers with their names.
pub(super) fn validate<'a>(causes: &mut Vec<Cause>, spec: &'a Value, path: &str) -> BTreeSet<&'a str> {
    let mut known = BTreeSet::new();
    for (at, volume) in list(spec, "volumes").iter().enumerate() {
        let path = format!("{path}[{at}]");
        source(causes, volume, &path);
        let name = text(volume, "name");
        check::required(causes, &format!("{path}.name"), &volume["name"], Some(names::dns1123_label));
        if !name.is_empty() && !known.insert(name) {
            causes.push(Cause::duplicate(format!("{path}.name"), &json!(name)));
        }
    }
    known
}

/// Checks that a volume has one source, and the source.
fn source(causes: &mut Vec<Cause>, volume: &Value, path: &str) {
    let mut sources = check::entries(volume).filter(|(key, value)| *key != "name" && !value.is_null());
    let Some((kind, source)) = sources.next() else {
        causes.push(Cause::required(path, "must specify a volume type"));
        return;
    };
    for (other, _) in sources {
        causes.push(Cause::forbidden(format!("{path}.{other}"), "may not specify more than 1 volume type"));
    }
    let path = format!("{path}.{kind}");
    match kind.as_str() {
        "configMap" => {
            check::required(causes, &format!("{path}.name"), &source["name"], None);
            files(causes, source, &path);
        }
        "secret" => {
            check::required(causes, &format!("{path}.secretName"), &source["secretName"], None);
            files(causes, source, &path);
        }
        "emptyDir" => {
            let limit = &source["sizeLimit"];
            if !limit.is_null() {
                quantity(causes, &format!("{path}.sizeLimit"), limit);
            }
        }
        "hostPath" => host_path(causes, source, &path),
        "persistentVolumeClaim" => {
            check::required(causes, &format!("{path}.claimName"), &source["claimName"], None);
        }
        "projected" => projected(causes, source, &path),
        "downwardAPI" => downward(causes, source, &path),
        _ => {}
    }
}

/// Checks a path of the node.
pub(in crate::strategies) fn host_path(causes: &mut Vec<Cause>, source: &Value, path: &str) {
    let directory = text(source, "path");
    if directory.is_empty() {
        causes.push(Cause::required(format!("{path}.path"), ""));
        return;
    }
    no_climbing(causes, &format!("{path}.path"), directory);
    let types =
        ["BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    if !text(source, "type").is_empty() {
        check::one_of(causes, &format!("{path}.type"), &source["type"], &types);
    }
}

fn projected(causes: &mut Vec<Cause>, source: &Value, path: &str) {
    mode(causes, &format!("{path}.defaultMode"), &source["defaultMode"]);
    for (at, part) in list(source, "sources").iter().enumerate() {
        let path = format!("{path}.sources[{at}]");
        let mut kinds = check::entries(part).filter(|(_, value)| !value.is_null());
        let Some((kind, inner)) = kinds.next() else { continue };
        if kinds.next().is_some() {
            let detail = "may not specify more than 1 volume type";
            causes.push(Cause::forbidden(path.as_str(), detail));
        }
        let path = format!("{path}.{kind}");
        match kind.as_str() {
            "secret" | "configMap" => {
                check::required(causes, &format!("{path}.name"), &inner["name"], None);
                files(causes, inner, &path);
            }
            "serviceAccountToken" => {
                let seconds = &inner["expirationSeconds"];
                if seconds.as_i64().is_some_and(|seconds| seconds < 600) {
                    let detail = "may not specify a duration less than 10 minutes";
                    causes.push(Cause::invalid(format!("{path}.expirationSeconds"), seconds, detail));
                }
                check::required(causes, &format!("{path}.path"), &inner["path"], None);
                descending(causes, &format!("{path}.path"), text(inner, "path"));
            }
            "downwardAPI" => downward(causes, inner, &path),
            "clusterTrustBundle" => trust_bundle(causes, inner, &path),
            _ => {}
        }
    }
}

/// One bundle by its name, or all of a signer that some labels select.
fn trust_bundle(causes: &mut Vec<Cause>, source: &Value, path: &str) {
    let field = |name: &str| format!("{path}.{name}");
    match (source["name"].as_str(), source["signerName"].as_str()) {
        (Some(_), Some(_)) => {
            causes.push(Cause::invalid(path, source, "only one of name and signerName may be used"));
        }
        (None, None) => {
            causes.push(Cause::required(path, "either name or signerName must be specified"));
        }
        (Some(name), None) => {
            if name.is_empty() {
                causes.push(Cause::required(field("name"), "must be a valid object name"));
            }
            let signer = name.rsplit_once(':').map(|(signer, _)| signer.replacen(':', "/", 1));
            for broken in trust_bundle::name_errors(name, &signer.unwrap_or_default()) {
                let detail = format!("not a valid clustertrustbundlename: {broken}");
                causes.push(Cause::invalid(field("name"), &json!(name), &detail));
            }
            if !source["labelSelector"].is_null() {
                let detail = "labelSelector must be unset if name is specified";
                causes.push(Cause::invalid(field("labelSelector"), &source["labelSelector"], detail));
            }
        }
        (None, Some(name)) => signer(causes, &field("signerName"), name),
    }
    check::required(causes, &field("path"), &source["path"], None);
    descending(causes, &field("path"), text(source, "path"));
}

fn downward(causes: &mut Vec<Cause>, source: &Value, path: &str) {
    mode(causes, &format!("{path}.defaultMode"), &source["defaultMode"]);
    for (at, item) in list(source, "items").iter().enumerate() {
        let path = format!("{path}.items[{at}]");
        check::required(causes, &format!("{path}.path"), &item["path"], None);
        descending(causes, &format!("{path}.path"), text(item, "path"));
        if item["fieldRef"].is_null() && item["resourceFieldRef"].is_null() {
            causes.push(Cause::required(path.as_str(), "one of fieldRef and resourceFieldRef is required"));
        }
    }
}

/// `items` and modes of a source of files.
fn files(causes: &mut Vec<Cause>, source: &Value, path: &str) {
    mode(causes, &format!("{path}.defaultMode"), &source["defaultMode"]);
    for (at, item) in list(source, "items").iter().enumerate() {
        let path = format!("{path}.items[{at}]");
        check::required(causes, &format!("{path}.key"), &item["key"], None);
        check::required(causes, &format!("{path}.path"), &item["path"], None);
        descending(causes, &format!("{path}.path"), text(item, "path"));
        mode(causes, &format!("{path}.mode"), &item["mode"]);
    }
}

fn mode(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    if value.as_i64().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        causes.push(Cause::invalid(field, value, detail));
    }
}

/// A path below a volume: relative, and never upwards.
pub(super) fn descending(causes: &mut Vec<Cause>, field: &str, path: &str) {
    if path.starts_with('/') {
        causes.push(Cause::invalid(field, &json!(path), "must be a relative path"));
    }
    no_climbing(causes, field, path);
    if path.starts_with("..") && !path.starts_with("../") {
        causes.push(Cause::invalid(field, &json!(path), "must not start with '..'"));
    }
}

fn no_climbing(causes: &mut Vec<Cause>, field: &str, path: &str) {
    if path.split('/').any(|part| part == "..") {
        causes.push(Cause::invalid(field, &json!(path), "must not contain '..'"));
    }
}
