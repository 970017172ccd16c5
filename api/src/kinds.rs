//! THE table: a row per kind. Routes, discovery, OpenAPI, tables, storage keys, RBAC names and CLI
//! completion are projections of it; a CRD adds rows at run time.
//!
//! Entry points: [`builtin`], and [`KindTable`]'s look-ups. One more kind is one more line in its
//! group's file below `kinds/`. Every kind that is generally available in Kubernetes 1.36 is listed, with
//! upstream's rules, whether or not a controller of ours acts on it yet.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::custom::CustomVersion;
use crate::schema::{Schema, facts};
use crate::strategy::{Plain, Strategy};

mod admissionregistration;
mod apiextensions;
mod apiregistration;
mod apps;
mod authentication;
mod authorization;
mod autoscaling;
mod batch;
mod certificates;
pub mod columns;
mod coordination;
mod core;
mod discovery;
mod events;
mod flowcontrol;
mod lookup;
mod metrics;
mod networking;
mod node;
mod policy;
mod rbac;
mod resource;
mod scheduling;
mod storage;

pub use autoscaling::{v1_to_v2 as autoscaler_to_v2, v2_to_v1 as autoscaler_to_v1};
pub use events::{from_core as event_to_v1, to_core as event_to_core};
pub use lookup::{GroupListing, VersionListing, aggregation_priority};

/// All kinds this program serves.
pub fn builtin() -> KindTable {
    let groups = [
        core::rows(),
        apiregistration::rows(),
        apps::rows(),
        events::rows(),
        authentication::rows(),
        authorization::rows(),
        autoscaling::rows(),
        batch::rows(),
        certificates::rows(),
        networking::rows(),
        policy::rows(),
        rbac::rows(),
        storage::rows(),
        admissionregistration::rows(),
        apiextensions::rows(),
        scheduling::rows(),
        coordination::rows(),
        node::rows(),
        discovery::rows(),
        flowcontrol::rows(),
        resource::rows(),
        metrics::rows(),
    ];
    KindTable::new(groups.into_iter().flatten())
}

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

/// Where a row's objects are kept.
#[derive(Clone, Default)]
pub enum Storage {
    /// Under the row's own group and plural, in the row's own form.
    #[default]
    Own,
    /// In the form, and under the key, of another row.
    Converted(Box<Converted>),
    /// Nowhere: answers are computed (`metrics.k8s.io`, reviews).
    Virtual,
}

/// The other row whose form is stored, and the way there and back. Both functions are total: what one
/// form cannot say is kept in annotations, as upstream does, or dropped where upstream drops it.
#[derive(Clone)]
pub struct Converted {
    /// Group of the stored form.
    pub group: Text,
    /// Version of the stored form.
    pub version: Text,
    /// Plural of the stored form.
    pub plural: Text,
    /// From this row's form to the stored one, `apiVersion` and `kind` included.
    pub to_storage: fn(&mut Value),
    /// From the stored form to this row's.
    pub from_storage: fn(&mut Value),
}

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
    /// Printed columns; none means name and age. See [`crate::table`].
    pub columns: Vec<Column>,
    /// All that the columns read, as [`crate::table::Shape`] takes it; empty if nobody has said.
    pub printed_from: &'static [&'static str],
    /// Field selectors beyond `metadata.name` and `metadata.namespace`, as JSON paths `a.b.c` into the
    /// stored form; the list [`crate::object::Index::parse`] takes.
    pub selectable_fields: Vec<Text>,
    /// Selector labels that are not the path itself: `(label, path in selectable_fields)`, or several such paths
    /// with `|` between them, of which the first with a value counts.
    pub field_aliases: Vec<(Text, Text)>,
    /// Definition name in the facts table, such as `io.k8s.api.apps.v1.Deployment`.
    pub definition: Text,
    /// Rules of its own.
    pub strategy: Arc<dyn Strategy>,
    /// Where objects are kept.
    pub storage: Storage,
    /// What a CRD says about the objects; `None` for built-in kinds.
    pub custom: Option<Arc<CustomVersion>>,
}

impl Kind {
    /// What fields objects have: from the facts table for built-in kinds, from its CRD for a custom one.
    pub fn schema(&self) -> Option<Schema<'_>> {
        match &self.custom {
            Some(custom) => Some(custom.schema()),
            None => facts().schema(&self.definition),
        }
    }

    /// Kind of a list: `DeploymentList`, or what the CRD says.
    pub fn list_kind(&self) -> String {
        match &self.custom {
            Some(custom) => custom.resource.list_kind.clone(),
            None => format!("{}List", self.kind),
        }
    }

    /// Whether a CRD defines the kind.
    pub fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

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

    /// Where the row is served.
    fn place(&self) -> (&str, &str, &str) {
        (&self.plural, &self.group, &self.version)
    }

    /// Group and plural of the stored form.
    fn stored_resource(&self) -> (&str, &str) {
        match &self.storage {
            Storage::Converted(other) => (&other.group, &other.plural),
            Storage::Own | Storage::Virtual => (&self.group, &self.plural),
        }
    }

    /// Storage prefix, ends in `/`.
    pub fn prefix(&self, namespace: Option<&str>) -> String {
        let (group, plural) = self.stored_resource();
        crate::names::storage_prefix(group, plural, namespace)
    }

    /// Storage key of one object; `namespace` is ignored for cluster-wide kinds.
    pub fn key(&self, namespace: Option<&str>, name: &str) -> String {
        let namespace = if self.namespaced() { namespace } else { None };
        let (group, plural) = self.stored_resource();
        crate::names::storage_key(group, plural, namespace, name)
    }

    /// Whether objects exist in the store at all.
    pub fn is_stored(&self) -> bool {
        !matches!(self.storage, Storage::Virtual)
    }

    /// Whether stored bytes must be converted before a caller of this row may see them.
    pub fn converted(&self) -> Option<&Converted> {
        match &self.storage {
            Storage::Converted(other) => Some(other),
            Storage::Own | Storage::Virtual => None,
        }
    }

    /// The indexed path behind a field selector's label, `None` if the kind does not offer it.
    pub fn field_path<'a>(&'a self, label: &'a str) -> Option<&'a str> {
        if label == "metadata.name" || (label == "metadata.namespace" && self.namespaced()) {
            return Some(label);
        }
        if let Some((_, path)) = self.field_aliases.iter().find(|(alias, _)| alias == label) {
            return Some(path);
        }
        self.selectable_fields.iter().find(|path| *path == label).map(|path| path.as_ref())
    }

    /// REST path of the collection, or of one object: `/apis/apps/v1/namespaces/default/deployments/web`.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if let Some(namespace) = namespace.filter(|_| self.namespaced()) {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        for part in [Some(self.plural.as_ref()), name].into_iter().flatten() {
            path.push('/');
            path.push_str(part);
        }
        path
    }
}

/// Building a row, one call per fact.
impl Kind {
    /// Short names.
    #[must_use]
    pub fn short(mut self, names: &[&'static str]) -> Self {
        self.short_names = names.iter().map(|name| Text::from(*name)).collect();
        self
    }

    /// Member of the category `all`.
    #[must_use]
    pub fn in_all(self) -> Self {
        self.category("all")
    }

    /// Member of a category.
    #[must_use]
    pub fn category(mut self, name: &'static str) -> Self {
        self.categories.push(name.into());
        self
    }

    /// A question that is answered at once and never stored.
    #[must_use]
    pub fn review(mut self) -> Self {
        self.verbs = vec!["create"];
        self.storage = Storage::Virtual;
        self
    }

    /// Replaces the verbs.
    #[must_use]
    pub fn verbs(mut self, verbs: &[&'static str]) -> Self {
        self.verbs = verbs.to_vec();
        self
    }

    /// Adds a subresource; an empty kind means the parent's own.
    #[must_use]
    pub fn sub(
        mut self,
        name: &'static str,
        (group, version, kind): (&'static str, &'static str, &'static str),
        verbs: &[&'static str],
    ) -> Self {
        let kind = (!kind.is_empty()).then(|| (group.into(), version.into(), kind.into()));
        self.subresources.push(Subresource { name: name.into(), kind, verbs: verbs.to_vec() });
        self
    }

    /// Adds `status`.
    #[must_use]
    pub fn status(self) -> Self {
        self.sub("status", SAME, READ_WRITE)
    }

    /// Adds `scale`.
    #[must_use]
    pub fn scale(self) -> Self {
        self.sub("scale", ("autoscaling", "v1", "Scale"), READ_WRITE)
    }

    /// Adds selectable fields.
    #[must_use]
    pub fn fields(mut self, paths: &[&'static str]) -> Self {
        self.selectable_fields.extend(paths.iter().map(|path| Text::from(*path)));
        self
    }

    /// Adds labels for selectable fields.
    #[must_use]
    pub fn aliases(mut self, pairs: &[(&'static str, &'static str)]) -> Self {
        self.field_aliases.extend(pairs.iter().map(|(label, path)| (Text::from(*label), Text::from(*path))));
        self
    }

    /// Sets the rules.
    #[must_use]
    pub fn rules(mut self, strategy: impl Strategy + 'static) -> Self {
        self.strategy = Arc::new(strategy);
        self
    }

    /// Sets the printed columns.
    #[must_use]
    pub fn printed(mut self, columns: Vec<Column>) -> Self {
        self.columns = columns;
        self
    }

    /// Says what the printed columns read, which makes long lists cheaper.
    #[must_use]
    pub fn printed_from(mut self, paths: &'static [&'static str]) -> Self {
        self.printed_from = paths;
        self
    }

    /// Stores in another row's form.
    #[must_use]
    pub fn stored_as(mut self, converted: Converted) -> Self {
        self.storage = Storage::Converted(Box::new(converted));
        self
    }
}

/// The subresource is of the parent's kind.
const SAME: (&str, &str, &str) = ("", "", "");
/// Verbs of `status` and its like.
const READ_WRITE: &[&str] = &["get", "patch", "update"];

/// All served kinds. Cheap to clone and swap as a whole (CRDs replace it).
#[derive(Clone, Default)]
pub struct KindTable {
    /// Ordered by group, version and plural, no two in one place.
    rows: Vec<Arc<Kind>>,
    /// The same ordered by [`Kind::place`]: every request looks one up, and plurals tell most rows apart.
    by_plural: Vec<Arc<Kind>>,
}

impl KindTable {
    /// A table of these rows; a later row replaces an earlier one of the same group, version and plural.
    pub fn new(rows: impl IntoIterator<Item = Kind>) -> Self {
        Self::of(rows.into_iter().map(Arc::new))
    }

    /// A table of rows that others hold, too.
    pub fn of(rows: impl IntoIterator<Item = Arc<Kind>>) -> Self {
        let place = |kind: &Kind| (kind.group.clone(), kind.version.clone(), kind.plural.clone());
        let by_place: BTreeMap<_, _> = rows.into_iter().map(|kind| (place(&kind), kind)).collect();
        let rows: Vec<Arc<Kind>> = by_place.into_values().collect();
        let mut by_plural = rows.clone();
        by_plural.sort_by(|one, two| one.place().cmp(&two.place()));
        Self { rows, by_plural }
    }

    /// By group, version and plural.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        let wanted = (plural, group, version);
        let at = self.by_plural.binary_search_by(|kind| kind.place().cmp(&wanted)).ok()?;
        self.by_plural.get(at)
    }

    /// By `apiVersion` and `kind`.
    pub fn kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.iter().find(|k| k.kind == kind && k.api_version() == api_version)
    }

    /// All rows, ordered by group, version, plural.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.rows.iter()
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
        printed_from: &[],
        selectable_fields: Vec::new(),
        field_aliases: Vec::new(),
        definition: definition(group, version, kind).into(),
        strategy: Arc::new(Plain),
        storage: Storage::Own,
        custom: None,
    }
}

/// Name of a built-in kind's OpenAPI definition, as upstream's documents have it.
fn definition(group: &str, version: &str, kind: &str) -> String {
    let package = match group {
        "" => "api.core",
        "metrics.k8s.io" => "metrics.pkg.apis.metrics",
        "apiextensions.k8s.io" => "apiextensions-apiserver.pkg.apis.apiextensions",
        "apiregistration.k8s.io" => "kube-aggregator.pkg.apis.apiregistration",
        _ => {
            let short = group.split('.').next().unwrap_or(group);
            return format!("io.k8s.api.{short}.{version}.{kind}");
        }
    };
    format!("io.k8s.{package}.{version}.{kind}")
}

#[cfg(test)]
mod tests;
