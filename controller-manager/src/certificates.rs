//! Requests for certificates (`certificates.k8s.io`): which are approved without asking, what is signed, and when
//! they go.
//!
//! Entry points: one controller per file. What a signer signs is the table [`SIGNERS`], by upstream's rules.

pub mod approving;
pub mod cleaner;
pub mod publisher;
pub mod signing;

use std::collections::BTreeSet;

use component_base::tls::{AlternativeName, Request, Role};
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};

/// The signer of what nodes show as clients.
pub const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";

/// What a signer does.
pub struct Signer {
    name: &'static str,
    /// Which authority signs.
    pub role: Role,
    /// Why it does not sign a request; `None` when it does.
    refusal: fn(&Request, &[String]) -> Option<String>,
}

/// The signers of this cluster. `kubernetes.io/legacy-unknown` cannot be asked for in v1.
const SIGNERS: [Signer; 3] = [
    Signer { name: "kubernetes.io/kube-apiserver-client", role: Role::Client, refusal: client_refusal },
    Signer { name: NODE_CLIENT, role: Role::Client, refusal: node_client_refusal },
    Signer { name: "kubernetes.io/kubelet-serving", role: Role::Serving, refusal: node_serving_refusal },
];

/// The signer of a name.
pub fn signer(name: &str) -> Option<&'static Signer> {
    SIGNERS.iter().find(|signer| signer.name == name)
}

impl Signer {
    /// Why it does not sign a request for these usages; `None` when it does.
    pub fn refuses(&self, request: &Request, usages: &[String]) -> Option<String> {
        (self.refusal)(request, usages)
    }
}

fn client_refusal(_request: &Request, usages: &[String]) -> Option<String> {
    const OPTIONAL: [&str; 2] = ["digital signature", "key encipherment"];
    let stranger = usages.iter().find(|usage| *usage != "client auth" && !OPTIONAL.contains(&usage.as_str()));
    match stranger {
        Some(usage) => Some(format!("invalid usage for client certificate: {usage}")),
        None if usages.iter().all(|usage| usage != "client auth") => {
            Some("missing required usage for client certificate: client auth".to_owned())
        }
        None => None,
    }
}

fn node_client_refusal(request: &Request, usages: &[String]) -> Option<String> {
    let kinds = [(is_dns as fn(&_) -> bool, "DNS"), (is_email, "Email"), (is_address, "IP"), (is_uri, "URI")];
    let unwanted = kinds.iter().find(|(is_kind, _)| request.alternative.iter().any(is_kind));
    node_organization(request)
        .or_else(|| unwanted.map(|(_, kind)| format!("{kind} subjectAltNames are not allowed")))
        .or_else(|| node_name(request))
        .or_else(|| node_usages(usages, "client auth"))
}

fn node_serving_refusal(request: &Request, usages: &[String]) -> Option<String> {
    let kinds = [(is_email as fn(&_) -> bool, "Email"), (is_uri, "URI")];
    let unwanted = kinds.iter().find(|(is_kind, _)| request.alternative.iter().any(is_kind));
    let has_names = request.alternative.iter().any(|name| is_dns(name) || is_address(name));
    node_organization(request)
        .or_else(|| (!has_names).then(|| "at least one DNS or IP subjectAltName is required".to_owned()))
        .or_else(|| unwanted.map(|(_, kind)| format!("{kind} subjectAltNames are not allowed")))
        .or_else(|| node_usages(usages, "server auth"))
        .or_else(|| node_name(request))
}

fn node_organization(request: &Request) -> Option<String> {
    (request.organizations != ["system:nodes"]).then(|| "subject organization is not system:nodes".to_owned())
}

fn node_name(request: &Request) -> Option<String> {
    let begins = request.common_name.starts_with("system:node:");
    (!begins).then(|| "subject common name does not begin with system:node: ".to_owned())
}

/// Exactly the purpose and a signature; RSA keys encipher, too.
fn node_usages(usages: &[String], purpose: &str) -> Option<String> {
    let usages: BTreeSet<&str> = usages.iter().map(String::as_str).collect();
    let plain = BTreeSet::from(["digital signature", purpose]);
    let with_rsa = BTreeSet::from(["digital signature", "key encipherment", purpose]);
    (usages != plain && usages != with_rsa)
        .then(|| format!("usages did not match [{}]", with_rsa.into_iter().collect::<Vec<_>>().join(" ")))
}

fn is_dns(name: &AlternativeName) -> bool {
    matches!(name, AlternativeName::Dns(_))
}

fn is_email(name: &AlternativeName) -> bool {
    matches!(name, AlternativeName::Email(_))
}

fn is_address(name: &AlternativeName) -> bool {
    matches!(name, AlternativeName::Address(_))
}

fn is_uri(name: &AlternativeName) -> bool {
    matches!(name, AlternativeName::Uri(_))
}

/// The condition of a type, if it is true.
fn condition<'a>(
    csr: &'a CertificateSigningRequest,
    kind: &str,
) -> Option<&'a CertificateSigningRequestCondition> {
    let conditions = csr.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
}

/// The conditions of a request and one more.
fn with_condition(
    csr: &CertificateSigningRequest,
    kind: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Vec<CertificateSigningRequestCondition> {
    let known = csr.status.as_ref().and_then(|status| status.conditions.clone());
    let mut conditions = known.unwrap_or_default();
    conditions.push(CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(whole_second(now))),
        last_transition_time: None,
    });
    conditions
}

fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Whether it has its certificate.
fn is_issued(csr: &CertificateSigningRequest) -> bool {
    csr.status
        .as_ref()
        .and_then(|status| status.certificate.as_ref())
        .is_some_and(|certificate| !certificate.0.is_empty())
}

#[cfg(test)]
mod tests;
