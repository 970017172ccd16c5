//! Admission: rules that look at more than one object, or fill in what the cluster decides.
//!
//! Entry points: [`mutate`], then, once the kind's strategy has judged the object, [`validate`]; [`admit`] does both
//! for what is not stored (bindings, evictions, reviews, streams, deletions). [`PLUGINS`] is the one ordered
//! table; its order and names are upstream's `AllOrderedPlugins` (`pkg/kubeapiserver/options/plugins.go`).
//!
//! To add a plugin: write `admission/NAME.rs` with a function for each phase it has, and a row in
//! [`PLUGINS`] at its place in upstream's order. A row says for which operations and resources the functions are
//! called; a row that names no resource is asked about all, subresources included. A function gets
//! [`Attributes`] (who asks for what, and the object before) and the object in its stored form, `null` for a
//! deletion. What must still hold when the object is written goes to [`Attributes::require`]; a lock that must be
//! held until then to [`Attributes::hold`].

#[allow(dead_code, reason = "for plugins that are being written")]
mod attributes;
mod chain;
mod namespace_lifecycle;
mod node_restriction;
mod pods;
pub(crate) mod policy;
mod service_account;
pub(crate) mod webhook;

use api::Status;
use futures::future::BoxFuture;
use serde_json::Value;

pub(crate) use attributes::{Attributes, Conditions, ObjectKind, Operation};
pub use chain::Switches;
pub(crate) use chain::{Chain, admit, admit_connection, mutate, validate};

use Operation::{Connect, Create, Delete, Update};

/// Changes the object, or refuses it.
type Mutate = for<'a> fn(&'a Attributes<'_>, &'a mut Value) -> BoxFuture<'a, Result<(), Status>>;
/// Looks at the object, which nothing changes any more.
type Validate = for<'a> fn(&'a Attributes<'_>, &'a Value) -> BoxFuture<'a, Result<(), Status>>;

/// Group, plural and subresource.
type Resource = (&'static str, &'static str, &'static str);

/// A row of the table.
pub(crate) struct Plugin {
    /// Upstream's name.
    name: &'static str,
    /// Whether it runs unless switched off.
    on: bool,
    operations: &'static [Operation],
    /// Empty means all resources.
    resources: &'static [Resource],
    mutate: Option<Mutate>,
    validate: Option<Validate>,
}

impl Plugin {
    /// A plugin that is on and asked about `operations`.
    const fn new(name: &'static str, operations: &'static [Operation]) -> Self {
        Self { name, on: true, operations, resources: &[], mutate: None, validate: None }
    }

    const fn of(mut self, resources: &'static [Resource]) -> Self {
        self.resources = resources;
        self
    }

    const fn mutates(mut self, mutate: Mutate) -> Self {
        self.mutate = Some(mutate);
        self
    }

    const fn validates(mut self, validate: Validate) -> Self {
        self.validate = Some(validate);
        self
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        self.operations.contains(&attributes.operation)
            && (self.resources.is_empty() || self.resources.contains(&attributes.resource()))
    }
}

/// All operations.
const ALL: &[Operation] = &[Create, Update, Delete, Connect];

/// Pods themselves.
const PODS: &[Resource] = &[("", "pods", "")];

/// All plugins in the order they are asked, in each phase.
const PLUGINS: &[Plugin] = &[
    // First, so that everything in a missing namespace is a plain 404.
    Plugin::new("NamespaceLifecycle", &[Create, Delete])
        .mutates(|a, object| Box::pin(namespace_lifecycle::admit(a, object))),
    // Adds volumes and mounts, which later plugins and validation then see.
    Plugin::new("ServiceAccount", &[Create])
        .of(PODS)
        .mutates(|a, pod| Box::pin(service_account::admit(a, pod))),
    Plugin::new("NodeRestriction", &[Create, Update, Delete])
        .mutates(|a, object| Box::pin(node_restriction::admit(a, object))),
    Plugin::new("Priority", &[Create, Update]).of(PODS).mutates(|a, pod| Box::pin(pods::priority(a, pod))),
    Plugin::new("DefaultTolerationSeconds", &[Create, Update])
        .of(PODS)
        .mutates(|a, pod| Box::pin(pods::default_toleration_seconds(a, pod))),
    // What users bring along comes after all that mutates, so that it sees what will be stored. A deletion has no
    // object that could be changed.
    Plugin::new("MutatingAdmissionPolicy", &[Create, Update, Connect])
        .mutates(|a, object| Box::pin(policy::mutate(a, object))),
    Plugin::new("MutatingAdmissionWebhook", ALL).mutates(|a, object| Box::pin(webhook::mutate(a, object))),
    Plugin::new("ValidatingAdmissionPolicy", ALL)
        .validates(|a, object| Box::pin(policy::validate(a, object))),
    Plugin::new("ValidatingAdmissionWebhook", ALL)
        .validates(|a, object| Box::pin(webhook::validate(a, object))),
];
