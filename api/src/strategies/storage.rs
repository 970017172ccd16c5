//! Rules of `storage.k8s.io`.

mod attachment;
mod class;
mod driver;

pub use attachment::VolumeAttachment;
pub use class::{CsiStorageCapacity, StorageClass, VolumeAttributesClass};
pub use driver::{CsiDriver, CsiNode};

use serde_json::{Value, json};

use super::check;
use crate::names;
use crate::status::Cause;

const MAX_DRIVER_BYTES: usize = 63;

/// The name of a CSI driver. Upper case is allowed in it for historical reasons.
pub(super) fn driver_name(causes: &mut Vec<Cause>, field: &str, value: &Value) {
    let name = value.as_str().unwrap_or_default();
    if name.is_empty() {
        causes.push(Cause::required(field, ""));
    }
    if name.len() > MAX_DRIVER_BYTES {
        causes.push(Cause::too_long(field, MAX_DRIVER_BYTES));
    }
    let lower = name.to_lowercase();
    check::rules(causes, field, &json!(lower), names::dns1123_subdomain(&lower));
}
