//! Types of expressions, and what is reported where.

use serde_json::json;

use crate::cel::{CompileError, DeclType, Environment, Type};

fn environment() -> Environment {
    let schema = json!({"type": "object", "properties": {
        "name": {"type": "string"}, "count": {"type": "integer"}, "ratio": {"type": "number"},
        "on": {"type": "boolean"}, "at": {"type": "string", "format": "date-time"},
        "for": {"type": "string", "format": "duration"}, "raw": {"type": "string", "format": "byte"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "port": {"x-kubernetes-int-or-string": true},
        "nested": {"type": "object", "properties": {"a-b": {"type": "integer"}}},
        "any": {"x-kubernetes-preserve-unknown-fields": true},
        "objects": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}}},
    }});
    let decl = DeclType::from_schema(&schema, true).unwrap();
    Environment::new().with("self", &decl).with_optional("oldSelf", &decl)
}

#[test]
fn output_types() {
    let environment = environment();
    for (text, expect) in [
        ("self.name", "string"),
        ("self.count + 1", "int"),
        ("self.ratio > self.count", "bool"),
        ("self.at + self.__for__", "timestamp"),
        ("self.raw", "bytes"),
        ("self.tags[0]", "string"),
        ("self.tags.map(t, t.size())", "list(int)"),
        ("self.labels['x']", "string"),
        ("self.labels.map(k, k)", "list(string)"),
        ("self.port", "dyn"),
        ("self.nested.a__dash__b", "int"),
        ("self.nested", "self.nested"),
        ("self.objects[0].x", "int"),
        ("self.objects.filter(o, o.x > 0)", "list(self.objects.@idx)"),
        ("self.metadata.name + self.kind + self.apiVersion", "string"),
        ("oldSelf.?count.orValue(0)", "int"),
        ("oldSelf.count", "optional_type(int)"),
        ("oldSelf.hasValue() ? oldSelf.value().count : 0", "int"),
        ("[]", "list(dyn)"),
        ("{}", "map(dyn, dyn)"),
        ("[[]] == [[1]]", "bool"),
        ("type(1)", "type(int)"),
        ("optional.none()", "optional_type(dyn)"),
        ("quantity('1')", "kubernetes.Quantity"),
        ("ip('::1')", "net.IP"),
        ("url('/a').getQuery()", "map(string, list(string))"),
        ("format.named('uuid')", "optional_type(kubernetes.NamedFormat)"),
        ("self.tags.transformMap(i, v, v)", "map(int, string)"),
        ("self.labels.transformList(k, v, k + v)", "list(string)"),
        ("self.tags.sortBy(t, size(t))", "list(string)"),
        ("dyn(1) + dyn(2)", "dyn"),
        ("self.at == null", "bool"),
        ("true ? 1 : dyn('a')", "dyn"),
    ] {
        let program = environment.compile(text, &Type::Dyn).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(program.output().to_string(), expect, "{text}");
    }
}

#[test]
fn errors_have_places() {
    let environment = environment();
    for (text, expect) in [
        ("x", "1:1: undeclared reference to 'x' (in container '')\n | x\n | ^"),
        ("self.nme", "1:5: undefined field 'nme'\n | self.nme\n | ....^"),
        ("self.any", "1:5: undefined field 'any'\n | self.any\n | ....^"),
        (
            "self.metadata.labels",
            "1:14: undefined field 'labels'\n | self.metadata.labels\n | .............^",
        ),
        (
            "self.name.x",
            "1:10: type 'string' does not support field selection\n | self.name.x\n | .........^",
        ),
        (
            "self.name + 1",
            "1:11: found no matching overload for '_+_' applied to '(string, int)'\n | self.name + 1\n | ..........^",
        ),
        (
            "self.name.startsWith(1)",
            "1:21: found no matching overload for 'startsWith' applied to 'string.(int)'\n | \
             self.name.startsWith(1)\n | ....................^",
        ),
        ("size(1)", "1:5: found no matching overload for 'size' applied to '(int)'\n | size(1)\n | ....^"),
        (
            "nothing(1)",
            "1:8: undeclared reference to 'nothing' (in container '')\n | nothing(1)\n | .......^",
        ),
        (
            "cel.bind(x, 1, x)",
            "1:9: undeclared reference to 'bind' (in container '')\n | cel.bind(x, 1, x)\n | ........^",
        ),
        (
            "jsonpatch.escapeKey('a')",
            "1:20: undeclared reference to 'escapeKey' (in container '')\n | jsonpatch.escapeKey('a')\n | \
             ...................^",
        ),
        ("1 && true", "1:1: expected type 'bool' but found 'int'\n | 1 && true\n | ^"),
        ("[1, 'a']", "1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^"),
        (
            "{'a': 1, 'b': true}",
            "1:15: expected type 'int' but found 'bool'\n | {'a': 1, 'b': true}\n | ..............^",
        ),
        (
            "self.count.all(x, true)",
            "1:5: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | \
             self.count.all(x, true)\n | ....^",
        ),
        (
            "self.name.matches('(')",
            "1:19: invalid matches argument\n | self.name.matches('(')\n | ..................^",
        ),
        ("duration('x')", "1:10: invalid duration argument\n | duration('x')\n | .........^"),
        (
            "self.name == 1",
            "1:11: found no matching overload for '_==_' applied to '(string, int)'\n | self.name == 1\n | ..........^",
        ),
    ] {
        let error = match environment.compile(text, &Type::Bool) {
            Err(CompileError::Issues(error)) => error,
            other => panic!("{text}: {other:?}"),
        };
        let first = error.split("\nERROR").next().unwrap();
        if text.starts_with("cel.") || text.starts_with("jsonpatch") {
            assert!(error.contains(expect), "{text}: {error}");
        } else {
            assert_eq!(first, format!("ERROR: <input>:{expect}"), "{text}");
        }
    }
}

#[test]
fn result_type_and_use_of_variables() {
    let environment = environment();
    let wrong = environment.compile("self.name", &Type::Bool).unwrap_err();
    assert_eq!(wrong, CompileError::Result { expected: Type::Bool, actual: Type::String });
    assert!(environment.compile("dyn(true)", &Type::Bool).is_err());
    let program = environment.compile("oldSelf.hasValue() || self.on", &Type::Bool).unwrap();
    assert!(program.uses("oldSelf") && program.uses("self"));
    let shadowed = environment.compile("[1].all(oldSelf, oldSelf > 0)", &Type::Bool).unwrap();
    assert!(!shadowed.uses("oldSelf"));
}
