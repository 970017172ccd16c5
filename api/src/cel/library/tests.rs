//! One table per family of functions.

use serde_json::json;

use crate::cel::{Bindings, DeclType, Environment, PER_CALL_LIMIT, Type};

/// Evaluates without variables; the JSON of the result, or the error's text.
#[track_caller]
fn eval(text: &str) -> String {
    let program = match Environment::new().compile(text, &Type::Dyn) {
        Ok(program) => program,
        Err(error) => return format!("{error}"),
    };
    let outcome = program.evaluate(&Bindings::new(), PER_CALL_LIMIT);
    match outcome.value.and_then(|value| value.to_json()) {
        Ok(json) => json.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (text, expect) in cases {
        assert_eq!(eval(text), *expect, "{text}");
    }
}

/// Expressions that must be true.
#[track_caller]
fn holds(cases: &[&str]) {
    for text in cases {
        assert_eq!(eval(text), "true", "{text}");
    }
}

#[test]
fn arithmetic_is_checked() {
    check(&[
        ("1 + 2 * 3 - 4 / 2 % 3", "5"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("-9223372036854775808 - 1", "error: integer overflow"),
        ("-(-9223372036854775808)", "error: integer overflow"),
        ("0u - 1u", "error: unsigned integer overflow"),
        ("5 / 0", "error: division by zero"),
        ("5 % 0", "error: modulus by zero"),
        ("5u % 0u", "error: modulus by zero"),
        ("5.0 / 0.0 > 1e308", "true"),
        ("-7 / 2", "-3"),
        ("-7 % 2", "-1"),
        ("'a' + 'b'", "\"ab\""),
        ("b'a' + b'b' == b'ab'", "true"),
        ("[1] + [2, 3]", "[1,2,3]"),
        ("duration('1h') + duration('30m') == duration('90m')", "true"),
        ("timestamp('2026-01-01T00:00:00Z') + duration('1h') == timestamp('2026-01-01T01:00:00Z')", "true"),
        ("timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z') == duration('24h')", "true"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "error: timestamp overflow"),
        ("duration('2500000h') + duration('2500000h')", "error: duration overflow"),
        ("dyn('a') + 1", "error: no such overload"),
    ]);
}

#[test]
fn equality_and_order() {
    holds(&[
        "1 == dyn(1.0)",
        "1u == dyn(1)",
        "dyn(1) != dyn('1')",
        "1 < 2.5 && 2u < 2.5 && -1 < 1u && 3.0 > 2",
        "9223372036854775807 < 9223372036854775808.0",
        "'a' < 'b' && b'a' < b'b' && false < true",
        "[1, 2] == [1, 2] && [1] != [2] && {'a': 1} == {'a': 1} && {'a': 1} != {'b': 1}",
        "[dyn(1), dyn(2u), dyn(3.0)] == [dyn(1.0), dyn(2.0), dyn(3.0)]",
        "1 in [1, 2] && !(3 in [1, 2]) && 'a' in {'a': 1} && dyn(1.0) in [1, 2]",
        "null == null && dyn(null) != dyn(1)",
        "type(1) == int && type('') == string && type([]) == list && type({}) == map && type(type(1)) == type",
        "type(null) == null_type && type(1u) == uint && type(b'') == bytes && type(1.5) == double",
        "duration('1s') < duration('2s') && timestamp(0) < timestamp(1)",
        "{1: 'a'}[1] == 'a' && {1: 'a'}[dyn(1.0)] == 'a' && {1: 'a'}[dyn(1u)] == 'a'",
    ]);
    check(&[
        ("double('NaN') < 1.0", "error: NaN values cannot be ordered"),
        ("double('NaN') == double('NaN')", "false"),
    ]);
}

#[test]
fn errors_are_absorbed_by_what_decides() {
    check(&[
        ("true || 1 / 0 > 0", "true"),
        ("1 / 0 > 0 || true", "true"),
        ("1 / 0 > 0 || false", "error: division by zero"),
        ("false && 1 / 0 > 0", "false"),
        ("1 / 0 > 0 && false", "false"),
        ("1 / 0 > 0 && true", "error: division by zero"),
        ("true ? 1 : 1 / 0", "1"),
        ("[1, 0, 2].exists(x, 2 / x == 2)", "true"),
        ("[0, 1].exists(x, 2 / x == 2)", "true"),
        ("[0].exists(x, 2 / x == 2)", "error: division by zero"),
        ("[0, 4].all(x, 2 / x == 2)", "false"),
        ("[0, 1].exists_one(x, 2 / x == 2)", "error: division by zero"),
        ("{'a': 1}.b", "error: no such key: b"),
        ("{'a': 1}['b']", "error: no such key: b"),
        ("[1][5]", "error: index out of bounds: 5"),
        ("[1][-1]", "error: index out of bounds: -1"),
        ("dyn(1).a", "error: no such key: a"),
        ("dyn(1) && true", "error: no such overload"),
        ("dyn('a').startsWith(dyn(1))", "error: no such overload: startsWith(string, int)"),
    ]);
}

#[test]
fn macros() {
    check(&[
        ("[1, 2, 3].map(x, x * 2)", "[2,4,6]"),
        ("[1, 2, 3].map(x, x > 1, x * 2)", "[4,6]"),
        ("[1, 2, 3].filter(x, x > 1)", "[2,3]"),
        ("{'a': 1, 'b': 2}.map(k, k)", "[\"a\",\"b\"]"),
        ("[1, 2, 3].all(x, x > 0)", "true"),
        ("[].all(x, x > 0)", "true"),
        ("[1, 2, 2].exists_one(x, x == 1)", "true"),
        ("[1, 2, 2].existsOne(x, x == 2)", "false"),
        ("[[1, 2], [3]].map(x, x.map(y, y + size(x)))", "[[3,4],[4]]"),
        ("has({'a': 1}.a)", "true"),
        ("has({'a': 1}.b)", "false"),
        ("[10, 20].all(i, v, v == (i + 1) * 10)", "true"),
        ("{'a': 1, 'b': 2}.exists(k, v, k == 'b' && v == 2)", "true"),
        ("[1, 2].existsOne(i, v, i == 0)", "true"),
        ("['x', 'y'].transformList(i, v, v + string(i))", "[\"x0\",\"y1\"]"),
        ("['x', 'y'].transformList(i, v, i > 0, v)", "[\"y\"]"),
        ("['x', 'y'].transformMap(i, v, v == 'y', v)[1]", "\"y\""),
        ("{'a': 1}.transformMap(k, v, v + 1)", "{\"a\":2}"),
        ("{'a': 1, 'b': 2}.transformMapEntry(k, v, {string(v): k})", "{\"1\":\"a\",\"2\":\"b\"}"),
        ("['a', 'a'].transformMapEntry(i, v, {v: i})", "error: insert failed: key a already exists"),
    ]);
}

#[test]
fn optionals() {
    check(&[
        ("{'a': 1}.?a.orValue(5)", "1"),
        ("{'a': 1}.?b.orValue(5)", "5"),
        ("{'a': {'b': 1}}.?a.b.orValue(5)", "1"),
        ("{'a': {'b': 1}}.?x.b.orValue(5)", "5"),
        ("{'a': 1}[?'a'].value()", "1"),
        ("[1, 2][?5].orValue(0)", "0"),
        ("[1, 2][?1].or(optional.of(9)).value()", "2"),
        ("optional.none().or(optional.of(9)).value()", "9"),
        ("optional.none().value()", "error: optional.none() dereference"),
        ("optional.of(1).hasValue()", "true"),
        ("optional.ofNonZeroValue('').hasValue()", "false"),
        ("optional.ofNonZeroValue(3).hasValue()", "true"),
        ("optional.of(2).optMap(x, x * 3).value()", "6"),
        ("optional.none().optMap(x, x * 3).hasValue()", "false"),
        ("{'a': {'b': 2}}.?a.optFlatMap(x, x.?b).value()", "2"),
        ("[?optional.of(1), ?optional.none(), 3]", "[1,3]"),
        ("{?'a': optional.of(1), ?'b': optional.none()}", "{\"a\":1}"),
        ("optional.of(1) == optional.of(1)", "true"),
        ("optional.unwrap([optional.of(1), optional.none()])", "[1]"),
        ("[optional.of(1), optional.none()].unwrapOpt()", "[1]"),
        ("[1, 2].first().value() + [1, 2].last().value()", "3"),
        ("has({'a': {'b': 1}}.?a.b)", "true"),
    ]);
}

#[test]
fn conversions() {
    check(&[
        ("int('42')", "42"),
        ("int('x')", "error: type conversion error from 'string' to 'int'"),
        ("int(3.99)", "3"),
        ("int(-3.99)", "-3"),
        ("int(1e19)", "error: integer overflow"),
        ("int(9223372036854775808u)", "error: integer overflow"),
        ("uint(-1)", "error: unsigned integer overflow"),
        ("uint('7')", "7"),
        ("double('1.5')", "1.5"),
        ("string(1.0)", "\"1\""),
        ("string(1e20)", "\"1e+20\""),
        ("string(1234567.0)", "\"1.234567e+06\""),
        ("string(0.00001)", "\"1e-05\""),
        ("string(-4)", "\"-4\""),
        ("string(true)", "\"true\""),
        ("string(b'abc')", "\"abc\""),
        ("string(b'\\xff')", "error: invalid UTF-8 in bytes, cannot convert to string"),
        ("bytes('é') == b'\\xc3\\xa9'", "true"),
        ("bool('true') && !bool('0')", "true"),
        ("bool('yes')", "error: type conversion error from 'string' to 'bool'"),
        ("string(duration('1h30m'))", "\"5400s\""),
        ("string(duration('1.5s'))", "\"1.5s\""),
        ("string(timestamp('2026-01-02T03:04:05.5+01:00'))", "\"2026-01-02T02:04:05.5Z\""),
        ("int(timestamp('1970-01-01T00:01:00Z'))", "60"),
        ("timestamp(-62135596801)", "error: timestamp overflow"),
        ("size('héllo') + size(b'abc') + size([1]) + size({'a': 1})", "10"),
        ("'abc'.size()", "3"),
    ]);
}

#[test]
fn strings() {
    check(&[
        ("'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo')", "true"),
        ("'hello'.charAt(1) + 'hello'.charAt(5)", "\"e\""),
        ("'hello'.charAt(6)", "error: index out of range: 6"),
        ("'hello mellow'.indexOf('ello')", "1"),
        ("'hello mellow'.indexOf('ello', 2)", "7"),
        ("'hello'.indexOf('')", "0"),
        ("'hello'.indexOf('x', -1)", "error: index out of range: -1"),
        ("'hello mellow'.lastIndexOf('ello')", "7"),
        ("'hello mellow'.lastIndexOf('ello', 6)", "1"),
        ("'héé'.lastIndexOf('é')", "2"),
        ("'TacoCÆt'.lowerAscii()", "\"tacocÆt\""),
        ("'tacoCæt'.upperAscii()", "\"TACOCæT\""),
        ("'hello hello'.replace('he', 'we', 1)", "\"wello hello\""),
        ("'hello hello'.replace('he', 'we')", "\"wello wello\""),
        ("'ab'.replace('', '-')", "\"-a-b-\""),
        ("'a b c'.split(' ')", "[\"a\",\"b\",\"c\"]"),
        ("'a b c'.split(' ', 2)", "[\"a\",\"b c\"]"),
        ("'a b c'.split(' ', 0)", "[]"),
        ("'abc'.split('')", "[\"a\",\"b\",\"c\"]"),
        ("'tacocat'.substring(4)", "\"cat\""),
        ("'tacocat'.substring(0, 4)", "\"taco\""),
        ("'tacocat'.substring(-1)", "error: index out of range: -1"),
        ("'tacocat'.substring(3, 1)", "error: invalid substring range. start: 3, end: 1"),
        ("'  a\\t'.trim()", "\"a\""),
        ("['a', 'b'].join('-') + ['c', 'd'].join()", "\"a-bcd\""),
        ("strings.quote('a\\n\"b')", "\"\\\"a\\\\n\\\\\\\"b\\\"\""),
        ("'abc'.matches('^a.c$') && matches('abc', 'b')", "true"),
        ("'abc 123 45'.find('[0-9]+')", "\"123\""),
        ("'abc'.find('[0-9]+')", "\"\""),
        ("'1 2 3'.findAll('[0-9]')", "[\"1\",\"2\",\"3\"]"),
        ("'1 2 3'.findAll('[0-9]', 2)", "[\"1\",\"2\"]"),
    ]);
    assert!(eval("'a'.find('(')").starts_with("error: Illegal regex: error parsing regexp: "));
}

#[test]
fn formatting() {
    check(&[
        ("'%s is %d%%'.format([dyn('x'), 5])", "\"x is 5%\""),
        ("'%.2f'.format([1234567.891])", "\"1,234,567.89\""),
        ("'%f'.format([0.5])", "\"0.500000\""),
        ("'%e'.format([2.71828])", "\"2.718280\u{202f}×\u{202f}10⁰⁰\""),
        ("'%b %b'.format([dyn(5), true])", "\"101 1\""),
        ("'%x %X %o'.format([dyn(-30), 'hi', 8])", "\"-1e 6869 10\""),
        ("'%s'.format([{'b': 'x', 'a': 'y'}])", "\"{\\\"a\\\":\\\"y\\\", \\\"b\\\":\\\"x\\\"}\""),
        ("'%s'.format([[1.5, 2.5]])", "\"[1.500000, 2.500000]\""),
        ("'%s'.format([[duration('1s')]])", "\"[duration(\\\"1s\\\")]\""),
        ("'%s %s'.format(['a'])", "error: index 1 out of range"),
        ("'%d'.format(['a'])", "error: decimal clause can only be used on integers, was given string"),
        ("'%q'.format(['a'])", "error: unrecognized formatting clause \"q\""),
    ]);
}

#[test]
fn times() {
    let at = "timestamp('2026-02-13T23:31:30.123Z')";
    for (call, expect) in [
        ("getFullYear()", "2026"),
        ("getMonth()", "1"),
        ("getDayOfYear()", "43"),
        ("getDayOfMonth()", "12"),
        ("getDate()", "13"),
        ("getDayOfWeek()", "5"),
        ("getHours()", "23"),
        ("getMinutes()", "31"),
        ("getSeconds()", "30"),
        ("getMilliseconds()", "123"),
        ("getDate('+02:00')", "14"),
        ("getHours('-02:30')", "21"),
        ("getMinutes('-02:30')", "1"),
        ("getHours('America/Los_Angeles')", "15"),
        ("getHours('Nowhere/Town')", "error: unknown time zone Nowhere/Town"),
    ] {
        assert_eq!(eval(&format!("{at}.{call}")), expect, "{call}");
    }
    check(&[
        ("duration('3730s').getHours()", "1"),
        ("duration('3730s').getMinutes()", "62"),
        ("duration('3730s').getSeconds()", "3730"),
        ("duration('1.234s').getMilliseconds()", "1234"),
    ]);
}

#[test]
fn lists_and_sets() {
    check(&[
        ("[1, 2, 2].isSorted() && !['b', 'a'].isSorted() && [].isSorted()", "true"),
        ("[1, 2, 3].sum()", "6"),
        ("[1.5, 2.5].sum()", "4.0"),
        ("[].sum()", "0"),
        ("[3, 1].min() + [3, 1].max()", "4"),
        ("[].min()", "error: min called on empty list"),
        ("['a', 'b', 'a'].indexOf('a') + ['a', 'b', 'a'].lastIndexOf('a')", "2"),
        ("[1].indexOf(7)", "-1"),
        ("[1, 2, 3, 4].slice(1, 3)", "[2,3]"),
        ("[1].slice(0, 2)", "error: cannot slice(0, 2), list is length 1"),
        ("[1].slice(-1, 0)", "error: cannot slice(-1, 0), negative indexes not supported"),
        ("[[1], [2, 3]].flatten()", "[1,2,3]"),
        ("[3, 1, 2].sort()", "[1,2,3]"),
        ("['bb', 'a'].sortBy(x, size(x))", "[\"a\",\"bb\"]"),
        ("lists.range(3)", "[0,1,2]"),
        ("[1, 2].reverse()", "[2,1]"),
        ("[1, 2, 1].distinct()", "[1,2]"),
        (
            "sets.contains([1, 2], [2]) && sets.equivalent([1, 2], [2, 1, 1]) && sets.intersects([1], [1, 5])",
            "true",
        ),
        ("sets.contains([1], [2]) || sets.intersects([], [1])", "false"),
        ("lists.range(100000000)", "error: operation cancelled: actual cost limit exceeded"),
    ]);
}

#[test]
fn kubernetes_values() {
    holds(&[
        "quantity('1Gi') == quantity('1024Mi') && isQuantity('5m') && !isQuantity('x')",
        "quantity('1500m').isGreaterThan(quantity('1')) && quantity('1').compareTo(quantity('2')) == -1",
        "quantity('2').add(quantity('1k')).sub(2) == quantity('1k') && quantity('5').isInteger()",
        "quantity('5k').asInteger() == 5000 && quantity('500m').asApproximateFloat() == 0.5 && sign(quantity('-1')) == -1",
        "ip('::1').isLoopback() && ip('10.0.0.1').family() == 4 && isIP('::') && !isIP('::ffff:1.2.3.4') && !isIP('1')",
        "ip.isCanonical('2001:db8::1') && !ip.isCanonical('2001:DB8::1') && string(ip('::0')) == '::'",
        "ip('169.254.1.1').isLinkLocalUnicast() && ip('224.0.0.9').isLinkLocalMulticast() && ip('8.8.8.8').isGlobalUnicast()",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')",
        "!cidr('10.0.0.0/8').containsCIDR('0.0.0.0/0') && cidr('10.0.0.1/8').masked() == cidr('10.0.0.0/8')",
        "cidr('::/64').prefixLength() == 64 && cidr('10.0.0.1/8').ip() == ip('10.0.0.1') && isCIDR('::/0') && !isCIDR('::')",
        "semver('1.2.3').major() == 1 && semver('1.2.3-alpha').isLessThan(semver('1.2.3')) && isSemver('1.0.0')",
        "!isSemver('v1.0') && isSemver('v1.0', true) && semver('v01.2', true) == semver('1.2.0')",
        "semver('1.0.0-2').compareTo(semver('1.0.0-10')) == -1 && semver('1.0.0-a').compareTo(semver('1.0.0-10')) == 1",
        "url('https://user@example.com:80/a%20b?x=1&x=2&y#f').getHost() == 'example.com:80'",
        "url('https://[::1]:80/').getHostname() == '::1' && url('https://[::1]:80/').getPort() == '80'",
        "url('https://a/b c').getEscapedPath() == '/b%20c' && url('https://a/?x=1&x=2').getQuery()['x'] == ['1', '2']",
        "isURL('https://a.b') && isURL('/path') && !isURL('../x') && !isURL('') && url('HTTP://x').getScheme() == 'http'",
        "format.dns1123Label().validate('a-b').hasValue() == false && format.named('uuid').hasValue()",
        "format.named('nothing') == optional.none() && format.dns1123Label().validate('A').value().size() == 1",
        "!format.date().validate('2026-01-02').hasValue() && format.date().validate('2026-13-02').hasValue()",
        "!format.datetime().validate('2026-01-02T00:00:00Z').hasValue() && !format.uri().validate('https://a').hasValue()",
    ]);
    check(&[
        (
            "quantity('x') == quantity('1')",
            "error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("quantity('500m').asInteger()", "error: cannot convert value to integer"),
        (
            "ip('x')",
            "error: IP Address \"x\" parse error during conversion from string: ParseAddr(\"x\"): unable to parse IP",
        ),
        ("semver('1')", "error: No Major.Minor.Patch elements found"),
    ]);
}

#[test]
fn budget_is_never_absorbed() {
    let decl = DeclType::from_schema(&json!({"type": "array", "items": {"type": "integer"}}), false).unwrap();
    let environment = Environment::new().with("self", &decl);
    let program = environment.compile("self.all(x, self.exists(y, x == y)) || true", &Type::Bool).unwrap();
    let data = serde_json::Value::from((0..2000).collect::<Vec<i64>>());
    let bindings = Bindings::new().json("self", &data);
    let outcome = program.evaluate(&bindings, 100_000);
    let error = outcome.value.unwrap_err();
    assert!(error.is_over_budget());
    assert_eq!(error.to_string(), "operation cancelled: actual cost limit exceeded");
    assert!(outcome.cost > 100_000 && outcome.cost < 100_100);
}
