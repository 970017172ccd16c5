//! configMap and secret volumes, and those parts of projected ones: keys become files. Entry point: [`Keyed::files`].

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapProjection, ConfigMapVolumeSource, KeyToPath, Secret, SecretProjection,
    SecretVolumeSource,
};

use super::payload::{File, Payload, insert, mode};
use crate::environment::Lookups;

/// Whose keys.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    ConfigMap(&'a str),
    Secret(&'a str),
}

/// A volume, or a part of a projected one, whose files are the keys of an object.
#[derive(Debug, Clone, Copy)]
pub struct Keyed<'a> {
    source: Source<'a>,
    /// The keys wanted and where; all keys under their own names when there are none.
    items: &'a [KeyToPath],
    /// Mode of files whose item names none.
    default_mode: Option<i32>,
    /// Whether the object, or a key, may be missing.
    optional: bool,
}

impl<'a> Keyed<'a> {
    fn new(source: Source<'a>, items: Option<&'a Vec<KeyToPath>>, optional: Option<bool>) -> Self {
        let items = items.map(Vec::as_slice).unwrap_or_default();
        Self { source, items, default_mode: None, optional: optional.unwrap_or(false) }
    }

    /// Sets the mode of files whose item names none.
    #[must_use]
    pub fn with_mode(self, default_mode: Option<i32>) -> Self {
        Self { default_mode, ..self }
    }

    /// The files of the volume.
    ///
    /// # Errors
    /// When the object or a listed key is missing and not optional.
    pub fn files(&self, lookups: &Lookups) -> Result<Payload, String> {
        let mut out = Payload::new();
        let Some(data) = self.data(lookups) else {
            return if self.optional { Ok(out) } else { Err(self.not_found()) };
        };
        let file = |data: &[u8], item| File {
            data: data.to_vec(),
            mode: mode(item, self.default_mode),
            owner: None,
        };
        if self.items.is_empty() {
            for (key, value) in &data {
                insert(&mut out, key, file(value, None))?;
            }
        }
        for item in self.items {
            match data.get(&item.key) {
                Some(value) => insert(&mut out, &item.path, file(value, item.mode))?,
                None if self.optional => {}
                None => return Err(self.no_key(&item.key)),
            }
        }
        Ok(out)
    }

    fn data(&self, lookups: &Lookups) -> Option<BTreeMap<String, Vec<u8>>> {
        match self.source {
            Source::ConfigMap(name) => lookups.config_maps.get(name)?.as_deref().map(config_map_data),
            Source::Secret(name) => lookups.secrets.get(name)?.as_deref().map(secret_data),
        }
    }

    fn not_found(&self) -> String {
        match self.source {
            Source::ConfigMap(name) => format!("configmap \"{name}\" not found"),
            Source::Secret(name) => format!("secret \"{name}\" not found"),
        }
    }

    fn no_key(&self, key: &str) -> String {
        match self.source {
            Source::ConfigMap(_) => format!("references non-existent config key: {key}"),
            Source::Secret(_) => format!("references non-existent secret key: {key}"),
        }
    }
}

impl<'a> From<&'a ConfigMapVolumeSource> for Keyed<'a> {
    fn from(volume: &'a ConfigMapVolumeSource) -> Self {
        let source = Source::ConfigMap(&volume.name);
        Self::new(source, volume.items.as_ref(), volume.optional).with_mode(volume.default_mode)
    }
}

impl<'a> From<&'a ConfigMapProjection> for Keyed<'a> {
    fn from(part: &'a ConfigMapProjection) -> Self {
        Self::new(Source::ConfigMap(&part.name), part.items.as_ref(), part.optional)
    }
}

impl<'a> From<&'a SecretVolumeSource> for Keyed<'a> {
    fn from(volume: &'a SecretVolumeSource) -> Self {
        let source = Source::Secret(volume.secret_name.as_deref().unwrap_or_default());
        Self::new(source, volume.items.as_ref(), volume.optional).with_mode(volume.default_mode)
    }
}

impl<'a> From<&'a SecretProjection> for Keyed<'a> {
    fn from(part: &'a SecretProjection) -> Self {
        Self::new(Source::Secret(&part.name), part.items.as_ref(), part.optional)
    }
}

fn config_map_data(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    text.chain(binary).collect()
}

fn secret_data(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}
