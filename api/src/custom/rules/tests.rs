//! Rules in CEL: which run, what they say, what they may cost.

use serde_json::json;

use super::*;

fn schema() -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object",
        "x-kubernetes-validations": [
            {"rule": "self.min <= self.max", "message": "min must not exceed max"},
            {"rule": "self.max < 100", "fieldPath": ".max", "reason": "FieldValueForbidden",
             "messageExpression": "self.max > 150 ? 'far too many' : 'too many'"}],
        "properties": {
            "min": {"type": "integer"}, "max": {"type": "integer"},
            "class": {"type": "string", "maxLength": 10,
                      "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "class is immutable"}]},
            "names": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 20,
                      "x-kubernetes-validations": [{"rule": "self.startsWith('a')"}]}}}}}})
}

#[track_caller]
fn check(new: Value, old: Option<Value>, expect: &[&str]) {
    let schema = schema();
    let rules = Rules::compile(&schema).expect("rules");
    let got: Vec<String> =
        rules.check(&Node::read(&schema), &new, old.as_ref()).iter().map(ToString::to_string).collect();
    assert_eq!(got, expect, "{new}");
}

#[test]
fn rules_messages_and_places() {
    check(json!({"spec": {"min": 1, "max": 2}}), None, &[]);
    check(json!({"spec": {"min": 3, "max": 2}}), None, &["spec: Invalid value: min must not exceed max"]);
    check(json!({"spec": {"min": 1, "max": 200}}), None, &["spec.max: Forbidden: far too many"]);
    check(
        json!({"spec": {"min": 1, "max": 2, "names": ["a1", "b1"]}}),
        None,
        &[r#"spec.names[1]: Invalid value: "b1": failed rule: self.startsWith('a')"#],
    );
    check(
        json!({"spec": {"min": 1}}),
        None,
        &[
            "spec: Invalid value: no such key: max evaluating rule: min must not exceed max",
            "spec: Invalid value: no such key: max evaluating rule: self.max < 100",
        ],
    );
}

#[test]
fn transition_rules_compare_with_what_was() {
    let at = |class: &str| json!({"spec": {"min": 1, "max": 2, "class": class}});
    check(at("gold"), None, &[]);
    check(at("gold"), Some(at("gold")), &[]);
    check(at("tin"), Some(at("gold")), &[r#"spec.class: Invalid value: "tin": class is immutable"#]);
}

#[test]
fn what_was_wrong_already_may_stay() {
    let old = json!({"metadata": {}, "spec": {"min": 3, "max": 2}});
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    check(new.clone(), Some(old.clone()), &[]);
    new["spec"]["min"] = json!(4);
    check(new, Some(old), &["spec: Invalid value: min must not exceed max"]);
}

#[track_caller]
fn refused(rule: Value, expect: &str) {
    let mut schema = schema();
    schema["properties"]["spec"]["x-kubernetes-validations"] = json!([rule]);
    let mut causes = Vec::new();
    admission::check("s", &schema, &mut causes);
    let got: Vec<String> = causes.iter().map(ToString::to_string).collect();
    assert!(got.iter().any(|text| text.contains(expect)), "{got:?} lacks {expect}");
}

#[test]
fn rules_that_cannot_be_are_refused() {
    let mut causes = Vec::new();
    admission::check("s", &schema(), &mut causes);
    assert_eq!(causes, []);
    refused(json!({"rule": "self.mim > 1"}), "compilation failed: ERROR: <input>:1:5: undefined field 'mim'");
    refused(json!({"rule": "self.min"}), "cel expression must evaluate to a bool");
    refused(json!({"rule": "self.min > 0", "fieldPath": ".nope"}), "must be a valid path");
    refused(
        json!({"rule": "self.min > 0", "optionalOldSelf": true}),
        "may not be set if oldSelf is not used in rule",
    );
    refused(
        json!({"rule": "self.min > 0", "messageExpression": "1"}),
        "messageExpression must evaluate to a string",
    );
    let mut wide = schema();
    let names = wide.pointer_mut("/properties/spec/properties/names").expect("names");
    names["items"]["x-kubernetes-validations"] = json!([{"rule": "self == oldSelf"}]);
    let mut causes = Vec::new();
    admission::check("s", &wide, &mut causes);
    assert!(
        causes[0].message.contains("oldSelf cannot be used on the uncorrelatable portion"),
        "{}",
        causes[0]
    );
    let names = wide.pointer_mut("/properties/spec/properties/names").expect("names");
    *names = json!({"type": "array", "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, a == b))"}],
                    "items": {"type": "string"}});
    let mut causes = Vec::new();
    admission::check("s", &wide, &mut causes);
    assert!(
        causes[0].message.contains("estimated rule cost exceeds budget by factor of more than 100x"),
        "{}",
        causes[0]
    );
}
