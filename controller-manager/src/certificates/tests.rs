//! What signers sign, and for how long; what is approved and what goes, by upstream's rules.

use std::sync::Arc;

use component_base::tls::{AlternativeName, Facts, Pki, SubjectNames};
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

/// A request of `openssl req`: CN and organisations.
fn pem(common_name: &str, organizations: &[&str]) -> String {
    let key = rcgen_key();
    component_base::tls::signing_request(&key, &component_base::tls::subject(common_name, organizations))
        .expect("a request")
}

fn rcgen_key() -> component_base::tls::KeyPair {
    component_base::tls::KeyPair::generate().expect("a key")
}

fn asked(common_name: &str, organizations: &[&str], alternative: &[AlternativeName]) -> Request {
    let mut request = Request::of(pem(common_name, organizations).as_bytes()).expect("a request");
    request.alternative = alternative.to_vec();
    request
}

fn words(text: &str) -> Vec<String> {
    text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[test]
fn signers_sign_what_they_are_for() {
    let dns = AlternativeName::Dns("n1".to_owned());
    let uri = AlternativeName::Uri("https://n1".to_owned());
    let node = "system:node:n1";
    let both = "client auth,digital signature";
    for (name, common_name, organization, alternative, usages, expected) in [
        ("kube-apiserver-client", "jane", "a", vec![dns.clone()], "client auth", ""),
        ("kube-apiserver-client", "jane", "a", vec![], "client auth,key encipherment,digital signature", ""),
        (
            "kube-apiserver-client",
            "jane",
            "a",
            vec![],
            "client auth,server auth",
            "invalid usage for client certificate: server auth",
        ),
        (
            "kube-apiserver-client",
            "jane",
            "a",
            vec![],
            "digital signature",
            "missing required usage for client certificate: client auth",
        ),
        ("kube-apiserver-client-kubelet", node, "system:nodes", vec![], both, ""),
        (
            "kube-apiserver-client-kubelet",
            node,
            "system:nodes",
            vec![],
            "client auth,digital signature,key encipherment",
            "",
        ),
        (
            "kube-apiserver-client-kubelet",
            node,
            "system:nodes",
            vec![],
            "client auth",
            "usages did not match [client auth digital signature key encipherment]",
        ),
        (
            "kube-apiserver-client-kubelet",
            node,
            "system:masters",
            vec![],
            both,
            "subject organization is not system:nodes",
        ),
        (
            "kube-apiserver-client-kubelet",
            "jane",
            "system:nodes",
            vec![],
            both,
            "subject common name does not begin with system:node: ",
        ),
        (
            "kube-apiserver-client-kubelet",
            node,
            "system:nodes",
            vec![dns.clone()],
            both,
            "DNS subjectAltNames are not allowed",
        ),
        ("kubelet-serving", node, "system:nodes", vec![dns.clone()], "server auth,digital signature", ""),
        (
            "kubelet-serving",
            node,
            "system:nodes",
            vec![],
            "server auth,digital signature",
            "at least one DNS or IP subjectAltName is required",
        ),
        (
            "kubelet-serving",
            node,
            "system:nodes",
            vec![dns.clone(), uri],
            "server auth,digital signature",
            "URI subjectAltNames are not allowed",
        ),
        (
            "kubelet-serving",
            node,
            "system:nodes",
            vec![dns],
            both,
            "usages did not match [digital signature key encipherment server auth]",
        ),
    ] {
        let signer = signer(&format!("kubernetes.io/{name}")).expect("a signer");
        let request = asked(common_name, &[organization], &alternative);
        let refusal = signer.refuses(&request, &words(usages)).unwrap_or_default();
        assert_eq!(refusal, expected, "{name} {common_name} {organization} {usages}");
    }
    assert!(signer("example.com/mine").is_none() && signer("kubernetes.io/legacy-unknown").is_none());
}

#[test]
fn certificates_last_as_long_as_was_asked_within_limits() {
    let (now, end) = (at(NOW), at("2030-01-01T00:00:00Z"));
    for (asked, authority_end, until) in [
        (None, end, "2027-01-01T11:55:00Z"),
        (Some(600), end, "2026-01-01T12:10:00Z"),
        (Some(1), end, "2026-01-01T12:10:00Z"),
        (Some(8 * 3600), end, "2026-01-01T19:55:00Z"),
        (Some(i32::MAX), end, "2027-01-01T11:55:00Z"),
        (None, at("2026-02-01T00:00:00Z"), "2026-02-01T00:00:00Z"),
    ] {
        let expected = (at("2026-01-01T11:55:00Z"), at(until));
        assert_eq!(signing::validity(asked, now, authority_end), expected, "{asked:?}");
    }
}

fn csr(signer: &str, usages: &[&str], text: &str, status: &Value) -> Arc<CertificateSigningRequest> {
    let request = k8s_openapi::ByteString(text.as_bytes().to_vec());
    let object = json!({
        "metadata": {"name": "c", "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"signerName": signer, "usages": usages, "request": request, "username": "system:node:n1"},
        "status": status,
    });
    Arc::new(serde_json::from_value(object).expect("a request"))
}

fn condition_of(kind: &str, time: &str) -> Value {
    json!({"conditions": [{"type": kind, "status": "True", "lastUpdateTime": time}]})
}

#[test]
fn approved_requests_are_signed_or_fail() {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::open(dir.path(), &SubjectNames::default(), at(NOW)).expect("certificates");
    let signer = "kubernetes.io/kube-apiserver-client";
    let approved = condition_of("Approved", NOW);
    let patch = |csr: &CertificateSigningRequest| match signing::reconcile(csr, &pki, at(NOW)).actions.pop() {
        Some(client::plan::Action::Patch { subresource, patch, .. }) => {
            assert_eq!(subresource, Some("status"));
            patch["status"].clone()
        }
        None => Value::Null,
        other => panic!("{other:?}"),
    };
    let text = pem("jane", &["a", "b"]);
    assert_eq!(patch(&csr(signer, &["client auth"], &text, &json!({}))), Value::Null, "not approved");
    assert_eq!(patch(&csr("example.com/x", &["client auth"], &text, &approved)), Value::Null);
    let signed = patch(&csr(signer, &["client auth"], &text, &approved));
    let bytes: k8s_openapi::ByteString =
        serde_json::from_value(signed["certificate"].clone()).expect("bytes");
    let facts = Facts::of(std::str::from_utf8(&bytes.0).expect("text")).expect("a certificate");
    assert_eq!((facts.common_name.as_str(), facts.organizations.len()), ("jane", 2));
    for (usage, text) in [
        ("server auth", text.as_str()),
        ("client auth", "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n"),
    ] {
        let failed = patch(&csr(signer, &[usage], text, &approved));
        let last = failed["conditions"][1].clone();
        assert_eq!(
            (&last["type"], &last["reason"]),
            (&json!("Failed"), &json!("SignerValidationFailure")),
            "{failed}"
        );
    }
}

#[test]
fn requests_go_when_nobody_needs_them() {
    let text = pem("jane", &[]);
    let due = |status: Value| {
        cleaner::due(&csr("s.io/x", &["client auth"], &text, &status)).map(|at| at.to_string())
    };
    let mut issued = condition_of("Approved", "2026-01-01T06:00:00Z");
    issued["certificate"] = json!("eA==");
    for (what, status, expected) in [
        ("waiting", json!({}), "2026-01-02T00:00:00Z"),
        ("denied", condition_of("Denied", "2026-01-01T06:00:00Z"), "2026-01-01T07:00:00Z"),
        ("failed", condition_of("Failed", "2026-01-01T06:00:00Z"), "2026-01-01T07:00:00Z"),
        ("approved", condition_of("Approved", "2026-01-01T06:00:00Z"), "2026-01-02T06:00:00Z"),
        ("issued", issued, "2026-01-01T07:00:00Z"),
    ] {
        assert_eq!(due(status).as_deref(), Some(expected), "{what}");
    }
    let waiting = csr("s.io/x", &["client auth"], &text, &json!({}));
    assert!(cleaner::reconcile(&waiting, at("2026-01-01T23:59:59Z")).actions.is_empty());
    assert_eq!(cleaner::reconcile(&waiting, at("2026-01-02T00:00:00Z")).actions.len(), 1);
}

#[test]
fn an_approval_carries_its_reason() {
    let csr = csr(NODE_CLIENT, &["client auth"], &pem("system:node:n1", &["system:nodes"]), &json!({}));
    let observed = |approval| approving::Observed { csr: Arc::clone(&csr), approval };
    assert!(approving::reconcile(&observed(None), at(NOW)).is_idle());
    let plan = approving::reconcile(&observed(Some("because")), at(NOW));
    let Some(client::plan::Action::Patch { subresource: Some("approval"), patch, .. }) = plan.actions.first()
    else {
        panic!("{plan:?}");
    };
    let condition = &patch["status"]["conditions"][0];
    assert_eq!((&condition["reason"], &condition["message"]), (&json!("AutoApproved"), &json!("because")));
}
