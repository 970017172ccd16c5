//! Expressions: an expression, a line break, JSON it is evaluated on.
#![no_main]

use std::sync::LazyLock;

use api::cel::{Bindings, CompileError, DeclType, Environment, Type};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    let schema = json!({"type": "object", "properties": {
        "s": {"type": "string", "maxLength": 10}, "n": {"type": "integer"}, "d": {"type": "number"},
        "b": {"type": "boolean"}, "t": {"type": "string", "format": "date-time"},
        "l": {"type": "array", "maxItems": 9, "items": {"type": "string"}},
        "m": {"type": "object", "additionalProperties": {"type": "integer"}},
        "p": {"x-kubernetes-int-or-string": true},
        "o": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
    }});
    let decl = DeclType::from_schema(&schema, true).unwrap_or_else(DeclType::dynamic);
    Environment::new().with("self", &decl).with("object", &DeclType::dynamic())
});

const BUDGET: u64 = 20_000;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (expression, json) = text.split_once('\n').unwrap_or((text, "null"));
    let json: Value = serde_json::from_str(json).unwrap_or_default();
    match ENVIRONMENT.compile(expression, &Type::Dyn) {
        Ok(program) => {
            let bindings = Bindings::new().json("self", &json).json("object", &json);
            let outcome = program.evaluate(&bindings, BUDGET);
            assert!(outcome.cost <= BUDGET || outcome.value.is_err(), "a value over budget");
            if let Ok(value) = outcome.value {
                let _ = value.to_json();
            }
        }
        Err(CompileError::Issues(text)) => assert!(text.starts_with("ERROR: <input>:"), "{text}"),
        Err(CompileError::Result { .. }) => panic!("anything was expected"),
    }
});
