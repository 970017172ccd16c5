//! The operations a row of the table of kinds offers, as OpenAPI paths.
//!
//! What clients look for here: a PATCH with the kind's group, version and kind, and its query parameters
//! `dryRun` and `fieldValidation`. The rest is for generators and for people.

use std::borrow::Cow;
use std::collections::BTreeMap;

use api::kinds::{Kind, Subresource};
use api::schema::facts;
use serde_json::{Map, Value, json};

use super::definitions::Dialect;
use crate::discovery::response_kind;

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";
const TEXT: &str = "text/plain";
const ANYTHING: &str = "*/*";
/// Deletes of these answer with the object as it was, those of others with a `Status`.
const RETURNED_AT_DELETION: [(&str, &str); 16] = [
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("", "Pod"),
    ("", "PodTemplate"),
    ("", "ResourceQuota"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("resource.k8s.io", "DeviceClass"),
    ("resource.k8s.io", "ResourceClaim"),
    ("resource.k8s.io", "ResourceClaimTemplate"),
    ("resource.k8s.io", "ResourceSlice"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
    ("storage.k8s.io", "VolumeAttributesClass"),
];

/// Query parameters: name, type, what it does.
type Parameter = (&'static str, &'static str, &'static str);
const WRITE: [Parameter; 3] = [
    ("dryRun", "string", "With `All`, the request is processed but nothing is stored."),
    ("fieldManager", "string", "Name of the actor that makes the change."),
    ("fieldValidation", "string", "What unknown and duplicate fields lead to: Ignore, Warn or Strict."),
];
const FORCE: Parameter = ("force", "boolean", "Take over fields that other managers own; apply only.");
const LIST: [Parameter; 10] = [
    ("allowWatchBookmarks", "boolean", "Ask for events that only carry a resource version."),
    ("continue", "string", "Token of the previous answer, for the next part of a list."),
    ("fieldSelector", "string", "Restricts by fields."),
    ("labelSelector", "string", "Restricts by labels."),
    ("limit", "integer", "Most objects in one answer."),
    ("resourceVersion", "string", "How fresh the answer has to be, or where a watch begins."),
    ("resourceVersionMatch", "string", "How resourceVersion is understood."),
    ("sendInitialEvents", "boolean", "Begin a watch with the present objects."),
    ("timeoutSeconds", "integer", "Longest time the request may take."),
    ("watch", "boolean", "Stream changes instead of answering with a list."),
];
const PRETTY: Parameter = ("pretty", "string", "If `true`, the answer is indented.");
const DELETE: [Parameter; 5] = [
    ("dryRun", "string", "With `All`, the request is processed but nothing is stored."),
    ("gracePeriodSeconds", "integer", "Seconds until the object is gone; 0 means at once."),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Delete even what cannot be read from the store.",
    ),
    ("orphanDependents", "boolean", "Superseded by propagationPolicy."),
    ("propagationPolicy", "string", "What happens to dependents: Orphan, Background or Foreground."),
];

const COMMAND: Parameter = ("command", "string", "The program and its arguments, one each.");
const CONTAINER: Parameter = ("container", "string", "Which container; not needed where there is one.");
const STREAMS: [Parameter; 4] = [
    ("stderr", "boolean", "Forward what is written to standard error."),
    ("stdin", "boolean", "Forward to standard input."),
    ("stdout", "boolean", "Forward what is written to standard output."),
    ("tty", "boolean", "Give a terminal."),
];
const LOG: [Parameter; 8] = [
    ("follow", "boolean", "Go on with what is written later."),
    ("insecureSkipTLSVerifyBackend", "boolean", "Trust any certificate of the node."),
    ("limitBytes", "integer", "Most bytes in the answer."),
    ("previous", "boolean", "Of the container before its last restart."),
    ("sinceSeconds", "integer", "Only what was written in so many seconds."),
    ("stream", "string", "Which streams: All, Stdout or Stderr."),
    ("tailLines", "integer", "Most lines, from the end."),
    ("timestamps", "boolean", "Begin lines with their time."),
];

/// Query parameters of what connects or reads along.
fn options(subresource: &str) -> Vec<Parameter> {
    match subresource {
        "attach" => [&[CONTAINER], &STREAMS[..]].concat(),
        "exec" => [&[COMMAND, CONTAINER], &STREAMS[..]].concat(),
        "log" => [&[CONTAINER], &LOG[..]].concat(),
        "portforward" => vec![("ports", "integer", "Ports of the pod, for WebSockets.")],
        "proxy" => vec![("path", "string", "Where the request goes.")],
        _ => Vec::new(),
    }
}

/// Definitions the row's operations speak of.
pub(super) fn definitions(kind: &Kind) -> Vec<&str> {
    let mut names: Vec<&str> = vec![STATUS, DELETE_OPTIONS, PATCH, WATCH_EVENT, &kind.definition];
    if kind.is_custom() {
        names.extend([super::custom::OBJECT_META, super::custom::LIST_META]);
    }
    let builtin = kind.subresources.iter().filter(|sub| !kind.is_custom() || sub.kind.is_some());
    names.extend(builtin.filter_map(|sub| facts_definition(kind, sub)));
    names.extend(facts().by_gvk(&kind.group, &kind.version, &kind.list_kind()).map(|schema| schema.name()));
    names
}

/// `DeploymentList`, where the facts or the kind's CRD know it.
fn list_definition(kind: &Kind) -> Option<Cow<'static, str>> {
    if kind.is_custom() {
        return Some(super::custom::list_definition(kind).into());
    }
    Some(facts().by_gvk(&kind.group, &kind.version, &kind.list_kind())?.name().into())
}

fn sub_definition(kind: &Kind, sub: &Subresource) -> Option<Cow<'static, str>> {
    if kind.is_custom() && sub.kind.is_none() {
        return Some(kind.definition.clone());
    }
    facts_definition(kind, sub).map(Cow::Borrowed)
}

fn facts_definition(kind: &Kind, sub: &Subresource) -> Option<&'static str> {
    let (group, version, name) = response_kind(kind, sub);
    // A log is text, whatever its kind in discovery.
    facts().by_gvk(group, version, name).filter(|_| sub.name != "log").map(|schema| schema.name())
}

/// Path items of the row.
pub(super) fn items(kind: &Kind, dialect: Dialect) -> BTreeMap<String, Value> {
    let root = match kind.group.as_ref() {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    };
    let row = Row { kind, dialect };
    let plural = &kind.plural;
    let mut items = BTreeMap::new();
    let collection = if kind.namespaced() {
        items.insert(format!("{root}/{plural}"), row.across_namespaces());
        format!("{root}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{root}/{plural}")
    };
    let object = format!("{collection}/{{name}}");
    for sub in &kind.subresources {
        items.insert(format!("{object}/{}", sub.name), row.subresource(sub, ""));
        if sub.name == "proxy" {
            items.insert(format!("{object}/proxy/{{path}}"), row.subresource(sub, "WithPath"));
        }
    }
    if kind.verbs.contains(&"watch") && !kind.is_custom() {
        let below = |path: &str| path.replacen(&root, &format!("{root}/watch"), 1);
        if kind.namespaced() {
            items.insert(format!("{root}/watch/{plural}"), row.watch("ListForAllNamespaces", false, &[]));
        }
        let namespace: &[&str] = if kind.namespaced() { &["namespace"] } else { &[] };
        items.insert(below(&collection), row.watch("List", kind.namespaced(), namespace));
        items.insert(below(&object), row.watch("", kind.namespaced(), &[&["name"], namespace].concat()));
    }
    items.insert(collection, row.collection());
    items.insert(object, row.object());
    items.retain(|_, item| item.as_object().is_some_and(|item| item.keys().any(|key| key != "parameters")));
    items.values_mut().filter_map(Value::as_object_mut).for_each(share_parameters);
    items
}

/// Parameters that all operations of a path have belong to the path.
fn share_parameters(item: &mut Map<String, Value>) {
    let key = |parameter: &Value| (parameter["name"].clone(), parameter["in"].clone());
    let of = |operation: &Value| operation["parameters"].as_array().cloned().unwrap_or_default();
    let operations = || item.iter().filter(|(key, _)| *key != "parameters").map(|(_, operation)| operation);
    let mut shared = operations().next().map(of).unwrap_or_default();
    shared.retain(|parameter| {
        let has = |operation| of(operation).iter().any(|other| key(other) == key(parameter));
        parameter["in"] != "body" && operations().all(has)
    });
    if shared.is_empty() {
        return;
    }
    let is_own = |parameter: &Value| !shared.iter().any(|other| key(other) == key(parameter));
    for operation in item.iter_mut().filter(|(key, _)| *key != "parameters").map(|(_, operation)| operation) {
        let own: Vec<Value> = of(operation).into_iter().filter(is_own).collect();
        match operation.as_object_mut() {
            Some(operation) if own.is_empty() => drop(operation.remove("parameters")),
            _ => operation["parameters"] = Value::Array(own),
        }
    }
    if let Value::Array(all) = item.entry("parameters").or_insert_with(|| json!([])) {
        all.append(&mut shared);
        all.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    }
}

struct Row<'a> {
    kind: &'a Kind,
    dialect: Dialect,
}

/// What distinguishes one operation.
struct Operation<'a> {
    /// `list`, `post`, … as `x-kubernetes-action` has it.
    action: &'static str,
    /// First word of the operation's id.
    verb: &'static str,
    /// What stands before the scope in the id: `Collection`, or the method of a connection.
    infix: &'static str,
    /// Last part of the id.
    suffix: String,
    group_version_kind: (&'a str, &'a str, &'a str),
    query: Vec<Parameter>,
    body: Option<Cow<'a, str>>,
    answer: Option<Cow<'a, str>>,
}

impl<'a> Row<'a> {
    fn serves(&self, verb: &str) -> bool {
        self.kind.verbs.contains(&verb)
    }

    fn operation(&self, action: &'static str, verb: &'static str) -> Operation<'a> {
        Operation {
            action,
            verb,
            infix: "",
            suffix: self.kind.kind.to_string(),
            group_version_kind: (&self.kind.group, &self.kind.version, &self.kind.kind),
            query: Vec::new(),
            body: None,
            answer: Some(Cow::Borrowed(self.kind.definition.as_ref())),
        }
    }

    fn across_namespaces(&self) -> Value {
        let mut item = self.item(&[]);
        if self.serves("list") {
            let mut list = self.list();
            list.suffix.push_str("ForAllNamespaces");
            self.add(&mut item, "get", &list, false);
        }
        Value::Object(item)
    }

    fn list(&self) -> Operation<'a> {
        Operation {
            query: LIST.to_vec(),
            answer: list_definition(self.kind),
            ..self.operation("list", "list")
        }
    }

    fn collection(&self) -> Value {
        let mut item = self.item(if self.kind.namespaced() { &["namespace"] } else { &[] });
        if self.serves("list") {
            self.add(&mut item, "get", &self.list(), self.kind.namespaced());
        }
        if self.serves("create") {
            let body = Some(Cow::Borrowed(self.kind.definition.as_ref()));
            let create = Operation { query: WRITE.to_vec(), body, ..self.operation("post", "create") };
            self.add(&mut item, "post", &create, self.kind.namespaced());
        }
        if self.serves("deletecollection") {
            let query = [&LIST[1..9], &DELETE[..]].concat();
            let delete = Operation {
                query,
                body: Some(DELETE_OPTIONS.into()),
                answer: Some(STATUS.into()),
                infix: "Collection",
                ..self.operation("deletecollection", "delete")
            };
            self.add(&mut item, "delete", &delete, self.kind.namespaced());
        }
        Value::Object(item)
    }

    fn object(&self) -> Value {
        let mut item = self.named_item();
        let body = Some(Cow::Borrowed(self.kind.definition.as_ref()));
        let namespaced = self.kind.namespaced();
        if self.serves("get") {
            self.add(&mut item, "get", &self.operation("get", "read"), namespaced);
        }
        if self.serves("update") {
            let update = Operation { query: WRITE.to_vec(), body, ..self.operation("put", "replace") };
            self.add(&mut item, "put", &update, namespaced);
        }
        if self.serves("patch") {
            self.add(&mut item, "patch", &self.patch(), namespaced);
        }
        if self.serves("delete") {
            let returned =
                RETURNED_AT_DELETION.contains(&(self.kind.group.as_ref(), self.kind.kind.as_ref()));
            let delete = Operation {
                query: DELETE.to_vec(),
                body: Some(DELETE_OPTIONS.into()),
                answer: Some(if returned { self.kind.definition.clone() } else { STATUS.into() }),
                ..self.operation("delete", "delete")
            };
            self.add(&mut item, "delete", &delete, namespaced);
        }
        Value::Object(item)
    }

    fn patch(&self) -> Operation<'a> {
        let query = [&WRITE[..], &[FORCE]].concat();
        Operation { query, body: Some(PATCH.into()), ..self.operation("patch", "patch") }
    }

    /// The older way to watch: the deprecated paths below `/watch`.
    fn watch(&self, suffix: &str, namespaced: bool, parameters: &[&str]) -> Value {
        let mut item = self.item(parameters);
        let action = if suffix.is_empty() { "watch" } else { "watchlist" };
        let mut watch = Operation {
            query: LIST.to_vec(),
            answer: Some(WATCH_EVENT.into()),
            ..self.operation(action, "watch")
        };
        watch.suffix.push_str(suffix);
        self.add(&mut item, "get", &watch, namespaced);
        Value::Object(item)
    }

    fn subresource(&self, sub: &'a Subresource, suffix: &str) -> Value {
        let mut item = self.named_item();
        if !suffix.is_empty() {
            let path = self.path_parameter("path");
            item.entry("parameters")
                .or_insert_with(|| json!([]))
                .as_array_mut()
                .into_iter()
                .for_each(|parameters| parameters.push(path.clone()));
        }
        let definition = sub_definition(self.kind, sub);
        let stream = ["attach", "exec", "portforward", "proxy"].contains(&sub.name.as_ref());
        // What is proxied may be asked in any way.
        let more: &[&str] = if sub.name == "proxy" { &["head", "options"] } else { &[] };
        for verb in sub.verbs.iter().chain(more) {
            let (method, action, word) = match *verb {
                "get" => ("get", "get", "read"),
                "create" => ("post", "post", "create"),
                "update" => ("put", "put", "replace"),
                "patch" => ("patch", "patch", "patch"),
                "delete" => ("delete", "delete", "delete"),
                "head" => ("head", "connect", "connect"),
                "options" => ("options", "connect", "connect"),
                _ => continue,
            };
            let base = if *verb == "patch" { self.patch() } else { self.operation(action, word) };
            let mut operation = Operation {
                group_version_kind: response_kind(self.kind, sub),
                answer: definition.clone(),
                ..base
            };
            operation.suffix.push_str(&capitalised(&sub.name));
            operation.suffix.push_str(suffix);
            if stream {
                (operation.action, operation.verb, operation.infix) = ("connect", "connect", title(method));
                (operation.query, operation.body, operation.answer) = (options(&sub.name), None, None);
            } else if sub.name == "log" {
                operation.query = options(&sub.name);
            } else if matches!(*verb, "create" | "update") {
                operation.body = definition.clone();
                operation.query = WRITE.to_vec();
            }
            self.add(&mut item, method, &operation, self.kind.namespaced());
        }
        Value::Object(item)
    }

    /// A path item with its path parameters.
    fn item(&self, parameters: &[&str]) -> Map<String, Value> {
        let parameters: Vec<Value> = parameters.iter().map(|name| self.path_parameter(name)).collect();
        let mut item = Map::new();
        if !parameters.is_empty() {
            item.insert("parameters".to_owned(), Value::Array(parameters));
        }
        item
    }

    fn named_item(&self) -> Map<String, Value> {
        self.item(if self.kind.namespaced() { &["name", "namespace"] } else { &["name"] })
    }

    fn path_parameter(&self, name: &str) -> Value {
        let mut parameter = json!({
            "name": name, "in": "path", "required": true, "uniqueItems": true,
            "description": format!("{name} of the {}", self.kind.kind),
        });
        self.typed(&mut parameter, "string");
        parameter
    }

    /// 2.0 has the type in the parameter, 3.0 in a schema of its own.
    fn typed(&self, parameter: &mut Value, ty: &str) {
        match self.dialect {
            Dialect::V2 => parameter["type"] = json!(ty),
            Dialect::V3 => {
                parameter["schema"] = json!({"type": ty, "uniqueItems": true});
                if let Some(map) = parameter.as_object_mut() {
                    map.remove("uniqueItems");
                }
            }
        }
    }

    fn add(&self, item: &mut Map<String, Value>, method: &str, operation: &Operation<'_>, namespaced: bool) {
        let (group, version, kind) = operation.group_version_kind;
        let scope = if namespaced { "Namespaced" } else { "" };
        let tag = group_word(&self.kind.group);
        let id = format!(
            "{}{}{}{}{scope}{}",
            operation.verb,
            capitalised(&tag),
            capitalised(&self.kind.version),
            operation.infix,
            operation.suffix,
        );
        let mut out = json!({
            "tags": [format!("{tag}_{}", self.kind.version)],
            "description": format!("{} {}", operation.verb, self.kind.kind),
            "operationId": id,
            "x-kubernetes-action": operation.action,
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
        });
        let pretty = (operation.action != "connect").then_some(&PRETTY);
        let mut parameters: Vec<Value> = operation
            .query
            .iter()
            .chain(pretty)
            .map(|(name, ty, description)| {
                let mut parameter =
                    json!({"name": name, "in": "query", "uniqueItems": true, "description": description});
                self.typed(&mut parameter, ty);
                parameter
            })
            .collect();
        let produced = self.produced(operation);
        if self.dialect == Dialect::V2 {
            out["schemes"] = json!(["https"]);
            out["produces"] = json!(produced);
        }
        self.add_body(&mut out, &mut parameters, method, operation.body.as_deref());
        if !parameters.is_empty() {
            out["parameters"] = Value::Array(parameters);
        }
        out["responses"] = self.responses(operation, &produced);
        item.insert(method.to_owned(), out);
    }

    fn add_body(&self, out: &mut Value, parameters: &mut Vec<Value>, method: &str, body: Option<&str>) {
        let patch = method == "patch";
        if self.dialect == Dialect::V2 {
            out["consumes"] = if patch { json!(self.patch_types()) } else { json!(["*/*"]) };
            if let Some(body) = body {
                let schema = self.dialect.reference(body);
                parameters.push(needed(json!({"name": "body", "in": "body", "schema": schema}), body));
            }
        } else if let Some(body) = body {
            let patches = self.patch_types();
            let types: &[&str] = if patch { &patches } else { &["*/*"] };
            let content = self.content(types, self.dialect.reference(body));
            out["requestBody"] = needed(json!({ "content": content }), body);
        }
    }

    /// Custom objects have no strategic patch.
    fn patch_types(&self) -> Vec<&'static str> {
        let strategic = "application/strategic-merge-patch+json";
        PATCH_TYPES.into_iter().filter(|ty| !self.kind.is_custom() || *ty != strategic).collect()
    }

    fn content(&self, types: &[&str], schema: Value) -> Value {
        types.iter().map(|ty| ((*ty).to_owned(), json!({"schema": schema}))).collect::<Map<_, _>>().into()
    }

    /// Media types of an operation's answers.
    fn produced(&self, operation: &Operation<'_>) -> Vec<&'static str> {
        let (group, version, kind) = (&self.kind.group, &self.kind.version, &self.kind.kind);
        let protobuf = api::codec::protobuf::knows(group, version, kind);
        let objects = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
        let streams = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
        let known = |types: &[&'static str]| -> Vec<&'static str> {
            types.iter().filter(|ty| protobuf || !ty.contains("protobuf")).copied().collect()
        };
        match operation.action {
            "connect" => vec![ANYTHING],
            "list" | "watch" | "watchlist" => known(&[&objects[..], &streams].concat()),
            // A log.
            _ if operation.answer.is_none() => known(&[&[TEXT], &objects[..]].concat()),
            _ => known(&objects),
        }
    }

    fn responses(&self, operation: &Operation<'_>, produced: &[&str]) -> Value {
        let answer = operation.answer.as_deref();
        let schema = answer.map_or_else(|| json!({"type": "string"}), |name| self.dialect.reference(name));
        let codes: &[(&str, &str)] = match operation.action {
            "patch" if self.kind.is_custom() => &[("200", "OK")],
            "post" => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
            "put" | "patch" => &[("200", "OK"), ("201", "Created")],
            "delete" => &[("200", "OK"), ("202", "Accepted")],
            _ => &[("200", "OK")],
        };
        let mut responses = json!({"401": {"description": "Unauthorized"}});
        for (code, words) in codes {
            responses[*code] = match self.dialect {
                Dialect::V2 => json!({"description": words, "schema": schema}),
                Dialect::V3 => {
                    json!({"description": words, "content": self.content(produced, schema.clone())})
                }
            };
        }
        responses
    }
}

/// Bodies are required, but for options.
fn needed(mut description: Value, body: &str) -> Value {
    if body != DELETE_OPTIONS {
        description["required"] = json!(true);
    }
    description
}

/// `rbac.authorization.k8s.io` → `rbacAuthorization`; `core` for the core group.
pub(super) fn group_word(group: &str) -> String {
    let mut parts = group.strip_suffix(".k8s.io").unwrap_or(group).split('.');
    match parts.next() {
        None | Some("") => "core".to_owned(),
        Some(first) => [first.to_owned()].into_iter().chain(parts.map(capitalised)).collect(),
    }
}

/// A method as operation ids have it.
fn title(method: &str) -> &'static str {
    match method {
        "get" => "Get",
        "post" => "Post",
        "put" => "Put",
        "patch" => "Patch",
        "head" => "Head",
        "options" => "Options",
        _ => "Delete",
    }
}

pub(super) fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}
