//! Certificates and tokens as controllers hand them out: asked for through the API, found in the API.

use component_base::tls::{Facts, KeyPair, Pki, signing_request, subject};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::fixture::Cluster;

fn csr(name: &str, signer: &str, common_name: &str, organization: &str) -> CertificateSigningRequest {
    let key = KeyPair::generate().expect("a key");
    let request = signing_request(&key, &subject(common_name, &[organization])).expect("a request");
    let object = json!({
        "metadata": {"name": name},
        "spec": {"request": ByteString(request.into_bytes()), "signerName": format!("kubernetes.io/{signer}"),
                 "usages": ["client auth", "digital signature"], "expirationSeconds": 3600},
    });
    serde_json::from_value(object).expect("decodes")
}

fn issued(csr: &CertificateSigningRequest) -> Option<Facts> {
    let certificate = csr.status.as_ref()?.certificate.as_ref()?;
    Facts::of(std::str::from_utf8(&certificate.0).ok()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approved_requests_become_certificates() {
    let cluster = Cluster::start().await;
    let requests: Api<CertificateSigningRequest> = Api::all(cluster.client.clone());
    let create = async |csr: CertificateSigningRequest| {
        requests.create(&PostParams::default(), &csr).await.expect("created");
    };
    create(csr("jane", "kube-apiserver-client", "jane", "dev")).await;
    // Its author may ask for nodes' certificates, so nobody has to approve this one.
    create(csr("node", "kube-apiserver-client-kubelet", "system:node:n1", "system:nodes")).await;
    let has = |all: &[std::sync::Arc<CertificateSigningRequest>], name: &str| {
        all.iter().any(|csr| csr.metadata.name.as_deref() == Some(name) && issued(csr).is_some())
    };
    cluster.until::<CertificateSigningRequest>("the node's is signed", |all| has(all, "node")).await;
    let waiting = requests.get("jane").await.expect("there");
    assert!(issued(&waiting).is_none(), "nobody approved it");
    let condition = json!({"type": "Approved", "status": "True", "reason": "Test", "message": "yes"});
    let approval = json!({"status": {"conditions": [condition]}});
    let (how, approval) = (PatchParams::default(), Patch::Merge(approval));
    requests.patch_subresource("approval", "jane", &how, &approval).await.expect("approved");
    cluster.until::<CertificateSigningRequest>("jane's is signed", |all| has(all, "jane")).await;
    let facts = issued(&requests.get("jane").await.expect("there")).expect("a certificate");
    assert_eq!((facts.common_name.as_str(), facts.organizations[0].as_str()), ("jane", "dev"));
    cluster.stop().await;
}

fn data(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_filled_with_tokens_and_go_with_their_account() {
    let cluster = Cluster::start().await;
    cluster.create::<ServiceAccount>(json!({"metadata": {"name": "bot"}})).await;
    let annotations = json!({"kubernetes.io/service-account.name": "bot"});
    let secret = json!({"metadata": {"name": "t", "annotations": annotations}, "type": "kubernetes.io/service-account-token"});
    cluster.create::<Secret>(secret).await;
    let filled = |all: &[std::sync::Arc<Secret>]| all.iter().any(|secret| data(secret, "token").is_some());
    cluster.until::<Secret>("the secret has a token", filled).await;
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "default");
    let secret = secrets.get("t").await.expect("there");
    assert_eq!(data(&secret, "namespace").as_deref(), Some("default"));
    assert_eq!(data(&secret, "ca.crt"), Some(cluster.pki.authority_pem()));
    let claims = verified(&cluster.pki, &data(&secret, "token").expect("a token"));
    assert_eq!(claims["sub"], "system:serviceaccount:default:bot");
    cluster.delete::<ServiceAccount>("bot", DeleteParams::default()).await;
    cluster.until::<Secret>("the secret is gone", |all| all.is_empty()).await;
    cluster.stop().await;
}

fn verified(pki: &Pki, token: &str) -> Value {
    pki.token_keys().verify(token).expect("signed by the cluster")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_info_is_signed_with_bootstrap_tokens() {
    let cluster = Cluster::start().await;
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "kube-system");
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "kube-public");
    let text = |value: &str| ByteString(value.as_bytes().to_vec());
    let token = json!({
        "metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token",
        "data": {"token-id": text("abcdef"), "token-secret": text("0123456789abcdef"), "usage-bootstrap-signing": text("true")},
    });
    secrets
        .create(&PostParams::default(), &serde_json::from_value(token).expect("decodes"))
        .await
        .expect("created");
    let info = json!({"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": "content", "jws-kubeconfig-gone00": "x"}});
    maps.create(&PostParams::default(), &serde_json::from_value(info).expect("decodes"))
        .await
        .expect("created");
    let informer = cluster.informers.selected::<ConfigMap>("metadata.name=cluster-info");
    let mut changes = informer.subscribe();
    let expected = component_base::jws::sign_detached("content", "abcdef", "0123456789abcdef");
    let is_signed = || {
        informer.in_namespace("kube-public").iter().any(|map| {
            let data = map.data.clone().unwrap_or_default();
            data.get("jws-kubeconfig-abcdef") == Some(&expected)
                && !data.contains_key("jws-kubeconfig-gone00")
        })
    };
    informer.synced().await;
    while !is_signed() {
        changes.recv().await.expect("a change");
    }
    let header = expected.split_once("..").expect("a detached signature").0;
    assert!(!header.is_empty());
    let past = json!({"data": {"expiration": text("2020-01-01T00:00:00Z")}});
    secrets
        .patch("bootstrap-token-abcdef", &PatchParams::default(), &Patch::Merge(past))
        .await
        .expect("patched");
    while informer
        .in_namespace("kube-public")
        .iter()
        .any(|map| map.data.as_ref().is_some_and(|data| data.contains_key("jws-kubeconfig-abcdef")))
    {
        changes.recv().await.expect("a change");
    }
    cluster.stop().await;
}
