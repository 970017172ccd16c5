//! Estimates and charges, compared with those upstream publishes.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::cel::{Bindings, DeclType, ESTIMATED_COST_LIMIT, Environment, PER_CALL_LIMIT, Program, Type};

fn item(kind: &str) -> Json {
    match kind {
        "int-or-string" => json!({"x-kubernetes-int-or-string": true}),
        "duration" | "date" | "date-time" | "byte" => json!({"type": "string", "format": kind}),
        "object" => json!({"type": "object", "required": ["required"], "properties": {
            "required": {"type": "string"}, "optional": {"type": "string"}}}),
        "numbers" => json!({"type": "array", "items": {"type": "number"}}),
        "map" => json!({"type": "object", "additionalProperties": {"type": "number"}}),
        other => json!({"type": other}),
    }
}

/// A schema such as `list(number)`, with the bound at the top if there is one.
fn schema(kind: &str, bound: Option<u64>) -> Json {
    let inside = |prefix: &str| kind.strip_prefix(prefix)?.strip_suffix(')');
    let (mut schema, name) = if let Some(items) = inside("list(") {
        (json!({"type": "array", "items": item(items)}), "maxItems")
    } else if let Some(values) = inside("map(") {
        (json!({"type": "object", "additionalProperties": item(values)}), "maxProperties")
    } else {
        (item(kind), "maxLength")
    };
    if let Some(bound) = bound {
        schema[name] = json!(bound);
    }
    schema
}

fn compile(schema: &Json, rule: &str) -> Program {
    let decl = DeclType::from_schema(schema, false).unwrap();
    let environment = Environment::new().with("self", &decl).with("oldSelf", &decl);
    environment.compile(rule, &Type::Dyn).unwrap_or_else(|error| panic!("{rule}: {error}"))
}

/// The published numbers of `apiextensions-apiserver/pkg/apiserver/schema/cel/compilation_test.go`: schema,
/// rule, worst case without a bound, a bound, worst case with it.
#[test]
fn estimates_of_rules() {
    for (kind, rule, unbounded, bound, bounded) in [
        ("list(number)", "self.all(x, true)", 4_718_591, 10, 32),
        ("list(string)", "self.all(x, true)", 3_145_727, 20, 62),
        ("list(boolean)", "self.all(x, true)", 1_887_437, 5, 17),
        ("list(numbers)", "self.all(x, true)", 3_145_727, 100, 302),
        ("list(object)", "self.all(x, true)", 555_128, 50, 152),
        ("map(number)", "self.all(x, true)", 1_348_169, 10, 32),
        ("map(number)", "has(self.x)", 1, 100, 1),
        ("map(string)", "self.all(x, true)", 1_179_647, 3, 11),
        ("map(boolean)", "self.all(x, true)", 943_718, 100, 302),
        ("string", "self.contains('test')", 314_574, 10, 5),
        ("string", "self.startsWith('test')", 2, 15, 2),
        ("string", "self.endsWith('test')", 2, 30, 2),
        ("string", "size(self + \"hello\") > size(\"hello\")", 314_578, 4, 7),
        ("list(number)", "self[1] == 0.0", 2, 5000, 2),
        ("list(string)", "self[1] == self[1]", 314_577, 8, 314_577),
        ("string", "self.matches(\"x\")", 314_574, 50, 22),
        ("string", "\"\".matches(\"(((((((((())))))))))[0-9]\")", 7, 10, 7),
        ("string", "self.matches(\"\")", 1, 100, 1),
        ("map(number)", "self[\"x\"] == 0.0", 2, 0, 2),
        ("string", "self == \"x\"", 2, 0, 1),
        ("byte", "self == b\"x\"", 2, 0, 1),
        ("list(number)", "self.all(x, x == 0.0)", 6_291_454, 3 * 1024 * 2048, 25_165_826),
        ("list(int-or-string)", "self.all(x, true)", 4_718_591, 10, 32),
        ("list(int-or-string)", "self[0] == 5", 3, 10, 3),
        ("list(boolean)", "self[0] == false", 2, 25, 2),
        ("list(object)", "self[0] == null", 2, 422, 2),
        ("list(numbers)", "self[0][0] == -1.0", 3, 51, 3),
        ("list(map)", "self.all(x, x.y == 25.2)", 6_291_452, 12, 74),
        ("list(map)", "self[0].x > 2.0", 4, 3000, 4),
        ("list(duration)", "self.all(x, true)", 2_359_295, 5, 17),
        ("list(duration)", "self[0].getHours() == 2", 4, 525, 4),
        ("list(date)", "self.all(x, true)", 725_936, 15, 47),
        ("list(date)", "self[2].getDayOfMonth() == 13", 4, 42, 4),
        ("list(date-time)", "self.all(x, true)", 428_963, 25, 77),
        ("list(date-time)", "self[2].getMinutes() == 45", 4, 99, 4),
        ("map(int-or-string)", "self.all(x, true)", 1_348_169, 15, 47),
        ("map(object)", "self.all(x, true)", 428_963, 20, 62),
        ("map(map)", "self.all(x, true)", 1_179_647, 10, 32),
        ("map(numbers)", "self.all(x, true)", 1_179_647, 25, 77),
        ("map(duration)", "self.all(x, true)", 1_048_577, 5, 17),
        ("map(date)", "self.all(x, true)", 524_288, 10, 32),
        ("map(date-time)", "self.all(x, true)", 349_526, 25, 77),
        ("string", "self.find('[0-9]+') == ''", 629_147, 10, 11),
        ("map(integer)", "oldSelf.size() == self.size()", 5, 10, 5),
        ("map(date-time)", "self[\"a\"] == self[\"b\"]", 8, 7, 8),
        ("map(duration)", "self[\"c\"] == self[\"d\"]", 8, 42, 8),
    ] {
        assert_eq!(compile(&schema(kind, None), rule).cost().max, unbounded, "{kind}: {rule}");
        assert_eq!(compile(&schema(kind, Some(bound)), rule).cost().max, bounded, "{kind} {bound}: {rule}");
    }
    for (rule, bounded) in
        [("self.all(x, self.all(y, true))", 352), ("self.all(x, self.all(y, self.all(z, true)))", 3552)]
    {
        assert!(compile(&schema("list(number)", None), rule).cost().max > ESTIMATED_COST_LIMIT, "{rule}");
        assert_eq!(compile(&schema("list(number)", Some(10)), rule).cost().max, bounded, "{rule}");
    }
    let nested = |bound: Option<u64>| {
        let mut schema = json!({"type": "object", "additionalProperties": {"type": "string"}});
        if let Some(bound) = bound {
            schema["maxProperties"] = json!(bound);
            schema["additionalProperties"]["maxLength"] = json!(bound);
        }
        compile(&schema, "self.all(x, x.contains(self[x]))").cost().max
    };
    assert_eq!((nested(None), nested(Some(10))), (2_752_507, 72));
    let choice = json!({"type": "string", "enum": ["A", "B", "C", "LongValue"]});
    assert_eq!(compile(&choice, "self.contains('A')").cost().max, 2);
    let root = DeclType::from_schema(&json!({"type": "object"}), true).unwrap();
    let program = Environment::new().with("self", &root);
    let program = program.compile("self.metadata.name.contains('x')", &Type::Bool).unwrap();
    assert!((1..=10_000).contains(&program.cost().max));
}

/// The published numbers of `apiserver/pkg/cel/library/cost_test.go`: estimate and charge.
#[test]
fn costs_of_functions() {
    for (text, min, max, charge) in [
        ("url('https:://kubernetes.io/').getScheme()", 4, 4, 4),
        ("url('https:://kubernetes.io/').getQuery()", 4, 4, 4),
        ("ip.isCanonical('192.168.0.1')", 3, 3, 3),
        ("ip.isCanonical('2001:db8:3333:4444:5555:6666:7777:8888')", 8, 8, 8),
        ("'ABCDEFGHIJ abcdefghij'.lowerAscii()", 3, 3, 3),
        ("'ABCDEFGHIJ abcdefghij'.lowerAscii() == 'abcdefghij ABCDEFGHIJ'.lowerAscii()", 7, 9, 9),
        ("strings.quote('ABCDEFGHIJ abcdefghij')", 3, 3, 3),
        ("strings.quote('ABCDEFGHIJ abcdefghij') == strings.quote('ABCDEFGHIJ abcdefghij')", 7, 11, 9),
        ("'abc 123 def 123'.replace('123', '456')", 3, 3, 3),
        ("'abc 123 def 123'.replace('', 'x')", 3, 3, 3),
        ("'abc 123 def 123'.split(' ')", 3, 3, 3),
        ("'abc 123 def 123'.substring(5, 8)", 2, 2, 2),
        ("'  abc 123 def 123  '.trim()", 2, 2, 2),
        ("'abc 123 def 123'.find('123')", 2, 2, 2),
        ("'abc 123 def 123'.findAll('123', 1)", 2, 2, 2),
    ] {
        let program = Environment::new().compile(text, &Type::Dyn).unwrap();
        assert_eq!((program.cost().min, program.cost().max), (min, max), "{text}");
        let outcome = program.evaluate(&Bindings::new(), PER_CALL_LIMIT);
        assert!(outcome.value.is_ok(), "{text}: {:?}", outcome.value);
        assert_eq!(outcome.cost, charge, "{text}");
    }
    // Estimates only: there, lists of constants were charged when evaluated; Kubernetes itself does not.
    for (text, min, max) in [
        ("[1, 2, 3, 4, 5].sum()", 15, 15),
        ("[uint(1), uint(2), uint(3), uint(4), uint(5)].sum()", 20, 20),
        ("[1, 2, 3, 4, 5].isSorted()", 15, 15),
        ("[1.0, 2.0, 3.0, 4.0, 5.0].max()", 15, 15),
    ] {
        let program = Environment::new().compile(text, &Type::Dyn).unwrap();
        assert_eq!((program.cost().min, program.cost().max), (min, max), "{text}");
        assert_eq!(program.evaluate(&Bindings::new(), PER_CALL_LIMIT).cost, 5, "{text}");
    }
}

/// Rules that are charged by what they read, over a schema with bounds everywhere.
fn rule() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        Just("self.n".to_owned()),
        Just("size(self.s)".to_owned()),
        Just("size(self.l)".to_owned()),
        (-9_i64..9).prop_map(|n| n.to_string()),
    ];
    let text = prop_oneof![
        Just("self.s".to_owned()),
        Just("'ab'".to_owned()),
        Just("self.s.upperAscii()".to_owned()),
        Just("(self.s + 'x')".to_owned()),
        Just("self.l.join(',')".to_owned()),
    ];
    let leaf = prop_oneof![
        (number.clone(), number).prop_map(|(a, b)| format!("{a} + 1 < {b}")),
        (text.clone(), text.clone()).prop_map(|(a, b)| format!("{a}.contains({b})")),
        text.prop_map(|a| format!("{a} != ''")),
        Just("has(self.s)".to_owned()),
        Just("'a' in self.l".to_owned()),
        Just("self.l.sort().size() >= 0".to_owned()),
        Just("self.m.exists(k, self.m[k] > 0)".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || !({b}))")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} ? {b} : {a})")),
            inner.clone().prop_map(|a| format!("self.l.all(x, x.size() < 5 && {a})")),
            inner.clone().prop_map(|a| format!("self.l.filter(x, {a}).map(x, x + 'y').size() > 1")),
            inner.prop_map(|a| format!("self.l.exists(i, v, i > 2 || {a})")),
        ]
    })
}

proptest! {
    /// A stored rule on data within the bounds never costs more than was estimated.
    #[test]
    fn charges_stay_below_the_estimate(
        rule in rule(),
        s in "[a-c]{0,8}",
        l in proptest::collection::vec("[a-c]{0,4}", 0..5),
        n in -9_i64..9,
        m in proptest::collection::btree_map("[a-c]{1,2}", -5_i64..5, 0..4),
    ) {
        let schema = json!({"type": "object", "properties": {
            "s": {"type": "string", "maxLength": 8},
            "n": {"type": "integer"},
            "l": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 4}},
            "m": {"type": "object", "maxProperties": 4, "additionalProperties": {"type": "integer"}},
        }});
        let program = compile(&schema, &rule);
        let data = json!({"s": s, "n": n, "l": l, "m": m});
        let bindings = Bindings::new().json("self", &data);
        let outcome = program.evaluate(&bindings, u64::MAX);
        prop_assert!(outcome.cost <= program.cost().max, "{} > {}", outcome.cost, program.cost().max);
    }
}
