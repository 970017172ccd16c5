//! secret volumes: keys become files on the node's tmpfs. Entry point: [`payload`].

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{KeyToPath, SecretVolumeSource};

use super::config_map::select;
use super::payload::Payload;
use crate::environment::Lookups;

/// The files of the volume.
///
/// # Errors
/// When the Secret or a listed key is missing and not optional.
pub fn payload(source: &SecretVolumeSource, lookups: &Lookups) -> Result<Payload, String> {
    let name = source.secret_name.as_deref().unwrap_or_default();
    let items = source.items.as_deref();
    files(name, items, source.default_mode, source.optional.unwrap_or(false), lookups)
}

/// The same for the secret part of a projected volume.
pub(super) fn files(
    name: &str,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    optional: bool,
    lookups: &Lookups,
) -> Result<Payload, String> {
    match lookups.secrets.get(name) {
        Some(Some(secret)) => {
            let data: BTreeMap<String, Vec<u8>> =
                secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect();
            select(&data, items, default_mode, optional)
                .map_err(|text| text.replace("config key", "secret key"))
        }
        _ if optional => Ok(Payload::new()),
        _ => Err(format!("secret \"{name}\" not found")),
    }
}
