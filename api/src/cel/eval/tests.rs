//! Evaluation on data with a schema, errors as users see them, and evaluation of anything at all.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::cel::{
    Authorizer, Bindings, Check, Decision, DeclType, Environment, Extension, PER_CALL_LIMIT, Type, Value,
};

fn schema() -> Json {
    json!({"type": "object", "properties": {
        "name": {"type": "string"}, "count": {"type": "integer"}, "ratio": {"type": "number"},
        "on": {"type": "boolean"}, "at": {"type": "string", "format": "date-time"},
        "day": {"type": "string", "format": "date"},
        "for": {"type": "string", "format": "duration"}, "raw": {"type": "string", "format": "byte"},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
            "items": {"type": "object", "properties": {
                "port": {"type": "integer"}, "name": {"type": "string"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "port": {"x-kubernetes-int-or-string": true},
        "nothing": {"type": "string", "nullable": true},
        "nothings": {"type": "array", "items": {"type": "string", "nullable": true}},
        "a-b": {"type": "object", "properties": {"namespace": {"type": "integer"}}},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "embedded": {"type": "object", "x-kubernetes-embedded-resource": true},
    }})
}

fn eval(rule: &str, data: &Json) -> String {
    let decl = DeclType::from_schema(&schema(), true).unwrap();
    let environment = Environment::new().with("self", &decl).with_optional("oldSelf", &decl);
    let program = match environment.compile(rule, &Type::Dyn) {
        Ok(program) => program,
        Err(error) => return error.to_string(),
    };
    let bindings = Bindings::new().json("self", data).optional_json("oldSelf", None);
    match program.evaluate(&bindings, PER_CALL_LIMIT).value.and_then(|value| value.to_json()) {
        Ok(value) => value.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn data_has_the_types_of_its_schema() {
    let data = json!({
        "apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a", "labels": {"x": "y"}},
        "name": "n", "count": 3, "ratio": 2, "on": true, "at": "2026-01-02T03:04:05Z", "day": "2026-01-02",
        "for": "90s", "raw": "aGk=", "tags": ["b", "a"],
        "ports": [{"port": 1, "name": "x"}, {"port": 2, "name": "y"}],
        "labels": {"a/b": "1"}, "port": "http", "nothing": null, "nothings": [null, "x"],
        "a-b": {"namespace": 7}, "any": {"k": [1]},
        "embedded": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}},
    });
    for (rule, expect) in [
        ("self.kind + self.metadata.name", "\"Thinga\""),
        ("self.ratio / 4.0", "0.5"),
        ("self.at.getHours() + self.day.getDate()", "5"),
        ("self.__for__ == duration('1m30s') && string(self.raw) == 'hi'", "true"),
        ("self.tags == ['a', 'b']", "true"),
        ("self.tags + ['a', 'c']", "[\"b\",\"a\",\"c\"]"),
        ("self.ports == self.ports.filter(p, p.port == 2) + self.ports.filter(p, p.port == 1)", "true"),
        ("(self.ports + self.ports.map(p, p)).size()", "2"),
        ("self.labels['a/b']", "\"1\""),
        ("type(self.port) == string && self.port == 'http'", "true"),
        ("has(self.nothing)", "false"),
        ("self.nothing", "error: no such key: nothing"),
        ("self.nothings[0] == null", "found"),
        ("dyn(self.nothings)[0] == null", "true"),
        ("self.a__dash__b.__namespace__", "7"),
        ("self.any == self.any", "true"),
        ("self.embedded.kind + self.embedded.metadata.name", "\"Podp\""),
        ("self.?missing.orValue('x')", "undefined"),
        ("oldSelf.hasValue()", "false"),
        ("oldSelf.?count.orValue(4)", "4"),
        ("self == self", "true"),
        ("has(self.metadata.name) && !has(self.metadata.generateName)", "true"),
        ("self.labels.b", "error: no such key: b"),
        ("self.tags[5]", "error: index out of bounds: 5"),
        ("self.labels.all(k, k.size() > 0 && self.labels[k] == '1')", "true"),
        ("self.labels.exists(k, v, k == 'a/b' && v == '1')", "true"),
    ] {
        let got = eval(rule, &data);
        match expect {
            "found" => assert!(got.contains("found no matching overload"), "{rule}: {got}"),
            "undefined" => assert!(got.contains("undefined field"), "{rule}: {got}"),
            expect => assert_eq!(got, expect, "{rule}"),
        }
    }
}

#[test]
fn data_of_another_type_is_an_error() {
    for (rule, data, expect) in [
        ("self.count", json!({"count": "x"}), "error: invalid data, expected int, got string"),
        ("self.count", json!({"count": 1.5}), "error: invalid data, expected int, got float64"),
        ("self.name", json!({"name": 1}), "error: invalid data, expected string, got int64"),
        (
            "self.tags",
            json!({"tags": {}}),
            "error: invalid data, expected an array for the provided schema with type=array",
        ),
        (
            "self.tags[0]",
            json!({"tags": [null]}),
            "error: invalid data, got null for schema with nullable=false",
        ),
        ("self.at", json!({"at": "now"}), "error: Invalid date-time formatted string now"),
        ("self.name", json!({}), "error: no such key: name"),
    ] {
        assert_eq!(eval(rule, &data), expect, "{rule}");
    }
}

#[test]
fn untyped_data_is_typed_by_what_it_is() {
    let environment = Environment::new().with("object", &DeclType::dynamic());
    let data = json!({"spec": {"replicas": 3, "ratio": 0.5, "template": {"tags": ["a", null]}}});
    for (rule, expect) in [
        ("object.spec.replicas <= 5 && object.spec.ratio < 1", "true"),
        ("object.spec.template.tags.exists(t, t == 'a')", "true"),
        ("object.?spec.?missing.?deep.orValue(1) == 1", "true"),
        ("has(object.spec.template) && !has(object.status)", "true"),
        ("object.spec.template.tags[1] == null", "true"),
        ("object.status", "error: no such key: status"),
        ("object.spec.replicas.x", "error: no such key: x"),
        ("object.spec + 1", "error: no such overload"),
    ] {
        let program = environment.compile(rule, &Type::Dyn).unwrap();
        let outcome = program.evaluate(&Bindings::new().json("object", &data), PER_CALL_LIMIT);
        let got = outcome.value.and_then(|value| value.to_json());
        let got = got.map_or_else(|error| format!("error: {error}"), |value| value.to_string());
        assert_eq!(got, expect, "{rule}");
    }
}

#[derive(Debug)]
struct OnlyPods;

impl Authorizer for OnlyPods {
    fn authorize(&self, check: &Check, verb: &str) -> Decision {
        let (allowed, who) = match check {
            Check::Path { path, .. } => (&**path == "/healthz", "user".to_owned()),
            Check::Resource(check) => {
                let account = check.service_account.as_ref().map(|account| account.name.to_string());
                (&*check.resource == "pods" && verb == "get", account.unwrap_or("user".to_owned()))
            }
        };
        Decision { allowed, reason: format!("{who} may"), error: None }
    }
}

#[test]
fn the_authorizer_is_asked() {
    let name = "kubernetes.authorization.Authorizer";
    let environment = Environment::new().with("authorizer", &DeclType::other(Type::Object(name.into())));
    for (rule, expect) in [
        ("authorizer.path('/healthz').check('get').allowed()", "true"),
        ("authorizer.group('').resource('pods').namespace('a').name('b').check('get').allowed()", "true"),
        ("authorizer.group('').resource('pods').labelSelector('a=b').check('delete').allowed()", "false"),
        (
            "authorizer.serviceAccount('ns', 'sa').group('').resource('pods').check('get').reason()",
            "\"sa may\"",
        ),
        ("authorizer.serviceAccount('NS', 'sa')", "error: Invalid service account namespace"),
        ("authorizer.path(' ')", "error: path must not be empty"),
        ("authorizer.group('').resource('').check('get').errored()", "error: resource must not be empty"),
    ] {
        let program = environment.compile(rule, &Type::Dyn).unwrap();
        let value = Value::Extension(Extension::Authorizer(&OnlyPods, None));
        let outcome = program.evaluate(&Bindings::new().value_of("authorizer", value), PER_CALL_LIMIT);
        let got = outcome.value.and_then(|value| value.to_json());
        assert_eq!(got.map_or_else(|e| format!("error: {e}"), |value| value.to_string()), expect, "{rule}");
    }
    // Two checks fit into the budget of an expression, three do not.
    let one = "authorizer.path('/healthz').check('get').allowed()";
    for (count, fits) in [(2, true), (3, false)] {
        let program = environment.compile(&vec![one; count].join(" && "), &Type::Bool).unwrap();
        let value = Value::Extension(Extension::Authorizer(&OnlyPods, None));
        let outcome = program.evaluate(&Bindings::new().value_of("authorizer", value), PER_CALL_LIMIT);
        assert_eq!(outcome.value.is_ok(), fits);
    }
}

/// The deepest expressions there are, on the stack a worker thread has.
#[test]
fn deep_expressions_do_not_exhaust_the_stack() {
    let nest = |before: &str, middle: &str, after: &str, count: usize| {
        format!("{}{middle}{}", before.repeat(count), after.repeat(count))
    };
    let mut deepest = Vec::new();
    for (before, middle, after) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("[1].all(a, ", "true", ")"),
        ("[1].map(a, ", "1", ")"),
        ("[[1]].sortBy(a, ", "1", ")"),
        ("optional.of(1).optMap(a, ", "1", ")"),
        ("true ? true : ", "true", ""),
        ("!(", "true", ")"),
        ("-(", "1", ")"),
        ("1+(", "1", ")"),
        ("{1:", "1", "}"),
        ("", "1", "+1"),
        ("", "'a'", ".trim()"),
        ("size([", "1", "])+1"),
    ] {
        let most = 250;
        deepest.push(nest(before, middle, after, most));
        deepest.push(nest(before, middle, after, most - 5));
        deepest.push(nest(before, middle, after, most / 2));
    }
    let run = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let mut compiled = 0;
        for text in deepest {
            if let Ok(program) = Environment::new().compile(&text, &Type::Dyn) {
                compiled += 1;
                let _ = program.evaluate(&Bindings::new(), PER_CALL_LIMIT);
            }
        }
        compiled
    });
    assert!(run.unwrap().join().unwrap() > 20);
}

const LEAVES: &str = "self|self.name|self.count|self.tags|self.labels|self.port|self.at|dyn(self)|oldSelf|1|0u|-1|\
    1.5|'a'|''|b'x'|null|true|[]|{}|[1, 2]|{'a': 1}|x|duration('1s')|timestamp(0)|quantity('1')|ip('::1')|\
    cidr('::/1')|semver('1.0.0')|int|9223372036854775807|optional.none()|self.ports|self.any";
const OPERATORS: &str = "+|-|*|/|%|==|!=|<|>=|in|&&|or";
const METHODS: &str = "size|trim|contains|indexOf|lastIndexOf|split|replace|substring|charAt|join|format|matches|findAll|\
    sum|min|isSorted|slice|flatten|sort|distinct|reverse|getHours|getFullYear|add|compareTo|containsIP|masked|\
    value|hasValue|orValue|or|first|last|a";
const FUNCTIONS: &str = "dyn|int|uint|double|string|bytes|bool|type|size|duration|timestamp|quantity|url|ip|cidr|semver|\
    isIP|optional.of|lists.range|optional.ofNonZeroValue|strings.quote|sets.contains|has";
const MACROS: &str = "all|exists|exists_one|map|filter|sortBy|optMap|optFlatMap";

fn one_of(words: &'static str) -> impl Strategy<Value = &'static str> + Clone {
    proptest::sample::select(words.split('|').collect::<Vec<_>>())
}

/// Text that is often an expression.
fn expression() -> impl Strategy<Value = String> {
    let leaf = one_of(LEAVES).prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 3, |inner| {
        let args = proptest::collection::vec(inner.clone(), 0..3).prop_map(|args| args.join(", "));
        let (a, b) = (inner.clone(), inner);
        prop_oneof![
            (a.clone(), one_of(OPERATORS), b.clone())
                .prop_map(|(a, o, b)| format!("({a} {o} {b})").replace(" or ", " || ")),
            (a.clone(), one_of(METHODS), args.clone())
                .prop_map(|(a, m, args)| format!("dyn({a}).{m}({args})")),
            (one_of(FUNCTIONS), args).prop_map(|(f, args)| format!("{f}({args})")),
            (a.clone(), one_of(MACROS), b.clone()).prop_map(|(a, m, b)| format!("{a}.{m}(x, {b})")),
            (a.clone(), b.clone()).prop_map(|(a, b)| format!("{a}.transformMap(k, x, {b})")),
            (a.clone(), b.clone()).prop_map(|(a, b)| format!("({a} == {b} ? {b} : {a})")),
            (a.clone(), b.clone()).prop_map(|(a, b)| format!("dyn({a})[{b}]")),
            (a.clone(), b.clone()).prop_map(|(a, b)| format!("{a}[?{b}]")),
            a.clone().prop_map(|a| format!("{a}.?name.a")),
            (a, b).prop_map(|(a, b)| format!("[dyn({a}), {b}]")),
        ]
    })
}

fn data() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        "[ -~é]{0,6}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        let names = "name|count|tags|labels|port|at|ports|any|a";
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            proptest::collection::btree_map(names, inner, 0..4)
                .prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Nothing panics, whatever the expression and the data.
    #[test]
    fn never_panics(text in expression(), data in data()) {
        let _ = eval(&text, &data);
    }

    /// Nor does any text at all.
    #[test]
    fn any_text_compiles_or_is_refused(text in "[ -~\\n\u{e9}\u{1f601}]{0,40}") {
        let _ = Environment::new().compile(&text, &Type::Dyn);
    }
}
