//! The embedded table itself, and properties of the walks over it.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::{defaulting, pruning, validation};

#[test]
fn the_embedded_table_is_well_formed() {
    let facts = parse_embedded().unwrap();
    assert!(facts.iter().count() > 700);
    let orphans: Vec<_> = facts.iter().filter(|s| s.fields().count() == 0).map(|s| s.short_name()).collect();
    assert!(orphans.len() < 20, "{orphans:?}");
}

#[test]
fn every_row_of_the_table_of_kinds_has_facts() {
    for kind in crate::kinds::builtin().iter() {
        let schema = facts().schema(&kind.definition);
        assert!(schema.is_some(), "{}", kind.definition);
        let found = facts().by_gvk(&kind.group, &kind.version, &kind.kind);
        assert_eq!(found.map(Schema::name), Some(kind.definition.as_ref()));
    }
}

#[test]
fn patch_and_list_facts() {
    let pod = facts().schema("io.k8s.api.core.v1.Pod").unwrap();
    let field = |path| pod.at(path).unwrap();
    assert_eq!(field("spec.containers").patch_merge_key(), Some("name"));
    let ports = field("spec.containers.ports");
    assert_eq!(ports.patch_merge_key(), Some("containerPort"));
    assert_eq!(ports.list_map_keys().collect::<Vec<_>>(), ["containerPort", "protocol"]);
    assert_eq!((ports.list_type(), ports.tag(), ports.is_pointer()), (ListType::Map, Some(6), false));
    let volumes = field("spec.volumes").patch_strategy();
    assert_eq!(volumes, PatchStrategy { merge: true, retain_keys: true, replace: false });
    assert!(field("spec.nodeSelector").is_atomic() && field("spec.containers.args").is_atomic());
    assert!(field("spec.priority").is_pointer() && !field("spec.hostNetwork").is_pointer());
    assert_eq!(field("metadata.finalizers").list_type(), ListType::Set);
    assert_eq!(field("spec.volumes.configMap.name").schema().ty(), Type::String);
}

/// Some value of a schema, with unknown fields, nulls and zeroes strewn in; the same for the same bits.
fn some_value(schema: Schema<'_>, bits: &mut u64, depth: u32) -> Value {
    let roll = |bits: &mut u64| {
        *bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*bits >> 33) % 8
    };
    let mut chosen = Map::new();
    match schema.ty() {
        Type::Object(_) if depth < 7 => {
            for field in schema.fields() {
                match roll(bits) {
                    0 => drop(chosen.insert(field.name().to_owned(), Value::Null)),
                    1 | 2 => {
                        let value = some_value(field.schema(), bits, depth + 1);
                        chosen.insert(field.name().to_owned(), value);
                    }
                    3 if depth < 2 => drop(chosen.insert(format!("no-{}", field.name()), json!({}))),
                    _ => {}
                }
            }
            Value::Object(chosen)
        }
        Type::Map(_) if depth < 7 => {
            let Some(values) = schema.values() else { return json!({}) };
            json!({"a": some_value(values, bits, depth + 1)})
        }
        Type::List(_) if depth < 7 => {
            let Some(items) = schema.items() else { return json!([]) };
            (0..roll(bits) % 3).map(|_| some_value(items, bits, depth + 1)).collect()
        }
        Type::Object(_) | Type::Map(_) => json!({}),
        Type::List(_) => json!([]),
        Type::String => json!(["", "x", "ClientIP", "RollingUpdate"][roll(bits) as usize % 4]),
        Type::Bytes => json!("aGk="),
        Type::Int32 | Type::Int64 | Type::IntOrString | Type::Number => json!(roll(bits) % 3),
        Type::Bool => json!(roll(bits) % 2 == 0),
        Type::Quantity => json!(["1", "1024Mi", "0.5"][roll(bits) as usize % 3]),
        Type::Time | Type::MicroTime => json!("2024-01-01T02:00:00.25+02:00"),
        Type::Duration => json!("1m0s"),
        Type::Raw(_) => json!({"any": [null, {"thing": ""}]}),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each walk reaches a fixed point at once, and none of them undoes another.
    #[test]
    fn walks_are_idempotent(mut bits in any::<u64>()) {
        for kind in crate::kinds::builtin().iter() {
            let schema = facts().schema(&kind.definition).unwrap();
            let mut value = some_value(schema, &mut bits, 0);
            validation::types(schema, &mut value).unwrap();
            pruning::prune(schema, &mut value);
            let pruned = value.clone();
            prop_assert_eq!(pruning::prune(schema, &mut value), Vec::<String>::new());
            validation::types(schema, &mut value).unwrap();
            prop_assert_eq!(&value, &pruned, "{}", kind.kind);
            defaulting::apply(schema, &mut value);
            let defaulted = value.clone();
            defaulting::apply(schema, &mut value);
            prop_assert_eq!(&value, &defaulted, "{}", kind.kind);
            validation::types(schema, &mut value).unwrap();
            prop_assert_eq!(pruning::prune(schema, &mut value), Vec::<String>::new());
            prop_assert_eq!(&value, &defaulted, "{}", kind.kind);
        }
    }
}
