//! Where Services lead, kept in memory: who sends requests to one (webhooks, API services) reads no store.
//!
//! Entry points: [`find`], and [`endpoint`] for one ready address. Slices are known by the Service they name; what
//! nobody asks about is never parsed.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use api::object;
use bytes::Bytes;
use serde_json::Value;

use crate::call::Server;
use crate::followed::Index;
use crate::storage::Entry;

const SERVICES: (&str, &str) = ("", "services");
const SLICES: (&str, &str) = ("discovery.k8s.io", "endpointslices");
/// What [`Backends`] is made of, for `Followed`.
pub(crate) const KINDS: [(&str, &str); 2] = [SERVICES, SLICES];
/// The label by which a slice names its Service.
pub(crate) const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// A stored object, parsed when somebody first looks at it.
struct Object {
    bytes: Bytes,
    parsed: OnceLock<Arc<Value>>,
}

impl Object {
    fn of(entry: &Entry) -> Self {
        Self { bytes: entry.bytes.clone(), parsed: OnceLock::new() }
    }

    fn value(&self) -> Arc<Value> {
        let parse = || Arc::new(serde_json::from_slice(&self.bytes).unwrap_or_default());
        Arc::clone(self.parsed.get_or_init(parse))
    }
}

/// A Service and its slices by their storage keys; slices may be there before their Service.
#[derive(Default)]
struct Backend {
    service: Option<Object>,
    slices: BTreeMap<String, Object>,
}

/// All Services and slices.
#[derive(Default)]
pub(crate) struct Backends {
    /// By the Service's storage key.
    all: BTreeMap<String, Backend>,
    /// From a slice's storage key to its Service's.
    owners: BTreeMap<String, String>,
}

impl Backends {
    /// Changes what is known of a Service, which is forgotten when that is nothing.
    fn change(&mut self, service: &str, change: impl FnOnce(&mut Backend)) {
        let backend = self.all.entry(service.to_owned()).or_default();
        change(backend);
        if backend.service.is_none() && backend.slices.is_empty() {
            self.all.remove(service);
        }
    }
}

fn is_service(key: &str) -> bool {
    key.starts_with(&api::names::storage_prefix(SERVICES.0, SERVICES.1, None))
}

fn service_key(namespace: &str, name: &str) -> String {
    api::names::storage_key(SERVICES.0, SERVICES.1, Some(namespace), name)
}

impl Index for Backends {
    fn put(&mut self, entry: &Entry) {
        if is_service(&entry.key) {
            return self.change(&entry.key, |backend| backend.service = Some(Object::of(entry)));
        }
        self.remove(&entry.key);
        let seen = object::Index::parse(&entry.bytes, &[]);
        if let Some(service) = seen.labels.get(SERVICE_LABEL).filter(|_| !seen.deleting) {
            let service = service_key(&seen.namespace, service);
            let slice = entry.key.to_string();
            self.change(&service, |backend| drop(backend.slices.insert(slice.clone(), Object::of(entry))));
            self.owners.insert(slice, service);
        }
    }

    fn remove(&mut self, key: &str) {
        if is_service(key) {
            self.change(key, |backend| backend.service = None);
        } else if let Some(service) = self.owners.remove(key) {
            self.change(&service, |backend| drop(backend.slices.remove(key)));
        }
    }
}

/// A Service and where it leads.
pub(crate) struct Found {
    pub(crate) service: Arc<Value>,
    pub(crate) slices: Vec<Arc<Value>>,
}

/// A Service as it is now.
pub(crate) async fn find(server: &Server, namespace: &str, name: &str) -> Option<Found> {
    server.backends.caught_up().await;
    let known = server.backends.read();
    let backend = known.all.get(&service_key(namespace, name))?;
    let service = backend.service.as_ref()?.value();
    Some(Found { service, slices: backend.slices.values().map(Object::value).collect() })
}

impl Found {
    /// The Service's port of a number.
    pub(crate) fn port(&self, number: u64) -> Option<&Value> {
        self.service["spec"]["ports"].as_array()?.iter().find(|port| port["port"] == number)
    }

    /// Ready addresses, each with its port of a name.
    pub(crate) fn ready(&self, port_name: &str) -> Vec<(&str, u16)> {
        self.slices.iter().flat_map(|slice| ready(slice, port_name)).collect()
    }
}

/// The ready addresses of a slice.
fn ready<'a>(slice: &'a Value, port_name: &str) -> impl Iterator<Item = (&'a str, u16)> {
    let list = |key: &str| slice[key].as_array().into_iter().flatten();
    let port = list("ports").find(|port| port["name"].as_str().unwrap_or_default() == port_name);
    let number = port.and_then(|port| port["port"].as_u64()).and_then(|number| u16::try_from(number).ok());
    let endpoints = list("endpoints").filter(|endpoint| endpoint["conditions"]["ready"] != false);
    let addresses = endpoints.filter_map(|endpoint| endpoint["addresses"][0].as_str());
    addresses.filter_map(move |address| Some((address, number?)))
}

/// A ready endpoint behind a port of a Service.
///
/// # Errors
/// Why there is none.
pub(crate) async fn endpoint(
    server: &Server,
    namespace: &str,
    name: &str,
    port: u64,
) -> Result<(String, u16), String> {
    let found = find(server, namespace, name).await;
    let found = found.ok_or_else(|| format!("service {name:?} not found"))?;
    let spec = &found.service["spec"];
    if spec["type"] == "ExternalName" {
        let host = spec["externalName"].as_str().unwrap_or_default().to_owned();
        return Ok((host, u16::try_from(port).unwrap_or_default()));
    }
    let wanted = found.port(port);
    let wanted = wanted.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let ready = found.ready(wanted["name"].as_str().unwrap_or_default());
    let chosen = server.rng.below(ready.len().max(1) as u64);
    let chosen = usize::try_from(chosen).ok().and_then(|at| ready.get(at));
    let chosen = chosen.ok_or_else(|| format!("no endpoints available for service {name:?}"))?;
    Ok((chosen.0.to_owned(), chosen.1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry((group, plural): (&str, &str), object: &Value) -> Entry {
        let key = api::names::storage_key(group, plural, Some("a"), object::name(object));
        let bytes = Bytes::from(object.to_string());
        Entry { key: key.into(), bytes, create_revision: 1, mod_revision: 1, index: OnceLock::new() }
    }

    fn slice(name: &str, service: &str, address: &str) -> Entry {
        let labels = json!({SERVICE_LABEL: service});
        let object = json!({
            "metadata": {"name": name, "namespace": "a", "labels": labels},
            "ports": [{"name": "https", "port": 8443}],
            "endpoints": [{"addresses": [address]}, {"addresses": ["9.9.9.9"], "conditions": {"ready": false}}],
        });
        entry(SLICES, &object)
    }

    fn addresses(backends: &Backends, service: &str) -> Option<Vec<String>> {
        let backend = backends.all.get(&service_key("a", service))?;
        let slices = backend.slices.values().map(Object::value).collect();
        let found = Found { service: backend.service.as_ref()?.value(), slices };
        assert!(found.ready("http").is_empty(), "a port of another name");
        Some(found.ready("https").into_iter().map(|(address, port)| format!("{address}:{port}")).collect())
    }

    #[test]
    fn slices_stand_with_the_service_they_name() {
        let mut backends = Backends::default();
        backends.put(&slice("one", "web", "1.1.1.1"));
        assert_eq!(addresses(&backends, "web"), None);
        let service = |name: &str| entry(SERVICES, &json!({"metadata": {"name": name, "namespace": "a"}}));
        backends.put(&service("web"));
        backends.put(&service("other"));
        backends.put(&slice("two", "web", "2.2.2.2"));
        assert_eq!(addresses(&backends, "web"), Some(vec!["1.1.1.1:8443".into(), "2.2.2.2:8443".into()]));
        // A slice that changes hands, and one that goes.
        backends.put(&slice("one", "other", "1.1.1.1"));
        backends.remove(&slice("two", "web", "2.2.2.2").key);
        assert_eq!(addresses(&backends, "web"), Some(vec![]));
        assert_eq!(addresses(&backends, "other"), Some(vec!["1.1.1.1:8443".into()]));
        backends.remove(&service("web").key);
        backends.remove(&service("other").key);
        backends.remove(&slice("one", "other", "1.1.1.1").key);
        assert!(backends.all.is_empty() && backends.owners.is_empty());
    }
}
