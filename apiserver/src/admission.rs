//! Admission: rules that look at more than one object, or fill in what the cluster decides.
//!
//! Entry points: [`mutate`], then, once the kind's strategy has judged the object, [`validate`]; [`admit`] does both
//! for what is not stored (bindings, evictions, reviews, streams, deletions). [`PLUGINS`] is the one ordered
//! table; its order and names are upstream's `AllOrderedPlugins` (`pkg/kubeapiserver/options/plugins.go`), but for
//! `DeletionLock`, which is ours.
//!
//! To add a plugin: write `admission/NAME.rs` with a function for each phase it has, and a row in
//! [`PLUGINS`] at its place in upstream's order. A row says for which operations and resources the functions are
//! called; a row that names no resource is asked about all, subresources included. A function gets
//! [`Attributes`] (who asks for what, and the object before) and the object in its stored form, `null` for a
//! deletion. What must still hold when the object is written goes to [`Attributes::require`]; a lock that must be
//! held until then to [`Attributes::hold`].

mod attributes;
mod certificates;
mod chain;
mod deletion_lock;
mod deny_service_external_ips;
mod event_rate_limit;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod owner_references;
mod pod_node_selector;
mod pod_resize;
mod pod_security;
mod pod_toleration_restriction;
mod pods;
pub(crate) mod policy;
mod priority;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage;
mod topology;
pub(crate) mod webhook;

use api::Status;
use futures::future::BoxFuture;
use serde_json::Value;

pub(crate) use attributes::{Attributes, Conditions, ObjectKind, Operation};
pub use chain::Switches;
pub(crate) use chain::{Chain, admit, admit_connection, mutate, validate};
pub use event_rate_limit::{EventLimit, EventLimitType};
pub use pod_security::Standards;

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

    /// Runs only when switched on.
    const fn off(mut self) -> Self {
        self.on = false;
        self
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        self.operations.contains(&attributes.operation)
            && (self.resources.is_empty() || self.names(attributes.resource()))
    }

    /// Whether a row names a resource. The plural tells most apart, and this is asked of all rows by every write.
    fn names(&self, (group, plural, subresource): (&str, &str, &str)) -> bool {
        self.resources.iter().any(|one| one.1 == plural && one.0 == group && one.2 == subresource)
    }
}

/// All operations.
const ALL: &[Operation] = &[Create, Update, Delete, Connect];

/// Pods themselves.
const PODS: &[Resource] = &[("", "pods", "")];
const PODS_AND_EPHEMERAL: &[Resource] = &[("", "pods", ""), ("", "pods", "ephemeralcontainers")];
const PODS_AND_BINDINGS: &[Resource] = &[("", "pods", ""), ("", "pods", "binding")];
const PRIORITIES: &[Resource] = &[("", "pods", ""), ("scheduling.k8s.io", "priorityclasses", "")];
const LIMITED: &[Resource] = &[("", "pods", ""), ("", "pods", "resize"), ("", "persistentvolumeclaims", "")];
const CLAIMS: &[Resource] = &[("", "persistentvolumeclaims", "")];

/// All plugins in the order they are asked, in each phase.
const PLUGINS: &[Plugin] = &[
    Plugin::new("NamespaceAutoProvision", &[Create])
        .off()
        .mutates(|a, object| Box::pin(namespace_lifecycle::provision(a, object))),
    // First of those that refuse, so that everything in a missing namespace is a plain 404.
    Plugin::new("NamespaceLifecycle", &[Create, Delete])
        .mutates(|a, object| Box::pin(namespace_lifecycle::admit(a, object))),
    Plugin::new("NamespaceExists", &[Create, Update, Delete])
        .off()
        .validates(|a, _| Box::pin(namespace_lifecycle::exists(a))),
    Plugin::new("LimitPodHardAntiAffinityTopology", &[Create, Update])
        .off()
        .of(PODS)
        .validates(|a, pod| Box::pin(pods::limit_anti_affinity(a, pod))),
    Plugin::new("LimitRanger", &[Create, Update])
        .of(LIMITED)
        .mutates(|a, pod| Box::pin(limit_ranger::mutate(a, pod)))
        .validates(|a, object| Box::pin(limit_ranger::validate(a, object))),
    // Adds volumes and mounts, which later plugins and validation then see.
    Plugin::new("ServiceAccount", &[Create, Update])
        .of(PODS_AND_EPHEMERAL)
        .mutates(|a, pod| Box::pin(service_account::mutate(a, pod)))
        .validates(|a, pod| Box::pin(service_account::validate(a, pod))),
    Plugin::new("NodeRestriction", &[Create, Update, Delete])
        .mutates(|a, object| Box::pin(node_restriction::admit(a, object))),
    Plugin::new("TaintNodesByCondition", &[Create])
        .of(&[("", "nodes", "")])
        .mutates(|a, node| Box::pin(pods::taint_new_node(a, node))),
    Plugin::new("AlwaysPullImages", &[Create, Update])
        .off()
        .of(PODS_AND_EPHEMERAL)
        .mutates(|a, pod| Box::pin(pods::always_pull_images(a, pod)))
        .validates(|a, pod| Box::pin(pods::check_pull_policies(a, pod))),
    Plugin::new("PodSecurity", &[Create, Update])
        .of(pod_security::RESOURCES)
        .validates(|a, object| Box::pin(pod_security::validate(a, object))),
    Plugin::new("PodNodeSelector", &[Create])
        .off()
        .of(PODS)
        .mutates(|a, pod| Box::pin(pod_node_selector::mutate(a, pod)))
        .validates(|a, pod| Box::pin(pod_node_selector::validate(a, pod))),
    Plugin::new("Priority", &[Create, Update])
        .of(PRIORITIES)
        .mutates(|a, pod| Box::pin(priority::mutate(a, pod)))
        .validates(|a, class| Box::pin(priority::validate(a, class))),
    Plugin::new("DefaultTolerationSeconds", &[Create, Update])
        .of(PODS)
        .mutates(|a, pod| Box::pin(pods::default_toleration_seconds(a, pod))),
    Plugin::new("PodTolerationRestriction", &[Create, Update])
        .off()
        .of(PODS)
        .mutates(|a, pod| Box::pin(pod_toleration_restriction::mutate(a, pod)))
        .validates(|a, pod| Box::pin(pod_toleration_restriction::validate(a, pod))),
    Plugin::new("EventRateLimit", &[Create, Update])
        .off()
        .of(&[("", "events", "")])
        .validates(|a, event| Box::pin(event_rate_limit::validate(a, event))),
    Plugin::new("ExtendedResourceToleration", &[Create, Update])
        .off()
        .of(PODS)
        .mutates(|a, pod| Box::pin(pods::extended_resource_toleration(a, pod))),
    Plugin::new("DefaultStorageClass", &[Create])
        .of(CLAIMS)
        .mutates(|a, claim| Box::pin(storage::default_storage_class(a, claim))),
    // Two controllers take away what it adds.
    Plugin::new("StorageObjectInUseProtection", &[Create])
        .of(&[("", "persistentvolumeclaims", ""), ("", "persistentvolumes", "")])
        .mutates(|a, object| Box::pin(storage::protect(a, object))),
    Plugin::new("OwnerReferencesPermissionEnforcement", &[Create, Update])
        .off()
        .validates(|a, object| Box::pin(owner_references::validate(a, object))),
    Plugin::new("PersistentVolumeClaimResize", &[Update])
        .of(CLAIMS)
        .validates(|a, claim| Box::pin(storage::resize(a, claim))),
    Plugin::new("RuntimeClass", &[Create])
        .of(PODS)
        .mutates(|a, pod| Box::pin(runtime_class::mutate(a, pod)))
        .validates(|a, pod| Box::pin(runtime_class::validate(a, pod))),
    Plugin::new("CertificateApproval", &[Update])
        .of(&[("certificates.k8s.io", "certificatesigningrequests", "approval")])
        .validates(|a, request| Box::pin(certificates::approval(a, request))),
    Plugin::new("CertificateSigning", &[Update])
        .of(&[("certificates.k8s.io", "certificatesigningrequests", "status")])
        .validates(|a, request| Box::pin(certificates::signing(a, request))),
    Plugin::new("ClusterTrustBundleAttest", &[Create, Update])
        .of(&[("certificates.k8s.io", "clustertrustbundles", "")])
        .validates(|a, bundle| Box::pin(certificates::attest(a, bundle))),
    Plugin::new("CertificateSubjectRestriction", &[Create])
        .of(&[("certificates.k8s.io", "certificatesigningrequests", "")])
        .validates(|a, request| Box::pin(certificates::restrict_subject(a, request))),
    Plugin::new("DefaultIngressClass", &[Create])
        .of(&[("networking.k8s.io", "ingresses", "")])
        .mutates(|a, ingress| Box::pin(storage::default_ingress_class(a, ingress))),
    Plugin::new("DenyServiceExternalIPs", &[Create, Update])
        .off()
        .of(&[("", "services", "")])
        .validates(|a, service| Box::pin(deny_service_external_ips::validate(a, service))),
    Plugin::new("PodTopologyLabels", &[Create])
        .of(PODS_AND_BINDINGS)
        .mutates(|a, object| Box::pin(topology::mutate(a, object))),
    Plugin::new("PodResizeValidator", &[Update])
        .of(&[("", "pods", "resize")])
        .validates(|a, pod| Box::pin(pod_resize::validate(a, pod))),
    Plugin::new("DeletionLock", &[Delete]).validates(|a, _object| Box::pin(deletion_lock::validate(a))),
    // What users bring along comes after all that mutates, so that it sees what will be stored. A deletion has no
    // object that could be changed.
    Plugin::new("MutatingAdmissionPolicy", &[Create, Update, Connect])
        .mutates(|a, object| Box::pin(policy::mutate(a, object))),
    Plugin::new("MutatingAdmissionWebhook", ALL).mutates(|a, object| Box::pin(webhook::mutate(a, object))),
    Plugin::new("ValidatingAdmissionPolicy", ALL)
        .validates(|a, object| Box::pin(policy::validate(a, object))),
    Plugin::new("ValidatingAdmissionWebhook", ALL)
        .validates(|a, object| Box::pin(webhook::validate(a, object))),
    // Last, so that nothing is charged for what another plugin refuses.
    Plugin::new("ResourceQuota", &[Create, Update])
        .validates(|a, object| Box::pin(resource_quota::validate(a, object))),
];
