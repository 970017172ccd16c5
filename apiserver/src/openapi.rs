//! Projection of the table of kinds and the facts: OpenAPI v2 and v3 documents, as JSON and as protobuf.
//!
//! Entry point: [`OpenApi::serve`]. Documents are made at the first request and kept compressed; while one
//! is made, only a definition at a time exists as a tree. A changed table of kinds means a new [`OpenApi`],
//! which takes over what did not change.
//! `kubectl explain`, `apply` and client-side validation read these.

mod custom;
mod definitions;
mod descriptions;
mod gnostic;
mod marks;
mod paths;
mod remote;
mod services;

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use api::kinds::{Kind, KindTable};
use api::schema::facts;
use http::HeaderMap;
use serde_json::{Value, json};

use crate::aggregator::Remotes;
use crate::document::Document;
use crate::negotiation::choose;
use definitions::Dialect;
use descriptions::Descriptions;
use remote::Merged;

const JSON: &str = "application/json";
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const V3_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
/// As clients up to 1.2x ask for them; the `@` is no part of a media type.
const V2_PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const V3_PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// JSON.
    Json,
    /// Messages of gnostic.
    Protobuf,
}

impl Encoding {
    /// What a caller wants of the document at `path`; `None` if it reads neither.
    pub(crate) fn wanted(path: &str, headers: &HeaderMap) -> Option<Self> {
        let (current, old) = match path {
            "/openapi/v3" => return Some(Self::Json),
            "/openapi/v2" => (V2_PROTOBUF, V2_PROTOBUF_OLD),
            _ => (V3_PROTOBUF, V3_PROTOBUF_OLD),
        };
        choose(headers, &[(JSON, Self::Json), (current, Self::Protobuf), (old, Self::Protobuf)])
    }

    /// The media type of documents of 3.0.
    pub(crate) fn v3_media_type(self) -> &'static str {
        self.media_type(Dialect::V3)
    }

    fn media_type(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Self::Json, _) => JSON,
            (Self::Protobuf, Dialect::V2) => V2_PROTOBUF,
            (Self::Protobuf, Dialect::V3) => V3_PROTOBUF,
        }
    }
}

/// A document in each encoding, made when first asked for. To callers they are one: the hash is that of the JSON.
#[derive(Default)]
struct Encoded {
    json: OnceLock<Document>,
    protobuf: OnceLock<Document>,
}

impl Encoded {
    fn get(&self, dialect: Dialect, encoding: Encoding, make: impl Fn(Encoding) -> Vec<u8>) -> &Document {
        let made = |encoding: Encoding| Document::compressed(encoding.media_type(dialect), &make(encoding));
        let json = self.json.get_or_init(|| made(Encoding::Json));
        match encoding {
            Encoding::Json => json,
            Encoding::Protobuf => self.protobuf.get_or_init(|| made(Encoding::Protobuf).known_as(&json.hash)),
        }
    }
}

/// The documents of one table of kinds.
pub struct OpenApi {
    table: KindTable,
    v2: Encoded,
    v3_index: OnceLock<Document>,
    /// By path below `/openapi/v3/`: `api/v1`, `apis/apps/v1`.
    v3: BTreeMap<String, Arc<Group>>,
    /// What other servers serve; not in `table`.
    remotes: Remotes,
}

/// One document of 3.0: a group and version, or a service that belongs to no kind.
struct Group {
    /// Below `/openapi/v3/`.
    path: String,
    kinds: Vec<Arc<Kind>>,
    document: Encoded,
}

impl Group {
    fn document(&self, encoding: Encoding, descriptions: &LazyCell<Descriptions>) -> &Document {
        self.document.get(Dialect::V3, encoding, |encoding| {
            let kinds: Vec<&Kind> = self.kinds.iter().map(AsRef::as_ref).collect();
            let (paths, remote) = (std::slice::from_ref(&self.path), Merged::default());
            Parts { paths, kinds: &kinds, dialect: Dialect::V3, remote }.write(encoding, descriptions)
        })
    }

    fn is_of(&self, kinds: &[Arc<Kind>]) -> bool {
        self.kinds.len() == kinds.len() && self.kinds.iter().zip(kinds).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

impl OpenApi {
    /// Makes nothing yet.
    #[cfg(test)]
    pub fn new(table: KindTable) -> Self {
        Self::after(None, table, &Remotes::default())
    }

    /// The documents of a table that replaces another, and of other servers: what did not change is not made again.
    pub(crate) fn after(before: Option<&Self>, table: KindTable, remotes: &Remotes) -> Self {
        let delegated = |kind: &&Arc<Kind>| {
            remotes.iter().any(|remote| remote.group == *kind.group && remote.version == *kind.version)
        };
        let table = match remotes.is_empty() {
            true => table,
            false => KindTable::of(table.iter().filter(|kind| !delegated(kind)).cloned()),
        };
        let known = |path: &str, kinds: &[Arc<Kind>]| {
            before?.v3.get(path).filter(|group| group.is_of(kinds)).map(Arc::clone)
        };
        let groups = documents(&table).into_iter();
        let v3 = groups
            .map(|(path, kinds)| {
                let group = known(&path, &kinds);
                let new = || Arc::new(Group { path: path.clone(), kinds, document: Encoded::default() });
                (path.clone(), group.unwrap_or_else(new))
            })
            .collect();
        let (v2, v3_index) = Default::default();
        Self { table, v2, v3_index, v3, remotes: remotes.clone() }
    }

    /// The document at `path` (`/openapi/v2`, `/openapi/v3`, `/openapi/v3/apis/apps/v1`).
    pub fn serve(&self, path: &str, encoding: Encoding) -> Option<Document> {
        let below = path.strip_prefix("/openapi/")?;
        match below.split_once('/') {
            None if below == "v2" => Some(self.v2(encoding).clone()),
            None if below == "v3" => Some(self.index().clone()),
            Some(("v3", group_version)) => {
                let descriptions = LazyCell::new(Descriptions::load as fn() -> Descriptions);
                Some(self.v3.get(group_version)?.document(encoding, &descriptions).clone())
            }
            _ => None,
        }
    }

    /// Everything in 2.0.
    fn v2(&self, encoding: Encoding) -> &Document {
        self.v2.get(Dialect::V2, encoding, |encoding| {
            let kinds: Vec<&Kind> = self.table.iter().map(AsRef::as_ref).collect();
            let paths: Vec<String> = documents(&self.table).into_keys().collect();
            let remote = remote::merge(&self.remotes, |name| facts().schema(name).is_some());
            let parts = Parts { paths: &paths, kinds: &kinds, dialect: Dialect::V2, remote };
            parts.write(encoding, &Descriptions::load())
        })
    }

    fn index(&self) -> &Document {
        self.v3_index.get_or_init(|| {
            let descriptions = LazyCell::new(Descriptions::load as fn() -> Descriptions);
            let own = self.v3.iter().map(|(path, group)| {
                let document = group.document(Encoding::Json, &descriptions);
                (path.clone(), document.url(&format!("/openapi/v3/{path}")))
            });
            let others = self.remotes.iter().filter_map(|remote| {
                Some((format!("apis/{}/{}", remote.group, remote.version), remote.v3.clone()?))
            });
            let paths: BTreeMap<String, Value> =
                own.chain(others).map(|(path, url)| (path, json!({ "serverRelativeURL": url }))).collect();
            Document::plain(JSON, json!({ "paths": paths }).to_string().into_bytes())
        })
    }
}

/// What a document has besides paths and definitions: how callers say who they are, upstream names only this way.
fn frame(dialect: Dialect) -> Value {
    let info = json!({"title": "Kubernetes", "version": "v1.36.0"});
    let scheme =
        json!({"type": "apiKey", "in": "header", "name": "authorization", "description": "A bearer token"});
    let schemes = json!({"BearerToken": scheme});
    match dialect {
        Dialect::V2 => json!({
            "swagger": "2.0", "info": info, "securityDefinitions": schemes, "security": [{"BearerToken": []}],
        }),
        Dialect::V3 => json!({"openapi": "3.0.0", "info": info, "components": {"securitySchemes": schemes}}),
    }
}

/// Rows by the path of their group and version.
fn group_versions(table: &KindTable) -> BTreeMap<String, Vec<Arc<Kind>>> {
    let mut groups: BTreeMap<String, Vec<Arc<Kind>>> = BTreeMap::new();
    for kind in table.iter() {
        groups.entry(document_path(kind)).or_default().push(Arc::clone(kind));
    }
    groups
}

/// `api/v1`, `apis/apps/v1`.
fn document_path(kind: &Kind) -> String {
    let prefix = if kind.group.is_empty() { "api" } else { "apis" };
    format!("{prefix}/{}", kind.api_version())
}

/// Rows by the path of their document, and the documents without rows.
fn documents(table: &KindTable) -> BTreeMap<String, Vec<Arc<Kind>>> {
    let mut all = group_versions(table);
    let built_in = table.iter().filter(|kind| !kind.is_custom() && !kind.group.is_empty());
    let groups: BTreeSet<String> = built_in.map(|kind| format!("apis/{}", kind.group)).collect();
    for path in groups.into_iter().chain(services::ALONE.map(str::to_owned)) {
        all.entry(path).or_default();
    }
    all
}

/// Definitions and paths of these documents and rows in a dialect, one entry at a time.
struct Parts<'a> {
    paths: &'a [String],
    kinds: &'a [&'a Kind],
    dialect: Dialect,
    /// What is other servers'.
    remote: Merged,
}

impl Parts<'_> {
    fn each_definition(&self, descriptions: &Descriptions, mut entry: impl FnMut(&str, &Value)) {
        let answers: Vec<String> = self.services().filter_map(services::definition).collect();
        let mut roots: BTreeSet<&str> = self.kinds.iter().flat_map(|kind| paths::definitions(kind)).collect();
        roots.extend(answers.iter().chain(&self.remote.shared).map(String::as_str));
        for schema in definitions::closure(roots) {
            entry(schema.name(), &definitions::definition(schema, descriptions, self.dialect));
        }
        for kind in self.kinds.iter().filter(|kind| kind.is_custom()) {
            entry(&kind.definition, &custom::definition(kind, self.dialect));
            entry(&custom::list_definition(kind), &custom::list(kind, self.dialect));
        }
        self.remote.definitions.iter().for_each(|(name, definition)| entry(name, definition));
    }

    /// Documents with an operation of their own. Definitions of custom kinds bring none.
    fn services(&self) -> impl Iterator<Item = &str> {
        let is_custom = |path: &str| {
            let mut kinds = self.kinds.iter().filter(|kind| document_path(kind) == path).peekable();
            kinds.peek().is_some() && kinds.all(|kind| kind.is_custom())
        };
        self.paths.iter().map(String::as_str).filter(move |path| !is_custom(path))
    }

    fn each_path(&self, mut entry: impl FnMut(&str, &Value)) {
        let mut all: BTreeMap<String, Value> =
            self.services().filter_map(|path| services::item(path, self.dialect)).collect();
        for kind in self.kinds {
            all.extend(paths::items(kind, self.dialect));
        }
        for (path, item) in all.iter().chain(&self.remote.paths) {
            entry(path, item);
        }
    }

    fn write(&self, encoding: Encoding, descriptions: &Descriptions) -> Vec<u8> {
        match encoding {
            Encoding::Json => self.json(descriptions).into_bytes(),
            Encoding::Protobuf => {
                let mut document = gnostic::Document::new(self.dialect);
                self.each_path(|path, item| document.path(path, item));
                self.each_definition(descriptions, |name, definition| document.definition(name, definition));
                document.finish(&frame(self.dialect))
            }
        }
    }

    fn json(&self, descriptions: &Descriptions) -> String {
        let frame = frame(self.dialect);
        let version = match self.dialect {
            Dialect::V2 => "swagger",
            Dialect::V3 => "openapi",
        };
        let mut out = format!(r#"{{"{version}":{},"info":{},"paths":"#, frame[version], frame["info"]);
        json_object(&mut out, |entry| self.each_path(entry));
        let definitions = |entry: &mut dyn FnMut(&str, &Value)| self.each_definition(descriptions, entry);
        // Writing into a String cannot fail.
        match self.dialect {
            Dialect::V2 => {
                out.push_str(r#","definitions":"#);
                json_object(&mut out, definitions);
                let (schemes, required) = (&frame["securityDefinitions"], &frame["security"]);
                let _ = write!(out, r#","securityDefinitions":{schemes},"security":{required}}}"#);
            }
            Dialect::V3 => {
                out.push_str(r#","components":{"schemas":"#);
                json_object(&mut out, definitions);
                let schemes = &frame["components"]["securitySchemes"];
                let _ = write!(out, r#","securitySchemes":{schemes}}}}}"#);
            }
        }
        out
    }
}

/// Appends `"key":value` to an object under construction.
fn push_entry(out: &mut String, first: &mut bool, key: &str, value: &Value) {
    let comma = if std::mem::take(first) { "" } else { "," };
    // Writing into a String cannot fail.
    let _ = write!(out, "{comma}{}:{value}", Value::from(key));
}

fn json_object(out: &mut String, fill: impl FnOnce(&mut dyn FnMut(&str, &Value))) {
    out.push('{');
    let mut first = true;
    fill(&mut |key, value| push_entry(out, &mut first, key, value));
    out.push('}');
}

#[cfg(test)]
mod tests;
