//! DenyServiceExternalIPs: services get no new external addresses, by which they could take over others' traffic
//! (CVE-2020-8554).

use api::Status;
use serde_json::Value;

use super::Attributes;

pub(super) async fn validate(attributes: &Attributes<'_>, service: &Value) -> Result<(), Status> {
    let addresses = |service: &Value| service["spec"]["externalIPs"].as_array().cloned().unwrap_or_default();
    let before = attributes.old.map(addresses).unwrap_or_default();
    if addresses(service).iter().all(|address| before.contains(address)) {
        return Ok(());
    }
    Err(attributes.forbidden(service, "Use of external IPs is denied by admission control"))
}
