//! The types of what every expression of admission may name, as upstream declares them by hand
//! (`BuildRequestType`, `BuildNamespaceType`).

use std::sync::{Arc, LazyLock};

use crate::cel::decl::DeclType;
use crate::cel::types::Type;

/// No bound.
const ANY: u64 = u64::MAX;

fn texts() -> Arc<DeclType> {
    DeclType::list(DeclType::string(), ANY)
}

fn of_texts(name: &str, fields: &[&'static str]) -> Arc<DeclType> {
    DeclType::object(name, fields.iter().map(|field| (*field, DeclType::string())))
}

/// `request`.
pub(super) static REQUEST: LazyLock<Arc<DeclType>> = LazyLock::new(|| {
    let kind = of_texts("kubernetes.GroupVersionKind", &["group", "version", "kind"]);
    let resource = of_texts("kubernetes.GroupVersionResource", &["group", "version", "resource"]);
    let user = [
        ("username", DeclType::string()),
        ("uid", DeclType::string()),
        ("groups", texts()),
        ("extra", DeclType::map(texts(), ANY)),
    ];
    DeclType::object(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", DeclType::string()),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", DeclType::string()),
            ("name", DeclType::string()),
            ("namespace", DeclType::string()),
            ("operation", DeclType::string()),
            ("userInfo", DeclType::object("kubernetes.UserInfo", user)),
            ("dryRun", DeclType::bool()),
            ("options", DeclType::dynamic()),
        ],
    )
});

/// `namespaceObject`: what of a namespace is no business of owners and managers.
pub(super) static NAMESPACE: LazyLock<Arc<DeclType>> = LazyLock::new(|| {
    let string = DeclType::string;
    let labels = || DeclType::map(DeclType::string(), ANY);
    let condition = [
        ("status", string()),
        ("type", string()),
        ("lastTransitionTime", DeclType::timestamp()),
        ("message", string()),
        ("reason", string()),
    ];
    let conditions = DeclType::list(DeclType::object("kubernetes.NamespaceCondition", condition), ANY);
    let metadata = [
        ("name", string()),
        ("generateName", string()),
        ("namespace", string()),
        ("labels", labels()),
        ("annotations", labels()),
        ("UID", string()),
        ("creationTimestamp", DeclType::timestamp()),
        ("deletionGracePeriodSeconds", DeclType::int()),
        ("deletionTimestamp", DeclType::timestamp()),
        ("generation", DeclType::int()),
        ("resourceVersion", string()),
        ("finalizers", texts()),
    ];
    DeclType::object(
        "kubernetes.Namespace",
        [
            ("metadata", DeclType::object("kubernetes.NamespaceMetadata", metadata)),
            ("spec", DeclType::object("kubernetes.NamespaceSpec", [("finalizers", texts())])),
            (
                "status",
                DeclType::object(
                    "kubernetes.NamespaceStatus",
                    [("conditions", conditions), ("phase", string())],
                ),
            ),
        ],
    )
});

/// `authorizer`.
pub(super) static AUTHORIZER: LazyLock<Arc<DeclType>> =
    LazyLock::new(|| DeclType::other(Type::Object("kubernetes.authorization.Authorizer".into())));

/// `authorizer.requestResource`.
pub(super) static RESOURCE_CHECK: LazyLock<Arc<DeclType>> =
    LazyLock::new(|| DeclType::other(Type::Object("kubernetes.authorization.ResourceCheck".into())));
