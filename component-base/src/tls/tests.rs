//! Tests of the certificate authority: what is kept, what is renewed, what a token proves.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use rustls::pki_types::pem::PemObject as _;
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
    for file in
        ["ca.key", "client-ca.key", "front-proxy-ca.key", "apiserver.key", "admin.key", "service-account.key"]
    {
        assert_eq!(mode(&path.join(file)), 0o600, "{file}");
    }
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(path.join("admin.key"), open).expect("a careless copy");
    Pki::open(&path, &names(), at("2026-01-01T00:00:00Z")).expect("read");
    assert_eq!(mode(&path.join("admin.key")), 0o600);
}

#[test]
fn a_damaged_authority_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let now = at("2026-01-01T00:00:00Z");
    Pki::open(dir.path(), &names(), now).expect("made");
    std::fs::write(dir.path().join("ca.key"), "garbage").expect("written");
    let error = Pki::open(dir.path(), &names(), now).expect_err("refused").to_string();
    assert!(error.contains("ca.key is not usable"), "{error}");
}

const START: &str = "2026-01-01T00:00:00Z";

fn opened() -> (tempfile::TempDir, Pki) {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::open(dir.path(), &names(), at(START)).expect("made");
    (dir, pki)
}

fn der(identity: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).expect("a certificate")
}

#[test]
fn a_certificate_names_a_user_with_all_its_groups() {
    let (_dir, pki) = opened();
    let user = peer_user(&der(&pki.admin())).expect("a user");
    assert_eq!(user.name, "kubernetes-admin");
    assert_eq!(user.groups, ["system:masters", "system:authenticated"]);
    let id = &user.extra["authentication.kubernetes.io/credential-id"][0];
    assert!(id.starts_with("X509SHA256=") && id.len() == 11 + 64, "{id}");
    let jane = pki.issue_client("jane", &["a", "b", "c"], at(START)).expect("issued");
    assert_eq!(peer_user(&der(&jane)).expect("a user").groups, ["a", "b", "c", "system:authenticated"]);
    assert_eq!(peer_user(&der(&pki.issue_client("", &["a"], at(START)).expect("issued"))), None);
}

#[test]
fn clients_are_checked_against_the_authority_of_their_kind() {
    let ((_dir, pki), (_other, stranger)) = (opened(), opened());
    let node = pki.node_identity("n1", &[], at(START)).expect("issued");
    for (what, identity, role, when, expected) in [
        ("a client", pki.admin(), Role::Client, START, None),
        ("a stranger", stranger.admin(), Role::Client, START, Some("BadSignature")),
        ("a server", pki.serving(), Role::Client, START, Some("client authentication")),
        ("a node's server", node, Role::Client, START, Some("client authentication")),
        ("late", pki.admin(), Role::Client, "2027-01-02T00:00:00Z", Some("expired")),
        ("early", pki.admin(), Role::Client, "2025-12-30T00:00:00Z", Some("not valid yet")),
        ("a front proxy as a client", pki.front_proxy_client(), Role::Client, START, Some("")),
        ("a front proxy", pki.front_proxy_client(), Role::FrontProxy, START, None),
        ("a client as a front proxy", pki.admin(), Role::FrontProxy, START, Some("")),
    ] {
        let outcome = pki.check_client(role, &[der(&identity)], at(when)).err();
        let told = outcome.clone().unwrap_or_default();
        assert_eq!(outcome.is_some(), expected.is_some(), "{what}: {told}");
        assert!(told.contains(expected.unwrap_or_default()), "{what}: {told}");
    }
}

#[test]
fn a_certificate_for_servers_is_none_for_clients() {
    let (_dir, pki) = opened();
    let key = KeyPair::generate().expect("a key");
    let pem = signing_request(&key, &subject("jane", &["a", "b"])).expect("a request");
    let request = Request::of(pem.as_bytes()).expect("readable");
    assert_eq!((request.common_name.as_str(), request.organizations.len()), ("jane", 2));
    let until = at("2026-01-02T00:00:00Z");
    for (usage, good) in [("client auth", true), ("server auth", false)] {
        let usages = [usage.to_owned()];
        let signed = pki.sign_request(Role::Client, &request, &usages, (at(START), until)).expect("signed");
        let leaf = CertificateDer::from_pem_slice(signed.as_bytes()).expect("a certificate");
        assert_eq!(pki.check_client(Role::Client, &[leaf], at(START)).is_ok(), good, "{usage}");
        let facts = Facts::of(&signed).expect("facts");
        assert_eq!((facts.until, facts.issuer.as_str()), (until, "kubernetes-client-ca"));
    }
    let forged = pem.replace(&pem[60..64], "AAAA");
    assert!(Request::of(forged.as_bytes()).is_err());
}

#[test]
fn an_authority_is_replaced_with_both_trusted_in_between() {
    let (dir, pki) = opened();
    let (old_admin, old_trust) = (pki.admin(), pki.authority_pem());
    let steps = [(Step::Trusted, 2, true), (Step::Signing, 2, true), (Step::Done, 1, false)];
    for (step, trusted, old_is_good) in steps {
        for role in Role::ALL {
            assert_eq!(rotate_authority(dir.path(), role, at(START)).expect("rotated"), step);
        }
        assert!(pki.refresh(at(START)).expect("read"), "{step:?}");
        assert_eq!(pki.authority_pem().matches("BEGIN").count(), trusted, "{step:?}");
        let old = pki.check_client(Role::Client, &[der(&old_admin)], at(START));
        assert_eq!(old.is_ok(), old_is_good, "{step:?}");
        pki.check_client(Role::Client, &[der(&pki.admin())], at(START)).expect("the new one is good");
    }
    assert_ne!(pki.authority_pem(), old_trust);
    assert_eq!(pki.generation(), 3);
}

#[test]
fn certificates_are_renewed_while_open_and_survive_a_clock_that_jumps() {
    let (_dir, pki) = opened();
    let first = pki.admin();
    assert!(!pki.refresh(at("2026-08-01T00:00:00Z")).expect("read"), "not due");
    let mut former = first;
    for jump in ["2026-10-20T00:00:00Z", "2027-10-20T00:00:00Z", "2025-06-01T00:00:00Z"] {
        assert!(pki.refresh(at(jump)).expect("renewed"), "{jump}");
        assert_ne!(pki.admin().certificate_pem, former.certificate_pem);
        former = pki.admin();
        pki.check_client(Role::Client, &[der(&former)], at(jump)).expect(jump);
    }
}

#[test]
fn a_directory_with_one_authority_goes_on() {
    let (dir, pki) = opened();
    // As it was before clients had an authority of their own: what they show is signed by the one for servers.
    let request =
        KeyPair::generate().and_then(|key| signing_request(&key, &subject("old", &["system:masters"])));
    let request = Request::of(request.expect("a request").as_bytes()).expect("readable");
    let validity = (at(START), at("2026-12-01T00:00:00Z"));
    let old =
        pki.sign_request(Role::Serving, &request, &["client auth".to_owned()], validity).expect("signed");
    for file in ["client-ca.crt", "client-ca.key", "front-proxy-ca.crt", "front-proxy-ca.key"] {
        std::fs::remove_file(dir.path().join(file)).expect("removed");
    }
    let again = Pki::open(dir.path(), &names(), at(START)).expect("migrated");
    assert_eq!(again.authority_pem(), pki.authority_pem());
    let old = CertificateDer::from_pem_slice(old.as_bytes()).expect("a certificate");
    again.check_client(Role::Client, &[old], at(START)).expect("still good");
    again.check_client(Role::Client, &[der(&again.admin())], at(START)).expect("good");
    let listed = list(dir.path()).expect("listed");
    let names: Vec<&str> = listed.iter().map(|listed| listed.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "ca",
            "client-ca",
            "client-ca.retired",
            "front-proxy-ca",
            "admin",
            "apiserver",
            "apiserver-kubelet-client",
            "front-proxy-client"
        ]
    );
}

#[test]
fn tokens_verify_only_unchanged() {
    let (dir, pki) = opened();
    let claims = json!({"sub": "system:serviceaccount:a:b"});
    let token = pki.token_keys().sign(&claims).expect("signed");
    assert_eq!(pki.token_keys().verify(&token), Ok(claims.clone()));
    let (_other, stranger) = opened();
    assert_eq!(stranger.token_keys().verify(&token), Err(TokenProblem::Signature));
    assert_eq!(stranger.token_keys().verify("nonsense"), Err(TokenProblem::Malformed));
    let (_, body) = token.split_once('.').expect("a header");
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"RS256"}"#] {
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
        let forged = format!("{header}.{body}");
        assert_eq!(pki.token_keys().verify(&forged), Err(TokenProblem::Signature));
    }
    rotate_token_key(dir.path()).expect("rotated");
    assert!(pki.refresh(at(START)).expect("read"));
    assert_eq!(pki.token_keys().verify(&token), Ok(claims), "the former key verifies");
    assert_eq!(pki.token_keys().public().len(), 2);
}
