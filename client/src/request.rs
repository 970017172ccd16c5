//! REST paths of any kind, for requests that are not tied to a compiled type.

use kube::core::{ApiResource, Request};

/// The collection's path: `/api/v1/namespaces/NS/pods`, `/apis/apps/v1/deployments`.
/// Without a namespace: all namespaces, or a cluster-wide kind.
pub fn collection_path(resource: &ApiResource, namespace: Option<&str>) -> String {
    let root = if resource.group.is_empty() {
        format!("/api/{}", resource.version)
    } else {
        format!("/apis/{}/{}", resource.group, resource.version)
    };
    match namespace {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{}", resource.plural),
        None => format!("{root}/{}", resource.plural),
    }
}

/// Builds requests below [`collection_path`].
pub fn requests(resource: &ApiResource, namespace: Option<&str>) -> Request {
    Request::new(collection_path(resource, namespace))
}

/// The row of a compiled kind.
pub fn resource<K: kube::Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

/// The answer's error status, if the server gave one.
pub fn api_status(error: &kube::Error) -> Option<&kube::core::Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// The HTTP status code of a refusal; `None` when there was no answer at all.
pub fn code(error: &kube::Error) -> Option<u16> {
    api_status(error).map(|status| status.code)
}
