//! Rows of `admissionregistration.k8s.io`.

use super::{Kind, Scope, columns, plain};
use crate::strategies::admissionregistration::{
    Binding, MutatingPolicy, ValidatingPolicy, WebhookConfiguration,
};

pub(super) fn rows() -> Vec<Kind> {
    let row = |kind, plural| {
        plain("admissionregistration.k8s.io", "v1", kind, plural, Scope::Cluster).category("api-extensions")
    };
    vec![
        row("MutatingAdmissionPolicy", "mutatingadmissionpolicies")
            .rules(MutatingPolicy)
            .printed(columns::mutating_policy()),
        row("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
            .rules(Binding { actions: false })
            .printed(columns::policy_binding()),
        row("MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
            .rules(WebhookConfiguration)
            .printed(columns::webhooks()),
        row("ValidatingAdmissionPolicy", "validatingadmissionpolicies")
            .rules(ValidatingPolicy)
            .status()
            .printed(columns::validating_policy()),
        row("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
            .rules(Binding { actions: true })
            .printed(columns::policy_binding()),
        row("ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
            .rules(WebhookConfiguration)
            .printed(columns::webhooks()),
    ]
}
