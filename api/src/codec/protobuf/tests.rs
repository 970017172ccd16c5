//! Every definition of the facts, written and read back; and bytes as upstream's own code writes them.

use serde_json::{Map, Value, json};

use super::*;
use crate::schema::TypeId;
use crate::validation;

/// A sequence of numbers that is the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.roll(of.len() as u64)).unwrap()].clone()
    }
}

fn generate(schema: Schema<'_>, dice: &mut Dice, depth: u64) -> Value {
    match schema.ty() {
        Type::Object(_) => object(schema, dice, depth),
        Type::List(TypeId(_)) => {
            let length = dice.roll(3);
            (0..length).map(|_| generate(schema.items().unwrap(), dice, depth + 1)).collect()
        }
        Type::Map(_) => {
            let keys = ["", "a", "é/b"].into_iter().take(dice.roll(4) as usize);
            let values = schema.values().unwrap();
            keys.map(|key| (key.to_owned(), generate(values, dice, depth + 1))).collect::<Map<_, _>>().into()
        }
        Type::String => dice.pick(&["", "a", "ß∂\u{1F600}", "x\ny\u{0}"]).into(),
        Type::Int32 => dice.pick(&[0, 1, -1, i32::MAX, i32::MIN, 80]).into(),
        Type::Int64 => dice.pick(&[0, 1, -1, i64::MAX, i64::MIN, 300]).into(),
        Type::Number => dice.pick(&[0.0, 1.5, -2.25, 1e300]).into(),
        Type::Bool => dice.pick(&[true, false]).into(),
        Type::Bytes => dice.pick(&["AA==", "//79", "aGVsbG8="]).into(),
        Type::Time => {
            dice.pick(&["2023-11-14T22:13:20Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"]).into()
        }
        Type::MicroTime => dice
            .pick(&[
                "2023-11-14T22:13:20.123456Z",
                "1969-12-31T23:59:58.500000Z",
                "1970-01-01T00:00:00.000000Z",
            ])
            .into(),
        Type::Duration => dice.pick(&["0s", "1m30s", "-1.5s", "300ms"]).into(),
        Type::IntOrString => dice.pick(&[json!(0), json!(-7), json!(8080), json!(""), json!("25%")]),
        Type::Quantity => dice.pick(&["0", "500m", "1Gi", "-3", "12e6"]).into(),
        Type::Raw(raw) => opaque_value(raw, dice, depth),
    }
}

fn opaque_value(raw: Raw, dice: &mut Dice, depth: u64) -> Value {
    let props = facts().schema(JSON_SCHEMA).unwrap();
    let one = |dice: &mut Dice| {
        let mut schema = generate(props, dice, depth + 2);
        validation::types(props, &mut schema).unwrap();
        schema
    };
    match (raw, dice.roll(2)) {
        (Raw::Extension | Raw::Fields, _) => {
            dice.pick(&[json!({}), json!({"a": [1, "x", null, {"b": 1.5}]})])
        }
        (Raw::Json, _) => dice.pick(&[json!(1), json!("x"), json!({"a": {}}), json!([true])]),
        (Raw::SchemaOrBool, 0) => Value::Bool(dice.roll(2) == 0),
        (Raw::SchemaOrArray, 0) => json!([one(dice), one(dice)]),
        (Raw::SchemaOrStrings, 0) => json!(["a", ""]),
        _ => one(dice),
    }
}

fn object(schema: Schema<'_>, dice: &mut Dice, depth: u64) -> Value {
    let definition = schema.def().unwrap();
    let inlined =
        |name: &str| definition.inlines.iter().any(|i| schema.facts.of(i.definition).field(name).is_some());
    let mut map = Map::new();
    for field in schema.fields().filter(|f| f.tag().is_some() || inlined(f.name())) {
        if dice.roll(2 + depth * depth) < 2 {
            map.insert(field.name().to_owned(), generate(field.schema(), dice, depth + 1));
        }
    }
    Value::Object(map)
}

/// Without what Go holds by value and is zero: protobuf cannot tell it from absent.
fn squeezed(schema: Schema<'_>, value: &Value) -> Value {
    if let Type::Raw(Raw::SchemaOrArray | Raw::SchemaOrBool | Raw::SchemaOrStrings) = schema.ty() {
        let props = facts().schema(JSON_SCHEMA).unwrap();
        return match value {
            Value::Array(list) => list.iter().map(|item| squeezed(props, item)).collect(),
            other => squeezed(props, other),
        };
    }
    match value {
        Value::Array(list) => match schema.items() {
            Some(items) => list.iter().map(|item| squeezed(items, item)).collect(),
            None => value.clone(),
        },
        Value::Object(map) if schema.values().is_some() => {
            let entries = map.iter().map(|(k, v)| (k.clone(), squeezed(schema.values().unwrap(), v)));
            Value::Object(entries.collect())
        }
        Value::Object(map) if schema.def().is_some() => {
            let mut out = Map::new();
            for (key, inner) in map {
                let field = schema.field(key).unwrap();
                let inner = squeezed(field.schema(), inner);
                if field.is_pointer() || !is_nothing(field.schema().ty(), &inner) {
                    out.insert(key.clone(), inner);
                }
            }
            Value::Object(out)
        }
        other => other.clone(),
    }
}

fn is_nothing(ty: Type, value: &Value) -> bool {
    let zero = match ty {
        Type::Quantity => json!("0"),
        Type::Duration => json!("0s"),
        Type::Raw(_) => Value::Null,
        _ => return crate::defaulting::is_zero(value),
    };
    *value == zero || value.is_null()
}

#[test]
fn every_definition_comes_back_from_protobuf() {
    let mut filled = 0;
    for (at, schema) in (0u64..).zip(facts().iter()) {
        for seed in 0..12 {
            let mut dice = Dice(at * 1000 + seed);
            let mut value = generate(schema, &mut dice, 0);
            validation::types(schema, &mut value).unwrap_or_else(|e| panic!("{schema:?}: {e}"));
            let bytes = encode_message(schema, &value);
            let mut back = decode_message(schema, &bytes).unwrap_or_else(|e| panic!("{schema:?}: {e}"));
            validation::types(schema, &mut back).unwrap_or_else(|e| panic!("{schema:?}: {e}"));
            assert_eq!(squeezed(schema, &back), squeezed(schema, &value), "{schema:?}, seed {seed}");
            // What was read is written the same again.
            assert_eq!(encode_message(schema, &back), bytes, "{schema:?}, seed {seed}");
            filled += usize::from(!bytes.is_empty());
        }
    }
    assert!(filled > 6000, "{filled}");
}

#[test]
fn a_list_is_the_message_its_parts_make() {
    let items =
        [json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n"}}), json!({"metadata": {"name": "b"}})];
    let metadata = json!({"resourceVersion": "7", "remainingItemCount": 3});
    for (version, kind) in [("v1", "PodList"), ("meta.k8s.io/v1", "PartialObjectMetadataList")] {
        let mut list = List::new(version, kind).unwrap();
        let parts: Vec<Vec<u8>> = items.iter().map(|item| list.item(item).to_vec()).collect();
        let head = list.head(&metadata, parts.iter().map(Vec::len).sum());
        let streamed = [head, parts.concat(), List::tail()].concat();
        let whole = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "items": items});
        assert_eq!(streamed, encode(&whole).unwrap(), "{kind}");
    }
    assert!(List::new("example.com/v1", "FooList").is_none());
    assert!(encode(&json!({"apiVersion": "example.com/v1", "kind": "Foo"})).is_none());
}

#[test]
fn an_event_is_framed() {
    let object =
        encode(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})).unwrap();
    let frame = watch_frame("ADDED", &object);
    let (length, message) = frame.split_first_chunk::<4>().unwrap();
    assert_eq!(u32::from_be_bytes(*length) as usize, message.len());
    let event = decode_message(facts().by_gvk("", "v1", "WatchEvent").unwrap(), message).unwrap();
    assert_eq!(event["type"], "ADDED");
    assert_eq!(event["object"]["metadata"]["name"], "n");
}
