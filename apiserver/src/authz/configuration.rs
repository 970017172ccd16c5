//! Which authorizers there are, and in which order: an `AuthorizationConfiguration` file.
//!
//! Entry point: [`read`]. Source: `apiserver.config.k8s.io/v1` and upstream's validation of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::cel::{CompileError, Program};
use api::{Cause, names};
use serde_json::Value;

use super::webhook::{self, Webhook};
use super::{Authorizer, Entry, Verdict};
use crate::transport::Remote;

const VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];
const TYPES: [&str; 5] = ["AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];
const MAX_CONDITIONS: usize = 64;

/// What a file says.
#[derive(Default)]
pub(super) struct Read {
    /// The authorizers in its order.
    pub(super) table: Vec<Entry>,
    /// The file, and those it names.
    pub(super) files: Vec<PathBuf>,
}

/// Reads a file.
///
/// # Errors
/// What is wrong with the file, every place of it.
pub(super) fn read(path: &Path) -> Result<Read, String> {
    let failed = |problem: &str| format!("{}: {problem}", path.display());
    let text = std::fs::read(path).map_err(|error| failed(&error.to_string()))?;
    let file = api::codec::yaml::decode(&text).map_err(|error| failed(&error.to_string()))?.value;
    let mut read = of(&file).map_err(|causes| {
        let all: Vec<String> = causes.iter().map(Cause::to_string).collect();
        failed(&all.join("; "))
    })?;
    read.files.push(path.to_owned());
    Ok(read)
}

fn of(file: &Value) -> Result<Read, Vec<Cause>> {
    let mut reader = Reader::default();
    reader.one_of("apiVersion", &file["apiVersion"], &VERSIONS);
    reader.one_of("kind", &file["kind"], &["AuthorizationConfiguration"]);
    let list = file["authorizers"].as_array().map_or(&[][..], Vec::as_slice);
    if list.is_empty() {
        reader.causes.push(Cause::required("authorizers", "at least one authorization mode must be defined"));
    }
    let mut table = Vec::new();
    for (at, item) in list.iter().enumerate() {
        let earlier = list.get(..at).unwrap_or_default();
        let authorizer = reader.authorizer(&format!("authorizers[{at}]"), item, earlier);
        let text = |key: &str| item[key].as_str().unwrap_or_default();
        table.extend(authorizer.map(|authorizer| Entry::new(authorizer, text("type"), text("name"))));
    }
    let Reader { causes, files } = reader;
    if causes.is_empty() { Ok(Read { table, files }) } else { Err(causes) }
}

#[derive(Default)]
struct Reader {
    causes: Vec<Cause>,
    files: Vec<PathBuf>,
}

impl Reader {
    fn one_of<'a>(&mut self, field: &str, value: &'a Value, allowed: &[&str]) -> &'a str {
        let word = value.as_str().unwrap_or_default();
        if word.is_empty() {
            self.causes.push(Cause::required(field, ""));
        } else if !allowed.contains(&word) {
            self.causes.push(Cause::not_supported(field, value, allowed));
        }
        word
    }

    fn authorizer(&mut self, path: &str, item: &Value, earlier: &[Value]) -> Option<Authorizer> {
        let before = self.causes.len();
        let kind = self.one_of(&format!("{path}.type"), &item["type"], &TYPES);
        if kind != "Webhook" && earlier.iter().any(|other| other["type"] == item["type"]) {
            self.causes.push(Cause::duplicate(format!("{path}.type"), &item["type"]));
        }
        let field = format!("{path}.name");
        let name = item["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            self.causes.push(Cause::required(field, ""));
        } else if earlier.iter().any(|other| other["name"] == name) {
            self.causes.push(Cause::duplicate(field, &item["name"]));
        } else if let errors @ [_, ..] = names::dns1123_subdomain(name).as_slice() {
            let detail = format!("authorizer name is invalid: {}", errors.join(", "));
            self.causes.push(Cause::invalid(field, &item["name"], &detail));
        }
        let webhook = &item["webhook"];
        let field = format!("{path}.webhook");
        match (kind, webhook.is_object()) {
            ("Webhook", false) => self.causes.push(Cause::required(field, "required when type=Webhook")),
            ("Webhook", true) => {
                let webhook = self.webhook(path, name, webhook)?;
                return (self.causes.len() == before).then(|| Authorizer::Webhook(Box::new(webhook)));
            }
            (_, true) => {
                let detail = "may only be specified when type=Webhook";
                self.causes.push(Cause::invalid(field, &"non-null".into(), detail));
            }
            (_, false) => {}
        }
        match kind {
            "Node" => Some(Authorizer::Node),
            "RBAC" => Some(Authorizer::Rbac),
            "AlwaysAllow" => Some(Authorizer::Always(Verdict::Allow)),
            "AlwaysDeny" => Some(Authorizer::Always(Verdict::NoOpinion)),
            _ => None,
        }
    }

    fn webhook(&mut self, path: &str, name: &str, webhook: &Value) -> Option<Webhook> {
        let before = self.causes.len();
        let field = |name: &str| format!("{path}.{name}");
        let timeout = self.duration(&field("timeout"), &webhook["timeout"], None);
        if timeout > Duration::from_secs(30) {
            let detail = "must be > 0s and <= 30s";
            self.causes.push(Cause::invalid(field("timeout"), &webhook["timeout"], detail));
        }
        let authorized = self.cache_span(path, webhook, "Authorized", Duration::from_secs(300));
        let unauthorized = self.cache_span(path, webhook, "Unauthorized", Duration::from_secs(30));
        let versions = ["v1", "v1beta1"];
        let version = self.one_of(
            &field("subjectAccessReviewVersion"),
            &webhook["subjectAccessReviewVersion"],
            &versions,
        );
        let policy = self.one_of(&field("failurePolicy"), &webhook["failurePolicy"], &["NoOpinion", "Deny"]);
        let conditions = self.conditions(path, webhook);
        let kubeconfig = self.connection(path, &webhook["connectionInfo"]);
        let kubeconfig = kubeconfig?;
        self.files.push(kubeconfig.clone());
        let remote = match Remote::read(&kubeconfig) {
            Ok(remote) => remote,
            Err(problem) => {
                let field = field("connectionInfo.kubeConfigFile");
                let detail = format!("error loading file: {problem}");
                let file = &webhook["connectionInfo"]["kubeConfigFile"];
                self.causes.push(Cause::invalid(field, file, &detail));
                return None;
            }
        };
        let on_error = if policy == "Deny" { Verdict::Deny } else { Verdict::NoOpinion };
        let settings = webhook::Settings {
            name: name.to_owned(),
            version: version.to_owned(),
            timeout,
            authorized,
            unauthorized,
            on_error,
            conditions,
        };
        (self.causes.len() == before).then(|| Webhook::new(settings, remote))
    }

    /// How long an answer is kept; zero if not at all.
    fn cache_span(&mut self, path: &str, webhook: &Value, what: &str, usual: Duration) -> Duration {
        let key = format!("{}TTL", what.to_lowercase());
        let span = self.duration(&format!("{path}.{key}"), &webhook[key.as_str()], Some(usual));
        let kept = webhook[format!("cache{what}Requests").as_str()] != false;
        if kept { span } else { Duration::ZERO }
    }

    fn duration(&mut self, field: &str, value: &Value, usual: Option<Duration>) -> Duration {
        let Some(text) = value.as_str() else {
            if usual.is_none() {
                self.causes.push(Cause::required(field, ""));
            }
            return usual.unwrap_or_default();
        };
        let nanos = api::time::parse_go_duration(text).unwrap_or(-1);
        match (u64::try_from(nanos), usual) {
            (Ok(0), Some(usual)) => usual,
            (Ok(0), None) => {
                self.causes.push(Cause::required(field, ""));
                Duration::ZERO
            }
            (Ok(nanos), _) => Duration::from_nanos(nanos),
            (Err(_), _) => {
                self.causes.push(Cause::invalid(field, value, "must be > 0s"));
                Duration::ZERO
            }
        }
    }

    fn connection(&mut self, path: &str, connection: &Value) -> Option<PathBuf> {
        // The server has no other server to ask: upstream does not allow `InClusterConfig` here either.
        let kind =
            self.one_of(&format!("{path}.connectionInfo.type"), &connection["type"], &["KubeConfigFile"]);
        let field = format!("{path}.connectionInfo.kubeConfigFile");
        let file = connection["kubeConfigFile"].as_str().unwrap_or_default();
        match file {
            _ if kind != "KubeConfigFile" => None,
            "" => {
                self.causes.push(Cause::required(field, ""));
                None
            }
            file if !Path::new(file).is_absolute() => {
                self.causes.push(Cause::invalid(field, &file.into(), "must be an absolute path"));
                None
            }
            file => Some(PathBuf::from(file)),
        }
    }

    fn conditions(&mut self, path: &str, webhook: &Value) -> Vec<(String, Program)> {
        let list = webhook["matchConditions"].as_array().map_or(&[][..], Vec::as_slice);
        let field = format!("{path}.matchConditionSubjectAccessReviewVersion");
        let version = &webhook["matchConditionSubjectAccessReviewVersion"];
        match version.as_str().unwrap_or_default() {
            "" if !list.is_empty() => {
                self.causes.push(Cause::required(field, "required if match conditions are specified"));
            }
            "" | "v1" => {}
            _ => self.causes.push(Cause::not_supported(field, version, &["v1"])),
        }
        if list.len() > MAX_CONDITIONS {
            let cause = Cause::too_many(format!("{path}.matchConditions"), list.len(), MAX_CONDITIONS);
            self.causes.push(cause);
            return Vec::new();
        }
        let mut programs: Vec<(String, Program)> = Vec::new();
        for (at, condition) in list.iter().enumerate() {
            let field = format!("{path}.matchConditions[{at}].expression");
            let text = condition["expression"].as_str().unwrap_or_default();
            if text.trim().is_empty() {
                self.causes.push(Cause::required(field, ""));
            } else if programs.iter().any(|(other, _)| other == text) {
                self.causes.push(Cause::duplicate(field, &text.into()));
            } else {
                match webhook::compile(text) {
                    Ok(program) => programs.push((text.to_owned(), program)),
                    Err(error) => {
                        let detail = match error {
                            CompileError::Issues(issues) => format!("compilation failed: {issues}"),
                            CompileError::Result { expected, actual } => {
                                format!("must evaluate to {expected} but got {actual}")
                            }
                        };
                        self.causes.push(Cause::invalid(field, &text.into(), &detail));
                    }
                }
            }
        }
        programs
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(authorizers: Value, expect: &[&str]) {
        let file = json!({"apiVersion": VERSIONS[0], "kind": "AuthorizationConfiguration", "authorizers": authorizers});
        let causes = of(&file).err().unwrap_or_default();
        let texts: Vec<String> = causes.iter().map(Cause::to_string).collect();
        assert_eq!(texts, expect);
    }

    #[test]
    fn what_a_file_may_say() {
        check(json!([{"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"}]), &[]);
        check(json!([]), &["authorizers: Required value: at least one authorization mode must be defined"]);
        check(
            json!([{"type": "RBAC", "name": "a"}, {"type": "RBAC", "name": "a"}, {"type": "ABAC", "name": "B"}]),
            &[
                "authorizers[1].type: Duplicate value: \"RBAC\"",
                "authorizers[1].name: Duplicate value: \"a\"",
                "authorizers[2].type: Unsupported value: \"ABAC\": supported values: \"AlwaysAllow\", \"AlwaysDeny\", \"Node\", \"RBAC\", \"Webhook\"",
                "authorizers[2].name: Invalid value: \"B\": authorizer name is invalid: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            ],
        );
        check(
            json!([{"type": "Webhook", "name": "w", "webhook": {"timeout": "1m", "subjectAccessReviewVersion": "v2",
                "matchConditions": [{"expression": "request.user == 1"}, {"expression": "''"}],
                "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "relative"}}}]),
            &[
                "authorizers[0].timeout: Invalid value: \"1m\": must be > 0s and <= 30s",
                "authorizers[0].subjectAccessReviewVersion: Unsupported value: \"v2\": supported values: \"v1\", \"v1beta1\"",
                "authorizers[0].failurePolicy: Required value",
                "authorizers[0].matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified",
                "authorizers[0].matchConditions[0].expression: Invalid value: \"request.user == 1\": compilation failed: ERROR: <input>:1:14: found no matching overload for '_==_' applied to '(string, int)'\n | request.user == 1\n | .............^",
                "authorizers[0].matchConditions[1].expression: Invalid value: \"''\": must evaluate to bool but got string",
                "authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"relative\": must be an absolute path",
            ],
        );
    }
}
