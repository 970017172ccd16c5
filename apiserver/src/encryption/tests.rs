//! What is sealed is opened by its key, at its place, and by nothing else.

use component_base::clock::RealClock;

use super::*;

const SECRET: &str = "/registry/core/secrets/default/a";
const TEXT: &[u8] = b"{\"kind\":\"Secret\"}";

fn own(file: &Path) -> Encryption {
    Encryption::own(file, false, RealClock::shared(), Rng::seeded(5)).expect("keys")
}

fn sealed(encryption: &Encryption) -> Bytes {
    encryption.seal(SECRET, TEXT).expect("sealed").expect("not in clear").into()
}

#[test]
fn secrets_are_sealed_and_nothing_else() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("encryption.yaml");
    let encryption = own(&file);
    let stored = sealed(&encryption);
    assert!(stored.starts_with(b"k8s:enc:aesgcm:v1:key-"), "{stored:?}");
    assert_eq!(encryption.open(SECRET, stored.clone()).as_deref(), Ok(TEXT));
    assert_eq!(encryption.seal("/registry/core/configmaps/default/a", TEXT), Ok(None));
    assert_eq!(
        encryption.open("/registry/core/configmaps/default/a", Bytes::from_static(TEXT)).as_deref(),
        Ok(TEXT)
    );
    assert_eq!(encryption.open(SECRET, Bytes::from_static(TEXT)).as_deref(), Ok(TEXT), "from before");
    assert!(encryption.open("/registry/core/secrets/default/b", stored.clone()).is_err(), "moved");
    assert_eq!(own(&file).open(SECRET, stored).as_deref(), Ok(TEXT), "after a restart");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(file.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_new_key_writes_the_old_one_reads_until_it_is_dropped() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("encryption.yaml");
    let encryption = own(&file);
    let before = sealed(&encryption);
    assert_eq!(encryption.reseal(SECRET, &before), Ok(None));
    key_file::add_key(&file, &RealClock::shared(), &Rng::seeded(6)).expect("a key");
    encryption.reload().expect("read again");
    let after = encryption.reseal(SECRET, &before).expect("opened").expect("sealed anew");
    assert_eq!(encryption.open(SECRET, after.clone().into()).as_deref(), Ok(TEXT));
    assert_eq!(encryption.open(SECRET, before.clone()).as_deref(), Ok(TEXT));
    assert!(key_file::keep_first_key(&file).expect("written"));
    encryption.reload().expect("read again");
    assert_eq!(encryption.open(SECRET, after.into()).as_deref(), Ok(TEXT));
    let refusal = encryption.open(SECRET, before).expect_err("its key is gone").to_string();
    assert!(refusal.contains("no matching key was found for the provided AES transformer"), "{refusal}");
    assert!(refusal.contains("aesgcm key \"key-") && refusal.contains("encryption.yaml"), "{refusal}");
    assert!(encryption.is_locked());
}

#[test]
fn more_exact_names_win_then_earlier_ones() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("given.yaml");
    let key =
        |name: &str| format!("{{aesgcm: {{keys: [{{name: {name}, secret: MDEyMzQ1Njc4OWFiY2RlZg==}}]}}}}");
    let entry =
        |resources: &str, provider: &str| format!("- resources: [{resources}]\n  providers: [{provider}]\n");
    let text = [
        "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n".to_owned(),
        entry("'*.*'", &key("all")),
        entry("'*.'", &key("core")),
        entry("events", "{identity: {}}"),
        entry("secrets, pandas.bears.example", &key("one")),
        entry("secrets", &key("late")),
    ];
    std::fs::write(&file, text.concat()).expect("written");
    let encryption =
        Encryption::given(&file, false, RealClock::shared(), Rng::seeded(5)).expect("a configuration");
    for (key, expected) in [
        ("/registry/core/secrets/a/b", "k8s:enc:aesgcm:v1:one:"),
        ("/registry/core/configmaps/a/b", "k8s:enc:aesgcm:v1:core:"),
        ("/registry/bears.example/pandas/a/b", "k8s:enc:aesgcm:v1:one:"),
        ("/registry/apps/deployments/a/b", "k8s:enc:aesgcm:v1:all:"),
        ("/registry/core/events/a/b", ""),
    ] {
        let sealed = encryption.seal(key, TEXT).expect("sealed");
        let start = sealed.map(|sealed| String::from_utf8_lossy(&sealed[..expected.len()]).into_owned());
        assert_eq!(start.unwrap_or_default(), expected, "{key}");
    }
}

#[test]
fn without_keys_what_is_sealed_is_refused() {
    let none = Encryption::default();
    assert_eq!(none.seal(SECRET, TEXT), Ok(None));
    let refusal = none.open(SECRET, Bytes::from_static(b"k8s:enc:aesgcm:v1:one:xyz")).expect_err("sealed");
    assert!(refusal.to_string().contains("identity transformer tried to read encrypted data"), "{refusal}");
}
