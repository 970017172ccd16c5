//! What a request asks for: path and query become a verb, a resource, a name and options.
//!
//! Entry points: [`RequestInfo::parse`] and [`Options::parse`]. Pure; mirrors upstream's
//! `RequestInfoFactory`, so authorisation and handlers see the same words Kubernetes uses.

use std::borrow::Cow;

use api::pruning::FieldValidation;
use api::{Cause, Status};
use http::{Method, Uri};

/// A request, understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for paths that
    /// are no resource the lower-case HTTP method.
    pub verb: &'static str,
    /// The path as sent, without the query.
    pub path: String,
    /// API group, empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Empty for cluster-wide requests.
    pub namespace: String,
    /// Plural; empty when the path is no resource.
    pub resource: String,
    /// Empty for collections.
    pub name: String,
    /// Such as `status`; empty for the object itself.
    pub subresource: String,
    /// What follows the subresource (`proxy` takes a path).
    pub rest: String,
}

/// Namespace subresources that are not resources inside the namespace.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Understands a method and a URI; `watch` says whether the query asks for a watch.
    pub fn parse(method: &Method, uri: &Uri, watch: bool) -> Self {
        let path = uri.path().to_owned();
        let mut info = Self { verb: method_word(method), path, ..Self::default() };
        let decoded: Vec<Cow<'_, str>> =
            uri.path().split('/').filter(|part| !part.is_empty()).map(percent_decode).collect();
        let parts: Vec<&str> = decoded.iter().map(AsRef::as_ref).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return info,
        };
        (info.group, info.version) = (group.to_owned(), version.to_owned());
        let (legacy_watch, rest) = match rest {
            ["watch", rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        info.place(rest);
        if !info.resource.is_empty() {
            info.verb = resource_verb(method, info.name.is_empty(), watch, legacy_watch);
        }
        info
    }

    fn place(&mut self, parts: &[&str]) {
        let mut parts = parts;
        if let ["namespaces", namespace, inner @ ..] = parts
            && let Some(first) = inner.first()
            && !NAMESPACE_SUBRESOURCES.contains(first)
        {
            self.namespace = (*namespace).to_owned();
            parts = inner;
        }
        let mut parts = parts.iter().copied();
        let mut next = || parts.next().unwrap_or_default().to_owned();
        (self.resource, self.name, self.subresource) = (next(), next(), next());
        self.rest = parts.collect::<Vec<_>>().join("/");
    }

    /// Whether the path names a resource.
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }

    /// Whether the request is one that lasts, as upstream's `BasicLongRunningRequestCheck` is set up.
    pub fn is_long_running(&self) -> bool {
        self.verb == "watch"
            || (self.is_resource()
                && ["attach", "exec", "log", "portforward", "proxy"].contains(&self.subresource.as_str()))
    }

    /// The namespace, `None` when the request is cluster-wide.
    pub fn namespace(&self) -> Option<&str> {
        (!self.namespace.is_empty()).then_some(self.namespace.as_str())
    }
}

fn method_word(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "OPTIONS" => "options",
        _ => "other",
    }
}

fn resource_verb(method: &Method, collection: bool, watch: bool, legacy_watch: bool) -> &'static str {
    match (method.as_str(), collection) {
        ("GET" | "HEAD", _) if legacy_watch => "watch",
        ("GET" | "HEAD", true) => {
            if watch {
                "watch"
            } else {
                "list"
            }
        }
        ("GET" | "HEAD", false) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "deletecollection",
        ("DELETE", false) => "delete",
        _ => "other",
    }
}

fn percent_decode(part: &str) -> Cow<'_, str> {
    if !part.contains('%') {
        return part.into();
    }
    let bytes = part.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = (byte == b'%')
            .then(|| part.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok()))
            .flatten();
        out.push(hex.unwrap_or(byte));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned().into()
}

/// What happens to dependents of a deleted object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// The object goes, the garbage collector removes dependents afterwards.
    Background,
    /// Dependents go first.
    Foreground,
    /// Dependents stay.
    Orphan,
}

impl Propagation {
    /// From the API's word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "Background" => Some(Self::Background),
            "Foreground" => Some(Self::Foreground),
            "Orphan" => Some(Self::Orphan),
            _ => None,
        }
    }

    /// The API's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

/// Query options of all verbs. Absent means empty, `None` or false.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Filter by label.
    pub label_selector: String,
    /// Filter by field.
    pub field_selector: String,
    /// Page size, 0 for everything.
    pub limit: usize,
    /// Where the last page ended.
    pub continue_token: String,
    /// As sent; empty for "the newest".
    pub resource_version: String,
    /// `Exact`, `NotOlderThan` or empty.
    pub resource_version_match: String,
    /// A watch is wanted.
    pub watch: bool,
    /// Bookmarks may be sent.
    pub allow_watch_bookmarks: bool,
    /// Whether a watch starts with the present objects; absent has a meaning of its own.
    pub send_initial_events: Option<bool>,
    /// When a watch or list ends.
    pub timeout_seconds: Option<u64>,
    /// Nothing is to be stored.
    pub dry_run: bool,
    /// `dryRun` as sent.
    pub dry_run_words: Vec<String>,
    /// Who writes.
    pub field_manager: String,
    /// Whether an apply takes fields from their owners; absent has a meaning of its own.
    pub force: Option<bool>,
    /// Treatment of unknown fields.
    pub field_validation: FieldValidation,
    /// `propagationPolicy` of a delete without a body, as sent.
    pub propagation_policy: Option<String>,
    /// `orphanDependents` of a delete without a body.
    pub orphan_dependents: Option<bool>,
    /// Grace, for deletes.
    pub grace_period_seconds: Option<i64>,
    /// Indented JSON is wanted, by the query or because a person seems to ask.
    pub pretty: bool,
    /// Which part of an object a table row carries: `None`, `Metadata` (default) or `Object`.
    pub include_object: String,
    /// Our own: a revision or an RFC 3339 time, to read objects as they were then.
    pub at: String,
    /// Our own: what became of an object, instead of the object.
    pub history: bool,
    /// Our own: objects of the collection that are gone, instead of those that are there.
    pub removed: bool,
}

impl Options {
    /// Reads a query. Unknown parameters are ignored, as upstream does.
    ///
    /// # Errors
    /// 400 for values that do not parse, 422 for values the verb does not allow. A delete's are checked
    /// once its body is known.
    pub fn parse(verb: &str, pairs: &[(String, String)]) -> Result<Self, Status> {
        let mut options = Self::default();
        for (at, (key, value)) in pairs.iter().enumerate() {
            // Of several values upstream reads the first; `dryRun` is a list.
            if key == "dryRun" || !pairs.iter().take(at).any(|(earlier, _)| earlier == key) {
                options.set(key, value)?;
            }
        }
        options.dry_run = !options.dry_run_words.is_empty();
        options.check_write(verb, pairs)?;
        Ok(options)
    }

    /// Upstream's `ValidateCreateOptions` and its like.
    fn check_write(&mut self, verb: &str, pairs: &[(String, String)]) -> Result<(), Status> {
        let kind = match verb {
            "create" => "CreateOptions",
            "update" => "UpdateOptions",
            "patch" => "PatchOptions",
            _ => return Ok(()),
        };
        let word = pairs.iter().find(|(key, _)| key == "fieldValidation").map_or("", |(_, value)| value);
        let mut causes = field_manager(&self.field_manager);
        causes.extend(dry_run(&self.dry_run_words));
        match FieldValidation::parse(word) {
            Some(validation) => self.field_validation = validation,
            None => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                causes.push(Cause::not_supported("fieldValidation", &word.into(), &supported));
            }
        }
        if causes.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", kind, "", causes)) }
    }

    /// Checks what only patches have.
    ///
    /// # Errors
    /// 422.
    pub(crate) fn check_patch(&self, is_apply: bool) -> Result<(), Status> {
        let mut causes = Vec::new();
        if is_apply && self.field_manager.is_empty() {
            causes.push(Cause::required("fieldManager", "is required for apply patch"));
        }
        if !is_apply && self.force.is_some() {
            causes.push(Cause::forbidden("force", "may not be specified for non-apply patch"));
        }
        if causes.is_empty() {
            return Ok(());
        }
        Err(Status::invalid("meta.k8s.io", "PatchOptions", "", causes))
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Status> {
        match key {
            "labelSelector" => value.clone_into(&mut self.label_selector),
            "fieldSelector" => value.clone_into(&mut self.field_selector),
            // Nothing below one limits, as upstream reads it.
            "limit" => self.limit = usize::try_from(number::<i64>(value)?).unwrap_or_default(),
            "continue" => value.clone_into(&mut self.continue_token),
            "resourceVersion" => value.clone_into(&mut self.resource_version),
            "resourceVersionMatch" => value.clone_into(&mut self.resource_version_match),
            "watch" => self.watch = truth(value),
            "allowWatchBookmarks" => self.allow_watch_bookmarks = truth(value),
            "sendInitialEvents" => self.send_initial_events = Some(truth(value)),
            "timeoutSeconds" => self.timeout_seconds = Some(number(value)?),
            "dryRun" => self.dry_run_words.extend((!value.is_empty()).then(|| value.to_owned())),
            "fieldManager" => value.clone_into(&mut self.field_manager),
            "propagationPolicy" => self.propagation_policy = Some(value.to_owned()),
            "orphanDependents" => self.orphan_dependents = Some(truth(value)),
            "force" => self.force = (!value.is_empty()).then(|| truth(value)),
            "gracePeriodSeconds" => self.grace_period_seconds = Some(number(value)?),
            "includeObject" => value.clone_into(&mut self.include_object),
            "gantry.dev/at" => value.clone_into(&mut self.at),
            "gantry.dev/history" => self.history = truth(value),
            "gantry.dev/removed" => self.removed = truth(value),
            _ => {}
        }
        Ok(())
    }
}

/// Go's conversion of query strings: everything but `false` and `0` is true.
pub(crate) fn truth(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "false" | "0")
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, Status> {
    value
        .parse()
        .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {value:?}: invalid syntax")))
}

/// Upstream's `ValidateDryRun`: `All` or nothing.
pub(crate) fn dry_run(words: &[String]) -> Option<Cause> {
    let known = words.iter().all(|word| word == "All");
    (!known).then(|| Cause::not_supported("dryRun", &serde_json::json!(words), &["All"]))
}

/// Upstream's `ValidateFieldManager`.
fn field_manager(name: &str) -> Vec<Cause> {
    const LONGEST: usize = 128;
    let mut causes = Vec::new();
    if name.len() > LONGEST {
        causes.push(Cause::too_long("fieldManager", LONGEST));
    }
    for (at, character) in name.char_indices().filter(|(_, c)| c.is_control() || is_odd_space(*c)) {
        let shown = format!("invalid character U+{:04X} (at position {at})", u32::from(character));
        causes.push(Cause::invalid("fieldManager", &name.into(), &shown));
    }
    causes
}

/// Of all white space Go prints only the plain blank.
fn is_odd_space(character: char) -> bool {
    character.is_whitespace() && character != ' '
}

/// The pairs of a query string, decoded.
///
/// # Errors
/// 400 when it is not form-encoded.
pub fn query_pairs(uri: &Uri) -> Result<Vec<(String, String)>, Status> {
    axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map(|query| query.0)
        .map_err(|error| Status::bad_request(format!("invalid query: {}", error.body_text())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, uri: &str, expect: &str) {
        let uri: Uri = uri.parse().expect("a uri");
        let pairs = query_pairs(&uri).expect("pairs");
        let options = Options::parse("get", &pairs).expect("options");
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let i = RequestInfo::parse(&method, &uri, options.watch);
        let got =
            [i.verb, &i.group, &i.version, &i.namespace, &i.resource, &i.name, &i.subresource].join(" ");
        assert_eq!(got, expect, "{uri}");
    }

    #[test]
    fn paths() {
        check("GET", "/api/v1/namespaces/a/pods/b", "get  v1 a pods b ");
        check("GET", "/api/v1/namespaces/a/pods", "list  v1 a pods  ");
        check("GET", "/api/v1/pods?watch=1", "watch  v1  pods  ");
        check("GET", "/api/v1/watch/namespaces/a/pods/b", "watch  v1 a pods b ");
        check("GET", "/api/v1/namespaces", "list  v1  namespaces  ");
        check("GET", "/api/v1/namespaces/a", "get  v1  namespaces a ");
        check("PUT", "/api/v1/namespaces/a/finalize", "update  v1  namespaces a finalize");
        check("DELETE", "/apis/apps/v1/namespaces/a/deployments", "deletecollection apps v1 a deployments  ");
        check(
            "PATCH",
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            "patch apps v1 a deployments d scale",
        );
        check("GET", "/apis/apps/v1", "get apps v1    ");
        check("GET", "/healthz", "get      ");
        check("POST", "/api/v1/namespaces/a/pods/p%2Fq/exec", "create  v1 a pods p/q exec");
    }

    #[test]
    fn bad_options_are_refused() {
        let parse = |verb: &str, pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Options::parse(verb, &pairs).err().map_or_else(String::new, |status| status.message)
        };
        assert_eq!(parse("list", &[("limit", "many")]), "strconv.ParseInt: parsing \"many\": invalid syntax");
        assert_eq!(
            parse("create", &[("fieldValidation", "Loose")]),
            "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Loose\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
        );
        assert_eq!(
            parse("patch", &[("dryRun", "All"), ("dryRun", "Some")]),
            "PatchOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"All\",\"Some\"]: supported values: \"All\""
        );
        assert_eq!(
            parse("update", &[("fieldManager", "a\tb")]),
            "UpdateOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"a\\tb\": invalid character U+0009 (at position 1)"
        );
        assert_eq!(parse("get", &[("dryRun", "Some"), ("unheardOf", "x")]), "");
        assert_eq!(parse("list", &[("limit", "-1"), ("limit", "many")]), "");
    }
}
