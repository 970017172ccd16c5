//! Namespaces in memory, for selectors and expressions that look at them.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Status, object};
use serde_json::Value;

use crate::call::Server;
use crate::followed::Index;
use crate::storage::Entry;

/// What [`Namespaces`] is made of, for `Followed`.
pub(crate) const KINDS: [(&str, &str); 1] = [("", "namespaces")];

/// By storage key.
#[derive(Default)]
pub(crate) struct Namespaces(BTreeMap<String, Arc<Value>>);

impl Index for Namespaces {
    fn put(&mut self, entry: &Entry) {
        match serde_json::from_slice::<Value>(&entry.bytes) {
            Ok(namespace) => drop(self.0.insert(entry.key.to_string(), Arc::new(namespace))),
            Err(error) => tracing::error!(key = &*entry.key, %error, "a namespace cannot be read"),
        }
    }

    fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }
}

/// A namespace; the store is asked for one that nobody has heard of.
///
/// # Errors
/// 404.
pub(crate) async fn get(server: &Server, name: &str) -> Result<Arc<Value>, Status> {
    let key = api::names::storage_key("", "namespaces", None, name);
    let known = server.namespaces.read().0.get(&key).cloned();
    if let Some(known) = known {
        return Ok(known);
    }
    let found = server.stored(&key).await?.filter(|namespace| object::name(namespace) == name);
    found.map(Arc::new).ok_or_else(|| Status::not_found("", "namespaces", name))
}
