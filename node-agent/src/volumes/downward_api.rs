//! downwardAPI volumes: fields of the pod become files. Entry point: [`payload`].

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, DownwardAPIVolumeSource, Pod};

use super::payload::{File, Payload, insert, mode};
use crate::environment::{PodFacts, field, resource_field};

/// The files of the volume.
///
/// # Errors
/// When a field or resource is not offered.
pub fn payload(source: &DownwardAPIVolumeSource, pod: &Pod, facts: &PodFacts) -> Result<Payload, String> {
    files(source.items.as_deref().unwrap_or_default(), source.default_mode, pod, facts)
}

/// The same for the downwardAPI part of a projected volume.
pub(super) fn files(
    items: &[DownwardAPIVolumeFile],
    default_mode: Option<i32>,
    pod: &Pod,
    facts: &PodFacts,
) -> Result<Payload, String> {
    let mut out = Payload::new();
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(reference), _) => field(pod, &reference.field_path, facts),
            (None, Some(reference)) => resource_field(pod, None, reference, facts),
            (None, None) => continue,
        };
        let data = text.map_err(|error| error.to_string())?.into_bytes();
        insert(&mut out, &item.path, File { data, mode: mode(item.mode, default_mode), owner: None })?;
    }
    Ok(out)
}
