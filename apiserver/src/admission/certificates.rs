//! CertificateApproval, CertificateSigning, CertificateSubjectRestriction, ClusterTrustBundleAttest: who may act for
//! which signer.

use api::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component_base::tls;
use serde_json::Value;

use super::Attributes;
use crate::authz;

/// Whether the user may do `verb` for a signer: by its name, or for all of its domain.
async fn may(attributes: &Attributes<'_>, verb: &str, signer: &str) -> bool {
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    for name in [signer, &domain] {
        let wish = authz::Attributes {
            verb,
            group: "certificates.k8s.io",
            version: "*",
            resource: "signers",
            name,
            is_resource: true,
            ..authz::Attributes::default()
        };
        if authz::authorize(&attributes.call.server, attributes.user(), &wish).await.is_allowed() {
            return true;
        }
    }
    false
}

fn signer(object: &Value) -> &str {
    object["spec"]["signerName"].as_str().unwrap_or_default()
}

pub(super) async fn approval(attributes: &Attributes<'_>, request: &Value) -> Result<(), Status> {
    let signer = attributes.old.map_or("", signer);
    if may(attributes, "approve", signer).await {
        return Ok(());
    }
    let detail = format!("user not permitted to approve requests with signerName {signer:?}");
    Err(attributes.forbidden(request, &detail))
}

pub(super) async fn signing(attributes: &Attributes<'_>, request: &Value) -> Result<(), Status> {
    let Some(old) = attributes.old else { return Ok(()) };
    let same = |field: &str| old["status"][field] == request["status"][field];
    let signer = signer(old);
    if (same("certificate") && same("conditions")) || may(attributes, "sign", signer).await {
        return Ok(());
    }
    let detail = format!("user not permitted to sign requests with signerName {signer:?}");
    Err(attributes.forbidden(request, &detail))
}

/// Nobody signs himself into the group that may do everything.
pub(super) async fn restrict_subject(attributes: &Attributes<'_>, request: &Value) -> Result<(), Status> {
    let signer = signer(request);
    if signer != "kubernetes.io/kube-apiserver-client" {
        return Ok(());
    }
    let text = request["spec"]["request"].as_str().unwrap_or_default();
    let pem = STANDARD.decode(text).map_err(|why| why.to_string());
    let wish = pem.and_then(|pem| tls::Request::of(&pem));
    let wish = wish.map_err(|why| attributes.forbidden(request, &format!("failed to parse CSR: {why}")))?;
    if wish.organizations.iter().any(|group| group == "system:masters") {
        let detail = format!("use of {signer} signer with system:masters group is not allowed");
        return Err(attributes.forbidden(request, &detail));
    }
    Ok(())
}

pub(super) async fn attest(attributes: &Attributes<'_>, bundle: &Value) -> Result<(), Status> {
    let signer = signer(bundle);
    let unchanged =
        attributes.old.is_some_and(|old| old["spec"]["trustBundle"] == bundle["spec"]["trustBundle"]);
    if signer.is_empty() || unchanged || may(attributes, "attest", signer).await {
        return Ok(());
    }
    let detail = format!("user not permitted to attest for signerName {signer:?}");
    Err(attributes.forbidden(bundle, &detail))
}
