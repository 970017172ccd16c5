//! configMap volumes: keys become files. Entry point: [`payload`].

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapVolumeSource, KeyToPath};

use super::payload::{File, Payload, insert, mode};
use crate::environment::Lookups;

/// The files of the volume.
///
/// # Errors
/// When the ConfigMap or a listed key is missing and not optional.
pub fn payload(source: &ConfigMapVolumeSource, lookups: &Lookups) -> Result<Payload, String> {
    let items = source.items.as_deref();
    files(&source.name, items, source.default_mode, source.optional.unwrap_or(false), lookups)
}

/// The same for the configMap part of a projected volume.
pub(super) fn files(
    name: &str,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    optional: bool,
    lookups: &Lookups,
) -> Result<Payload, String> {
    match lookups.config_maps.get(name) {
        Some(Some(map)) => select(&data(map), items, default_mode, optional),
        _ if optional => Ok(Payload::new()),
        _ => Err(format!("configmap \"{name}\" not found")),
    }
}

fn data(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    text.chain(binary).collect()
}

/// All keys, or the listed ones at their paths.
pub(super) fn select(
    data: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    optional: bool,
) -> Result<Payload, String> {
    let mut out = Payload::new();
    let file = |data: &[u8], item| File { data: data.to_vec(), mode: mode(item, default_mode), owner: None };
    match items.filter(|items| !items.is_empty()) {
        None => {
            for (key, value) in data {
                insert(&mut out, key, file(value, None))?;
            }
        }
        Some(items) => {
            for item in items {
                match data.get(&item.key) {
                    Some(value) => insert(&mut out, &item.path, file(value, item.mode))?,
                    None if optional => {}
                    None => return Err(format!("references non-existent config key: {}", item.key)),
                }
            }
        }
    }
    Ok(out)
}
