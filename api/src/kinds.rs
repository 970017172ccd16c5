//! THE table: a row per kind. Routes, discovery, OpenAPI, tables, storage keys, RBAC names and CLI
//! completion are projections of it; a CRD adds rows at run time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::strategy::{Plain, Strategy};

/// A string that is constant for built-in kinds and owned for custom ones.
pub type Text = Cow<'static, str>;

/// Whether objects live in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Below `/namespaces/NAME/`.
    Namespaced,
    /// Cluster-wide.
    Cluster,
}

/// A subresource of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, `scale`, `log`, `binding`, …
    pub name: Text,
    /// Its own kind as `(group, version, kind)` where it differs from the parent (`autoscaling/v1 Scale`).
    pub kind: Option<(Text, Text, Text)>,
    /// Verbs, as discovery prints them.
    pub verbs: Vec<&'static str>,
}

/// One printed column (metav1.TableColumnDefinition) and where its cell comes from.
#[derive(Clone)]
pub struct Column {
    /// Heading.
    pub name: Text,
    /// `string`, `integer`, `date`, …
    pub data_type: &'static str,
    /// `name` for the first column, else mostly empty.
    pub format: &'static str,
    /// Shown in discovery of the table.
    pub description: Text,
    /// 0 shows always, 1 only with `-o wide`.
    pub priority: i32,
    /// Computes the cell; `now` is the server's time for ages.
    pub cell: CellFn,
}

/// Computes one cell from an object.
pub type CellFn = Arc<dyn Fn(&Value, jiff::Timestamp) -> Value + Send + Sync>;

/// One served resource.
#[derive(Clone)]
pub struct Kind {
    /// Empty for core.
    pub group: Text,
    /// Served version.
    pub version: Text,
    /// `Deployment`.
    pub kind: Text,
    /// `deployments`.
    pub plural: Text,
    /// `deployment`.
    pub singular: Text,
    /// `deploy`.
    pub short_names: Vec<Text>,
    /// `all`.
    pub categories: Vec<Text>,
    /// Where objects live.
    pub scope: Scope,
    /// Verbs in discovery's order: create, delete, deletecollection, get, list, patch, update, watch.
    pub verbs: Vec<&'static str>,
    /// Subresources, `status` among them when the kind has one.
    pub subresources: Vec<Subresource>,
    /// Columns between the row's key and the end; see `apiserver::table`.
    pub columns: Vec<Column>,
    /// Field selectors beyond `metadata.name` and `metadata.namespace`, as JSON paths `a.b.c`.
    pub selectable_fields: Vec<Text>,
    /// Definition name in the facts table, such as `io.k8s.api.apps.v1.Deployment`.
    pub definition: Text,
    /// Rules of its own.
    pub strategy: Arc<dyn Strategy>,
}

impl Kind {
    /// `apps/v1`, or `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Whether writes of the object leave `status` alone (there is a `status` subresource).
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// The named subresource.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether objects live in a namespace.
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Storage prefix, ends in `/`.
    pub fn prefix(&self, namespace: Option<&str>) -> String {
        crate::names::storage_prefix(&self.group, &self.plural, namespace)
    }

    /// Storage key of one object; `namespace` is ignored for cluster-wide kinds.
    pub fn key(&self, namespace: Option<&str>, name: &str) -> String {
        let namespace = if self.namespaced() { namespace } else { None };
        crate::names::storage_key(&self.group, &self.plural, namespace, name)
    }
}

/// All served kinds. Cheap to clone and swap as a whole (CRDs replace it).
#[derive(Clone, Default)]
pub struct KindTable {
    by_resource: BTreeMap<(String, String, String), Arc<Kind>>,
}

impl KindTable {
    /// A table of these rows; a later row replaces an earlier one of the same group, version and plural.
    pub fn new(rows: impl IntoIterator<Item = Kind>) -> Self {
        let by_resource = rows
            .into_iter()
            .map(|k| ((k.group.to_string(), k.version.to_string(), k.plural.to_string()), Arc::new(k)))
            .collect();
        Self { by_resource }
    }

    /// By group, version and plural.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.by_resource.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// By `apiVersion` and `kind`.
    pub fn kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.iter().find(|k| k.kind == kind && k.api_version() == api_version)
    }

    /// All rows, ordered by group, version, plural.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.by_resource.values()
    }
}

/// A row with the usual verbs and no rules of its own.
pub fn plain(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    scope: Scope,
) -> Kind {
    Kind {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        plural: plural.into(),
        singular: kind.to_lowercase().into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope,
        verbs: vec!["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        subresources: Vec::new(),
        columns: Vec::new(),
        selectable_fields: Vec::new(),
        definition: Text::default(),
        strategy: Arc::new(Plain),
    }
}
