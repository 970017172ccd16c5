//! What expressions of admission see, their variables, conditions and budgets.

use serde_json::{Value as Json, json};

use super::*;
use crate::cel::{Decision, RUNTIME_BUDGET};

const ALL: Offer = Offer { params: true, authorizer: true, mutation: false };

fn request() -> Json {
    json!({
        "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "requestKind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "requestResource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "name": "web", "namespace": "shop", "operation": "UPDATE", "dryRun": false,
        "userInfo": {"username": "ann", "groups": ["devs"], "extra": {"k": ["v"]}},
        "options": {"kind": "UpdateOptions", "fieldManager": "me"},
    })
}

/// Says yes to `get` and to whatever a service account asks.
#[derive(Debug)]
struct Oracle;

impl Authorizer for Oracle {
    fn authorize(&self, check: &Check, verb: &str) -> Decision {
        let asked = match check {
            Check::Resource(resource) => format!("{}/{}", resource.resource, resource.name),
            Check::Path { path, .. } => path.to_string(),
        };
        Decision { allowed: verb == "get", reason: asked, error: None }
    }
}

fn run(composer: &Composer, text: &str, offer: Offer, budget: &mut u64) -> Result<Json, String> {
    let object = json!({"metadata": {"name": "web"}, "spec": {"replicas": 3, "items": [1, 2]}});
    let old = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2}});
    let namespace = json!({"metadata": {"name": "shop", "labels": {"tier": "prod"},
        "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": []}, "spec": {}, "status": {}});
    let params = json!({"data": {"max": "5"}});
    let resource =
        ResourceCheck { resource: "deployments".into(), name: "web".into(), ..ResourceCheck::default() };
    let request = request();
    let input = Input {
        object: Some(&object),
        old_object: Some(&old),
        request: &request,
        namespace: Some(&namespace),
        params: Some(&params),
        authorizer: Some((&Oracle, &resource)),
    };
    let expression = composer.expression(text, &[], offer);
    let mut answers = composer.evaluate([&expression], &input, budget, |value| {
        value.to_json().unwrap_or_else(|error| error.to_string().into())
    })?;
    answers.pop().unwrap_or_else(|| Err("no answer".to_owned()))
}

#[track_caller]
fn check(composer: &Composer, text: &str, expected: &Json) {
    let mut budget = RUNTIME_BUDGET;
    assert_eq!(run(composer, text, ALL, &mut budget), Ok(expected.clone()), "{text}");
}

#[test]
fn what_expressions_see() {
    let plain = Composer::default();
    for (text, expected) in [
        ("object.spec.replicas > oldObject.spec.replicas", json!(true)),
        ("request.namespace + '/' + request.name + ' ' + request.operation", json!("shop/web UPDATE")),
        (
            "request.userInfo.groups.exists(g, g == 'devs') && request.userInfo.extra['k'][0] == 'v'",
            json!(true),
        ),
        ("has(request.userInfo.uid)", json!(false)),
        ("request.options.fieldManager", json!("me")),
        ("request.kind.kind == 'Deployment' && !request.dryRun", json!(true)),
        ("namespaceObject.metadata.labels['tier']", json!("prod")),
        ("namespaceObject.metadata.creationTimestamp < timestamp('2026-02-01T00:00:00Z')", json!(true)),
        ("int(params.data.max)", json!(5)),
        ("authorizer.group('').resource('pods').check('get').allowed()", json!(true)),
        ("authorizer.path('/healthz').check('post').allowed()", json!(false)),
        ("authorizer.requestResource.check('get').reason()", json!("deployments/web")),
    ] {
        check(&plain, text, &expected);
    }
}

#[test]
fn what_expressions_may_not_name() {
    let compile =
        |text: &str, returns: &[Type], offer| Composer::default().compile(text, returns, offer).err();
    let none = Offer::default();
    for (text, part) in [
        ("params.x == 1", "undeclared reference to 'params'"),
        ("authorizer.path('/').check('get').allowed()", "undeclared reference to 'authorizer'"),
        ("variables.x", "undeclared reference to 'variables'"),
        ("request.object", "undefined field 'object'"),
        ("namespaceObject.metadata.managedFields", "undefined field 'managedFields'"),
        ("Object{}", "undeclared reference to 'Object'"),
        ("object.", "Syntax error"),
    ] {
        let error = compile(text, &[], none).unwrap_or_default();
        assert!(error.starts_with("compilation failed: ") && error.contains(part), "{text}: {error}");
    }
    let wrong = compile("1", &[Type::Bool], none);
    assert_eq!(wrong.as_deref(), Some("must evaluate to bool but got int"));
    let wrong = compile("1", &[Type::String, Type::Null], none);
    assert_eq!(wrong.as_deref(), Some("must evaluate to one of [string null_type] but got int"));
    assert_eq!(compile("null", &[Type::String, Type::Null], none), None);
}

#[test]
fn variables_are_computed_once_and_see_earlier_ones() {
    let mut composer = Composer::composed();
    assert_eq!(composer.declare("replicas", "object.spec.replicas", ALL), Ok(()));
    assert_eq!(composer.declare("many", "variables.replicas > 2", ALL), Ok(()));
    assert_eq!(composer.declare("list", "['a', 'b']", ALL), Ok(()));
    assert_eq!(composer.declare("broken", "object.nothing.at.all", ALL), Ok(()));
    let later = composer.declare("early", "variables.late", ALL).unwrap_err();
    assert!(later.contains("undefined field 'late'"), "{later}");
    check(&composer, "variables.many && variables.replicas == 3", &json!(true));
    check(&composer, "variables.list.map(x, x + '!')", &json!(["a!", "b!"]));
    // Never asked for, never computed.
    check(&composer, "true || variables.broken == 1", &json!(true));
    let mut budget = RUNTIME_BUDGET;
    assert_eq!(
        run(&composer, "variables.broken == 1", ALL, &mut budget).unwrap_err(),
        "expression 'variables.broken == 1' resulted in error: composited variable \"broken\" fails to evaluate: no such key: nothing"
    );
    let error = run(&composer, "variables.early", ALL, &mut budget).unwrap_err();
    assert!(error.contains("composited variable \"early\" fails to compile: compilation failed"), "{error}");
    let typed = composer.compile("variables.list == 1", &[], ALL).unwrap_err();
    assert!(
        typed.contains("found no matching overload for '_==_' applied to '(list(string), int)'"),
        "{typed}"
    );
    assert!(composer.compile("variables.none", &[], ALL).unwrap_err().contains("undefined field 'none'"));
}

#[test]
fn costs_of_variables_are_paid_once() {
    let mut composer = Composer::composed();
    composer.declare("sum", "object.spec.items.map(x, x * 2).size()", ALL).expect("a variable");
    let spent = |text: &str| {
        let mut budget = RUNTIME_BUDGET;
        run(&composer, text, ALL, &mut budget).expect("a value");
        RUNTIME_BUDGET - budget
    };
    let (once, twice) = (spent("variables.sum == 2"), spent("variables.sum == 2 && variables.sum == 2"));
    assert!(once > 20 && twice < once + 10, "{once} {twice}");
    let mut budget = 5;
    assert_eq!(run(&composer, "variables.sum == 2", ALL, &mut budget).unwrap_err(), OUT_OF_BUDGET);
}

#[test]
fn conditions_decide_together() {
    let request = request();
    let object = json!({"a": true});
    let input = Input {
        object: Some(&object),
        old_object: None,
        request: &request,
        namespace: None,
        params: None,
        authorizer: None,
    };
    let composer = Composer::default();
    let decide = |texts: &[&str], fails: bool| {
        let list: Vec<Json> = texts.iter().map(|text| json!({"name": "c", "expression": text})).collect();
        Conditions::compile(&composer, &json!(list), false, fails).evaluate(&composer, &input)
    };
    let untyped = Matched::Failed("compilation error: must evaluate to bool but got dyn".to_owned());
    assert_eq!(decide(&["object.a", "namespaceObject == null && oldObject == null"], true), untyped);
    let typed = ["object.a == true", "namespaceObject == null && oldObject == null"];
    assert_eq!(decide(&typed, true), Matched::Yes);
    assert_eq!(decide(&["object.b == 1", "object.a == false"], true), Matched::No);
    assert_eq!(decide(&["object.b == 1"], false), Matched::No);
    let text = "expression 'object.b == 1' resulted in error: no such key: b";
    assert_eq!(decide(&["object.b == 1", "object.a == true"], true), Matched::Failed(text.to_owned()));
    let two = decide(&["object.b == 1", "object.c == 1"], true);
    let expected = format!("[{text}, expression 'object.c == 1' resulted in error: no such key: c]");
    assert_eq!(two, Matched::Failed(expected));
}
