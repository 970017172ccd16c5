//! Tests of the certificate authority: what is kept, what is renewed, what a token proves.

use serde_json::json;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

fn names() -> SubjectNames {
    SubjectNames::for_api_server("cluster.local", &["box".to_owned()], &["10.43.0.1".parse().expect("ip")])
}

#[test]
fn reopening_keeps_certificates_and_later_renews_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pki");
    let first = Pki::open(&path, &names(), at("2026-01-01T00:00:00Z")).expect("made");
    let again = Pki::open(&path, &names(), at("2026-06-01T00:00:00Z")).expect("read");
    assert_eq!(first.serving().certificate_pem, again.serving().certificate_pem);
    assert_eq!(first.admin().key_pem, again.admin().key_pem);
    let later = Pki::open(&path, &names(), at("2026-12-01T00:00:00Z")).expect("renewed");
    assert_ne!(first.serving().certificate_pem, later.serving().certificate_pem);
    assert_eq!(first.authority_pem(), later.authority_pem());
}

#[test]
fn a_new_name_makes_a_new_serving_certificate_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let now = at("2026-01-01T00:00:00Z");
    let first = Pki::open(dir.path(), &names(), now).expect("made");
    let mut more = names();
    more.dns.push("other".to_owned());
    let again = Pki::open(dir.path(), &more, now).expect("read");
    assert_ne!(first.serving().certificate_pem, again.serving().certificate_pem);
    assert_eq!(first.admin().certificate_pem, again.admin().certificate_pem);
}

#[test]
fn keys_are_private() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pki");
    Pki::open(&path, &names(), at("2026-01-01T00:00:00Z")).expect("made");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in ["ca.key", "apiserver.key", "admin.key", "service-account.key"] {
        assert_eq!(mode(&path.join(file)), 0o600, "{file}");
    }
}

#[test]
fn a_damaged_authority_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let now = at("2026-01-01T00:00:00Z");
    Pki::open(dir.path(), &names(), now).expect("made");
    std::fs::write(dir.path().join("ca.key"), "garbage").expect("written");
    let error = Pki::open(dir.path(), &names(), now).err().expect("refused").to_string();
    assert!(error.contains("ca.key is not usable"), "{error}");
}

#[test]
fn the_admin_certificate_names_a_master() {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::open(dir.path(), &names(), at("2026-01-01T00:00:00Z")).expect("made");
    use rustls::pki_types::pem::PemObject as _;
    let der = rustls::pki_types::CertificateDer::from_pem_slice(pki.admin().certificate_pem.as_bytes())
        .expect("a certificate");
    let user = peer_user(&der).expect("a user");
    assert_eq!(user.name, "kubernetes-admin");
    assert_eq!(user.groups, ["system:masters", "system:authenticated"]);
    pki.server_config().expect("a server configuration");
    let node = pki.node_identity("n1", &[], at("2026-01-01T00:00:00Z")).expect("issued");
    pki.node_server_config(&node).expect("a node configuration");
    pki.client_config(pki.agent_client()).expect("a client configuration");
}

#[test]
fn tokens_verify_only_unchanged() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = TokenKey::open(&dir.path().join("k")).expect("a key");
    let claims = json!({"sub": "system:serviceaccount:a:b"});
    let token = key.sign(&claims).expect("signed");
    assert_eq!(key.verify(&token), Ok(claims));
    let reread = TokenKey::open(&dir.path().join("k")).expect("a key");
    assert!(reread.verify(&token).is_ok());
    let other = TokenKey::open(&dir.path().join("other")).expect("a key");
    assert_eq!(other.verify(&token), Err(TokenProblem::Signature));
    assert_eq!(key.verify("nonsense"), Err(TokenProblem::Malformed));
}
