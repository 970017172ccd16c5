//! Files that are taken, and what is said of others.

use super::*;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn text(resources: &str, providers: &str) -> String {
    format!(
        "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [{resources}]\n  providers:\n{providers}"
    )
}

#[test]
fn upstreams_examples_are_understood() {
    let keys = |provider: &str| format!("  - {provider}: {{keys: [{{name: key1, secret: {KEY}}}]}}\n");
    for (resources, providers) in [
        ("secrets", keys("aesgcm")),
        ("secrets, configmaps, pandas.awesome.bears.example", keys("aescbc")),
        ("'*.'", keys("secretbox") + "  - identity: {}\n"),
        (
            "'*.*'",
            "  - kms: {apiVersion: v2, name: mine, endpoint: 'unix:///run/kms.sock', timeout: 5s}\n"
                .to_owned(),
        ),
    ] {
        let parsed = parse(&text(resources, &providers));
        assert!(parsed.is_ok(), "{resources}: {:?}", parsed.err());
    }
}

#[test]
fn what_is_wrong_is_told_as_upstream_tells_it_and_without_the_key() {
    let gcm = |name: &str, secret: &str| {
        format!("  - aesgcm: {{keys: [{{name: '{name}', secret: '{secret}'}}]}}\n")
    };
    let path = "resources[0].providers[0]";
    for (resources, providers, expected) in [
        ("secrets", String::new(), "resources[0].providers: Required value: at least one resources[0].providers is required".to_owned()),
        ("secrets", gcm("a", "c2hvcnQ="), format!("{path}.aesgcm.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 5, expected one of [16 24 32]")),
        ("secrets", gcm("a", "no base64!"), format!("{path}.aesgcm.keys[0].secret: Invalid value: \"REDACTED\": secrets must be base64 encoded")),
        ("secrets", gcm("", KEY), format!("{path}.aesgcm.keys[0].name: Required value: name is a mandatory field for a key")),
        ("'*'", gcm("a", KEY), "resources[0].resources[0]: Invalid value: \"*\": use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources".to_owned()),
        ("secrets, '*.'", gcm("a", KEY), "resources[0].resources: Invalid value: [\"secrets\",\"*.\"]: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked".to_owned()),
        ("secrets, secrets", gcm("a", KEY), "resources[0].resources: Invalid value: [\"secrets\",\"secrets\"]: the same resource cannot be specified multiple times".to_owned()),
        ("Secrets", gcm("a", KEY), "resources[0].resources[0]: Invalid value: \"Secrets\": resource name should not contain capital letters".to_owned()),
        ("secrets", format!("  - aesgcm: {{keys: [{{name: a, secret: {KEY}}}]}}\n    identity: {{}}\n"), format!("{path}: Invalid value: more than one provider specified in a single element, should split into different list elements")),
        ("secrets", "  - kms: {apiVersion: v2, name: a, endpoint: 'tcp://1.2.3.4'}\n".to_owned(), format!("{path}.kms.endpoint: Invalid value: \"tcp://1.2.3.4\": unsupported scheme \"tcp\" for KMS provider, only unix is supported")),
    ] {
        let refusal = parse(&text(resources, &providers)).err();
        assert_eq!(refusal.as_deref(), Some(&*expected), "{resources} {providers}");
    }
    let strange = parse(&text("secrets", &gcm("a", KEY).replace("name", "nom"))).err().expect("a refusal");
    assert!(!strange.contains(KEY) && strange.contains("line"), "{strange}");
}
