//! Schema validation: an object, the causes it is refused for.

use serde_json::json;

use super::*;

fn node(schema: &Value) -> Node {
    Node::read(schema)
}

#[track_caller]
fn check(schema: Value, object: Value, expect: &[&str]) {
    let got: Vec<String> = validate(&node(&schema), &object, None).iter().map(ToString::to_string).collect();
    assert_eq!(got, expect, "{schema} {object}");
}

fn spec(inner: Value) -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": inner}}}})
}

#[test]
fn types() {
    let x = |value: Value| json!({"spec": {"x": value}});
    check(
        spec(json!({"type": "integer"})),
        x(json!("a")),
        &[r#"spec.x: Invalid value: "string": spec.x in body must be of type integer: "string""#],
    );
    check(spec(json!({"type": "integer"})), x(json!(1.0)), &[]);
    check(
        spec(json!({"type": "integer"})),
        x(json!(1.5)),
        &[r#"spec.x: Invalid value: "number": spec.x in body must be of type integer: "number""#],
    );
    check(spec(json!({"type": "string", "nullable": true})), x(json!(null)), &[]);
    check(
        spec(json!({"type": "string"})),
        x(json!(null)),
        &[r#"spec.x: Invalid value: "null": spec.x in body must be of type string: "null""#],
    );
    check(
        spec(json!({"x-kubernetes-int-or-string": true})),
        x(json!({})),
        &[r#"spec.x: Invalid value: "object": spec.x in body must be of type integer,string: "object""#],
    );
    check(
        spec(json!({"type": "string", "format": "date-time"})),
        x(json!("now")),
        &[r#"spec.x: Invalid value: "now": spec.x in body must be of type date-time: "now""#],
    );
}

#[test]
fn limits() {
    let x = |value: Value| json!({"spec": {"x": value}});
    let cases = [
        (
            json!({"type": "string", "maxLength": 2}),
            json!("abc"),
            "spec.x: Too long: may not be more than 2 bytes",
        ),
        (
            json!({"type": "string", "minLength": 2}),
            json!("a"),
            r#"spec.x: Invalid value: "a": spec.x in body should be at least 2 chars long"#,
        ),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            r#"spec.x: Invalid value: "b": spec.x in body should match '^a+$'"#,
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            r#"spec.x: Unsupported value: "c": supported values: "a", "b""#,
        ),
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1",
        ),
        (
            json!({"type": "integer", "maximum": 10, "exclusiveMaximum": true}),
            json!(10),
            "spec.x: Invalid value: 10: spec.x in body should be less than 10",
        ),
        (
            json!({"type": "number", "multipleOf": 0.5}),
            json!(0.7),
            "spec.x: Invalid value: 0.7: spec.x in body should be a multiple of 0.5",
        ),
        (
            json!({"type": "array", "maxItems": 1, "items": {"type": "string"}}),
            json!(["a", "b"]),
            "spec.x: Too many: 2: must have at most 1 items",
        ),
        (json!({"type": "object", "required": ["y"]}), json!({}), "spec.x.y: Required value"),
        (
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
            json!(["a", "a"]),
            r#"spec.x[1]: Duplicate value: "a""#,
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "string"}}}}),
            json!([{"k": "a", "v": "1"}, {"k": "a", "v": "2"}]),
            r#"spec.x[1]: Duplicate value: {"k":"a"}"#,
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true}),
            json!({"kind": "Pod"}),
            "spec.x.apiVersion: Required value: must not be empty",
        ),
    ];
    for (schema, value, expect) in cases {
        check(spec(schema), x(value), &[expect]);
    }
}

#[test]
fn choices() {
    let schema =
        spec(json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}));
    let x = |value: Value| json!({"spec": {"x": value}});
    check(schema.clone(), x(json!({"a": 1})), &[]);
    check(
        schema.clone(),
        x(json!({})),
        &[
            r#"<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found none valid"#,
            "spec.x.a: Required value",
        ],
    );
    check(
        schema,
        x(json!({"a": 1, "b": 1})),
        &[
            r#"<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
        ],
    );
    check(
        spec(json!({"type": "integer", "not": {"minimum": 5}})),
        x(json!(7)),
        &[r#"<nil>: Invalid value: "": "spec.x" must not validate the schema (not)"#],
    );
}

#[test]
fn what_did_not_change_is_not_judged_again() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["r"], "properties": {
        "x": {"type": "integer", "maximum": 5}, "y": {"type": "integer"},
        "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
              "items": {"type": "object", "properties": {"k": {"type": "string"}, "n": {"type": "integer", "maximum": 5}}}},
    }}}});
    let root = node(&schema);
    let old = json!({"spec": {"x": 9, "y": 1, "r": 1, "l": [{"k": "a", "n": 9}]}});
    let mut new = old.clone();
    new["spec"]["y"] = json!(2);
    assert_eq!(validate(&root, &new, Some(&old)), []);
    new["spec"]["l"] = json!([{"k": "b", "n": 1}, {"k": "a", "n": 9}]);
    assert_eq!(validate(&root, &new, Some(&old)), []);
    new["spec"]["x"] = json!(8);
    assert_eq!(validate(&root, &new, Some(&old)).len(), 1);
}
