//! Bodies in every form, good and broken, and what they are read as.

use serde_json::{Value, json};

use super::*;

/// Bodies made by `protoc --encode` from upstream's `generated.proto`, with the zeroes Go writes.
const POD: &str = "\
    6b3873000a090a0276311203506f6412c2020a660a0377656212001a0764656661756c7422002a003200380042080880\
    e2cfaa0610005a0a0a0361707012037765628a01350a016d12054170706c791a02763122080880e2cfaa061000320846\
    69656c647356313a0f0a0d7b22663a73706563223a7b7d7d420012c7010a1a0a017612159a01120a040a02636d12080a\
    016b12017018002000126f0a01611203693a311a0372756e1a002a00320d0a001000185022035443502a0042200a0d0a\
    0363707512060a043530306d0a0f0a066d656d6f727912050a0331476952210a1512130a012f120a080110001a046874\
    74701a002200100018012000280030006a0072008001009001011a002000320042004a00520058006000680072061000\
    200120028201008a01009a0100b201110a0012064578697374731a00220028ac02c201001a0e0a001a0022002a003200\
    4a005a001a002200\
";

const DEP: &str = "\
    6b3873000a150a07617070732f7631120a4465706c6f796d656e7412480a030a0164123b080012070a050a016112001a\
    040a00120022240a0d526f6c6c696e6755706461746512130a09080110001a033235251206080010021a00280038001a\
    04080010001a002200\
";

const DEL: &str = "\
    6b3873000a1a0a09706f6c6963792f7631120d44656c6574654f7074696f6e731213080012030a0175220a4261636b67\
    726f756e641a002200\
";

const SAR: &str = "\
    6b3873000a2e0a17617574686f72697a6174696f6e2e6b38732e696f2f763112135375626a6563744163636573735265\
    76696577121512131a01752201672a0b0a016b12060a01310a01321a002200\
";

const CRD: &str = "\
    6b3873000a330a17617069657874656e73696f6e732e6b38732e696f2f76311218437573746f6d5265736f7572636544\
    6566696e6974696f6e12af010a0b0a09666f6f732e782e696f1299010a04782e696f1a190a04666f6f731203666f6f22\
    03466f6f2a07466f6f4c697374220a4e616d657370616365643a6a0a0276311001180122600a5e2a066f626a656374ea\
    012a0a047370656312222a066f626a65637442090a077b2261223a317df2010c080112082a06737472696e67ea01260a\
    046c697374121e2a056172726179c201140a122a07696e746567657259000000000000f83f1a0412020a001a002200\
";

const LEASE: &str = "\
    6b3873000a1f0a16636f6f7264696e6174696f6e2e6b38732e696f2f763112054c65617365121a0a030a016c12130a00\
    100f1a0b0880e2cfaa06108094ef3a22001a002200\
";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[track_caller]
fn from_protobuf(hex: &str) -> Value {
    let mut value = protobuf::decode(&bytes(hex)).unwrap();
    let api_version = GroupVersion::parse(value["apiVersion"].as_str().unwrap());
    let kind = value["kind"].as_str().unwrap().to_owned();
    let schema = facts().by_gvk(&api_version.group, &api_version.version, &kind);
    let schema = schema.or_else(|| facts().by_gvk("", "v1", &kind)).unwrap();
    validation::types(schema, &mut value).unwrap();
    assert_eq!(pruning::prune(schema, &mut value), Vec::<String>::new());
    value
}

#[test]
fn a_pod_in_protobuf() {
    assert_eq!(
        from_protobuf(POD),
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "web", "namespace": "default", "creationTimestamp": "2023-11-14T22:13:20Z",
                "labels": {"app": "web"},
                "managedFields": [{
                    "manager": "m", "operation": "Apply", "apiVersion": "v1", "time": "2023-11-14T22:13:20Z",
                    "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}},
                }],
            },
            "spec": {
                "volumes": [{"name": "v", "configMap": {
                    "name": "cm", "items": [{"key": "k", "path": "p", "mode": 0}], "optional": false,
                }}],
                "containers": [{
                    "name": "a", "image": "i:1", "command": ["run", ""], "tty": true,
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}},
                    "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "timeoutSeconds": 1},
                }],
                "terminationGracePeriodSeconds": 0,
                "securityContext": {"runAsUser": 0, "supplementalGroups": [1, 2]},
                "tolerations": [{"operator": "Exists", "tolerationSeconds": 300}],
            },
            "status": {},
        })
    );
}

#[test]
fn pointers_keep_their_zeroes_in_protobuf() {
    let deployment = from_protobuf(DEP);
    assert_eq!(
        deployment["spec"],
        json!({
            "replicas": 0, "selector": {"matchLabels": {"a": ""}}, "template": {"metadata": {}, "spec": {}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 2}},
        })
    );
    assert_eq!(
        from_protobuf(DEL),
        json!({
            "apiVersion": "policy/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": {"uid": "u"}, "propagationPolicy": "Background",
        })
    );
    assert_eq!(
        from_protobuf(LEASE)["spec"],
        json!({"holderIdentity": "", "leaseDurationSeconds": 15, "acquireTime": "2023-11-14T22:13:20.123456Z"})
    );
}

#[test]
fn wrapped_lists_and_schemas_in_protobuf() {
    assert_eq!(from_protobuf(SAR)["spec"], json!({"user": "u", "groups": ["g"], "extra": {"k": ["1", "2"]}}));
    assert_eq!(
        from_protobuf(CRD)["spec"]["versions"],
        json!([{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object",
            "properties": {
                "spec": {"type": "object", "default": {"a": 1}, "additionalProperties": {"type": "string"}},
                "list": {"type": "array", "items": {"type": "integer", "minimum": 1.5}},
            },
        }}}])
    );
}

#[test]
fn broken_protobuf_is_an_error_never_a_panic() {
    let whole = bytes(POD);
    for length in 0..whole.len() {
        let _ = protobuf::decode(&whole[..length]);
    }
    for (at, _) in whole.iter().enumerate() {
        let mut bent = whole.clone();
        bent[at] ^= 0x55;
        let _ = protobuf::decode(&bent);
    }
    assert_eq!(protobuf::decode(b"{}"), Err(protobuf::ProtobufError::Prefix));
}

#[test]
fn duplicates_are_named_with_their_paths() {
    let json = br#"{"a": 1, "b": [{"c": 1, "c": 2}], "a": {"x": null, "x": 1}}"#;
    let tree = decode("application/json; charset=utf-8", json).unwrap();
    assert_eq!(tree.value, json!({"a": {"x": 1}, "b": [{"c": 2}]}));
    assert_eq!(tree.duplicates.warnings(), ["b[0].c", "a.x", "a"].map(pruning::duplicate_field));
    let yaml = b"a: 1\nb:\n- c: 1\n  c: 2\na: 3\n";
    let tree = decode("application/yaml", yaml).unwrap();
    assert_eq!(tree.value, json!({"a": 3, "b": [{"c": 2}]}));
    let lines = ["line 4: key \"c\" already set in map", "line 5: key \"a\" already set in map"];
    assert_eq!(tree.duplicates.warnings(), lines);
    assert_eq!(tree.duplicates.errors(), [format!("yaml: unmarshal errors:\n  {}", lines.join("\n  "))]);
    for (yaml, line) in [("a: {}\na:\n  b: 1\n", 3), ("{a: 1,\n\n a: 2}", 3), ("x: [{y: 1, y: 2}]", 1)] {
        let text = yaml::decode(yaml.as_bytes()).unwrap().duplicates.warnings().concat();
        assert!(text.starts_with(&format!("line {line}: key ")), "{yaml:?} {text}");
    }
}

#[test]
fn yaml_means_what_go_takes_it_for() {
    let cases = [
        ("a: 0644", json!({"a": 420})),
        ("a: \"0644\"", json!({"a": "0644"})),
        ("a: yes", json!({"a": true})),
        ("a: 1e3", json!({"a": 1000})),
        ("a: 1.5", json!({"a": 1.5})),
        ("a: ~", json!({"a": null})),
        ("1: x", json!({"1": "x"})),
        ("a: &x {b: 1}\nc: *x", json!({"a": {"b": 1}, "c": {"b": 1}})),
        ("a: &x {b: 1}\nc:\n  <<: *x\n  d: 2", json!({"a": {"b": 1}, "c": {"b": 1, "d": 2}})),
        ("a: |\n  x\n  y\n", json!({"a": "x\ny\n"})),
        ("a: 2024-01-01", json!({"a": "2024-01-01"})),
    ];
    for (input, expect) in cases {
        assert_eq!(yaml::decode(input.as_bytes()).unwrap().value, expect, "{input}");
    }
    let documents = yaml::decode_all("---\n# only a comment\n---\na: 1\n--- \nb: |\n  --- no\n").unwrap();
    assert_eq!(documents, [json!({"a": 1}), json!({"b": "--- no\n"})]);
}

#[test]
fn emitted_yaml_reads_back_the_same() {
    let value = json!({
        "empty": {}, "none": [], "null": null, "list": [1, [2, 3], {"a": {"b": "c"}, "d": 1}, {}, []],
        "texts": ["yes", "0644", "1_000", "1e3", "", " x", "x ", "a: b", "- a", "#c", "x#y", "null", "~", "2024-01-01", "é", "\u{1}",
                  "y", "N", "=", "<<", ".5", "0x1F", "1:20", "@x", "`x", "%x", "!x", "&x", "*x", "{x", "a\tb", "a:"],
        "lines": {"a": "x\n  y\n\nz", "b": "x\ny\n", "c": "x\ny\n\n", "d": "\n", "e": " x\ny", "f": "x \ny"},
        "key with: colon": 1, "true": false, "float": 1.5,
    });
    let text = yaml::emit(&value);
    assert_eq!(yaml::decode(text.as_bytes()).unwrap().value, value, "{text}");
    assert_eq!(
        yaml::emit(&json!({"a": [{"b": 1, "c": ["d"]}], "e": "f g", "h": "true"})),
        "a:\n- b: 1\n  c:\n  - d\ne: f g\nh: \"true\"\n"
    );
}

fn deployment() -> Kind {
    crate::kinds::plain("apps", "v1", "Deployment", "deployments", crate::kinds::Scope::Namespaced)
}

#[track_caller]
fn refused(body: &str) -> String {
    let result = decode_object(&deployment(), "application/json", body.as_bytes(), FieldValidation::Strict);
    let status = result.unwrap_err();
    assert_eq!(status.code(), 400);
    status.message
}

#[test]
fn refusals_read_as_upstream_words_them() {
    let cases = [
        (
            r#"{"spec": {"foo": {"a": 1, "a": 2}, "replicas": 1, "replicas": 2, "bar": 1}, "abc": 1}"#,
            r#"Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.foo", duplicate field "spec.replicas", unknown field "spec.bar", unknown field "abc""#,
        ),
        (
            r#"{"metadata": {"labels": {"a": "1", "a": "2"}, "labels": {}}, "spec": {"template": {"spec": {"containers": [{"name": "c", "nam": "d"}]}}}}"#,
            r#"Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: duplicate field "metadata.labels.a", duplicate field "metadata.labels", unknown field "spec.template.spec.containers[0].nam""#,
        ),
        (
            r#"{"spec": {"replicas": "x"}}"#,
            r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"#,
        ),
        (
            r#"{"apiVersion": "apps/v1beta1", "kind": "Deployment"}"#,
            "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)",
        ),
        (
            "{",
            "the object provided is unrecognized (must be of type Deployment): couldn't get version/kind; json parse error: unexpected end of JSON input ({)",
        ),
    ];
    for (body, expect) in cases {
        assert_eq!(refused(body), expect);
    }
}

#[test]
fn field_validation_decides() {
    let body = br#"{"spec": {"foo": 1, "paused": false}}"#;
    let read = |how| decode_object(&deployment(), "", body, how).unwrap();
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {}});
    let warned = read(FieldValidation::Warn);
    assert_eq!(
        (warned.object, warned.warnings),
        (object.clone(), vec![r#"unknown field "spec.foo""#.to_owned()])
    );
    let ignored = read(FieldValidation::Ignore);
    assert_eq!((ignored.object, ignored.warnings), (object, Vec::new()));
    let status = decode_object(&deployment(), "text/plain", body, FieldValidation::Warn).unwrap_err();
    assert_eq!(status.code(), 415);
}

#[test]
fn a_pod_written_in_protobuf_is_the_same_pod() {
    let object = from_protobuf(POD);
    let written: String = protobuf::encode(&object).unwrap().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(from_protobuf(&written), object);
}
