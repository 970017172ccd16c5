//! API groups that other servers serve: an APIService that names a Service sends a version's requests there.
//!
//! Entry points: [`find`] for the chain, [`keep`] as long as the server lives. Each delegation has a task of its own
//! (`supervisor`) that says whether the other server answers and reads its documents (`documents`), which
//! discovery and OpenAPI show with our own. Requests go as upstream's front proxy sends them (`proxy`).

pub(crate) mod discovery;

mod documents;
mod proxy;
mod supervisor;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use api::object;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component_base::tls::Pki;
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::call::Server;
use crate::followed::Index;
use crate::storage::Entry;

#[cfg(test)]
pub(crate) use documents::Swagger;
pub(crate) use documents::{Remote, Remotes, openapi_v3};
pub(crate) use proxy::forward;
pub(crate) use supervisor::keep;

/// Group and plural of API services.
pub(crate) const SERVICES: (&str, &str) = ("apiregistration.k8s.io", "apiservices");

/// A version of an API group that another server serves.
pub(crate) struct Delegation {
    /// Name of the APIService.
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    /// `groupPriorityMinimum` and `versionPriority`.
    pub(crate) priorities: (i64, i64),
    namespace: String,
    service: String,
    port: u64,
    /// PEM; `None` takes any certificate.
    authority: Option<Vec<u8>>,
    /// What the APIService's condition says.
    available: bool,
    /// Made at first use.
    connector: OnceLock<Result<TlsConnector, String>>,
}

impl Delegation {
    /// Of an APIService; `None` if this server is meant.
    fn of(service: &Value) -> Option<Self> {
        let spec = &service["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let reference = spec["service"].as_object()?;
        let of_reference = |key: &str| reference.get(key).map(&text).unwrap_or_default();
        let conditions = service["status"]["conditions"].as_array();
        let available = conditions.into_iter().flatten().find(|c| c["type"] == "Available");
        let insecure = spec["insecureSkipTLSVerify"] == true;
        Some(Self {
            name: object::name(service).to_owned(),
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            priorities: (
                spec["groupPriorityMinimum"].as_i64().unwrap_or_default(),
                spec["versionPriority"].as_i64().unwrap_or_default(),
            ),
            namespace: of_reference("namespace"),
            service: of_reference("name"),
            port: reference.get("port").and_then(Value::as_u64).unwrap_or(443),
            authority: (!insecure).then(|| STANDARD.decode(text(&spec["caBundle"])).unwrap_or_default()),
            available: available.is_some_and(|condition| condition["status"] == "True"),
            connector: OnceLock::new(),
        })
    }

    /// Whether both lead to the same server in the same way.
    fn leads_where(&self, other: &Self) -> bool {
        (&self.namespace, &self.service, self.port, &self.authority, self.priorities)
            == (&other.namespace, &other.service, other.port, &other.authority, other.priorities)
    }

    /// The name its certificate must carry.
    fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// TLS to it, as this cluster's front proxy.
    fn connector(&self, pki: &Pki) -> Result<&TlsConnector, String> {
        self.connector
            .get_or_init(|| proxy::connector(pki, self.authority.as_deref()))
            .as_ref()
            .map_err(Clone::clone)
    }
}

/// All delegations, by `GROUP/VERSION`.
#[derive(Default)]
pub(crate) struct Delegations(BTreeMap<String, Arc<Delegation>>);

impl Index for Delegations {
    fn put(&mut self, entry: &Entry) {
        self.remove(&entry.key);
        let service = serde_json::from_slice(&entry.bytes).unwrap_or(Value::Null);
        if let Some(delegation) = Delegation::of(&service) {
            self.0.insert(place(&entry.key), Arc::new(delegation));
        }
    }

    fn remove(&mut self, key: &str) {
        // Nearly always there is none: the server's own API services are no delegations.
        if !self.0.is_empty() {
            self.0.remove(&place(key));
        }
    }
}

/// `GROUP/VERSION` of an API service's key, whose name is `VERSION.GROUP`.
fn place(key: &str) -> String {
    let name = key.rsplit('/').next().unwrap_or_default();
    let (version, group) = name.split_once('.').unwrap_or((name, ""));
    format!("{group}/{version}")
}

/// The delegation that a path below `/apis/GROUP/VERSION` belongs to.
pub(crate) fn find(server: &Server, path: &str) -> Option<Arc<Delegation>> {
    let delegations = server.delegations.read();
    if delegations.0.is_empty() {
        return None;
    }
    let rest = path.strip_prefix("/apis/")?;
    let (at, _) = rest.match_indices('/').nth(1).unwrap_or((rest.len(), ""));
    delegations.0.get(rest.get(..at)?).cloned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_those_with_a_service_are_delegations() {
        let entry = |object: Value| Entry {
            key: format!("/registry/apiregistration.k8s.io/apiservices/{}", object::name(&object)).into(),
            bytes: Bytes::from(object.to_string()),
            create_revision: 1,
            mod_revision: 1,
            index: OnceLock::new(),
        };
        let mut own = json!({"metadata": {"name": "v1.wardle.example.com"},
                             "spec": {"group": "wardle.example.com", "version": "v1"}});
        let mut all = Delegations::default();
        all.put(&entry(own.clone()));
        assert!(all.0.is_empty());
        own["spec"]["service"] = json!({"namespace": "a", "name": "api", "port": 7443});
        own["status"] = json!({"conditions": [{"type": "Available", "status": "True"}]});
        all.put(&entry(own.clone()));
        let found = all.0.get("wardle.example.com/v1").expect("a delegation");
        assert_eq!((found.host().as_str(), found.port, found.available), ("api.a.svc", 7443, true));
        own["spec"]["service"] = Value::Null;
        all.put(&entry(own));
        assert!(all.0.is_empty());
    }
}
