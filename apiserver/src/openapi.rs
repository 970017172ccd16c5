//! Projection of the table of kinds and the facts: OpenAPI v2 (JSON and protobuf) and v3 documents.
//!
//! Entry point: [`OpenApi::serve`]. Documents are made at the first request and kept compressed; while one
//! is made, only a definition at a time exists as a tree. A changed table of kinds means a new [`OpenApi`],
//! which takes over what did not change.
//! `kubectl explain`, `apply` and client-side validation read these.

mod custom;
mod definitions;
mod descriptions;
mod gnostic;
mod paths;

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use api::kinds::{Kind, KindTable};
use serde_json::{Value, json};

use crate::document::Document;
use definitions::Dialect;
use descriptions::Descriptions;

const JSON: &str = "application/json";
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// As clients up to 1.2x ask for it.
const V2_PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The documents of one table of kinds.
pub struct OpenApi {
    table: KindTable,
    v2_json: OnceLock<Document>,
    v2_protobuf: OnceLock<Document>,
    v3_index: OnceLock<Document>,
    /// By path below `/openapi/v3/`: `api/v1`, `apis/apps/v1`.
    v3: BTreeMap<String, Arc<Group>>,
}

/// One group and version.
struct Group {
    kinds: Vec<Arc<Kind>>,
    document: OnceLock<Document>,
}

impl Group {
    fn document(&self, descriptions: &LazyCell<Descriptions>) -> &Document {
        self.document.get_or_init(|| {
            let kinds: Vec<&Kind> = self.kinds.iter().map(AsRef::as_ref).collect();
            Document::compressed(JSON, v3_json(&kinds, descriptions).as_bytes())
        })
    }

    fn is_of(&self, kinds: &[Arc<Kind>]) -> bool {
        self.kinds.len() == kinds.len() && self.kinds.iter().zip(kinds).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

impl OpenApi {
    /// Makes nothing yet.
    pub fn new(table: KindTable) -> Self {
        Self::after(None, table)
    }

    /// The documents of a table that replaces another: what did not change is not made again.
    pub fn after(before: Option<&Self>, table: KindTable) -> Self {
        let known = |path: &str, kinds: &[Arc<Kind>]| {
            before?.v3.get(path).filter(|group| group.is_of(kinds)).map(Arc::clone)
        };
        let groups = group_versions(&table).into_iter();
        let v3 = groups
            .map(|(path, kinds)| {
                let group = known(&path, &kinds);
                (path, group.unwrap_or_else(|| Arc::new(Group { kinds, document: OnceLock::new() })))
            })
            .collect();
        Self { table, v2_json: OnceLock::new(), v2_protobuf: OnceLock::new(), v3_index: OnceLock::new(), v3 }
    }

    /// The document at `path` (`/openapi/v2`, `/openapi/v3`, `/openapi/v3/apis/apps/v1`) for an `Accept`
    /// header and the `hash` query parameter, if there is one. A caller who names the right hash may keep
    /// the document for good.
    pub fn serve(&self, path: &str, accept: &str, hash: Option<&str>) -> Option<Document> {
        let below = path.strip_prefix("/openapi/")?;
        match below.split_once('/') {
            None if below == "v2" => Some(self.v2(accept).clone()),
            None if below == "v3" => Some(self.index().clone()),
            Some(("v3", group_version)) => {
                let descriptions = LazyCell::new(Descriptions::load as fn() -> Descriptions);
                let mut document = self.v3.get(group_version)?.document(&descriptions).clone();
                document.immutable = hash == Some(document.hash.as_str());
                Some(document)
            }
            _ => None,
        }
    }

    fn v2(&self, accept: &str) -> &Document {
        let wants_protobuf = accept
            .split(',')
            .filter_map(|range| range.split(';').next())
            .map(str::trim)
            .find(|media| [JSON, V2_PROTOBUF, V2_PROTOBUF_OLD, "*/*", "application/*"].contains(media))
            .is_some_and(|media| media == V2_PROTOBUF || media == V2_PROTOBUF_OLD);
        if wants_protobuf {
            self.v2_protobuf.get_or_init(|| Document::compressed(V2_PROTOBUF, &v2_protobuf(&self.table)))
        } else {
            self.v2_json.get_or_init(|| Document::compressed(JSON, v2_json(&self.table).as_bytes()))
        }
    }

    fn index(&self) -> &Document {
        self.v3_index.get_or_init(|| {
            let descriptions = LazyCell::new(Descriptions::load as fn() -> Descriptions);
            let paths: BTreeMap<&String, Value> = self
                .v3
                .iter()
                .map(|(path, group)| {
                    let document = group.document(&descriptions);
                    let url = format!("/openapi/v3/{path}?hash={}", document.hash);
                    (path, json!({ "serverRelativeURL": url }))
                })
                .collect();
            Document::plain(JSON, json!({ "paths": paths }).to_string().into_bytes())
        })
    }
}

/// Rows by the path of their group and version.
fn group_versions(table: &KindTable) -> BTreeMap<String, Vec<Arc<Kind>>> {
    let mut groups: BTreeMap<String, Vec<Arc<Kind>>> = BTreeMap::new();
    for kind in table.iter() {
        let prefix = if kind.group.is_empty() { "api" } else { "apis" };
        groups.entry(format!("{prefix}/{}", kind.api_version())).or_default().push(Arc::clone(kind));
    }
    groups
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": "v1.36.0"})
}

/// Definitions and paths of these rows in a dialect, one entry at a time.
struct Parts<'a> {
    kinds: &'a [&'a Kind],
    dialect: Dialect,
}

impl Parts<'_> {
    fn each_definition(&self, descriptions: &Descriptions, mut entry: impl FnMut(&str, &Value)) {
        let roots: BTreeSet<&str> = self.kinds.iter().flat_map(|kind| paths::definitions(kind)).collect();
        for schema in definitions::closure(roots) {
            entry(schema.name(), &definitions::definition(schema, descriptions, self.dialect));
        }
        for kind in self.kinds.iter().filter(|kind| kind.is_custom()) {
            entry(&kind.definition, &custom::definition(kind, self.dialect));
            entry(&custom::list_definition(kind), &custom::list(kind, self.dialect));
        }
    }

    fn each_path(&self, mut entry: impl FnMut(&str, &Value)) {
        let mut all = BTreeMap::new();
        for kind in self.kinds {
            all.extend(paths::items(kind, self.dialect));
        }
        for (path, item) in &all {
            entry(path, item);
        }
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

fn v2_json(table: &KindTable) -> String {
    let kinds: Vec<&Kind> = table.iter().map(AsRef::as_ref).collect();
    let parts = Parts { kinds: &kinds, dialect: Dialect::V2 };
    let descriptions = Descriptions::load();
    let mut out = format!(r#"{{"swagger":"2.0","info":{},"paths":"#, info());
    json_object(&mut out, |entry| parts.each_path(entry));
    out.push_str(r#","definitions":"#);
    json_object(&mut out, |entry| parts.each_definition(&descriptions, entry));
    out.push('}');
    out
}

fn v2_protobuf(table: &KindTable) -> Vec<u8> {
    let kinds: Vec<&Kind> = table.iter().map(AsRef::as_ref).collect();
    let parts = Parts { kinds: &kinds, dialect: Dialect::V2 };
    let descriptions = Descriptions::load();
    let mut document = gnostic::Document::new(&info());
    parts.each_path(|path, item| document.path(path, item));
    parts.each_definition(&descriptions, |name, definition| document.definition(name, definition));
    document.finish()
}

fn v3_json(kinds: &[&Kind], descriptions: &Descriptions) -> String {
    let parts = Parts { kinds, dialect: Dialect::V3 };
    let mut out = format!(r#"{{"openapi":"3.0.0","info":{},"paths":"#, info());
    json_object(&mut out, |entry| parts.each_path(entry));
    out.push_str(r#","components":{"schemas":"#);
    json_object(&mut out, |entry| parts.each_definition(descriptions, entry));
    out.push_str("}}");
    out
}

#[cfg(test)]
mod tests;
