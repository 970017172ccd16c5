//! What only mutating policies have: objects that expressions make, `Object{spec: Object.spec{…}}`, and
//! patches, `JSONPatch{op: 'add', …}`.
//!
//! Entry points: [`configuration`] and [`json_patch`], which turn results into JSON. The types have no
//! schema: any field of an object may be named. Source: `apiserver/pkg/cel/mutation`.

use serde_json::{Map as JsonMap, Value as Json};

use super::error::EvalError;
use super::types::Type;
use super::value::{Eval, Key, Map, Value};

/// The type of whole objects; what stands in field `a` of one is an `Object.a`.
pub const OBJECT: &str = "Object";
/// The type of one operation of a patch.
pub const JSON_PATCH: &str = "JSONPatch";

/// Whether a message literal may have this name.
pub(super) fn makes(name: &str) -> bool {
    name == JSON_PATCH || is_object(name)
}

fn is_object(name: &str) -> bool {
    name.strip_prefix(OBJECT).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The type of a field of such a message.
pub(super) fn field_type(message: &str, field: &str) -> Option<Type> {
    match field {
        _ if is_object(message) => Some(Type::Dyn),
        "op" | "path" | "from" => Some(Type::String),
        "value" => Some(Type::Dyn),
        _ => None,
    }
}

/// The configuration that a result of type [`OBJECT`] says, as JSON.
///
/// # Errors
/// When the types of inner objects are not those of the fields they stand in, or there is no JSON form.
pub fn configuration(value: &Value<'_>) -> Eval<Json> {
    check_names(value)?;
    value.to_json()
}

/// The RFC 6902 patch that a list of [`JSON_PATCH`] says.
///
/// # Errors
/// As [`configuration`], for values in it.
pub fn json_patch(value: &Value<'_>) -> Eval<Json> {
    let Value::List(operations) = value else { return Err(EvalError::no_overload()) };
    operations.iter().map(|operation| one(&operation?)).collect::<Eval<Vec<Json>>>().map(Json::Array)
}

fn one(operation: &Value<'_>) -> Eval<Json> {
    let Value::Map(Map::Message(JSON_PATCH, fields)) = operation else {
        return Err(EvalError::no_overload());
    };
    let mut out = JsonMap::new();
    for (key, value) in fields.iter() {
        let Key::String(name) = key else { continue };
        if &**name == "value" {
            check_names(value)?;
        }
        let json = value.to_json().map_err(|error| {
            let what = "JSONPath valueExpression evaluated to a type that could not marshal to JSON";
            EvalError::new(format!("{what}: {error}"))
        })?;
        out.insert(name.to_string(), json);
    }
    // What is not written is an empty text in Go, and an empty `from` is none.
    for name in ["op", "path"] {
        out.entry(name).or_insert_with(|| "".into());
    }
    if out.get("from").is_some_and(|from| from == "") {
        out.remove("from");
    }
    Ok(Json::Object(out))
}

/// Objects carry the path they are meant for in their type; this compares it with where they stand.
fn check_names(value: &Value<'_>) -> Eval<()> {
    let Value::Map(Map::Message(name, _)) = value else { return Ok(()) };
    let mut wrong = Vec::new();
    compare_names(value, name, &mut wrong);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(EvalError::new(format!("type mismatch: {}", wrong.join("\n"))))
}

fn compare_names(value: &Value<'_>, expected: &str, wrong: &mut Vec<String>) {
    match value {
        Value::Map(Map::Message(name, fields)) => {
            if *name != expected {
                wrong.push(format!(
                    "unexpected type name {name:?}, expected {expected:?}, which matches field name path from root Object type"
                ));
            }
            for (key, field) in fields.iter() {
                if let Key::String(key) = key {
                    compare_names(field, &format!("{expected}.{}", &**key), wrong);
                }
            }
        }
        // Maps and lists between objects have no names.
        Value::Map(Map::Values(entries)) => {
            entries.iter().for_each(|(_, entry)| compare_names(entry, expected, wrong));
        }
        Value::List(list) => {
            list.iter().flatten().for_each(|item| compare_names(&item, expected, wrong));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cel::{Bindings, DeclType, Environment, PER_CALL_LIMIT};

    fn evaluate(text: &str, expected: &Type, of: fn(&Value<'_>) -> Eval<Json>) -> Result<Json, String> {
        let environment = Environment::new().with("object", &DeclType::dynamic()).with_mutation();
        let program = environment.compile(text, expected).map_err(|error| error.to_string())?;
        let object = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 3}});
        let bindings = Bindings::new().json("object", &object);
        let value = program.evaluate(&bindings, PER_CALL_LIMIT).value.map_err(|error| error.to_string())?;
        of(&value).map_err(|error| error.to_string())
    }

    fn object(text: &str) -> Result<Json, String> {
        evaluate(text, &Type::Object(OBJECT.into()), configuration)
    }

    fn patch(text: &str) -> Result<Json, String> {
        evaluate(text, &Type::list(Type::Object(JSON_PATCH.into())), json_patch)
    }

    #[test]
    fn objects_are_written_field_by_field() {
        let text = "Object{spec: Object.spec{replicas: object.spec.replicas + 1, \
                    template: Object.spec.template{items: [Object.spec.template.items{name: 'x'}]}, \
                    ?absent: object.spec.?nothing}}";
        let expected = json!({"spec": {"replicas": 4, "template": {"items": [{"name": "x"}]}}});
        assert_eq!(object(text), Ok(expected));
        let labels = "Object{metadata: Object.metadata{labels: {'x': 'y'}}}";
        assert_eq!(object(labels), Ok(json!({"metadata": {"labels": {"x": "y"}}})));
        let wrong = object("Object{spec: Object.spec{selector: Object.spec.wrong{}}}");
        let expected = "type mismatch: unexpected type name \"Object.spec.wrong\", expected \
                        \"Object.spec.selector\", which matches field name path from root Object type";
        assert_eq!(wrong, Err(expected.to_owned()));
        assert_eq!(object("{'spec': 1}").unwrap_err(), "must evaluate to Object");
        assert!(object("Other{}").unwrap_err().contains("undeclared reference to 'Other'"));
    }

    #[test]
    fn patches_are_lists_of_operations() {
        let text = "[JSONPatch{op: 'test', path: '/spec/replicas', value: 3}, \
                    JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('k8s.io/my~label'), \
                    value: Object.x{y: [1]}}, JSONPatch{op: 'remove', path: '/spec'}]";
        let expected = json!([
            {"op": "test", "path": "/spec/replicas", "value": 3},
            {"op": "add", "path": "/metadata/labels/k8s.io~1my~0label", "value": {"y": [1]}},
            {"op": "remove", "path": "/spec"},
        ]);
        assert_eq!(patch(text), Ok(expected));
        assert!(patch("[JSONPatch{operation: 'add'}]").unwrap_err().contains("undefined field 'operation'"));
        let wrong = patch("[JSONPatch{op: 1}]").unwrap_err();
        assert!(
            wrong.contains("expected type of field 'op' is 'string' but provided type is 'int'"),
            "{wrong}"
        );
        assert_eq!(
            patch("object.spec.replicas > 3 ? [JSONPatch{op: 'remove', path: '/a'}] : []"),
            Ok(json!([]))
        );
    }
}
