//! The documents read again, by the same table of messages and another reader, are what the JSON says.

use std::collections::BTreeSet;

use prost::encoding::{WireType, decode_key, decode_varint};
use serde_json::json;

use super::*;
use crate::openapi::{Encoding, OpenApi};

/// A message as the JSON it was made of.
fn read(messages: &Messages, name: &str, mut bytes: &[u8]) -> Value {
    let message = messages.get(name).unwrap_or_else(|| panic!("no message {name}"));
    let (mut map, mut list, mut chosen) = (Map::new(), Vec::new(), None);
    let mut last = 0;
    while !bytes.is_empty() {
        let (number, wire) = decode_key(&mut bytes).unwrap();
        assert!(number >= last, "{name}: {number} after {last}");
        last = number;
        let field = message.fields.iter().find(|field| field.number == number).unwrap();
        let content = match wire {
            WireType::Varint => {
                let number = decode_varint(&mut bytes).unwrap();
                if field.ty == Type::Flag { json!(number == 1) } else { json!(number.cast_signed()) }
            }
            WireType::SixtyFourBit => {
                let (head, rest) = bytes.split_first_chunk().unwrap();
                bytes = rest;
                json!(f64::from_le_bytes(*head))
            }
            _ => {
                let length = usize::try_from(decode_varint(&mut bytes).unwrap()).unwrap();
                let (content, rest) = bytes.split_at(length);
                bytes = rest;
                match field.ty {
                    Type::Message(inner) => read(messages, inner, content),
                    _ => json!(std::str::from_utf8(content).unwrap()),
                }
            }
        };
        if field.name == "yaml" {
            return serde_json::from_str(content.as_str().unwrap()).unwrap();
        } else if message.is_choice {
            chosen = Some(content);
        } else if message.list(messages).is_some() {
            list.push(content);
        } else if field.is_map(messages) {
            map.insert(content["name"].as_str().unwrap().to_owned(), content["value"].clone());
        } else if field.is_repeated {
            let slot = map.entry(field.key.clone()).or_insert_with(|| json!([]));
            slot.as_array_mut().unwrap().push(content);
        } else {
            map.insert(field.key.clone(), content);
        }
    }
    match (name, list.as_slice()) {
        ("TypeItem" | "ItemsItem", [one]) => one.clone(),
        _ if message.list(messages).is_some() => Value::Array(list),
        _ => chosen.unwrap_or(Value::Object(map)),
    }
}

/// What is different between two trees; numbers are numbers, and no list is an empty one.
fn differences(path: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let side = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                differences(&format!("{path}/{key}"), &side(a), &side(b), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).for_each(|(a, b)| differences(&format!("{path}[]"), a, b, found));
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
        (Value::Object(map), Value::Null) | (Value::Null, Value::Object(map)) if map.is_empty() => {}
        _ if left == right => {}
        _ => found.push(format!("{path}: {left} is not {right}")),
    }
}

#[track_caller]
fn check(openapi: &OpenApi, path: &str, dialect: Dialect) {
    let [json, protobuf] =
        [Encoding::Json, Encoding::Protobuf].map(|encoding| openapi.serve(path, encoding).expect(path));
    assert_eq!((&json.hash, json.content_type), (&protobuf.hash, "application/json"), "{path}");
    let expect: Value = serde_json::from_slice(&json.content()).expect(path);
    let read = read(Messages::of(dialect), "Document", &protobuf.content());
    let mut found = Vec::new();
    differences("", &expect, &read, &mut found);
    assert!(found.is_empty(), "{path}: {} differences, {:#?}", found.len(), &found[..found.len().min(5)]);
}

#[test]
fn both_encodings_say_the_same() {
    let openapi = OpenApi::new(api::kinds::builtin());
    check(&openapi, "/openapi/v2", Dialect::V2);
    let index = openapi.serve("/openapi/v3", Encoding::Json).unwrap();
    let index: Value = serde_json::from_slice(&index.content()).unwrap();
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.len() > 40, "{}", paths.len());
    for path in paths.keys() {
        check(&openapi, &format!("/openapi/v3/{path}"), Dialect::V3);
    }
}

/// Keywords that custom resources bring.
#[test]
fn every_keyword_of_a_schema_has_its_field() {
    let schema = json!({
        "type": "object", "nullable": true, "minProperties": 1, "maxProperties": 3, "title": "t",
        "externalDocs": {"url": "u", "description": "d"}, "example": {"a": [1]},
        "properties": {
            "name": {"type": "string", "pattern": "^a", "minLength": 1, "maxLength": 9, "default": "x"},
            "part": {"type": "number", "minimum": -1.5, "exclusiveMinimum": true, "maximum": 2.5, "multipleOf": 0.5,
                     "default": 0},
            "list": {"type": "array", "items": {"$ref": "#/components/schemas/x"}, "uniqueItems": true,
                     "minItems": 1, "maxItems": 2},
            "yes": {"type": "boolean", "default": false, "enum": [true, false]},
            "any": {"allOf": [{"$ref": "#/components/schemas/x"}], "default": {}, "description": "d"},
            "more": {"type": "object", "additionalProperties": true},
            "most": {"type": "object", "additionalProperties": {"type": "string", "format": "date"}},
            "not": {"not": {"type": "string"}, "oneOf": [{"required": ["a"]}], "anyOf": [{"required": ["b"]}]},
            "x-looks-like-an-extension": {"type": "string"},
        },
        "required": ["name", "part"], "x-kubernetes-validations": [{"rule": "true", "message": "m"}],
    });
    let messages = Messages::of(Dialect::V3);
    let mut out = Bytes::default();
    messages.message(messages.get("SchemaOrReference").unwrap(), &schema, &mut out);
    let mut found = Vec::new();
    differences("", &schema, &read(messages, "SchemaOrReference", &out.0), &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_table_is_whole() {
    for dialect in [Dialect::V2, Dialect::V3] {
        let messages = Messages::of(dialect);
        let fields = || messages.iter().flat_map(|message| &message.fields);
        assert!(fields().count() > 250);
        for field in fields() {
            if let Type::Message(name) = field.ty {
                assert!(name.contains('.') || messages.get(name).is_some(), "{name}");
            }
        }
    }
}
