//! Nodes get client certificates without anybody's word, when they may ask for them.
//!
//! Entry point: [`reconcile`]. Whether the author of a request may have it approved is asked of the API server.

use std::sync::Arc;

use async_trait::async_trait;
use client::controller::{Controller, Wake};
use client::execute::{Act, Failure};
use client::informer::{Informer, Informers};
use client::key::Key;
use client::plan::{Action, Plan, Target};
use client::request;
use component_base::tls::Request;
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::{NODE_CLIENT, condition, is_issued, signer, with_condition};

/// A permission that approves, and what is then said.
struct Recognizer {
    subresource: &'static str,
    message: &'static str,
    /// Whether it is for requests about the author.
    own: bool,
}

/// In upstream's order.
const RECOGNIZERS: [Recognizer; 2] = [
    Recognizer {
        subresource: "selfnodeclient",
        message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
        own: true,
    },
    Recognizer {
        subresource: "nodeclient",
        message: "Auto approving kubelet client certificate after SubjectAccessReview.",
        own: false,
    },
];

/// A request that may be approved.
pub struct Observed {
    /// The request.
    pub csr: Arc<CertificateSigningRequest>,
    /// What is said when it is approved; `None` when its author may not have it approved.
    pub approval: Option<&'static str>,
}

/// Approves.
pub fn reconcile(observed: &Observed, now: Timestamp) -> Plan {
    let Some(message) = observed.approval else { return Plan::nothing() };
    let conditions = with_condition(&observed.csr, "Approved", "AutoApproved", message, now);
    let resource = request::resource::<CertificateSigningRequest>();
    let approve = Action::Patch {
        target: Target::same_version(&resource, &observed.csr.metadata),
        subresource: Some("approval"),
        patch: json!({"status": {"conditions": conditions}}),
    };
    Plan { actions: vec![approve], ..Plan::default() }
}

/// Permissions that would approve a request.
fn recognized(csr: &CertificateSigningRequest) -> impl Iterator<Item = &'static Recognizer> {
    let usages = csr.spec.usages.clone().unwrap_or_default();
    let parsed = Request::of(&csr.spec.request.0).ok().filter(|parsed| {
        csr.spec.signer_name == NODE_CLIENT
            && signer(NODE_CLIENT).is_some_and(|signer| signer.refuses(parsed, &usages).is_none())
    });
    let is_own = parsed
        .as_ref()
        .is_some_and(|parsed| csr.spec.username.as_deref() == Some(parsed.common_name.as_str()));
    RECOGNIZERS.iter().filter(move |recognizer| parsed.is_some() && (is_own || !recognizer.own))
}

/// Watches requests.
pub struct Approving {
    requests: Informer<CertificateSigningRequest>,
    client: kube::Client,
}

impl Approving {
    /// Uses the process's shared views.
    pub fn new(informers: &Informers) -> Self {
        Self { requests: informers.of(), client: informers.client().clone() }
    }

    async fn may(&self, csr: &CertificateSigningRequest, subresource: &str) -> Result<bool, kube::Error> {
        let spec = &csr.spec;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: spec.username.clone(),
                uid: spec.uid.clone(),
                groups: spec.groups.clone(),
                extra: spec.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("certificates.k8s.io".to_owned()),
                    version: Some("*".to_owned()),
                    resource: Some("certificatesigningrequests".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    verb: Some("create".to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

#[async_trait]
impl Controller for Approving {
    type Observed = Observed;

    fn name(&self) -> &'static str {
        "certificatesigningrequest-approving-controller"
    }

    fn watch(&self, wake: &mut Wake) {
        wake.on_each(&self.requests);
    }

    async fn observe(&self, key: &Key, _last: Option<&Failure>) -> Result<Option<Observed>, Failure> {
        let Some(csr) = self.requests.get(key) else { return Ok(None) };
        let is_decided = ["Approved", "Denied", "Failed"].iter().any(|kind| condition(&csr, kind).is_some());
        if is_decided || is_issued(&csr) {
            return Ok(None);
        }
        let mut approval = None;
        for recognizer in recognized(&csr) {
            let allowed = self.may(&csr, recognizer.subresource).await.map_err(|error| {
                let resource = request::resource::<SubjectAccessReview>();
                Failure::new(Act::Create, &resource, key.clone(), &error)
            })?;
            if allowed {
                approval = Some(recognizer.message);
                break;
            }
            tracing::info!(
                csr = key.name,
                permission = recognizer.subresource,
                "recognized, but its author may not have it approved"
            );
        }
        Ok(Some(Observed { csr, approval }))
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        reconcile(observed, now)
    }
}
